# SPDX-License-Identifier: Apache-2.0

"""Serves an API with uWSGI."""

import pathlib

from lab.real import programs
from lab.real.services import common
from lab.real import settings as lab_settings
from lab.real import topology


def _configuration(lab: common.Lab, api: str) -> pathlib.Path:
    return lab.where.conf / f'uwsgi-{api}.ini'


def configure(
    lab: common.Lab, api: str, module: str, workers: int = 2,
    threads: int = 4, arguments: str = '',
) -> None:
    """Write how an API is served.

    It listens in the network of the lab, and at a Unix socket to which the
    gateway brings what comes in on the machine's loopback.

    :param api: name of the API
    :param module: Python module with the WSGI application
    :param workers: processes that answer
    :param threads: requests that each of them answers at a time
    :param arguments: what the application reads from its command line
    """
    options = {
        'http-socket': f'{common.CONTROLLER}:{lab_settings.APIS[api]}',
        'module': f'{module}:application',
        'processes': workers, 'threads': threads, 'master': 'true',
        'enable-threads': 'true', 'die-on-term': 'true', 'need-app': 'true',
        'lazy-apps': 'true', 'buffer-size': 65535, 'thunder-lock': 'true',
        'http-chunked-input': 'true',
        # Nova uploads images in chunks of 1 MiB, which is more than uWSGI
        # takes by itself.
        'chunked-input-limit': 2 << 20, 'add-header': 'Connection: close',
        'disable-logging': 'true', 'start-time': '%t'}
    lines = ['[uwsgi]', f'http-socket = {lab.where.run / api}']
    lines.extend(f'{name} = {value}' for name, value in options.items())
    if arguments:
        lines.append(f'pyargv = {arguments}')
    _configuration(lab, api).write_text('\n'.join(lines) + '\n')


def serve(lab: common.Lab, api: str, **environment: str) -> programs.Program:
    """The program that serves an API on the controller.

    :param api: name of the API
    :param environment: what the application reads from its environment
    """
    return programs.Program(
        name=api, host=topology.CONTROLLER.name,
        command=(common.tool('uwsgi'), '--ini',
                 str(_configuration(lab, api))),
        environment={**lab.environment(), **environment},
        ready=programs.answers(common.CONTROLLER, lab_settings.APIS[api]))
