# SPDX-License-Identifier: Apache-2.0

"""The environments that commands run in.

tox, bindep, pip and apt-get are commands of the test's own here, which note
how they were called.
"""

import argparse
import os
import sys

import pytest

from tool import console
from tool import environments
from tool.layout import Layout


class _Gone(Exception):
    """This process would be another now."""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """A project whose installers note their calls; what they noted.

    A file `fail-NAME` makes the installer of that name fail.
    """
    root = tmp_path / 'project'
    noted = tmp_path / 'calls'
    noted.touch()

    def installer(file, name):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {noted}\n'
            f'cat {root}/says-{name} 2>/dev/null\n'
            f'test ! -e {root}/fail-{name}\n')
        file.chmod(0o755)

    installer(root / '.tox/tox/bin/python', 'tox')
    installer(root / '.tox/tox/bin/bindep', 'bindep')
    installer(tmp_path / 'bin/apt-get', 'apt-get')
    monkeypatch.setenv(
        'PATH', f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.setattr(environments, '_POLICY', tmp_path / 'policy-rc.d')
    monkeypatch.setattr(environments, '_PRESET', tmp_path / 'etc/preset')
    monkeypatch.setattr(os, 'geteuid', lambda: 0)

    def execv(program, words):
        with noted.open('a') as file:
            print('exec', *words, file=file)
        raise _Gone

    monkeypatch.setattr(os, 'execv', execv)

    class Calls:
        layout = Layout(root)
        policy = tmp_path / 'policy-rc.d'
        preset = tmp_path / 'etc/preset'

        def add_lab(self):
            installer(root / '.tox/lab/bin/python', 'lab')

        def read(self):
            return noted.read_text().splitlines()

    return Calls()


def _enter(calls, environment, **words):
    args = argparse.Namespace(environment=environment, **words)
    environments.enter(calls.layout, args, ['the', 'words'])


def test_the_environment_is_made_and_entered(calls):
    with pytest.raises(_Gone):
        _enter(calls, 'nova')
    assert calls.read() == [
        'tox -m tox run -qq --notest -e nova',
        f'exec {calls.layout.root}/.tox/nova/bin/python -m tool the words']
    assert os.environ['PYTHONPATH'] == str(calls.layout.root)


def test_in_the_environment_nothing_is_made(calls, monkeypatch):
    monkeypatch.setattr(sys, 'prefix', str(calls.layout.root / '.tox/nova'))
    _enter(calls, 'nova')
    assert calls.read() == []


@pytest.mark.parametrize('made, environment', [(False, 'nova'), (True, 'lab')])
def test_a_look_at_the_lab_makes_no_environment_of_the_lab(
    calls, made, environment
):
    if made:
        calls.add_lab()
    with pytest.raises(_Gone):
        _enter(calls, environments.IF_LAB)
    assert calls.read()[0].endswith(f'-e {environment}')


def test_an_environment_that_cannot_be_made(calls):
    (calls.layout.root / 'fail-tox').touch()
    with pytest.raises(console.Problem, match='could not be made'):
        _enter(calls, 'nova')


@pytest.mark.parametrize('extras, profiles', [
    ([], 'lab'), (['ceph'], 'lab ceph'), (['cinder'], 'lab ceph')])
def test_the_lab_gets_the_packages_it_lacks(
    calls, capfd, extras, profiles
):
    calls.add_lab()
    (calls.layout.root / 'says-bindep').write_text('haproxy\nrsync\n')
    with pytest.raises(_Gone):
        _enter(calls, 'lab', packages=True, extras=extras)
    read = calls.read()
    assert read[0] == f'bindep --brief --file bindep.txt {profiles}'
    assert read[1].endswith(' update')
    assert read[2].endswith(' --no-install-recommends haproxy rsync')
    assert 'packages: haproxy rsync' in capfd.readouterr().err
    assert any('constraints-cinder' in call for call in read) == (
        'cinder' in extras)


def test_services_of_new_packages_stay_off_while_they_are_installed(calls):
    with environments._services_off():
        assert 'exit 101' in calls.policy.read_text()
        assert os.access(calls.policy, os.X_OK)
        assert calls.preset.read_text() == 'disable *\n'
    assert not calls.policy.exists() and not calls.preset.exists()


def test_a_policy_of_the_machine_stays(calls):
    calls.policy.write_text('#!/bin/sh\nexit 0\n')
    with environments._services_off():
        assert calls.policy.read_text() == '#!/bin/sh\nexit 0\n'
    assert calls.policy.exists()


def test_a_policy_that_a_killed_command_left_goes(calls):
    calls.policy.write_text('#!/bin/sh\n# ./run lab\nexit 101\n')
    with environments._services_off():
        pass
    assert not calls.policy.exists()


def test_packages_need_root(calls, monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    (calls.layout.root / 'says-bindep').write_text('haproxy\n')
    with pytest.raises(console.Problem, match='apt-get install haproxy'):
        _enter(calls, 'lab', packages=True)
    assert len(calls.read()) == 1


def test_packages_that_cannot_be_installed(calls, capsys):
    (calls.layout.root / 'says-bindep').write_text('haproxy\n')
    (calls.layout.root / 'fail-apt-get').touch()
    (calls.layout.root / 'says-apt-get').write_text('no such package\n')
    with pytest.raises(console.Problem, match='packages.log'):
        _enter(calls, 'lab', packages=True)
    assert 'no such package' in capsys.readouterr().err


def test_a_system_that_is_not_known(calls):
    (calls.layout.root / 'fail-bindep').touch()
    with pytest.raises(console.Problem, match='Debian 12'):
        _enter(calls, 'lab', packages=True)
