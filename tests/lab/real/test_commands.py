# SPDX-License-Identifier: Apache-2.0

"""The lab's commands, up to where a lab begins."""

import fcntl
import importlib.metadata
import os

import pytest

from lab.real import commands
from lab.real.lab import Lab
from lab.real import layout
from lab.real import namespaces
from lab.real import preflight
from lab.real import settings
from lab.real import supervisor
from tool import __main__ as tool_main
from tool import environments


@pytest.fixture
def where(short_path):
    return layout.Layout(short_path / '.lab')


@pytest.fixture(autouse=True)
def here(where, monkeypatch):
    """Commands run in this environment, as root, on a lab of their own."""
    def enter(project, args, argv):
        args.root = where.root

    monkeypatch.setattr(environments, 'enter', enter)
    monkeypatch.setattr(os, 'geteuid', lambda: 0)


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
    monkeypatch.setattr(namespaces, 'pid', lambda where: 1)
    where.lab.mkdir(parents=True)
    where.settings.write_text(
        '{"passwords": {}, "ports": {}, "nova": null, "shared": false, '
        '"extras": []}')
    assert call('env') == 1
    assert 'whole' in told(capsys)


def test_a_machine_that_is_too_small_is_refused(capsys, monkeypatch, where):
    monkeypatch.setattr(preflight, '_MEMORY', 2**60)
    assert call('up') == 1
    assert 'memory' in told(capsys)
    assert not where.lab.exists()


def test_an_unknown_extra_is_refused(capsys, where):
    with pytest.raises(SystemExit, match='2'):
        call('up', '--with', 'foo')
    assert "'foo'" in capsys.readouterr().err
    assert not where.root.exists()


def test_lab_that_is_up_already(capsys, monkeypatch):
    monkeypatch.setattr(namespaces, 'pid', lambda where: 1)
    assert call('up') == 1
    assert './run lab down' in told(capsys)


@pytest.mark.parametrize('command', ['up', 'down'])
def test_one_command_at_a_time(command, capsys, where):
    where.root.mkdir()
    with where.lock.open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert call(command) == 1
    assert 'another ./run lab' in told(capsys)


def test_scenarios_need_a_lab(capsys):
    assert tool_main.main(['scenarios', '--on', 'lab']) == 1
    error = capsys.readouterr().err
    assert error.startswith('./run scenarios: ') and './run lab up' in error


def test_scenarios_are_played_on_the_controller(
    monkeypatch, tmp_path, where
):
    asked = []
    audited = 'audit-during-move', 'audit-without-a-cell', 'evacuate'
    monkeypatch.setattr(
        commands, '_need_whole_lab', lambda args: Lab(where, None))
    monkeypatch.setattr(
        namespaces, 'run_inside',
        lambda place, *words: asked.append((place, *words)) or 1)
    monkeypatch.chdir(tmp_path)
    for words in (['refuse-source', '12'], ['12', '--report', 'new']):
        assert tool_main.main(['scenarios', '--on', 'lab', *words]) == 1
    assert asked == [
        (where, 'scenarios', '', *audited, 'refuse-source'),
        (where, 'scenarios', str(tmp_path / 'new'), *audited)]


@pytest.mark.parametrize('rounds', ['0', 'x'])
def test_rounds_are_a_number(rounds, capsys):
    with pytest.raises(SystemExit, match='2'):
        call('bench', '--rounds', rounds)
    assert f"--rounds: '{rounds}' is not a whole number of at least 1" in (
        capsys.readouterr().err)


def test_cases_of_the_bench(capsys, monkeypatch, where):
    asked = []
    monkeypatch.setattr(
        commands, '_need_whole_lab', lambda args: Lab(where, None))
    monkeypatch.setattr(
        namespaces, 'run_inside',
        lambda place, *words: asked.append((place, *words)) or 0)
    for words in (
            [], ['--rounds', '1', '--case', 'series', '--case', 'floor'],
            ['transfer'], ['transfer', '--case', 'today'],
            ['cross-cell', '--case', 'cross']):
        assert call('bench', *words) == 0
    assert asked == [(where, 'bench', 'rescue', '5'),
                     (where, 'bench', 'rescue', '1', 'series', 'floor'),
                     (where, 'bench', 'transfer', '200'),
                     (where, 'bench', 'transfer', '200', 'today'),
                     (where, 'bench', 'cross-cell', '5', 'cross')]
    for words in (['--case', 'active'], ['transfer', '--case', 'series']):
        assert call('bench', *words) == 2
        assert f'has no case {words[-1]!r}' in told(capsys)
    with pytest.raises(SystemExit, match='2'):
        call('bench', 'pool')
    assert "'pool'" in capsys.readouterr().err


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


@pytest.fixture
def lab(where, monkeypatch):
    """A lab that is up, but for what it consists of."""
    where.conf.mkdir(parents=True)
    settings.draw(None, False).save(where)
    where.clouds.touch()
    monkeypatch.setattr(namespaces, 'pid', lambda where: 1)
    return Lab.load(where)


@pytest.mark.parametrize('state, code', [('RUNNING', 0), ('FATAL', 1)])
def test_status_shows_what_the_supervisor_knows(
    state, code, lab, capsys, monkeypatch
):
    states = [supervisor.State('one', 'node1', 'RUNNING', 7),
              supervisor.State('two', '', state, 8)]
    monkeypatch.setattr(
        supervisor.Supervisor, 'states', lambda self: states)
    # The services are not installed where tests run.
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: '1.2.3')
    assert call('status') == code
    shown = capsys.readouterr().out
    assert 'keystone 1.2.3' in shown
    assert '7 s' in shown and 'this machine' in shown
    assert state.lower() in shown


def test_env_is_for_a_shell(lab, capsys):
    assert call('env', 'reader-other') == 0
    shown = capsys.readouterr().out
    assert f'export OS_CLIENT_CONFIG_FILE={lab.where.clouds}\n' in shown
    assert 'export OS_CLOUD=reader-other\n' in shown
