# SPDX-License-Identifier: Apache-2.0

"""The minute in which a newcomer sees what the series is for."""

import contextlib
import math
import pathlib
import re
import subprocess
import sys
import types

import pytest

from lab import demo
from lab import scenarios
from lab.words import expect
from lab.words import steps
from tool import __main__ as command
from tool import build
from tool import clients
from tool import environments

ROOT = pathlib.Path(__file__).parents[2]

RUN = (
    'from tool import environments, __main__; import sys; '
    'environments.enter = lambda *args: None; '
    'sys.exit(__main__.main(sys.argv[1:]))')
WITHOUT_NOVA = 'import sys; sys.modules["nova"] = None; '


def run(*args, before=''):
    return subprocess.run(
        [sys.executable, '-c', before + RUN, *args], cwd=ROOT,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
    done = run('demo', '--log', str(tmp_path_factory.mktemp('demo') / 'log'))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ''
    return done.stdout


def test_demo_is_one_screen(shown):
    lines = shown.splitlines()
    # Of 80 columns each.
    assert sum(max(1, math.ceil(len(line) / 80)) for line in lines) <= 40


def test_demo_shows_no_uuid(shown):
    assert not re.search(r'[0-9a-f]{8}-[0-9a-f]{4}-', shown)


def test_demo_tells_the_task_with_and_without_the_series(shown):
    order = [
        'Without the series',
        "Cannot 'os-migrateLive' instance web while it is in vm_state rescued",
        'With the series', 'kill libvirt of node2', 'the migration fails',
        'web is in rescue on node1 and nowhere else', 'The next try',
        'live-migrate web', 'web is in rescue on node2 and nowhere else',
        'unrescue web', 'web is active on node2 and nowhere else', 'The lab',
        'Next: ']
    at = 0
    for text in order:
        at = shown.index(text, at) + 1


def test_demo_ends_with_a_command_that_is_there(shown):
    last = shown.splitlines()[-1]
    (word,) = re.fullmatch(r'Next: \./run scenarios (\S+)', last).groups()
    assert scenarios.choose([word], scenarios.load())


@pytest.fixture
def here(monkeypatch):
    """Commands run in this process, on no cloud."""
    monkeypatch.setattr(environments, 'enter', lambda *args: None)
    monkeypatch.setattr(build, 'build', lambda *args: None)
    monkeypatch.setattr(clients, 'install', lambda *args, **kwargs: None)
    cloud = contextlib.nullcontext(types.SimpleNamespace(has=frozenset()))
    cloud.has = frozenset()
    monkeypatch.setitem(sys.modules, 'lab.embedded', types.SimpleNamespace(
        EmbeddedCloud=lambda log: cloud))
    monkeypatch.setattr(sys.modules['lab'], 'embedded', sys.modules[
        'lab.embedded'], raising=False)


def test_demo_that_fails_says_why_and_where_the_log_is(
    here, monkeypatch, tmp_path, capsys
):
    def fail(scene):
        expect.equal('the sky', 'grey', 'blue')

    monkeypatch.setattr(demo, '_play', fail)
    log = tmp_path / 'log'
    assert command.main(['demo', '--log', str(log)]) == 1
    error = capsys.readouterr().err
    assert "the sky: expected 'blue', got 'grey'" in error
    assert str(log) in error


def failing(scene):
    """It fails"""
    with scene.teller.step('look', is_check=True):
        expect.equal('the sky', 'grey', 'blue')


def test_failing_scenario_is_exit_code_1(here, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scenarios, 'load', lambda: {
        'failing': scenarios.scenario(capability=2)(failing)})
    log = tmp_path / 'log'
    assert command.main(['scenarios', '--log', str(log)]) == 1
    shown = capsys.readouterr().out
    assert "the sky: expected 'blue', got 'grey'" in shown
    assert '0 passed, 1 failed' in shown
    assert str(log) in shown


def test_interrupt_is_exit_code_130(here, monkeypatch, tmp_path):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps.Teller, 'lacks', interrupt)
    assert command.main(['scenarios', '--log', str(tmp_path / 'log')]) == 130


def test_list_needs_no_nova():
    done = run('scenarios', '--list', 'rescue', before=WITHOUT_NOVA)
    assert done.returncode == 0
    chosen = scenarios.choose(['rescue'], scenarios.load())
    assert done.stdout == scenarios.listing(chosen) + '\n'


def test_unknown_name_shows_near_ones():
    done = run('scenarios', 'live-migrate-rescue')
    assert done.returncode == 2
    assert done.stdout == ''
    assert 'no scenario' in done.stderr
    assert 'live-migrate-rescued' in done.stderr
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('name', ['demo', 'scenarios'])
def test_missing_nova_is_one_sentence(name, tmp_path):
    done = run(name, '--log', str(tmp_path / 'log'), before=WITHOUT_NOVA)
    assert done.returncode == 1
    assert './run' in done.stderr
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize('name', ['demo', 'scenarios'])
def test_log_that_cannot_be_written(name, tmp_path):
    done = run(name, '--log', str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ''
    assert '--log' in done.stderr
    assert done.stderr.count('\n') == 1


def test_lab_is_asked_for_its_own_environment():
    top, _ = command.parser()
    assert top.parse_args(['scenarios']).environment == 'nova'
    args = top.parse_args(['scenarios', 'rescue', '--on', 'lab'])
    assert args.environment == environments.IF_LAB
    assert args.what == ['rescue']
