# SPDX-License-Identifier: Apache-2.0


"""Faults while a server in rescue moves.

Whatever fails, at whatever step: the server stays in rescue, on one host
alone and with all its disks; it can be moved again, and it comes back from
rescue with its data.
"""

from collections import abc
import contextlib
import dataclasses
from typing import Literal
from typing import TypeVar

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import hosts
from lab import scenarios
from lab import server as servers

_Held = TypeVar('_Held', cloud_api.HeldCopy, cloud_api.HeldMigration)


class _Story:
    """A server in rescue that meets with a fault while it moves.

    It has a config drive, which has to be copied as a file: the hypervisor
    copies only the disks that a guest writes to.
    """

    def __init__(
        self, cloud: cloud_api.Cloud, step: scenarios.Step,
        rescue_image: str | None = None, volumes: abc.Collection[str] = (),
    ):
        """Boot it and rescue it.

        :param volumes: those of lab.server.boot
        """
        self._cloud = cloud
        self._step = step
        self.source, self.destination = cloud.hosts()[:2]
        #: markers that the server's own disk must have, the earliest first
        self._markers: list[str] = []
        #: and those that its volume must have
        self._markers_of_volume: list[str] = []
        #: the rescue guest before the fault
        self._running = guests.State()
        #: what holds it as it moves
        self._hold = contextlib.ExitStack()
        with step(f'boot a server on {self.source} and rescue it'):
            self.server = servers.boot(
                cloud, self.source, config_drive=True, volumes=volumes)
            self._volumes = self.server.volumes()
            self._own_guest = cloud.guest(self.source, self.server.id)
            self._see_own_boot()
            self.server.rescue(rescue_image)
            with contextlib.suppress(cloud_api.CannotTell):
                self._markers.append(guests.check_boot(
                    cloud, self.server.id, 'rescue', 'vda',
                    {'vda': [], 'vdb': self._markers}))
                self._running = guests.ask(cloud, self.server.id)
            self._guest = cloud.guest(self.source, self.server.id)
            self._files = cloud.files(self.source, self.server.id)

    def _see_own_boot(self) -> None:
        """Wait until its own guest has booted, with all data on its disks.

        In rescue, the guest does not have its volume.
        """
        with contextlib.suppress(cloud_api.CannotTell):
            volume = {'vdb': self._markers_of_volume} if self._volumes else {}
            marker = guests.check_boot(
                self._cloud, self.server.id, 'disk', 'vda',
                {'vda': self._markers, **volume})
            self._markers.append(marker)
            self._markers_of_volume.append(marker)

    @contextlib.contextmanager
    def held(
        self, copying: Literal['files', 'disks', 'memory'],
        hold: contextlib.AbstractContextManager[_Held],
    ) -> abc.Iterator[_Held]:
        """Move it, and hold it for as long as the block runs.

        :param copying: what is being copied then
        :param hold: what holds it
        """
        with contextlib.ExitStack() as self._hold:
            held = self._hold.enter_context(hold)
            with self._step(f'live-migrate it to {self.destination}, and '
                            f'hold the copying of its {copying}'):
                self.server.live_migrate(self.destination)
                held.wait_until_running()
            yield held

    def wait_until_moved(self) -> None:
        """Let it go on until its guest runs on the destination alone."""
        with self._step(f'its guest moves to {self.destination}'):
            self._hold.close()
            expect.wait_for(
                'end of the guest on the source',
                lambda: self._cloud.guest(self.source, self.server.id),
                lambda guest: guest is None)

    def wait_until_failed(self) -> None:
        with self._step('the migration fails'):
            self.server.wait_for_migration('failed', 'error')

    def fail_to_move(self) -> None:
        with self._step(f'live-migrate it to {self.destination}'):
            self.server.live_migrate(self.destination)
        self.wait_until_failed()

    def check_failed(self) -> None:
        self.wait_until_failed()
        self.check_place(self.source)

    def check_moved(self) -> None:
        with self._step('the migration completes'):
            self.server.wait_for_migration('completed')
        self.check_place(self.destination)

    def check_place(self, host: str, running: bool = True) -> None:
        """Check that it is in rescue on a host, and has left no other trace.

        :param running: whether its guest has lived through the fault
        """
        with self._step(
                f'it is in rescue on {host}, with all its files'):
            seen = self.server.wait_for_status('RESCUE')
            expect.equal('the state of the server', seen.vm_state, 'rescued')
            expect.equal('the host of the server', seen.compute_host, host)
            assert self._guest is not None
            expect.equal(
                'its guest', self._cloud.guest(host, self.server.id),
                dataclasses.replace(self._guest, running=running))
            expect.equal(
                'its files', self._cloud.files(host, self.server.id),
                self._files)
            expect.equal(
                'the hosts that its volumes are attached on',
                self.server.volumes(),
                {volume: [host] for volume in self._volumes})
        if running:
            with self._step('its guest runs on: it has never booted again'):
                with contextlib.suppress(cloud_api.CannotTell):
                    guests.check_runs_on(
                        self._cloud, self.server.id, self._running)
        for other in self._cloud.hosts():
            if other != host:
                with self._step(f'{other} holds nothing of it'):
                    self._check_no_trace(other)

    def _check_no_trace(self, host: str) -> None:
        """Wait until a host has been cleared up."""

        def traces() -> list[object]:
            found: list[object] = []
            if not self._cloud.shared_files():
                found += sorted(self._cloud.files(host, self.server.id))
            if guest := self._cloud.guest(host, self.server.id):
                found.append(guest)
            for consumer in (None, *(
                    each['uuid'] for each in self.server.migrations())):
                if host in self.server.allocations(consumer):
                    found.append(f'allocation of {consumer or "the server"}')
            return found

        expect.wait_for(
            f'nothing of it on {host}', traces, lambda found: not found)
        with contextlib.suppress(cloud_api.CannotTell):
            self._check_cache(host)

    def _check_cache(self, host: str) -> None:
        """Check that a host has each image of the server under its name."""
        right = self._cloud.cached_images(self.source)
        expect.equal(
            f'images that {host} has under a wrong name',
            {name for name, digest in self._cloud.cached_images(host).items()
             if right.get(name, digest) != digest or name.endswith('.part')},
            set())

    def move(self, destination: str) -> None:
        with self._step(f'live-migrate it to {destination}'):
            self.server.live_migrate(destination)
            self.server.wait_for_migration('completed')
        self.check_place(destination)

    def unrescue(self) -> None:
        host = self.server.host()
        with self._step(f'unrescue it on {host}: its data are there'):
            self.server.unrescue()
            expect.equal('the host of the server', self.server.host(), host)
            expect.equal(
                'its guest', self._cloud.guest(host, self.server.id),
                self._own_guest)
            self._see_own_boot()
        with self._step('delete it'):
            self.server.delete()

    def end(self) -> None:
        """Move it again, unrescue it and delete it."""
        there = self.server.host()
        self.move(
            self.source if there == self.destination else self.destination)
        self.unrescue()


def _kill(
    cloud: cloud_api.Cloud, step: scenarios.Step,
    service: str, host: str | None = None, *,
    copying: Literal['files', 'memory'], gently: bool = False,
    volumes: abc.Collection[str] = (),
    until: abc.Callable[[_Story], None] = lambda story: None,
) -> _Story:
    """Kill a service while a server in rescue moves, and start it again.

    :param service: as for lab.cloud.Cloud.killed, and so its host and gently
    :param copying: what is being copied when it dies
    :param volumes: those of lab.server.boot
    :param until: waits for what has to happen before it is started again
    """
    down = cloud.killed(service, host, gently)
    files = cloud.copy_held(cloud.hosts()[1]) if copying == 'files' else None
    story = _Story(cloud, step, volumes=volumes)
    with story.held(copying, files or cloud.migration_held(story.server.id)):
        what = service + (f' on {host}' if host else '')
        with scenarios.lasting(
                step, f'{"stop" if gently else "kill"} {what}', down):
            until(story)
    return story


def hypervisor_unreachable(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's libvirt is down: the server stays where it was"""
    down = cloud.killed('libvirtd', cloud.hosts()[1])
    story = _Story(cloud, step)
    with scenarios.lasting(
            step, f'kill libvirtd on {story.destination}', down):
        story.fail_to_move()
    story.check_place(story.source)
    story.end()


def destination_disk_full(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's disk is full: the server stays where it was"""
    new_disk = cloud.new_disk(cloud.hosts()[1])
    story = _Story(cloud, step)
    with new_disk as disk:
        with step(f'fill the disk of {story.destination}'):
            disk.fill()
        story.fail_to_move()
        story.check_place(story.source)
    story.end()


def destination_disk_full_moving(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's disk fills as disks are copied: the server stays"""
    new_disk = cloud.new_disk(cloud.hosts()[1])
    # Of others, little is copied: only what the guest has written.
    with hosts.storing(cloud, step, 'raw'):
        story = _Story(cloud, step)
        with new_disk as disk:
            with story.held('disks', cloud.disks_held(story.server.id)):
                with step(f'fill the disk of {story.destination}'):
                    disk.fill()
                story.wait_until_failed()
            story.check_place(story.source)
        story.end()


def image_service_down(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """Without the image service the rescue disk comes from the source"""
    down = cloud.killed('glance')
    destination = cloud.hosts()[1]
    with step(f'let {destination} have the image of the server'):
        servers.boot(cloud, destination).delete()
    with step('upload a copy of the rescue image'):
        image = cloud.copy_image(cloud.rescue_image)
    story = _Story(cloud, step, image)
    with scenarios.lasting(step, 'kill the image service', down):
        story.move(destination)
    with step('delete that image'):
        cloud.delete_image(image)
    story.end()


def copy_broken_off(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """The copying of a file breaks off: the server stays where it was"""
    held = cloud.copy_held(cloud.hosts()[1])
    story = _Story(cloud, step)
    with story.held('files', held) as copy:
        with step('break the copying off'):
            copy.break_off()
        story.check_failed()
    story.end()


def incoming_guest_killed(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The guest dies that receives the memory: the server stays"""
    story = _Story(cloud, step)
    with cloud.migration_fails(story.server.id):
        story.fail_to_move()
    story.check_place(story.source)
    story.end()


def outgoing_guest_killed(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The guest dies as it moves: the server is off, and loses no disk"""
    story = _Story(cloud, step)
    with story.held('memory', cloud.migration_held(story.server.id)):
        with step(f'kill the guest on {story.source}'):
            cloud.kill_guest(story.source, story.server.id)
        story.wait_until_failed()
    story.check_place(story.source, running=False)
    story.unrescue()


def hypervisor_killed(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """The destination's libvirt dies as memory is copied: the server stays"""
    story = _kill(
        cloud, step, 'libvirtd', cloud.hosts()[1], copying='memory',
        until=_Story.wait_until_failed)
    story.check_place(story.source)
    story.end()


def source_hypervisor_killed(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's libvirt dies as memory is copied: the server stays"""
    story = _kill(
        cloud, step, 'libvirtd', cloud.hosts()[0], copying='memory')
    story.check_failed()
    story.end()


def source_hypervisor_restarted(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's libvirt is restarted as memory is copied: the same"""
    story = _kill(
        cloud, step, 'libvirtd', cloud.hosts()[0], copying='memory',
        gently=True)
    story.check_failed()
    story.end()


def source_compute_killed_copying(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's nova-compute dies as files are copied, and comes back"""
    story = _kill(
        cloud, step, 'nova-compute', cloud.hosts()[0], copying='files')
    story.check_failed()
    story.end()


def source_compute_killed_moving(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's nova-compute dies as memory is copied, and comes back"""
    story = _kill(
        cloud, step, 'nova-compute', cloud.hosts()[0], copying='memory')
    story.check_failed()
    story.end()


def source_compute_dead_at_the_end(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The guest moves while the source's nova-compute is dead"""
    story = _kill(
        cloud, step, 'nova-compute', cloud.hosts()[0], copying='memory',
        until=_Story.wait_until_moved)
    story.check_moved()
    story.end()


def source_compute_killed_with_volume(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's nova-compute dies while a server with a volume moves

    It takes the server back, and then, dead once more, loses it.
    """
    cloud.require_volumes()
    source = cloud.hosts()[0]
    story = _kill(
        cloud, step, 'nova-compute', source, copying='memory',
        volumes=[servers.DATA])
    story.check_failed()
    down = cloud.killed('nova-compute', source)
    with story.held('memory', cloud.migration_held(story.server.id)):
        with scenarios.lasting(step, f'kill nova-compute on {source}', down):
            story.wait_until_moved()
    story.check_moved()
    story.end()


def destination_compute_dead_at_the_end(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The guest moves while the destination's nova-compute is dead"""
    story = _kill(
        cloud, step, 'nova-compute', cloud.hosts()[1], copying='memory',
        until=_Story.wait_until_moved)
    story.check_moved()
    story.end()


def destination_compute_killed_copying(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's nova-compute dies as files are copied"""
    story = _kill(
        cloud, step, 'nova-compute', cloud.hosts()[1], copying='files')
    story.check_failed()
    story.end()


def destination_compute_killed_moving(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's nova-compute dies as memory is copied"""
    story = _kill(
        cloud, step, 'nova-compute', cloud.hosts()[1], copying='memory')
    story.check_moved()
    story.end()


def conductors_killed_checking(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The conductors die before the migration begins: the server stays

    No service knows of it then. The source's nova-compute takes it back when
    it is started anew.
    """
    source, destination = cloud.hosts()[:2]
    down = cloud.killed('nova-conductor')
    hanging = cloud.frozen('nova-compute', destination)
    compute_down = cloud.killed('nova-compute', source)
    story = _Story(cloud, step)
    with contextlib.ExitStack() as stack:
        with hanging:
            with step(f'live-migrate it to {destination}, whose nova-compute '
                      'does not answer'):
                story.server.live_migrate(destination)
                expect.wait_for(
                    'migration', story.server.migrations, bool)
            with step('kill the conductors'):
                stack.enter_context(down)
        with step('end both'):
            stack.close()
    with scenarios.lasting(
            step, f'kill nova-compute on {source}', compute_down):
        pass
    story.check_failed()
    story.end()


def conductors_killed(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """No conductor is there while the guest moves: the migration completes"""
    story = _kill(cloud, step, 'nova-conductor', copying='memory')
    story.check_moved()
    story.end()


def message_queue_killed(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The message queue dies while the guest moves, and comes back"""
    story = _kill(cloud, step, 'rabbitmq', copying='memory')
    story.check_moved()
    story.end()
