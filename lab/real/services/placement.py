# SPDX-License-Identifier: Apache-2.0

"""Placement."""

from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real import oslo
from lab.real import services
from lab.real import supervisor
from lab.real import wsgi

DATABASES = ('placement',)

wanted = services.always


def configure(lab: Lab) -> None:
    wsgi.configure(lab, 'placement', 'placement.wsgi.api', workers=1)
    oslo.write(
        lab.directory('placement') / 'placement.conf', lab.api('placement'), {
            'api': {'auth_strategy': 'keystone'},
            'placement_database': {'connection': lab.database('placement')}})


def make_tables(lab: Lab) -> None:
    lab.call(
        executable('placement-manage'), '--config-file',
        str(lab.where.conf / 'placement' / 'placement.conf'), 'db', 'sync')


before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [wsgi.serve(
        lab, 'placement',
        OS_PLACEMENT_CONFIG_DIR=str(lab.where.conf / 'placement'))]


after_start = services.nothing
