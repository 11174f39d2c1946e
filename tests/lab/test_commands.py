# SPDX-License-Identifier: Apache-2.0

"""The lab's commands, up to where a lab begins."""

import contextlib
import fcntl
import os
import subprocess
import sys

import pytest

from lab.real import commands
from lab.real import layout
from lab.real import machine
from tool import __main__ as tool_main
from tool import console
from tool import environments


@pytest.fixture(autouse=True)
def where(tmp_path, monkeypatch):
    found = layout.Layout(tmp_path / '.lab')
    monkeypatch.setattr(commands, 'WHERE', found)
    monkeypatch.setattr(os, 'geteuid', lambda: 0)
    return found


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """This environment is the one that commands run in."""
    monkeypatch.setattr(environments, 'enter', lambda *args: None)


def call(*words):
    """./run lab with these words. Returns the exit code."""
    return tool_main.main(['lab', *words])


def told(capsys):
    """The one sentence on the error output."""
    error = capsys.readouterr().err
    assert error.startswith('./run lab: ') and error.count('\n') == 1, error
    return error


@pytest.mark.parametrize('command', [
    ['up'], ['down'], ['status'], ['env'], ['shell', 'node1'], ['smoke'],
    ['bench']])
def test_needs_root(command, capsys, monkeypatch, where):
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    assert call(*command) == 1
    assert 'sudo' in told(capsys)
    assert not where.root.exists()


@pytest.mark.parametrize('command', [
    ['status'], ['env'], ['shell', 'node1'], ['bench']])
def test_needs_a_lab(command, capsys):
    assert call(*command) == 1
    assert './run lab up' in told(capsys)


def test_lab_that_did_not_come_up_whole(capsys, monkeypatch, where):
    monkeypatch.setattr(machine, 'pid', lambda where: 1)
    where.lab.mkdir(parents=True)
    where.settings.write_text(
        '{"passwords": {}, "ports": {}, "nova": null, "shared": false, '
        '"extras": []}')
    assert call('env') == 1
    assert 'whole' in told(capsys)


def test_lab_that_is_up_already(capsys, monkeypatch):
    monkeypatch.setattr(machine, 'pid', lambda where: 1)
    assert call('up') == 1
    assert './run lab down' in told(capsys)


@pytest.mark.parametrize('command', ['up', 'down'])
def test_one_command_at_a_time(command, capsys, where):
    where.root.mkdir()
    with where.lock.open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert call(command) == 1
    assert 'another ./run lab' in told(capsys)


def test_too_little_memory(capsys, monkeypatch):
    monkeypatch.setattr(commands, '_MEMORY', 2**60)
    assert call('up') == 1
    assert 'memory' in told(capsys)


def test_too_little_disk(capsys, monkeypatch):
    monkeypatch.setattr(commands, '_DISK', 2**80)
    assert call('up') == 1
    assert 'disk space' in told(capsys)


def test_path_too_long_for_sockets(capsys, monkeypatch, where):
    longest = len(str(where.lab / 'tmp' / 'tmp12345678' / 'privsep.sock'))
    monkeypatch.setattr(commands, '_SOCKET_PATH', longest - 1)
    assert call('up') == 1
    assert 'too long' in told(capsys)
    monkeypatch.setattr(commands, '_SOCKET_PATH', longest)
    # The next that is wrong.
    monkeypatch.setattr(commands, '_MEMORY', 2**60)
    assert call('up') == 1
    assert 'memory' in told(capsys)


def test_path_with_a_blank(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(commands, 'WHERE', layout.Layout(tmp_path / 'a b'))
    assert call('up') == 1
    assert 'blank' in told(capsys)


def test_scenarios_need_a_lab(capsys):
    assert tool_main.main(['scenarios', '--on', 'lab']) == 1
    error = capsys.readouterr().err
    assert error.startswith('./run scenarios: ') and './run lab up' in error


def test_scenarios_are_played_on_the_controller(
    monkeypatch, tmp_path, capsys
):
    asked = []
    monkeypatch.setattr(commands, '_need_whole_lab', lambda: None)
    monkeypatch.setattr(
        commands, '_inside', lambda *words: asked.append(words) or 1)
    monkeypatch.chdir(tmp_path)
    for words in (['refuse-source', '12'], ['12', '--report', 'new']):
        assert tool_main.main(['scenarios', '--on', 'lab', *words]) == 1
    assert asked == [
        ('scenarios', '', 'evacuate', 'refuse-source'),
        ('scenarios', str(tmp_path / 'new'), 'evacuate')]


@pytest.mark.parametrize('rounds', ['0', 'x'])
def test_rounds_are_a_number(rounds, capsys):
    with pytest.raises(SystemExit, match='2'):
        call('bench', '--rounds', rounds)
    assert '--rounds' in capsys.readouterr().err


def test_cases_of_the_bench(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(commands, '_need_whole_lab', lambda: None)
    monkeypatch.setattr(
        commands, '_inside', lambda *words: asked.append(words) or 0)
    for words in (
            [], ['--rounds', '1', '--case', 'series', '--case', 'floor']):
        assert call('bench', *words) == 0
    assert asked == [('bench', '5'), ('bench', '1', 'series', 'floor')]
    with pytest.raises(SystemExit, match='2'):
        call('bench', '--case', 'active')
    assert '--case' in capsys.readouterr().err


def test_no_logs_yet(capsys):
    assert call('logs') == 1
    assert './run lab up' in told(capsys)


def test_unknown_log(capsys, where):
    where.logs.mkdir(parents=True)
    (where.logs / 'nova.log').touch()
    assert call('logs', 'nava') == 1
    assert './run lab logs' in told(capsys)
    assert call('logs') == 0
    assert capsys.readouterr().out == 'nova\n'


def test_down_removes_what_a_killed_lab_left(where):
    for path in (where.lab, where.cache, where.logs):
        path.mkdir(parents=True)
    where.clouds.touch()
    assert call('down') == 0
    assert where.cache.exists() and where.logs.exists()
    assert not where.lab.exists() and not where.clouds.exists()
    assert call('down', '--purge') == 0
    assert not where.root.exists()


@contextlib.contextmanager
def naming(where):
    """A process that names the files of a lab and is none of it."""
    with subprocess.Popen(
            [sys.executable, '-c', 'print(flush=True); input()',
             f'{where.lab}/'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.communicate(b'\n')


def test_what_is_left_is_told(where):
    interfaces = set(os.listdir('/sys/class/net'))
    commands._check_nothing_left(interfaces)
    with pytest.raises(console.Problem, match='interface lo'):
        commands._check_nothing_left(interfaces - {'lo'})
    where.lab.mkdir(parents=True)
    with pytest.raises(console.Problem, match=str(where.lab)):
        commands._check_nothing_left(interfaces)
    where.lab.rmdir()
    with naming(where) as process:
        with pytest.raises(console.Problem, match=f'process {process.pid}'):
            commands._check_nothing_left(interfaces)


def test_a_process_that_only_names_the_lab_is_not_the_lab(where):
    with naming(where):
        assert machine.pid(where) is None
