# SPDX-License-Identifier: Apache-2.0

"""How the real cloud is looked at, with nothing of a lab running."""

import contextlib
import sqlite3
import sys
import threading
import types
from unittest import mock

import pytest

from lab.needs import Need
from lab.real.lab import Lab
from tests.lab.real.fakes import OTHER
from tests.lab.real.fakes import SERVER

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


def owned(user, project):
    """As much of a domain's XML as names its owner."""
    return (
        '<domain><metadata><nova:instance xmlns:nova="urn:nova"><nova:owner>'
        f'<nova:user uuid="{user}"/><nova:project uuid="{project}"/>'
        '</nova:owner></nova:instance></metadata></domain>')


@pytest.mark.parametrize('next_one, owners', [
    ('tenant', {('tenant', 'other')}),
    ('member', {('tenant', 'other'), ('member', 'other')})])
def test_owner_that_the_hypervisor_has(real, lab, monkeypatch, next_one,
                                       owners):
    descriptions = {0: owned('tenant', 'other'), 2: owned(next_one, 'other')}
    domain = mock.Mock(XMLDesc=descriptions.__getitem__)
    hypervisor = mock.Mock(lookupByUUIDString={SERVER: domain}.__getitem__)
    monkeypatch.setattr(real.libvirt, 'VIR_DOMAIN_XML_INACTIVE', 2,
                        raising=False)
    monkeypatch.setattr(
        lab, 'hypervisor', lambda host: contextlib.nullcontext(hypervisor))
    assert real.RealCloud(lab).guest_owners('node1', SERVER) == owners


class Stream:
    """As much of a libvirt.virStream as a console needs.

    :param heard: what can be read; then it blocks until it is aborted
    """

    def __init__(self, *heard):
        self._heard = list(heard)
        self._aborted = threading.Event()
        self.sent = b''

    def recv(self, count):
        if self._heard:
            return self._heard.pop(0)
        assert self._aborted.wait(10)
        raise sys.modules['libvirt'].libvirtError('aborted')

    def send(self, data):
        self.sent += data

    def abort(self):
        self._aborted.set()

    def finish(self):
        pass


@pytest.fixture
def entered(seen, monkeypatch):
    """Type a line on a console, which is the stream that is given."""
    def entered(stream):
        found = seen()
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
        return found.type(SERVER, 'tell x', 'told')
    return entered


def test_what_a_guest_answers_is_read_to_its_end(entered):
    stream = Stream(b't', b'ick\n', b'told 3', b'\nmore')
    assert entered(stream) == 'ick\ntold 3\nmore'
    assert stream.sent == b'tell x\n'


@pytest.mark.parametrize('heard', [(), (b't', b'ick\n')])
def test_a_silent_guest_is_not_waited_for_long(
    heard, entered, real, monkeypatch
):
    monkeypatch.setattr(real, '_ANSWER', 0.05)
    assert entered(Stream(*heard)) == b''.join(heard[1:]).decode()


def test_a_guest_that_ends_is_not_waited_for(entered):
    assert entered(Stream(b't', b'ick\n', b'')) == 'ick\n'
