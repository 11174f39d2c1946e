# SPDX-License-Identifier: Apache-2.0

"""The companions in an environment; pip and the making of wheels are fake."""

import sys

import pytest

from tool import clients
from tool.console import Problem
from tool.exports import wheel


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Makes an environment of a directory.

    What it returns notes what was installed, and what was in each wheel.
    """
    class Environment:
        installed = []
        held = []

    def build(source, title, out):
        Environment.held.append((source / 'client/server.py').read_text())
        return out / f'{source.name}-{title}.whl'

    Environment.installed, Environment.held = [], []
    (tmp_path / 'environment').mkdir()
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'environment'))
    monkeypatch.setattr(wheel, 'build', build)
    monkeypatch.setattr(clients, '_has', lambda name: True)
    monkeypatch.setattr(
        clients, '_pip', lambda *what: Environment.installed.append(what))
    return Environment


def _install(companion, environment, **options):
    environment.installed.clear()
    clients.install(companion.layout.of('nova'), **options)
    return environment.installed


def test_a_tree_is_installed_with_what_its_series_makes(
        companion, environment):
    ((installed,),) = _install(companion, environment)
    assert installed.endswith('/python-client-1.0+series.whl')
    assert environment.held == ['NAME = 2\n']


def test_what_is_installed_is_left_alone(companion, environment, capsys):
    _install(companion, environment)
    assert 'Installing python-client 1.0' in capsys.readouterr().out
    assert _install(companion, environment) == []
    assert capsys.readouterr().out == ''


def test_uncommitted_work_is_installed(companion, environment):
    _install(companion, environment)
    companion.write('client/server.py', 'NAME = 3\n')
    assert len(_install(companion, environment)) == 1
    assert environment.held[-1] == 'NAME = 3\n'
    assert companion.read('client/server.py') == 'NAME = 3\n'
    assert _install(companion, environment) == []


def test_an_environment_as_tox_makes_it_has_the_releases(
        companion, environment):
    assert _install(companion, environment, released=True) == []


def test_the_releases_take_the_place_of_the_series(companion, environment):
    _install(companion, environment)
    assert _install(companion, environment, released=True) == [
        ('python-client==1.0',)]
    assert _install(companion, environment, released=True) == []
    assert len(_install(companion, environment)) == 1


def test_what_an_environment_lacks_is_not_installed(
        companion, environment, monkeypatch):
    monkeypatch.setattr(clients, '_has', lambda name: False)
    assert _install(companion, environment) == []


def test_an_installation_that_fails_is_done_again(
        companion, environment, monkeypatch):
    def fail(*what):
        raise Problem('no network')

    with monkeypatch.context() as patched:
        patched.setattr(clients, '_pip', fail)
        with pytest.raises(Problem, match='no network'):
            _install(companion, environment)
    # Even if it were to be as it was: who knows what is there now.
    assert len(_install(companion, environment, released=True)) == 1
