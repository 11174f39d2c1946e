# SPDX-License-Identifier: Apache-2.0

"""How the first process of a lab is told from others, as root."""

import subprocess

import pytest

from lab.real import layout
from lab.real import namespaces


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
        assert (namespaces.pid(where) is not None) == found
        process.communicate(b'\n')
    assert namespaces.pid(where) is None
