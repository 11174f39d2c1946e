# SPDX-License-Identifier: Apache-2.0

"""What must hold before a lab can start, and once one has ended."""

import os

import pytest

from lab.real import layout
from lab.real import preflight
from tests.lab.real import test_namespaces
from tool import console


@pytest.fixture
def where(short_path):
    found = layout.Layout(short_path / '.lab')
    found.root.mkdir()
    return found


def refused(where, match):
    with pytest.raises(console.Problem, match=match):
        preflight.check_machine(where)


def test_too_little_memory(where, monkeypatch):
    monkeypatch.setattr(preflight, '_MEMORY', 2**60)
    refused(where, 'GiB of free memory')


def test_too_little_disk(where, monkeypatch):
    monkeypatch.setattr(preflight, '_MEMORY', 0)
    monkeypatch.setattr(preflight, '_DISK', 2**80)
    refused(where, 'disk space')


def test_path_too_long_for_sockets(where, monkeypatch):
    longest = len(str(where.lab / 'tmp' / 'tmp12345678' / 'privsep.sock'))
    monkeypatch.setattr(preflight, '_SOCKET_PATH', longest - 1)
    refused(where, 'too long')
    monkeypatch.setattr(preflight, '_SOCKET_PATH', longest)
    # The next that is wrong.
    monkeypatch.setattr(preflight, '_MEMORY', 2**60)
    refused(where, 'memory')


def test_path_is_measured_in_bytes(tmp_path, monkeypatch):
    where = layout.Layout(tmp_path / 'é')
    longest = len(str(where.lab / 'tmp' / 'tmp12345678' / 'privsep.sock'))
    monkeypatch.setattr(preflight, '_SOCKET_PATH', longest)
    refused(where, 'too long')


def test_path_with_a_blank(tmp_path):
    refused(layout.Layout(tmp_path / 'a b'), 'blank')


def test_only_root_may_go_on(monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    preflight.need_root()
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    with pytest.raises(console.Problem, match='sudo'):
        preflight.need_root()


def test_what_is_left_is_named(where):
    before = preflight.interfaces()
    assert 'lo' in before
    preflight.check_nothing_left(where, before)
    with pytest.raises(console.Problem, match='interface lo'):
        preflight.check_nothing_left(where, before - {'lo'})
    where.lab.mkdir()
    with pytest.raises(console.Problem, match=str(where.lab)):
        preflight.check_nothing_left(where, before)
    where.lab.rmdir()
    with test_namespaces.naming(where) as process:
        with pytest.raises(console.Problem, match=f'process {process.pid}'):
            preflight.check_nothing_left(where, before)
