# SPDX-License-Identifier: Apache-2.0

"""Placement."""

from lab.real import oslo
from lab.real import programs
from lab.real.services import common
from lab.real.services import wsgi


def configure(lab: common.Lab) -> None:
    wsgi.configure(lab, 'placement', 'placement.wsgi.api', workers=1)
    oslo.write(
        lab.directory('placement') / 'placement.conf', lab.api('placement'), {
            'api': {'auth_strategy': 'keystone'},
            'placement_database': {'connection': lab.database('placement')}})


def sync(lab: common.Lab) -> None:
    """Make the tables."""
    lab.call(
        common.tool('placement-manage'), '--config-file',
        str(lab.where.conf / 'placement' / 'placement.conf'), 'db', 'sync')


def programs_of(lab: common.Lab) -> list[programs.Program]:
    return [wsgi.serve(
        lab, 'placement',
        OS_PLACEMENT_CONFIG_DIR=str(lab.where.conf / 'placement'))]
