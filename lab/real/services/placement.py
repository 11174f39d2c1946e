# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

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
