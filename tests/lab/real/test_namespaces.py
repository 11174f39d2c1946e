# SPDX-License-Identifier: Apache-2.0

"""How the namespaces of a lab are found, made and ended, without a lab."""

import contextlib
import subprocess
import sys

import psutil
import pytest

from lab.real import layout
from lab.real import namespaces
from lab.real import topology
from tool import console


@pytest.fixture
def where(tmp_path):
    return layout.Layout(tmp_path / '.lab')


@contextlib.contextmanager
def naming(where):
    """A process that names the files of a lab and is none of it."""
    with subprocess.Popen(
            [sys.executable, '-c', 'print(flush=True); input()',
             f'{where.lab}/'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        if process.poll() is None:
            process.communicate(b'\n')


def test_a_process_that_only_names_the_lab_is_not_the_lab(where):
    with naming(where):
        assert namespaces.pid(where) is None


def test_the_first_process_is_killed(where, monkeypatch):
    with naming(where) as process:
        monkeypatch.setattr(namespaces, '_is_first', process.pid.__eq__)
        if psutil.Process().uids().effective:
            pytest.skip('only processes of root count')
        assert namespaces.pid(where) == process.pid
        # Its parent, which is this process, has to collect it.
        monkeypatch.setattr(
            psutil.Process, 'wait',
            lambda self, timeout: process.wait(timeout))
        namespaces.stop(where)
        assert process.returncode < 0
    assert namespaces.pid(where) is None


def test_a_lab_that_does_not_end_is_not_waited_for(where, monkeypatch):
    with naming(where) as process:
        monkeypatch.setattr(namespaces, 'pid', lambda where: process.pid)
        monkeypatch.setattr(namespaces, '_TIMEOUT', 0.01)
        monkeypatch.setattr(psutil.Process, 'kill', lambda self: None)
        with pytest.raises(console.Problem, match=str(process.pid)):
            namespaces.stop(where)


def starting(where, monkeypatch, script):
    """Start a lab whose first process only runs a script of the shell."""
    for directory in (where.logs, where.run):
        directory.mkdir(parents=True)
    started = []
    popen = subprocess.Popen

    def start(command, **options):
        assert command[0] == 'unshare'
        started.append(popen(['sh', '-c', script], **options))
        return started[0]

    monkeypatch.setattr(subprocess, 'Popen', start)
    monkeypatch.setattr(namespaces, '_TIMEOUT', 1)
    with pytest.raises(console.Problem) as raised:
        namespaces.start(where)
    started[0].wait(10)
    return str(raised.value)


def test_namespaces_that_cannot_be_made(where, monkeypatch):
    assert 'not permitted. They need root' in starting(
        where, monkeypatch, 'echo unshare: not permitted. >&2; exit 1')


def test_namespaces_that_are_never_there(where, monkeypatch):
    said = starting(where, monkeypatch, 'exec sleep 60')
    assert 'after 1 s' in said and 'machine.log' in said


@pytest.mark.parametrize('shared', [False, True])
def test_hosts_have_files_of_their_own(where, shared):
    where.conf.mkdir(parents=True)
    namespaces.configure(where, shared)
    names = (where.conf / 'hosts').read_text().splitlines()
    assert names[1:] == [
        f'{host.address} {host.name}' for host in topology.HOSTS]
    for compute in topology.COMPUTES:
        assert (where.host(compute.name) / 'instances').is_dir()
    assert where.shared.exists() == shared
