# SPDX-License-Identifier: Apache-2.0

"""The files that the lab starts from, and its supervisor."""

import configparser
import functools
import importlib.machinery
import os
import pathlib
import shlex
import socket

import pytest

from lab.real import bringup
from lab.real import layout
from lab.real import oslo
from lab.real import programs
from lab.real.services import ceph
from lab.real.services import cinder
from lab.real.services import common
from lab.real.services import infrastructure
from lab.real.services import nova
from lab.real import settings
from lab.real import topology
from tool import console


def test_settings_are_drawn_anew_and_come_back(tmp_path):
    where = layout.Layout(tmp_path)
    where.lab.mkdir()
    one, other = settings.draw(None, False), settings.draw(
        'tree', True, ['ceph', 'ceph'])
    assert len({*one.passwords.values(), *other.passwords.values()}) == (
        2 * len(one.passwords))
    assert len(set(other.ports.values())) == len(other.ports)
    for port in other.ports.values():
        with socket.socket() as free:
            free.bind(('127.0.0.1', port))
    other.save(where)
    assert settings.Settings.load(where) == other
    assert (one.extras, other.extras) == ([], ['ceph'])
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


def test_supervisor_is_as_patient_as_a_program_needs(tmp_path):
    where = layout.Layout(tmp_path)
    where.conf.mkdir(parents=True)
    programs.write_configuration(where, [
        programs.Program('one', '', (), lambda: True, patience=60)])
    found = configparser.ConfigParser()
    found.read(where.conf / 'supervisord.conf')
    assert found['program:one']['stopwaitsecs'] == '60'


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


def a_lab(tmp_path, *extras):
    where = layout.Layout(tmp_path)
    return common.Lab(where, settings.draw('/tree', False, extras))


def test_only_a_lab_with_ceph_knows_of_it(tmp_path):
    without, with_ceph = a_lab(tmp_path), a_lab(tmp_path, 'ceph')
    node1, node3 = topology.compute('node1'), topology.compute('node3')
    assert ceph.programs_of(without) == []
    assert ceph.nova_options(without, node1) == {}
    assert nova.compute(without, node1).environment['PYTHONPATH'] == '/tree'
    assert [program.name for program in ceph.programs_of(with_ceph)] == [
        'ceph-mon', 'ceph-mgr', 'ceph-osd']
    options = ceph.nova_options(with_ceph, node1)['libvirt']
    assert options['images_type'] == 'rbd'
    # The other cell keeps its disks in files.
    assert ceph.nova_options(with_ceph, node3) == {}
    modules = ceph.python_path(with_ceph)
    for program, tree in ((nova.compute, ['/tree']),
                          (nova.released_compute, [])):
        path = program(with_ceph, node1).environment['PYTHONPATH']
        assert path.split(os.pathsep) == [*tree, modules]


def test_only_a_lab_with_cinder_has_it_and_ceph(tmp_path):
    without, with_cinder = a_lab(tmp_path, 'ceph'), a_lab(tmp_path, 'cinder')
    assert cinder.programs_of(without) == []
    assert 'cinder' not in without.settings.ports
    assert 'cinder' not in infrastructure.databases(without)
    assert with_cinder.settings.extras == ['ceph', 'cinder']
    assert 'cinder' in with_cinder.settings.ports
    assert 'cinder' in infrastructure.databases(with_cinder)
    with_cinder.where.conf.mkdir(parents=True)
    assert [program.name for program in cinder.programs_of(with_cinder)] == [
        'cinder', 'cinder-scheduler', 'cinder-volume']


@pytest.mark.parametrize('suffix, found', [
    (importlib.machinery.EXTENSION_SUFFIXES[0], True),
    ('.cpython-27-none.so', False)])
def test_modules_of_ceph_are_for_this_python(
    suffix, found, tmp_path, monkeypatch
):
    system = tmp_path / 'system'
    system.mkdir()
    for name in ('rados', 'rbd', 'other'):
        (system / f'{name}{suffix}').touch()
    monkeypatch.setattr(ceph, '_MODULES', system)
    lab = a_lab(tmp_path, 'ceph')
    seen = pathlib.Path(ceph.python_path(lab))
    seen.mkdir(parents=True)
    if found:
        ceph.link_modules(lab)
        assert {path.name for path in seen.iterdir()} == {
            f'rados{suffix}', f'rbd{suffix}'}
    else:
        with pytest.raises(console.Problem, match='rados'):
            ceph.link_modules(lab)
