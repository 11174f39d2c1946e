# SPDX-License-Identifier: Apache-2.0

"""Cold migration and resize within a cell.

Hosts copy the disks of a server to each other over ssh.
"""

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import hosts
from lab import scenarios
from lab import server as servers


class _Move:
    """A server that moves, and is there again if that is reverted."""

    def __init__(
        self, cloud: cloud_api.Cloud, step: scenarios.Step, host: str
    ):
        cloud.require_disk_copies()
        self._cloud = cloud
        self._step = step
        self._source = host
        with step(f'boot a server on {host}'):
            self.server = servers.boot(cloud, host)
            self._usage = self.server.allocations()[host]
            self._flavor = self.server.flavor()
            self._files = cloud.files(host, self.server.id)
        with step('its guest runs and writes a marker to its disk'):
            self._first = guests.check_own_boot(cloud, self.server.id, [])
            self._size = self._disk_size()

    def _disk_size(self) -> int:
        return guests.ask(self._cloud, self.server.id).sizes['vda']

    def migrate(self, destination: str) -> None:
        with self._step(f'cold-migrate it to {destination}'):
            self.server.migrate(destination)
        self._check_moved(destination)
        with self._step('its resources and its disk are as large as before'):
            expect.equal(
                'the resources it uses',
                self.server.allocations()[destination], self._usage)
            expect.equal('the size of its disk', self._disk_size(), self._size)

    def resize(self, destination: str) -> None:
        with self._step('resize it to a larger flavor'):
            with hosts.only(self._cloud, destination):
                self.server.resize(self._cloud.larger_flavor)
        self._check_moved(destination)
        with self._step('its resources are larger, and so is its disk'):
            size = self.server.check_larger(destination, self._usage)
            expect.equal(
                'the size of its disk', self._disk_size(), size << 30)

    def _check_moved(self, destination: str) -> None:
        """It runs on its new host; its old one waits for its return."""
        with self._step(f'it runs on {destination}, with room kept for it '
                        f'on {self._source}'):
            seen = self.server.look()
            expect.equal('its host', seen.compute_host, destination)
            expect.equal(
                'the hosts whose resources it uses',
                set(self.server.allocations()), {destination})
            expect.equal(
                'what is kept for its return', self.server.kept(),
                {self._source: self._usage})
            for host in {self._source, destination}:
                guest = self._cloud.guest(host, self.server.id)
                expect.equal(
                    f'whether its guest runs on {host}',
                    guest is not None and guest.running, host == destination)
        with self._step('its guest finds the marker'):
            self._second = guests.check_own_boot(
                self._cloud, self.server.id, [self._first])

    def confirm(self, destination: str) -> None:
        with self._step('confirm'):
            self.server.confirm()
        left = {self._source} - {destination}
        self._check_place(destination, left)
        with self._step('its guest never stopped'):
            self._check_runs_on()
        self._delete()

    def _check_runs_on(self) -> None:
        seen = guests.ask(self._cloud, self.server.id)
        expect.equal('what booted last', seen.marker, self._second)

    def revert(self, destination: str) -> None:
        with self._step('revert'):
            self.server.revert()
        self._check_place(self._source, {destination} - {self._source})
        with self._step('it is as before, and so are its resources'):
            expect.equal('its flavor', self.server.flavor(), self._flavor)
            expect.equal(
                'the resources it uses', self.server.allocations(),
                {self._source: self._usage})
        with self._step('its guest finds its disk as it was'):
            guests.check_own_boot(self._cloud, self.server.id, [self._first])
            expect.equal('the size of its disk', self._disk_size(), self._size)
        self._delete()

    def _check_place(self, host: str, left: set[str]) -> None:
        """It is on a host, and on that host only."""
        with self._step(f'it is on {host}, and nowhere else'):
            expect.equal('its host', self.server.host(), host)
            expect.equal(
                'the hosts whose resources it uses',
                set(self.server.allocations()), {host})
            expect.equal('what is kept for its return', self.server.kept(), {})
            expect.equal(
                'its files', self._cloud.files(host, self.server.id),
                self._files)
            expect.equal(
                'what is kept of its files',
                self._cloud.files(self._source, f'{self.server.id}_resize'),
                set())
            for name in left:
                expect.equal(
                    f'the guest on {name}',
                    self._cloud.guest(name, self.server.id), None)
                if not self._cloud.shared_files():
                    expect.equal(
                        f'the files on {name}',
                        self._cloud.files(name, self.server.id), set())

    def _delete(self) -> None:
        with self._step('delete it'):
            self.server.delete()


def cold_migrate(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server moves to another host with its disk, for good"""
    source, destination = cloud.hosts()[:2]
    move = _Move(cloud, step, source)
    move.migrate(destination)
    move.confirm(destination)


def revert_cold_migration(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A server that has moved to another host goes back"""
    source, destination = cloud.hosts()[:2]
    move = _Move(cloud, step, source)
    move.migrate(destination)
    move.revert(destination)


def resize(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server becomes larger, and moves to another host for that"""
    source, destination = cloud.hosts()[:2]
    move = _Move(cloud, step, source)
    move.resize(destination)
    move.confirm(destination)


def revert_resize(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server that has become larger goes back to its host and size"""
    source, destination = cloud.hosts()[:2]
    move = _Move(cloud, step, source)
    move.resize(destination)
    move.revert(destination)


def resize_on_host(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server becomes larger on the host that it is on"""
    host = cloud.hosts()[0]
    move = _Move(cloud, step, host)
    move.resize(host)
    move.confirm(host)


def revert_resize_on_host(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A server that has become larger on its host gets its size back"""
    host = cloud.hosts()[0]
    move = _Move(cloud, step, host)
    move.resize(host)
    move.revert(host)
