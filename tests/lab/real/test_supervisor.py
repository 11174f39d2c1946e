# SPDX-License-Identifier: Apache-2.0

"""What supervisord is given, and how its programs are waited for."""

import configparser
import functools
import shlex
import types

import pytest

from lab.real import layout
from lab.real import supervisor


def test_supervisor_gets_commands_and_environment_as_they_are(tmp_path):
    where = layout.Layout(tmp_path)
    where.conf.mkdir(parents=True)
    command = ('echo', '50 %', "it's", '%(here)s')
    supervisor.write_configuration(where, [
        supervisor.Program('one', '', command, lambda: True, {'A': '1 %'}),
        supervisor.Program('two', 'node1', command, lambda: True)])
    found = configparser.ConfigParser()
    found.read(where.conf / 'supervisord.conf')
    assert tuple(shlex.split(found['program:one']['command'])) == command
    assert found['program:one']['environment'] == 'A="1 %"'
    entered = shlex.split(found['program:two']['command'])
    assert entered[0] == 'nsenter' and tuple(entered[-4:]) == command
    assert any('node1.net' in word for word in entered)


def test_supervisor_is_as_patient_as_a_program_needs(tmp_path):
    where = layout.Layout(tmp_path)
    where.conf.mkdir(parents=True)
    supervisor.write_configuration(where, [
        supervisor.Program('one', '', (), lambda: True, patience=60)])
    found = configparser.ConfigParser()
    found.read(where.conf / 'supervisord.conf')
    assert found['program:one']['stopwaitsecs'] == '60'


def test_the_end_of_a_log_is_told(tmp_path):
    where = layout.Layout(tmp_path)
    where.logs.mkdir()
    running = supervisor.Supervisor(where)
    assert './run lab logs one' in running.tail('one')
    supervisor.log(where, 'one').write_text(
        ''.join(f'line {number}\n' for number in range(30)))
    lines = running.tail('one').splitlines()
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
    supervisor.log(where, 'one').write_text('what went wrong\n')
    running = supervisor.Supervisor(where)
    running._server = Supervisord(*states)
    return running


def test_a_program_is_started_when_it_is_ready(tmp_path):
    answers = iter([False, False, True])
    supervised(tmp_path, 'STARTING', 'RUNNING').start(
        supervisor.Program('one', '', (), lambda: next(answers)))
    assert not list(answers)


def test_a_program_that_ends_is_not_waited_for(tmp_path):
    running = supervised(tmp_path, 'STARTING', 'BACKOFF', 'FATAL')
    with pytest.raises(
            supervisor.NotReady, match='^one .*ended\nwhat went wrong\n'):
        running.start(supervisor.Program('one', '', (), lambda: False))


def test_a_program_that_is_late(tmp_path, monkeypatch):
    monkeypatch.setattr(
        supervisor.expect, 'wait_for',
        functools.partial(supervisor.expect.wait_for, timeout=0))
    with pytest.raises(
            supervisor.NotReady, match='^one .*running\nwhat went wrong\n'):
        supervised(tmp_path, 'RUNNING').start(
            supervisor.Program('one', '', (), lambda: False))


def test_states_are_those_of_the_lab_and_of_spares_that_run(tmp_path):
    where = layout.Layout(tmp_path)
    where.conf.mkdir(parents=True)
    one = supervisor.Program('one', 'node1', ('one',), lambda: True)
    spares = [supervisor.Program(name, 'node1', (name,), lambda: True)
              for name in ('idle', 'used')]
    supervisor.write_configuration(where, [one], spares)
    found = configparser.ConfigParser()
    found.read(where.conf / 'supervisord.conf')
    assert {'program:one', 'program:idle', 'program:used'} < {*found}
    running = supervisor.Supervisor(where)
    running._server = types.SimpleNamespace(getAllProcessInfo=lambda: [
        {'name': name, 'statename': state, 'start': 10, 'now': 17}
        for name, state in (('one', 'FATAL'), ('idle', 'STOPPED'),
                            ('used', 'RUNNING'))])
    assert running.states() == [
        supervisor.State('one', 'node1', 'FATAL', 7),
        supervisor.State('used', '', 'RUNNING', 7)]
