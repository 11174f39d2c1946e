# SPDX-License-Identifier: Apache-2.0

"""What a server checks of its guests and disks, where those are real."""

import types
from unittest import mock

import pytest

from lab import cloud as cloud_api
from lab.needs import Need
from lab.words import expect
from lab.words import footprint
from lab.words import scene as scenes
from lab.words import server as servers
from lab.words import steps
from lab.words.steps import Outcome

OWN = cloud_api.Guest(True, ('disk', 'volume'))
RESCUE = cloud_api.Guest(True, ('disk.rescue', 'disk'))


def told(*facts):
    return ''.join(f'lab: {len(fact)} {fact}\r\n' for fact in facts)


class Cloud:
    """A cloud with one server, whose guest boots when it is told to."""

    has = frozenset({Need.GUESTS})

    def __init__(self):
        self.seen = OWN
        self.image = 'disk'
        self.boots = 0
        self.uptime = 1.0
        #: what is on each disk, by its file
        self.markers = {}
        self.disks = {'disk': 'a', 'disk.config': 'b'}
        self.cached = {'node1': {'one': 'a'}, 'node2': {'one': 'a'}}

    def boot(self, image, guest):
        self.seen, self.image = guest, image
        self.boots += 1
        for file in guest.disks:
            self.markers.setdefault(file, []).append(f'{image} {self.boots}')
            self.disks[file] = f'with {self.markers[file]}'

    def connect(self, user='admin'):
        return mock.Mock(spec_set=[])

    def hosts(self):
        return ['node1', 'node2']

    def guest(self, host, server_id):
        return self.seen

    def console(self, server_id):
        return told('tick 1.00')

    def type(self, server_id, line, until):
        word = line.split()[1]
        names = {f'vd{"ab"[number]}': file
                 for number, file in enumerate(self.seen.disks)}
        self.uptime += 1
        facts = [
            f'image {self.image} boot {self.boots}',
            f'uptime {self.uptime:.2f}',
            *(f'disk {disk} 1024 -' for disk in names),
            *(f'marker {disk} {marker}' for disk, file in names.items()
              for marker in self.markers[file]),
            'running from vda']
        return told(*(f'{word} {fact}' for fact in facts),
                    f'{word} told {len(facts)}')

    def digests(self, host, server_id):
        return dict(self.disks)

    def uefi_variables(self, host, server_id):
        return None

    def cached_images(self, host):
        return self.cached[host]


@pytest.fixture
def cloud():
    return Cloud()


@pytest.fixture
def server(cloud, monkeypatch):
    monkeypatch.setattr(expect, 'TIMEOUT', 0.0)
    monkeypatch.setattr(
        servers.Server, 'look', lambda self: types.SimpleNamespace(
            compute_host='node1'))
    scene = scenes.Scene(cloud, steps.Teller(cloud.has, quiet=True))
    server = servers.Server(scene, 'id', 'the server')
    server.own = server.footprint = mock.create_autospec(
        footprint.Footprint, instance=True, guest=OWN)
    cloud.boot('disk', OWN)
    server.check_boots()
    return server


def rescue(cloud, server):
    cloud.disks['disk.rescue'] = 'new'
    cloud.boot('rescue', RESCUE)
    server.check_rescue_boots()


def unrescue(cloud, server):
    del cloud.disks['disk.rescue']
    cloud.boot('disk', OWN)
    server.check_boots()


def test_each_guest_finds_what_those_before_it_wrote(cloud, server):
    rescue(cloud, server)
    unrescue(cloud, server)
    assert cloud.markers['disk'] == ['disk 1', 'rescue 2', 'disk 3']
    # The rescue guest did without this one.
    assert cloud.markers['volume'] == ['disk 1', 'disk 3']
    assert all(step.outcome is Outcome.OK and step.is_check
               for step in server.teller.steps)


def test_lost_marker_is_found(cloud, server):
    cloud.boot('rescue', RESCUE)
    cloud.markers['disk'].remove('disk 1')
    with pytest.raises(expect.Unexpected, match='the markers on its disks'):
        server.check_rescue_boots()


def test_another_image_is_found(cloud, server):
    cloud.boot('disk', RESCUE)
    with pytest.raises(expect.Unexpected, match='the image that the guest'):
        server.check_rescue_boots()


def test_disk_that_no_guest_writes_to_must_stay(cloud, server):
    rescue(cloud, server)
    cloud.disks['disk.config'] = 'changed'
    with pytest.raises(expect.Unexpected, match='what no guest can write to'):
        unrescue(cloud, server)


def test_disk_that_no_guest_writes_to_must_not_go(cloud, server):
    del cloud.disks['disk.config']
    cloud.boot('disk', OWN)
    with pytest.raises(expect.Unexpected, match='what no guest can write to'):
        server.check_boots()


@pytest.mark.parametrize('file', ['disk', 'disk.config', 'disk.rescue'])
def test_any_disk_that_changes_under_a_running_guest_is_found(
    cloud, server, file
):
    rescue(cloud, server)
    server.check_disks('node1')
    cloud.disks[file] = 'changed'
    with pytest.raises(expect.Unexpected, match='what is on its disks'):
        server.check_disks('node1')


def test_guest_that_runs_on(cloud, server):
    server.check_guest_runs_on()
    server.check_guest_runs_on()


def test_guest_that_has_booted_again_is_found(cloud, server):
    cloud.boot('disk', OWN)
    with pytest.raises(expect.Unexpected, match='what has booted last'):
        server.check_guest_runs_on()


def test_guest_whose_uptime_has_gone_back_is_found(cloud, server):
    cloud.uptime = 0.0
    with pytest.raises(expect.Unexpected, match='the uptime'):
        server.check_guest_runs_on()


@pytest.mark.parametrize('host, name, digest', [
    ('node2', 'one', 'b'), ('node1', 'two.part', 'c'),
    ('node2', 'two.part', 'c')])
def test_image_in_a_cache_that_is_not_what_it_is_called_is_found(
    cloud, server, host, name, digest
):
    cloud.cached['node2']['only there'] = 'd'
    server.check_caches()
    cloud.cached[host][name] = digest
    with pytest.raises(expect.Unexpected, match='under a wrong name'):
        server.check_caches()


def test_no_guest_is_looked_at_where_none_is_real(cloud, monkeypatch):
    scene = scenes.Scene(cloud, steps.Teller(frozenset(), quiet=True))
    server = servers.Server(scene, 'id', 'the server')
    monkeypatch.setattr(cloud, 'type', None)
    monkeypatch.setattr(cloud, 'digests', None)
    server.check_boots()
    server.check_rescue_boots()
    server.check_guest_runs_on()
    server.check_disks('node1')
    server.check_caches()
    assert [step.outcome for step in server.teller.steps] == [
        Outcome.SKIPPED] * 5
