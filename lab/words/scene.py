# SPDX-License-Identifier: Apache-2.0

"""The scene of a scenario: its cloud, its teller, and its clean-up."""

from __future__ import annotations

from collections import abc
import contextlib
import dataclasses
from typing import Any
import uuid

from lab import accounts
from lab import cloud as cloud_api
from lab import faults
from lab.words import aggregate as aggregates
from lab.words import client
from lab.words import expect
from lab.words import footprint
from lab.words import port as ports
from lab.words import server as servers
from lab.words import steps


@dataclasses.dataclass
class Image:
    """A copy of an image of the cloud, of which no host has the data yet."""

    id: str
    name: str
    scene: Scene

    def __str__(self) -> str:
        return self.name

    @property
    def teller(self) -> steps.Teller:
        """That of its scene."""
        return self.scene.teller

    @steps.action('delete {self}')
    def delete(self) -> None:
        """Delete it from the image service."""
        self.scene.cloud.delete_image(self.id)
        self.scene.images.remove(self)
        expect.note_done('deletion of the image')

    @steps.check('downloads of {self} so far: {count}')
    def check_downloads(self, count: int) -> None:
        """Check how often the image service was asked for its data."""
        expect.equal(
            'the number of downloads', self.scene.cloud.downloads(self.id),
            count)


def _disks(
    image: str, volumes: abc.Container[str]
) -> list[dict[str, str | int | bool]]:
    """The disks of a server that has volumes, as the API takes them."""
    volume: dict[str, str | int | bool] = {
        'destination_type': 'volume', 'volume_size': 1,
        'delete_on_termination': True}
    disks = [{
        'boot_index': 0, 'source_type': 'image', 'uuid': image,
        **(volume if servers.ROOT in volumes else {
            'destination_type': 'local'})}]
    if servers.DATA in volumes:
        disks.append({'boot_index': -1, 'source_type': 'blank', **volume})
    return disks


class Scene:
    """What a scenario plays in.

    Left without an error, it deletes the servers and all else that is left.
    What is left after an error is for the one who made the cloud.
    """

    def __init__(self, cloud: cloud_api.Cloud, teller: steps.Teller):
        self.cloud = cloud
        self.teller = teller
        self.images: list[Image] = []
        self._servers: list[servers.Server] = []
        self._ports: list[ports.Port] = []
        self._aggregates: list[aggregates.Aggregate] = []

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, kind: object, *exc_info: object) -> None:
        if kind is None:
            for server in self._servers:
                if server.status != 'DELETED':
                    server.delete()
            for image in list(self.images):
                image.delete()
            for port in self._ports:
                self.cloud.delete_port(port.id)
            for aggregate in self._aggregates:
                aggregate.delete()

    def hosts(self) -> tuple[str, str]:
        """Two hosts of one cell: a source and a destination."""
        source, destination = self.cloud.hosts()[:2]
        return source, destination

    @steps.action('boot {called} on {host}')
    def boot(
        self, host: str, image: str | None = None, flavor: str | None = None,
        config_drive: bool = False, volumes: abc.Collection[str] = (),
        called: str = 'the server', booted: str = 'disk',
        port: ports.Port | None = None,
    ) -> servers.Server:
        """Boot a server on a host and wait until it and its guest are up.

        :param image: id of an image; the cloud's if none
        :param flavor: id of a flavor; the cloud's if none
        :param volumes: ROOT if it is to boot from a volume made of the image,
            DATA if it is to have one more; both go when the server is deleted
        :param called: what steps call it
        :param booted: the name that the image has on the console
        :param port: a port that it is to have
        :raises lab.words.expect.Unexpected: if it does not come up
        """
        image = image or self.cloud.image
        disks: dict[str, Any] = {'image_id': image}
        if volumes:
            disks = {'image_id': '' if servers.ROOT in volumes else image,
                     'block_device_mapping': _disks(image, volumes)}
        created = self.cloud.connect().compute.create_server(
            name=servers.NAME, flavor_id=flavor or self.cloud.flavor,
            networks=[{'port': port.id}] if port else 'none', host=host,
            config_drive=config_drive, **disks)
        expect.note_done('create')
        server = self.take_in(created.id, called, booted)
        expect.equal(
            'the number of its volumes', len(server.footprint.volumes),
            len(volumes))
        expect.equal(
            'the hosts that its volumes are attached on', server.volumes(),
            {volume: [host] for volume in server.footprint.volumes})
        return server

    def take_in(
        self, server_id: str, called: str, booted: str = 'disk'
    ) -> servers.Server:
        """Wait until a server and its guest are up, and take it as its own.

        :param called: what steps call it
        :param booted: the name that its image has on the console
        :raises lab.words.expect.Unexpected: if it does not come up
        """
        self.teller.call(server_id, called)
        server = servers.Server(self, server_id, called, booted)
        self._servers.append(server)
        server.wait_for_status('ACTIVE')
        server.settle()
        server.record()
        return server

    def booted(self, host: str) -> servers.Server:
        """Boot a server on a host and see its guest boot."""
        server = self.boot(host)
        server.check_boots()
        return server

    def rescued(self, host: str) -> servers.Server:
        """Boot a server on a host and rescue it."""
        server = self.boot(host)
        server.rescue()
        server.check_guest('disk.rescue', 'disk')
        return server

    @steps.action('upload a copy of {name}')
    def copy_image(
        self, image: str, name: str = 'the image', **properties: str
    ) -> Image:
        """Upload a copy of an image, whose data no host has yet.

        :param name: what steps call it
        :param properties: what it has beside the properties of the image
        """
        copied = self.cloud.copy_image(image, **properties)
        expect.note_done('upload')
        self.images.append(Image(copied, f'the copy of {name}', self))
        self.teller.call(copied, self.images[-1].name)
        return self.images[-1]

    @steps.action('create a port with a guaranteed bandwidth')
    def create_port(self) -> ports.Port:
        """Create a port, which is deleted after the servers."""
        created = ports.Port(self.cloud.create_port(), self)
        expect.note_done('creation of the port')
        self._ports.append(created)
        return created

    @steps.action('create an aggregate of {text}')
    def _aggregate(
        self, text: str, hosts: tuple[str, ...]
    ) -> aggregates.Aggregate:
        created = aggregates.Aggregate(self, hosts)
        expect.note_done('create_aggregate')
        self._aggregates.append(created)
        return created

    def aggregate(self, *hosts: str) -> aggregates.Aggregate:
        """Create an aggregate of some hosts."""
        return self._aggregate(' and '.join(hosts), hosts)

    @contextlib.contextmanager
    def lasting(
        self, text: str, act: contextlib.AbstractContextManager[Any],
        end: str,
    ) -> abc.Iterator[Any]:
        """Do something that lasts as long as the block, and show both ends.

        :param text: what is done at first
        :param act: does it, and undoes it
        :param end: how it is undone in the end
        :yields: what that yields
        """
        with contextlib.ExitStack() as stack:
            with self.teller.step(text):
                done = stack.enter_context(act)
                expect.note_done(text)
            yield done
            with self.teller.step(end):
                stack.close()
                expect.note_done(end)

    @contextlib.contextmanager
    def refused(
        self, text: str, status: int, *words: str
    ) -> abc.Iterator[None]:
        """Check that the API refuses what is asked of it in the block.

        :param text: what is asked
        :param status: the HTTP status that it must answer with
        :param words: what its message must say
        """
        with self.teller.step(f'{text}: refused', True) as texts:
            with expect.refused(status) as refusal:
                yield
            texts.append(f'{text}: refused with {status}, "{refusal.message}"')
            expect.mentions(refusal.message, *words)

    @contextlib.contextmanager
    def only(self, host: str) -> abc.Iterator[None]:
        """Disable the compute services of all other hosts."""
        compute = self.cloud.connect().compute
        with contextlib.ExitStack() as stack:
            for service in compute.services(binary='nova-compute'):
                if service.host != host:
                    compute.disable_service(service)
                    stack.callback(compute.enable_service, service)
            yield

    def room_for(
        self, owner: str, count: int
    ) -> contextlib.AbstractContextManager[None]:
        """Let the project of a user have some more servers, and not more."""
        compute = self.cloud.connect().compute
        _, project = client.ids(self.cloud, owner)
        limit = footprint.quota(self.cloud, owner)['Instances'] + count

        @contextlib.contextmanager
        def limited() -> abc.Iterator[None]:
            compute.update_quota_set(project, instances=limit)
            try:
                yield
            finally:
                compute.revert_quota_set(project)

        return self.lasting(
            f'limit {accounts.OWNERS[owner]} to {limit} servers', limited(),
            'lift that limit')

    def configured(
        self, section: str, option: str, value: str
    ) -> contextlib.AbstractContextManager[None]:
        """Give all hosts an option of Nova's, for a while."""
        return self.lasting(
            f'configure all hosts with {option}={value}',
            self.cloud.faults.configured(section, option, value),
            'configure them as before')

    def storing(
        self, images_type: str
    ) -> contextlib.AbstractContextManager[None]:
        """Make all hosts store the disks of servers in files of one type.

        :param images_type: as Nova's option of this name takes it
        """
        return self.configured('libvirt', 'images_type', images_type)

    def new_disk(
        self, host: str
    ) -> contextlib.AbstractContextManager[faults.Disk]:
        """Give a host an empty disk for the files of servers, for a while."""
        return self.lasting(
            f'give {host} an empty disk', self.cloud.faults.new_disk(host),
            'take that disk away')

    @steps.action('fill the disk of {host}')
    def fill(self, disk: faults.Disk, host: str) -> None:
        """Fill the new disk of a host."""
        disk.fill()
        expect.note_done('fill')

    def check_audit(self, *words: str, delete: bool = False) -> None:
        """Check what an audit of Placement says.

        :param words: what it must say; nothing at all if there are none
        :param delete: whether it is to delete what it finds
        """
        with self.teller.step(
                'an audit of Placement ' + (
                    'deletes what no server uses' if delete else
                    'finds what no server uses' if words else
                    'finds nothing amiss'), True):
            said = self.cloud.audit_placement(delete)
            if words:
                expect.mentions(said, *words)
            else:
                expect.equal('the audit', said, '')

    @steps.check('an audit of Placement that is to delete says why it cannot')
    def check_audit_gives_up(self) -> None:
        """Check that an audit tells that it cannot ask every cell."""
        said = self.cloud.audit_placement(delete=True).splitlines()
        expect.equal('the number of lines that it says', len(said), 1)
        expect.mentions(said[0], 'does not answer')

    def check_recovers(self, server: servers.Server, way: str) -> None:
        """Check that an operator can end the moves across cells.

        :param server: the server whose move is not at its end
        :param way: how it is brought to its end, as that is said
        """
        with self.teller.step(
                'what an operator types says what it would do', True):
            said = self.cloud.recover_moves(dry_run=True)
            expect.mentions(said, server.id, way)
        with self.teller.step('it does that, and nothing is left to do', True):
            self.cloud.recover_moves()
            expect.equal('what is left', self.cloud.recover_moves(), '')

    @steps.check('an operator has no move across cells to end')
    def check_nothing_to_recover(self) -> None:
        """Check that no move across cells has been abandoned."""
        expect.equal(
            'what is left', self.cloud.recover_moves(dry_run=True), '')

    @steps.check('an audit of Placement deletes nothing of {server} meanwhile')
    def check_audit_keeps(self, server: servers.Server) -> None:
        """Check that an audit knows what a server uses that is on the move."""
        self._check_audit(server)

    @steps.check('an audit of Placement deletes an orphan alone meanwhile')
    def check_audit_deletes_orphan(self, server: servers.Server) -> None:
        """Check that it does so, and keeps what a server uses on the move.

        The orphan uses as much as the server, on the same host.
        """
        orphan = str(uuid.uuid4())
        server.copy_allocations(orphan)
        self._check_audit(server, orphan)
        expect.equal(
            'what the orphan uses', server.allocations(orphan), {})

    def _check_audit(self, server: servers.Server, *orphans: str) -> None:
        said = self.cloud.audit_placement(delete=True).splitlines()
        kept = (f'Allocations for consumer UUID {server.id} are kept: it is '
                'being built, moved or changed.')
        expect.equal('whether the audit keeps it', kept in said, True)
        deleted = [line for line in said if line.startswith('Deleted ')]
        expect.equal(
            'the number of deletions', len(deleted), len(orphans))
        for line, orphan in zip(deleted, orphans, strict=True):
            expect.mentions(line, 'Deleted', orphan)
