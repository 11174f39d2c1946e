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


"""Faults while a server in rescue moves.

Whatever fails, at whatever step: the server stays in rescue, on one host
alone and with all its disks; it can be moved again, and it comes back from
rescue with its data.
"""

from collections import abc
import contextlib
import dataclasses

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import scenarios
from lab import server as servers


class _Story:
    """A server in rescue that meets with a fault while it moves.

    It has a config drive, which has to be copied as a file: the hypervisor
    copies only the disks that a guest writes to.
    """

    def __init__(
        self, cloud: cloud_api.Cloud, step: scenarios.Step,
        rescue_image: str | None = None,
    ):
        self._cloud = cloud
        self._step = step
        self.source, self.destination = cloud.hosts()[:2]
        #: markers that the server's own disk must have, the earliest first
        self._markers: list[str] = []
        #: the rescue guest before the fault
        self._running = guests.State()
        with step(f'boot a server on {self.source} and rescue it'):
            self.server = servers.boot(
                cloud, self.source, config_drive=True)
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
        """Wait until its own guest has booted, with all data on its disk."""
        with contextlib.suppress(cloud_api.CannotTell):
            self._markers.append(guests.check_own_boot(
                self._cloud, self.server.id, self._markers))

    @contextlib.contextmanager
    def fault(
        self, text: str, fault: contextlib.AbstractContextManager[None]
    ) -> abc.Iterator[None]:
        """Let a fault last as long as the block, and tell of both its ends."""
        with contextlib.ExitStack() as stack:
            with self._step(text):
                stack.enter_context(fault)
            yield
            with self._step('end that'):
                stack.close()

    @contextlib.contextmanager
    def memory_held(self) -> abc.Iterator[None]:
        """Move it, and hold it while its memory is copied."""
        with self._cloud.migration_held(self.server.id) as held:
            with self._step(f'live-migrate it to {self.destination}, and '
                            'hold it while its memory is copied'):
                self.server.live_migrate(self.destination)
                held.wait_until_running()
                self.server.wait_for_migration('running')
            yield

    @contextlib.contextmanager
    def copy_held(
        self, held: contextlib.AbstractContextManager[cloud_api.HeldCopy]
    ) -> abc.Iterator[cloud_api.HeldCopy]:
        """Move it, and hold it while its files are copied."""
        with held as copy:
            with self._step(f'live-migrate it to {self.destination}, and '
                            'hold it while its files are copied'):
                self.server.live_migrate(self.destination)
                copy.wait_until_running()
            yield copy

    def wait_until_moved(self) -> None:
        """Wait until the guest runs on the destination alone."""
        with self._step(f'its guest moves to {self.destination}'):
            expect.wait_for(
                'end of the guest on the source',
                lambda: self._cloud.guest(self.source, self.server.id),
                lambda guest: guest is None)

    def fail_to_move(self) -> None:
        with self._step(f'live-migrate it to {self.destination}: it fails'):
            self.server.live_migrate(self.destination)
            self.server.wait_for_migration('failed', 'error')

    def check_failed(self) -> None:
        with self._step('the migration fails'):
            self.server.wait_for_migration('failed', 'error')
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


def hypervisor_unreachable(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's libvirt is down: the server stays where it was"""
    down = cloud.killed('libvirtd', cloud.hosts()[1])
    story = _Story(cloud, step)
    with story.fault(f'kill libvirtd on {story.destination}', down):
        story.fail_to_move()
    story.check_place(story.source)
    story.end()


def destination_disk_full(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's disk is full: the server stays where it was"""
    full = cloud.disk_full(cloud.hosts()[1])
    story = _Story(cloud, step)
    with story.fault(f'fill the disk of {story.destination}', full):
        story.fail_to_move()
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
    with story.fault('kill the image service', down):
        story.move(destination)
    with step('delete that image'):
        cloud.delete_image(image)
    story.end()


def copy_broken_off(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """The copying of a file breaks off: the server stays where it was"""
    held = cloud.copy_held(cloud.hosts()[1])
    story = _Story(cloud, step)
    with story.copy_held(held) as copy:
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
    with story.memory_held():
        with step(f'kill the guest on {story.source}'):
            cloud.kill_guest(story.source, story.server.id)
        with step('the migration fails'):
            story.server.wait_for_migration('failed', 'error')
    story.check_place(story.source, running=False)
    story.unrescue()


def hypervisor_killed(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """The destination's libvirt dies as memory is copied: the server stays"""
    down = cloud.killed('libvirtd', cloud.hosts()[1])
    story = _Story(cloud, step)
    with story.memory_held():
        with story.fault(f'kill libvirtd on {story.destination}', down):
            with step('the migration fails'):
                story.server.wait_for_migration('failed', 'error')
    story.check_place(story.source)
    story.end()


def source_hypervisor_killed(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's libvirt dies as memory is copied: the server stays

    It is taken back when nova-compute there is started anew.
    """
    source = cloud.hosts()[0]
    down = cloud.killed('libvirtd', source)
    compute_down = cloud.killed('nova-compute', source)
    story = _Story(cloud, step)
    with story.memory_held():
        with story.fault(f'kill libvirtd on {source}', down):
            pass
    with story.fault(f'kill nova-compute on {source}', compute_down):
        pass
    story.check_failed()
    story.end()


def source_compute_killed_copying(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's nova-compute dies as files are copied, and comes back"""
    source, destination = cloud.hosts()[:2]
    down = cloud.killed('nova-compute', source)
    held = cloud.copy_held(destination)
    story = _Story(cloud, step)
    with story.copy_held(held):
        with story.fault(f'kill nova-compute on {source}', down):
            pass
    story.check_failed()
    story.end()


def source_compute_killed_moving(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The source's nova-compute dies as memory is copied, and comes back"""
    down = cloud.killed('nova-compute', cloud.hosts()[0])
    story = _Story(cloud, step)
    with story.memory_held():
        with story.fault(f'kill nova-compute on {story.source}', down):
            pass
    story.check_failed()
    story.end()


def _move_without(
    story: _Story, step: scenarios.Step, host: str,
    down: contextlib.AbstractContextManager[None],
) -> None:
    """Let the guest move while there is no nova-compute on a host."""
    with contextlib.ExitStack() as stack:
        with story.memory_held():
            with step(f'kill nova-compute on {host}'):
                stack.enter_context(down)
        story.wait_until_moved()
        with step('start nova-compute again'):
            stack.close()
    story.check_moved()
    story.end()


def source_compute_dead_at_the_end(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The guest moves while the source's nova-compute is dead"""
    down = cloud.killed('nova-compute', cloud.hosts()[0])
    story = _Story(cloud, step)
    _move_without(story, step, story.source, down)


def destination_compute_dead_at_the_end(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The guest moves while the destination's nova-compute is dead"""
    down = cloud.killed('nova-compute', cloud.hosts()[1])
    story = _Story(cloud, step)
    _move_without(story, step, story.destination, down)


def destination_compute_killed_copying(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's nova-compute dies as files are copied"""
    destination = cloud.hosts()[1]
    down = cloud.killed('nova-compute', destination)
    held = cloud.copy_held(destination)
    story = _Story(cloud, step)
    with story.copy_held(held):
        with story.fault(f'kill nova-compute on {destination}', down):
            pass
    story.check_failed()
    story.end()


def destination_compute_killed_moving(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The destination's nova-compute dies as memory is copied"""
    down = cloud.killed('nova-compute', cloud.hosts()[1])
    story = _Story(cloud, step)
    with story.memory_held():
        with story.fault(f'kill nova-compute on {story.destination}', down):
            pass
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
    with story.fault(f'kill nova-compute on {source}', compute_down):
        pass
    story.check_failed()
    story.end()


def conductors_killed(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """No conductor is there while the guest moves: the migration completes"""
    down = cloud.killed('nova-conductor')
    story = _Story(cloud, step)
    with story.memory_held():
        with story.fault('kill the conductors', down):
            pass
    story.check_moved()
    story.end()


def message_queue_killed(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The message queue dies while the guest moves, and comes back"""
    down = cloud.killed('rabbitmq')
    story = _Story(cloud, step)
    with story.memory_held():
        with story.fault('kill the message queue', down):
            pass
    story.check_moved()
    story.end()
