# SPDX-License-Identifier: Apache-2.0

"""How a lab and the processes on its hosts are found, as root."""

import shutil
import subprocess

import psutil
import pytest

from lab.real import layout
from lab.real import namespaces
from lab.words import expect


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


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A network namespace in the place of a host, with a process in it."""
    program = tmp_path / 'scp'
    shutil.copy(shutil.which('sleep'), program)
    with subprocess.Popen(
            ['unshare', '--net', program, '60']) as process:
        monkeypatch.setattr(
            namespaces, '_namespace',
            lambda host, kind: f'/proc/{process.pid}/ns/{kind}')
        expect.wait_for(
            'process', psutil.Process(process.pid).name, 'scp'.__eq__)
        yield process
        process.kill()


def test_processes_of_a_host_are_those_in_its_network(host):
    found = list(namespaces.processes('node1'))
    assert [process.pid for process in found] == [host.pid]
    assert found[0].name() == 'scp'


def test_a_copy_is_held_and_let_go(host):
    faults = pytest.importorskip('lab.real.faults')
    process = psutil.Process(host.pid)
    with faults._HeldCopy('node1') as copy:
        copy.wait_until_running()
        expect.wait_for(
            'stop', process.status, psutil.STATUS_STOPPED.__eq__)
    expect.wait_for(
        'going on', process.status, psutil.STATUS_SLEEPING.__eq__)


def test_only_guests_are_killed(host):
    faults = pytest.importorskip('lab.real.faults')
    faults._kill_guests('node1')
    assert host.poll() is None
