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

"""How the first process of a lab is told from others, as root."""

import subprocess

import pytest

from lab.real import layout
from lab.real import machine


def first_process(where, user):
    """The first process of a process namespace, named like a lab's."""
    process = subprocess.Popen(
        ['unshare', '--user', '--map-root-user', '--pid', '--fork',
         '--kill-child', '--mount-proc', 'sh', '-c', 'echo; read line',
         f'{where.lab}/'],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=user, group=user,
        cwd='/')
    assert process.stdout.readline() == b'\n'
    return process


@pytest.mark.parametrize('user, found', [(0, True), (65534, False)])
def test_only_root_has_a_lab(user, found, tmp_path):
    where = layout.Layout(tmp_path / '.lab')
    with first_process(where, user) as process:
        assert (machine.pid(where) is not None) == found
        process.communicate(b'\n')
    assert machine.pid(where) is None
