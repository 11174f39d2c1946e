# SPDX-License-Identifier: Apache-2.0

"""Cold migration and resize from one cell to another.

Only a snapshot of the disk goes from cell to cell, through the image service.
"""

from collections import abc
import contextlib

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import hosts
from lab import scenarios
from lab import server as servers


class _Move:
    """A server that moves to another cell."""

    def __init__(self, cloud: cloud_api.Cloud, step: scenarios.Step):
        cloud.require_disk_copies()
        if cloud.shared_files():
            # Nova deletes the files of the host that a server leaves for
            # good: here those are the files of the server.
            raise cloud_api.CannotTell('its cells share the files of servers')
        self._cloud = cloud
        self._step = step
        self._source = cloud.hosts()[0]
        self._destination = cloud.other_cell_hosts()[0]
        with step(f'boot a server on {self._source}'):
            self._server = servers.boot(cloud, self._source)
            self._source_cell = cloud.cell_of(self._server.id)
            self._usage = self._server.allocations()[self._source]
            self._flavor = self._server.flavor()
            self._files = cloud.files(self._source, self._server.id)
        with step('its guest runs and writes a marker to its disk'):
            self._first = guests.check_own_boot(cloud, self._server.id, [])
        with step(f'only the cell of {self._source} knows of it'):
            self._check_cell(self._source_cell, set())

    def _check_cell(self, cell: str, others: set[str]) -> None:
        """The API and all cells agree on where the server is.

        :param others: cells that keep a hidden record of it
        """
        expect.equal(
            'the cell that the API looks in',
            self._cloud.cell_of(self._server.id), cell)
        expect.equal(
            'the cells that have it, and whether that is shown',
            self._cloud.records(self._server.id),
            {cell: True, **dict.fromkeys(others, False)})

    def _snapshots(self) -> list[str]:
        """Names of the images that were made of the server."""
        images = self._cloud.connect().image.images()
        return [image.name for image in images
                if image.instance_uuid == self._server.id]

    @contextlib.contextmanager
    def _moves(self) -> abc.Iterator[None]:
        """Ask for the move in the block; the snapshot comes and goes."""
        with self._step('its disk is uploaded as an image'):
            yield
            expect.wait_for('snapshot', self._snapshots, bool)
        with self._step(f'it comes up on {self._destination}'):
            self._server.wait_for_status('VERIFY_RESIZE')
            expect.equal(
                'its host', self._server.host(), self._destination)
        self._check_moved()

    def migrate(self) -> None:
        with self._moves():
            self._server.act(
                {'migrate': {'host': self._destination}}, as_admin=True)
        with self._step('its resources are as before'):
            expect.equal(
                'the resources it uses', self._server.allocations(),
                {self._destination: self._usage})

    def resize(self) -> None:
        with hosts.only(self._cloud, self._destination), self._moves():
            self._server.act(
                {'resize': {'flavorRef': self._cloud.larger_flavor}},
                as_admin=True)
        with self._step('its resources are larger, and so is its disk'):
            size = self._server.check_larger(self._destination, self._usage)
            sizes = guests.ask(self._cloud, self._server.id).sizes
            expect.equal('the size of its disk', sizes['vda'], size << 30)

    def _check_moved(self) -> None:
        """It is in its new cell; its old one waits for its return."""
        with self._step('the API looks for it in the new cell; the old one '
                        'keeps a hidden record'):
            self._cell = self._cloud.cell_of(self._server.id)
            if self._cell == self._source_cell:
                raise expect.Unexpected(
                    f'the cell that the API looks in: still {self._cell}')
            self._check_cell(self._cell, {self._source_cell})
        with self._step(f'room is kept for it on {self._source}'):
            expect.equal(
                'the hosts whose resources it uses',
                set(self._server.allocations()), {self._destination})
            expect.equal(
                'what is kept for its return', self._server.kept(),
                {self._source: self._usage})
            expect.equal(
                f'the guest on {self._source}',
                self._cloud.guest(self._source, self._server.id), None)
        with self._step('an audit of Placement finds nothing amiss'):
            expect.equal('the audit', self._cloud.audit_placement(), '')
        with self._step('its guest finds the marker'):
            self._second = guests.check_own_boot(
                self._cloud, self._server.id, [self._first])
        with self._step('the image is gone'):
            expect.wait_for(
                'deletion of the snapshot', self._snapshots,
                lambda seen: not seen)

    def confirm(self) -> None:
        with self._step('confirm'):
            self._server.confirm()
        self._check_place(self._destination, self._cell, self._source)
        with self._step('its guest never stopped'):
            seen = guests.ask(self._cloud, self._server.id)
            expect.equal('what booted last', seen.marker, self._second)
        self._delete()

    def revert(self) -> None:
        with self._step('revert'):
            self._server.revert()
        self._check_place(self._source, self._source_cell, self._destination)
        with self._step('it is as before, and so are its resources'):
            expect.equal('its flavor', self._server.flavor(), self._flavor)
            expect.equal(
                'the resources it uses', self._server.allocations(),
                {self._source: self._usage})
        with self._step('its guest finds its disk as it was'):
            guests.check_own_boot(
                self._cloud, self._server.id, [self._first])
        self._delete()

    def _check_place(self, host: str, cell: str, other: str) -> None:
        """It is on a host and in that cell only.

        :param other: the host where nothing of it is left
        """
        with self._step(f'it is on {host}, and in its cell only'):
            expect.equal('its host', self._server.host(), host)
            self._check_cell(cell, set())
            expect.equal(
                'the hosts whose resources it uses',
                set(self._server.allocations()), {host})
            expect.equal(
                'what is kept for its return', self._server.kept(), {})
        with self._step(f'{other} has nothing of it'):
            expect.equal(
                'its files', self._cloud.files(host, self._server.id),
                self._files)
            expect.equal(
                f'the guest on {other}',
                self._cloud.guest(other, self._server.id), None)
            if not self._cloud.shared_files():
                expect.equal(
                    f'the files on {other}',
                    self._cloud.files(other, self._server.id), set())
        with self._step('an audit of Placement finds nothing amiss'):
            expect.equal('the audit', self._cloud.audit_placement(), '')

    def _delete(self) -> None:
        with self._step('delete it'):
            self._server.delete()
        with self._step('no cell knows of it'):
            expect.equal(
                'the cells that have it',
                self._cloud.records(self._server.id), {})


def cross_cell_migrate(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server moves to another cell, for good"""
    move = _Move(cloud, step)
    move.migrate()
    move.confirm()


def revert_cross_cell_migration(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A server that has moved to another cell goes back"""
    move = _Move(cloud, step)
    move.migrate()
    move.revert()


def cross_cell_resize(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server becomes larger, and moves to another cell for that"""
    move = _Move(cloud, step)
    move.resize()
    move.confirm()


def revert_cross_cell_resize(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A server that has become larger in another cell goes back"""
    move = _Move(cloud, step)
    move.resize()
    move.revert()
