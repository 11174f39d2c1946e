# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The files that the lab starts from, and its supervisor."""

import configparser
import functools
import os
import shlex
import socket

import pytest

from lab.real import bringup
from lab.real import layout
from lab.real import oslo
from lab.real import programs
from lab.real import settings


def test_settings_are_drawn_anew_and_come_back(tmp_path):
    where = layout.Layout(tmp_path)
    where.lab.mkdir()
    one, other = settings.draw(None, False), settings.draw('tree', True)
    assert len({*one.passwords.values(), *other.passwords.values()}) == (
        2 * len(one.passwords))
    assert len(set(other.ports.values())) == len(other.ports)
    for port in other.ports.values():
        with socket.socket() as free:
            free.bind(('127.0.0.1', port))
    other.save(where)
    assert settings.Settings.load(where) == other
    assert where.settings.stat().st_mode & 0o777 == 0o600


def test_options_of_a_later_part_win(tmp_path):
    path = oslo.write(
        tmp_path / 'x.conf', {'a': {'b': 1, 'c': 2}},
        {'a': {'c': 3}, 'd': {'e': 'f'}})
    found = configparser.ConfigParser()
    found.read(path)
    assert {name: dict(found[name]) for name in found.sections()} == {
        'a': {'b': '1', 'c': '3'}, 'd': {'e': 'f'}}
    assert path.stat().st_mode & 0o777 == 0o600


def test_supervisor_gets_commands_and_environment_as_they_are(tmp_path):
    where = layout.Layout(tmp_path)
    where.conf.mkdir(parents=True)
    command = ('echo', '50 %', "it's", '%(here)s')
    programs.write_configuration(where, [
        programs.Program('one', '', command, lambda: True, {'A': '1 %'}),
        programs.Program('two', 'node1', command, lambda: True)])
    found = configparser.ConfigParser()
    found.read(where.conf / 'supervisord.conf')
    assert tuple(shlex.split(found['program:one']['command'])) == command
    assert found['program:one']['environment'] == 'A="1 %"'
    entered = shlex.split(found['program:two']['command'])
    assert entered[0] == 'nsenter' and tuple(entered[-4:]) == command
    assert any('node1.net' in word for word in entered)


def test_the_end_of_a_log_is_told(tmp_path):
    where = layout.Layout(tmp_path)
    where.logs.mkdir()
    supervisor = programs.Supervisor(where)
    assert './run lab logs one' in supervisor.tail('one')
    programs.log(where, 'one').write_text(
        ''.join(f'line {number}\n' for number in range(30)))
    lines = supervisor.tail('one').splitlines()
    assert lines[:-1] == [f'line {number}' for number in range(15, 30)]


class Supervisord:
    """Tells the states of a program, one after the other."""

    def __init__(self, *states):
        self._states = iter(states)

    def startProcess(self, name, wait):
        assert not wait

    def getProcessInfo(self, name):
        return {'statename': next(self._states)}


def supervised(tmp_path, *states):
    where = layout.Layout(tmp_path)
    where.logs.mkdir()
    programs.log(where, 'one').write_text('what went wrong\n')
    supervisor = programs.Supervisor(where)
    supervisor._server = Supervisord(*states)
    return supervisor


def test_a_program_is_started_when_it_is_ready(tmp_path):
    answers = iter([False, False, True])
    supervised(tmp_path, 'STARTING', 'RUNNING').start(
        programs.Program('one', '', (), lambda: next(answers)))
    assert not list(answers)


def test_a_program_that_ends_is_not_waited_for(tmp_path):
    supervisor = supervised(tmp_path, 'STARTING', 'BACKOFF', 'FATAL')
    with pytest.raises(
            programs.NotReady, match='^one .*ended\nwhat went wrong\n'):
        supervisor.start(programs.Program('one', '', (), lambda: False))


def test_a_program_that_is_late(tmp_path, monkeypatch):
    monkeypatch.setattr(
        programs.expect, 'wait_for',
        functools.partial(programs.expect.wait_for, timeout=0))
    with pytest.raises(
            programs.NotReady, match='^one .*running\nwhat went wrong\n'):
        supervised(tmp_path, 'RUNNING').start(
            programs.Program('one', '', (), lambda: False))


def test_tables_that_were_used_last_are_kept(tmp_path):
    paths = [tmp_path / f'tables-{name}.sql' for name in 'ebadcf']
    for moment, path in enumerate(paths):
        path.touch()
        os.utime(path, (moment, moment))
    (tmp_path / 'images').mkdir()
    bringup._prune(tmp_path)
    assert set(tmp_path.iterdir()) == {*paths[2:], tmp_path / 'images'}
