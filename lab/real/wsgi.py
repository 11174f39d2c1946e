# SPDX-License-Identifier: Apache-2.0

"""APIs served by uWSGI."""

import pathlib

from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real import settings as lab_settings
from lab.real import supervisor
from lab.real import topology


def _configuration(lab: Lab, api: str) -> pathlib.Path:
    return lab.where.conf / f'uwsgi-{api}.ini'


def configure(
    lab: Lab, api: str, module: str, workers: int = 2,
    threads: int = 4, arguments: str = '', log_requests: bool = False,
) -> None:
    """Write the configuration of the server of an API.

    It listens in the network of the lab, and on a Unix socket, to which the
    gateway connects the loopback of the machine.

    :param api: name of the API
    :param module: Python module with the WSGI application
    :param workers: number of processes
    :param threads: number of requests that each process answers at a time
    :param arguments: the application's command line
    :param log_requests: whether to log each request, in uWSGI's own form
    """
    options = {
        'http-socket':
            f'{topology.CONTROLLER.address}:{lab_settings.APIS[api].port}',
        'module': f'{module}:application',
        'processes': workers, 'threads': threads, 'master': 'true',
        'enable-threads': 'true', 'die-on-term': 'true', 'need-app': 'true',
        'lazy-apps': 'true', 'buffer-size': 65535, 'thunder-lock': 'true',
        'http-chunked-input': 'true',
        # Nova uploads images in chunks of 1 MiB, more than the default.
        'chunked-input-limit': 2 << 20, 'add-header': 'Connection: close',
        'start-time': '%t'}
    if not log_requests:
        options['disable-logging'] = 'true'
    lines = ['[uwsgi]', f'http-socket = {lab.where.run / api}']
    lines.extend(f'{name} = {value}' for name, value in options.items())
    if arguments:
        lines.append(f'pyargv = {arguments}')
    _configuration(lab, api).write_text('\n'.join(lines) + '\n')


def serve(lab: Lab, api: str, **environment: str) -> supervisor.Program:
    """The program that serves an API on the controller.

    :param api: name of the API
    :param environment: the application's environment, beside that of all
        programs
    """
    return supervisor.Program(
        name=api, host=topology.CONTROLLER.name,
        command=(executable('uwsgi'), '--ini',
                 str(_configuration(lab, api))),
        environment={**lab.environment(), **environment},
        ready=supervisor.answers(
            topology.CONTROLLER.address, lab_settings.APIS[api].port))
