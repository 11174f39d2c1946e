# SPDX-License-Identifier: Apache-2.0

"""How the real cloud looks and meddles, with nothing of a lab running.

libvirt's binding needs packages of the system that tests must do without.
"""

import contextlib
import importlib
import signal
import sqlite3
import subprocess
import sys
import types
from unittest import mock

import pytest

from lab.needs import Lacking
from lab.needs import Need
from lab.real.lab import Lab
from lab.real import layout
from lab.real import settings
from lab.words import expect

SERVER = 'f6c1f4a2-0000-4000-8000-000000000001'
OTHER = 'f6c1f4a2-0000-4000-8000-000000000002'

GONE, BROKEN = 42, 1
RUNNING, PAUSED = 1, 3
FULL_SPEED = 8796093022207


class Error(Exception):
    """As libvirt.libvirtError."""

    def get_error_code(self):
        return self.args[0]


class Domain:
    """As much of a libvirt.virDomain as a held migration needs."""

    def __init__(self):
        self.speeds = [FULL_SPEED]
        self.now = RUNNING
        self.error = None
        self.connected = True
        self.job = {}

    def _check(self):
        if self.error:
            raise Error(self.error)

    def migrateGetMaxSpeed(self):
        return self.speeds[-1]

    def migrateSetMaxSpeed(self, speed):
        self._check()
        self.speeds.append(speed)

    def isActive(self):
        self._check()
        return 1

    def state(self):
        self._check()
        return self.now, 0

    def connect(self):
        return self

    def isAlive(self):
        return self.connected

    def jobStats(self):
        if not self.job:
            raise Error(BROKEN)
        return self.job


@pytest.fixture(scope='module')
def real():
    libvirt = types.ModuleType('libvirt')
    libvirt.libvirtError = Error
    libvirt.virConnect = libvirt.virStream = object
    libvirt.virDomain = Domain
    libvirt.registerErrorHandler = lambda handler, context: None
    libvirt.VIR_DOMAIN_PAUSED = PAUSED
    libvirt.VIR_ERR_NO_DOMAIN = GONE
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'libvirt', libvirt)
        yield importlib.import_module('lab.real.cloud')
    del sys.modules['lab.real.cloud'], sys.modules['lab.real.faults']


@pytest.fixture
def faults(real):
    return real.faults


@pytest.fixture
def domain():
    return Domain()


def test_a_held_guest_moves_at_full_speed_afterwards(faults, domain):
    with faults._Held(domain):
        assert domain.speeds == [FULL_SPEED, 1]
    assert domain.speeds == [FULL_SPEED, 1, FULL_SPEED]


def test_a_held_guest_moves_at_full_speed_once_it_is_paused(faults, domain):
    with faults._Held(domain):
        domain.now = PAUSED
        expect.wait_for(
            'full speed', lambda: domain.speeds[-1], {FULL_SPEED}.__contains__)


def test_a_held_guest_that_has_gone(faults, domain):
    with faults._Held(domain) as held:
        domain.error = GONE
        held._watcher.join(expect.TIMEOUT)
        assert not held._watcher.is_alive()
    assert domain.speeds[-1] == 1


def test_a_held_guest_whose_libvirt_has_died(faults, domain):
    with faults._Held(domain) as held:
        domain.connected = False
        domain.error = BROKEN
        held._watcher.join(expect.TIMEOUT)
        assert not held._watcher.is_alive()
    assert domain.speeds[-1] == 1


def test_a_held_guest_that_cannot_be_let_go_is_told(faults, domain):
    with pytest.raises(Error):
        with faults._Held(domain):
            domain.error = BROKEN


def test_what_has_been_copied(faults, domain):
    with faults._Held(domain) as held:
        assert held.copied() == 0
        domain.job = {'memory_processed': 7}
        assert held.copied() == 7
        held.wait_until_running()


def test_what_has_been_copied_of_disks(faults, domain):
    with faults._Held(domain, 'disk') as held:
        domain.job = {'memory_processed': 7, 'disk_processed': 0}
        assert held.copied() == 0
        domain.job = {'memory_processed': 0, 'disk_processed': 8}
        assert held.copied() == 8
        held.wait_until_running()


def test_a_disk_is_filled_but_for_the_rest(faults, tmp_path, monkeypatch):
    free = types.SimpleNamespace(f_bavail=300, f_frsize=4096)
    monkeypatch.setattr(faults.os, 'statvfs', {tmp_path: free}.__getitem__)
    faults._Disk(tmp_path).fill()
    taken = sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir())
    assert taken == 300 * 4096 - faults._LEFT


@contextlib.contextmanager
def process(*words):
    with subprocess.Popen(
            [sys.executable, '-c', 'print(flush=True); input()', *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        running.stdout.readline()
        yield running
        running.kill()


def test_only_the_incoming_guest_is_killed(faults):
    with process('-uuid', SERVER) as source, \
            process('-uuid', OTHER, '-incoming', 'defer') as other:
        assert not faults._kill_incoming(SERVER)
        with process('-uuid', SERVER, '-incoming', 'defer') as incoming:
            assert faults._kill_incoming(SERVER)
            assert incoming.wait(expect.TIMEOUT) == -signal.SIGKILL
        assert source.poll() is None and other.poll() is None


class Lab(Lab):
    """A lab with its databases in files."""

    def database(self, name):
        return f'sqlite:///{self.where.lab / name}'


@pytest.fixture
def lab(tmp_path):
    where = layout.Layout(tmp_path)
    where.lab.mkdir()
    return Lab(where, settings.draw(None, shared=False))


class Hypervisor:
    """As much of a libvirt.virConnect as tells of UEFI.

    :param refuses: what it may not be asked for
    """

    def __init__(self, refuses):
        self._refuses = refuses

    def domainXMLToNative(self, form, description, flags):
        for words in self._refuses:
            if words in description:
                raise Error(f'it refuses {words}')
        return 'qemu-system-x86_64'


@pytest.fixture
def seen(real, lab, monkeypatch):
    """The cloud of a lab, by how it was drawn, whose libvirts have UEFI."""
    def seen(shared=False, extras=(), refuses=()):
        found = real.RealCloud(
            Lab(lab.where, settings.draw(None, shared, list(extras))))
        last = found.hosts()[-1]
        monkeypatch.setattr(
            Lab, 'hypervisor', lambda self, host: contextlib.nullcontext(
                Hypervisor(refuses if host == last else [])))
        return found
    return seen


ALWAYS = {Need.GUESTS, Need.SERVICES, Need.NETWORK}


@pytest.mark.parametrize('how, has', [
    ({}, {Need.OWN_FILES, Need.LOCAL_DISKS, Need.UEFI}),
    ({'shared': True}, {Need.UEFI}),
    ({'extras': ['ceph']}, {Need.OWN_FILES, Need.UEFI}),
    ({'extras': ['cinder']}, {Need.OWN_FILES, Need.VOLUMES, Need.UEFI}),
    ({'refuses': ['firmware="efi"']}, {Need.OWN_FILES, Need.LOCAL_DISKS}),
    ({'refuses': ['secure="no"']}, {Need.OWN_FILES, Need.LOCAL_DISKS}),
])
def test_what_a_lab_has(seen, how, has):
    assert seen(**how).has == ALWAYS | has


@pytest.mark.parametrize('ask', [
    lambda inflict: inflict.copy_held('node2'),
    lambda inflict: inflict.new_disk('node2'),
    lambda inflict: inflict.migration_held('any', 'disks').__enter__(),
])
@pytest.mark.parametrize('how', [{'shared': True}, {'extras': ['ceph']}])
def test_only_disks_in_local_files_have_faults_of_them(seen, ask, how):
    with pytest.raises(Lacking) as lacking:
        ask(seen(**how).faults)
    assert lacking.value.need is Need.LOCAL_DISKS


def test_disks_in_local_files_have_faults_of_them(seen):
    seen().faults.copy_held('node2')
    seen().faults.new_disk('node2')


def fill(lab, database, *statements):
    with contextlib.closing(
            sqlite3.connect(lab.where.lab / database)) as opened, opened:
        for statement in statements:
            opened.execute(statement)


def test_the_cell_that_the_api_looks_in(real, lab):
    fill(lab, 'nova_api',
         'CREATE TABLE cell_mappings (id, name)',
         'CREATE TABLE instance_mappings (cell_id, instance_uuid)',
         "INSERT INTO cell_mappings VALUES (1, 'cell1'), (2, 'cell2')",
         f"INSERT INTO instance_mappings VALUES (1, '{OTHER}')",
         f"INSERT INTO instance_mappings VALUES (2, '{SERVER}')")
    assert real.RealCloud(lab).cell_of(SERVER) == 'cell2'


@pytest.mark.parametrize('cell1, cell2, records', [
    ((0, 0), None, {'cell1': True}),
    ((1, 0), (0, 0), {'cell1': False, 'cell2': True}),
    ((0, 3), (0, 0), {'cell2': True}),
    (None, (0, 3), {})])
def test_cells_that_have_a_record(real, lab, cell1, cell2, records):
    for name, record in (('nova_cell1', cell1), ('nova_cell2', cell2)):
        fill(lab, name, 'CREATE TABLE instances (uuid, hidden, deleted)',
             f"INSERT INTO instances VALUES ('{OTHER}', 0, 0)")
        if record:
            hidden, deleted = record
            fill(lab, name, 'INSERT INTO instances VALUES '
                 f"('{SERVER}', {hidden}, {deleted})")
    assert real.RealCloud(lab).records(SERVER) == records


class Stream:
    """As much of a libvirt.virStream as a console needs.

    :param heard: what can be read, None where there is nothing yet
    """

    def __init__(self, *heard):
        self._heard = list(heard)
        self.sent = b''

    def recv(self, count):
        found = self._heard.pop(0) if self._heard else None
        return -2 if found is None else found

    def send(self, data):
        self.sent += data[:3]
        return len(data[:3])

    def finish(self):
        pass


@pytest.fixture
def entered(seen, monkeypatch):
    """Type a line on a console, which is the stream that is given."""
    def entered(stream):
        found = seen()
        monkeypatch.setattr(
            sys.modules['libvirt'], 'VIR_STREAM_NONBLOCK', 1, raising=False)
        monkeypatch.setattr(
            sys.modules['libvirt'], 'VIR_DOMAIN_CONSOLE_FORCE', 1,
            raising=False)
        hypervisor = mock.Mock(spec=['newStream', 'lookupByUUIDString'])
        hypervisor.newStream.return_value = stream
        monkeypatch.setattr(
            Lab, 'hypervisor',
            lambda self, host: contextlib.nullcontext(hypervisor))
        server = types.SimpleNamespace(compute_host='node1')
        compute = types.SimpleNamespace(get_server=lambda server_id: server)
        monkeypatch.setattr(
            found, 'connect', lambda: types.SimpleNamespace(compute=compute))
        heard = found.type(SERVER, 'tell x', 'told')
        hypervisor.newStream.assert_called_once_with(1)
        return heard
    return entered


def test_a_guest_is_typed_to_once_it_listens(entered):
    stream = Stream(
        None, b'tick\n', None, b'tick\n', b'tick\n', b'told 3', b'\nmore')
    assert entered(stream) == 'tick\ntick\ntick\ntold 3\nmore'
    assert stream.sent == b'tell x\n'


def test_a_silent_guest_is_not_waited_for_long(entered, real, monkeypatch):
    monkeypatch.setattr(real, '_ANSWER', 0.05)
    stream = Stream(b'tick\n')
    assert entered(stream) == 'tick\n'


def test_a_guest_that_ends_is_not_waited_for(entered):
    assert entered(Stream(b'tick\n', b'')) == 'tick\n'
