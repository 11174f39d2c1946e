# SPDX-License-Identifier: Apache-2.0

"""The command, and the scenarios it runs."""

import contextlib
import pathlib
import re
import subprocess
import sys
import types

import pytest

from lab import expect
from lab import scenarios
from tool import __main__ as command
from tool import environments

ROOT = pathlib.Path(__file__).parents[2]
NAMES = list(scenarios.load())

#: Scenarios that only the real lab can tell.
BEYOND = {
    'cold-migrate', 'revert-cold-migration', 'resize', 'revert-resize',
    'resize-on-host', 'revert-resize-on-host',
    'cross-cell-migrate', 'revert-cross-cell-migration', 'cross-cell-resize',
    'revert-cross-cell-resize', 'rescued-with-kernel-and-ramdisk',
    'rescued-boot-from-volume', 'rescued-with-data-volume',
    'rescued-with-uefi', 'rescued-without-uefi',
    'destination-disk-full', 'destination-disk-full-moving',
    'copy-broken-off',
    'source-compute-killed-copying', 'source-compute-killed-moving',
    'source-compute-dead-at-the-end', 'source-compute-killed-with-volume',
    'destination-compute-killed-copying',
    'destination-compute-killed-moving',
    'destination-compute-dead-at-the-end', 'conductors-killed',
    'conductors-killed-checking', 'message-queue-killed'}

RUN = (
    'from tool import environments, __main__; import sys; '
    'environments.enter = lambda *args: None; '
    'sys.exit(__main__.main(sys.argv[1:]))')
WITHOUT_NOVA = 'import sys; sys.modules["nova"] = None; '


def demo(*args, before=''):
    return subprocess.run(
        [sys.executable, '-c', before + RUN, 'demo', *args], cwd=ROOT,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    return demo('--log', str(tmp_path_factory.mktemp('demo') / 'log'))


@pytest.mark.timeout(600)
@pytest.mark.parametrize('name', NAMES)
def test_scenario_passes(whole, name):
    told = whole.stdout.split(f'\n{name}: ')[-1].split('\n\n')[0]
    outcome = 'cannot tell' if name in BEYOND else 'passed '
    assert re.search(rf'\W{name} .* {outcome}', whole.stdout), told


def test_whole_demo_succeeds(whole):
    assert whole.returncode == 0, whole.stdout
    assert (
        f'\n{len(NAMES) - len(BEYOND)} passed, 0 failed, {len(BEYOND)} this '
        'cloud cannot tell in ') in whole.stdout
    assert whole.stderr == ''


def test_one_scenario_and_its_log(tmp_path):
    log = tmp_path / 'new' / 'log'
    done = demo('rescue-and-unrescue', '--log', str(log))
    assert done.returncode == 0, done.stdout
    assert '\n1 passed, 0 failed in ' in done.stdout
    assert 'Unrescuing' in log.read_text()


def test_list_needs_no_nova():
    done = demo('--list', before=WITHOUT_NOVA)
    assert done.returncode == 0
    listed = dict(
        re.split(r'\s\s+', line, maxsplit=1)
        for line in done.stdout.splitlines())
    assert list(listed) == NAMES
    assert all(listed.values())


def test_unknown_name_tells_near_ones():
    done = demo('live-migrate-rescue')
    assert done.returncode == 2
    assert done.stdout == ''
    assert 'no scenario' in done.stderr
    assert 'live-migrate-rescued' in done.stderr
    assert done.stderr.count('\n') == 1


def test_unknown_name_like_none():
    done = demo('zzz')
    assert done.returncode == 2
    assert '--list' in done.stderr


def test_missing_nova_is_one_sentence():
    done = demo(before=WITHOUT_NOVA)
    assert done.returncode == 1
    assert './run demo' in done.stderr
    assert done.stderr.count('\n') == 1


def test_log_that_cannot_be_written(tmp_path):
    done = demo('--log', str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ''
    assert '--log' in done.stderr
    assert done.stderr.count('\n') == 1


def test_failing_scenario_is_exit_code_1(monkeypatch, tmp_path, capsys):
    def failing(cloud, step):
        """It fails"""
        raise expect.Unexpected('the sky: expected blue, seen grey')

    monkeypatch.setattr(scenarios, 'load', lambda: {'failing': failing})
    monkeypatch.setitem(sys.modules, 'lab.embedded', types.SimpleNamespace(
        EmbeddedCloud=contextlib.nullcontext))
    log = tmp_path / 'log'
    monkeypatch.setattr(environments, 'enter', lambda *args: None)
    assert command.main(['demo', '--log', str(log)]) == 1
    told = capsys.readouterr().out
    assert 'the sky: expected blue, seen grey' in told
    assert '0 passed, 1 failed' in told
    assert str(log) in told
