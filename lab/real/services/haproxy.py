# SPDX-License-Identifier: Apache-2.0

"""HAProxy, which brings the loopback of the machine to the APIs."""

import pathlib

from lab.real.lab import Lab
from lab.real import services
from lab.real import supervisor

DATABASES = ()

wanted = services.always


def _control(lab: Lab) -> pathlib.Path:
    return lab.where.run / 'gateway'


def _configuration(lab: Lab) -> pathlib.Path:
    return lab.where.conf / 'haproxy.cfg'


def configure(lab: Lab) -> None:
    lines = [
        'global', '  maxconn 200',
        f'  stats socket {_control(lab)} mode 600',
        'defaults', '  mode tcp',
        '  timeout connect 5s', '  timeout client 10m',
        '  timeout server 10m']
    for api, port in lab.settings.ports.items():
        lines += [
            f'listen {api}', f'  bind 127.0.0.1:{port}',
            f'  server {api} unix@{lab.where.run / api}']
    _configuration(lab).write_text('\n'.join(lines) + '\n')


make_tables = services.nothing
before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [supervisor.Program(
        name='gateway', host='',
        command=('haproxy', '-db', '-f', str(_configuration(lab))),
        ready=supervisor.socket_open(_control(lab)))]


after_start = services.nothing
