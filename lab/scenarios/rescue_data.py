# SPDX-License-Identifier: Apache-2.0

"""What becomes of a rescued guest and its data when it moves.

Each guest writes a marker to all of its disks as it boots: the server's own
one before the rescue and after it, and the rescue guest, which in a legacy
rescue has but the first of them. A cloud without real guests can tell no more
of it than the names of files.
"""

from collections import abc
import contextlib
import string

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import hosts
from lab import scenarios
from lab import server as servers

_STABLE = {'hw_rescue_device': 'disk', 'hw_rescue_bus': 'virtio'}
"""What an image has with which a rescued server keeps all of its devices."""

_UEFI = {'hw_firmware_type': 'uefi'}
"""What an image has whose guests boot by UEFI."""

_UNUSED = 'disk.swap.rescue'
"""What Nova makes for a rescue with stable devices, and gives to no guest."""


class _Story:
    """What the guests of one server find, one after the other."""

    def __init__(
        self, cloud: cloud_api.Cloud, step: scenarios.Step,
        image: str | None = None, flavor: str | None = None,
        config_drive: bool = False, volumes: abc.Collection[str] = (),
        booted: str = 'disk', host: str | None = None,
    ):
        """Boot the server.

        :param image: id of an image; the cloud's if none
        :param flavor: id of a flavor; the cloud's if none
        :param volumes: those of lab.server.boot
        :param booted: the name that the image has on the console
        :param host: the cloud's first if none
        """
        self._cloud = cloud
        self._step = step
        self._booted = booted
        #: markers that each disk must have, the earliest first, by its file,
        #: and those that UEFI must have
        self._markers: dict[str, list[str]] = {}
        #: digests of all these when it last moved
        self._disks: dict[str, str] = {}
        host = host or cloud.hosts()[0]
        with step(f'boot a server on {host}'):
            self.server = servers.boot(
                cloud, host, image, flavor, config_drive, volumes)
            self._own = self._guest().disks
            self._volumes = self.server.volumes()
            expect.equal(
                'the number of its volumes', len(self._volumes), len(volumes))
            self._check_volumes(host)
            self._images = cloud.images(self.server.id)
        with step('its guest runs and writes a marker to each disk'):
            self._boot(booted, self._own[0])

    def _guest(self) -> cloud_api.Guest:
        guest = self._cloud.guest(self.server.host(), self.server.id)
        assert guest
        return guest

    def _check_volumes(self, host: str) -> None:
        expect.equal(
            'the hosts that its volumes are attached on',
            self.server.volumes(),
            {volume: [host] for volume in self._volumes})

    def _boot(self, image: str, runs_from: str) -> None:
        """Let a guest boot, and check what it finds on its disks.

        :param image: the name that its image has on the console
        :param runs_from: the file of the disk that it boots from
        """
        guest = self._guest()
        files = {f'vd{letter}': file for letter, file in zip(
            string.ascii_lowercase, guest.disks, strict=False)}
        if guest.uefi:
            files[guests.UEFI] = guests.UEFI
        marker = guests.check_boot(
            self._cloud, self.server.id, image,
            next(disk for disk, file in files.items() if file == runs_from),
            {disk: self._markers.get(file, [])
             for disk, file in files.items()})
        for file in files.values():
            self._markers.setdefault(file, []).append(marker)

    def reboot(self) -> None:
        """Let the guest boot again."""
        with self._step('reboot it: its guest finds the markers'):
            self.server.reboot()
            self._boot(self._booted, self._own[0])

    def rescue(
        self, image: str | None = None, booted: str = 'rescue',
        runs_from: str = 'disk.rescue',
    ) -> None:
        """Rescue the server.

        :param image: id of an image; the cloud's if none
        :param booted: the name of the image that boots, on the console
        :param runs_from: the file of the disk that has this image
        """
        with self._step('rescue it'):
            self.server.rescue(image)
        with self._step('the rescue guest finds the markers on the disks '
                        'that it has, and writes one to each'):
            self._boot(booted, runs_from)

    def migrate(self) -> None:
        """Live-migrate to the second host, and check that nothing is lost."""
        source, destination = self._cloud.hosts()[:2]
        images = self._cloud.images(self.server.id)
        files = self._files(source)
        with self._step(f'{source} tells what is on each disk, attached or '
                        'not'):
            self._disks = self._digests(source)
        with guests.runs_on(self._cloud, self._step, self.server.id):
            with self._step(
                    f'live-migrate it to {destination}, always in rescue'):
                self.server.live_migrate(destination)
                self._wait_in_rescue()
                expect.equal(
                    'the host of the server', self.server.host(), destination)
        with self._step(f'{destination} has the same files'):
            expect.equal(
                'its files', self._files(destination), files)
        with self._step('and the same on each disk'):
            expect.equal(
                'what is on the disks',
                self._digests(destination), self._disks)
        with self._step(f'{source} has nothing of it'):
            self._check_nothing_left(source)
            expect.equal(
                'its images', self._cloud.images(self.server.id), images)
            self._check_volumes(destination)

    def fail_to_migrate(self, *words: str) -> None:
        """Let a live migration be refused, and check that nothing has changed.

        :param words: those that the reason must have
        """
        source, destination = self._cloud.hosts()[:2]
        files = self._files(source)
        with self._step(f'{source} tells what is on each disk, attached or '
                        'not'):
            self._disks = self._digests(source)
        with guests.runs_on(self._cloud, self._step, self.server.id):
            with self._step(f'live-migrate it to {destination}: it fails'):
                self.server.live_migrate(destination)
                self.server.wait_for_migration('failed', 'error')
                self.server.wait_for_status('RESCUE')
                expect.equal(
                    'the host of the server', self.server.host(), source)
            event = self.server.wait_for_event(
                'live-migration', 'compute_check_can_live_migrate_source')
            with self._step(f'the error: {event["details"]}'):
                expect.mentions(event['details'], *words)
        with self._step(f'{source} has the same files'):
            expect.equal('its files', self._files(source), files)
        with self._step('and the same on each disk'):
            expect.equal(
                'what is on the disks', self._digests(source), self._disks)
        with self._step(f'{destination} has nothing of it'):
            self._check_nothing_left(destination)
            expect.equal(
                'its UEFI variables',
                self._cloud.uefi_variables(destination, self.server.id), None)

    def _check_nothing_left(self, host: str) -> None:
        """Check that a host where the server is not has nothing of it."""
        expect.equal(
            'the guest', self._cloud.guest(host, self.server.id), None)
        if not self._cloud.shared_files():
            expect.equal(
                'its files', self._cloud.files(host, self.server.id), set())

    def _files(self, host: str) -> set[str]:
        return self._cloud.files(host, self.server.id) - {_UNUSED}

    def _digests(self, host: str) -> dict[str, str]:
        found = {file: digest for file, digest in self._cloud.digests(
            host, self.server.id).items() if file != _UNUSED}
        variables = self._cloud.uefi_variables(host, self.server.id)
        return found | ({guests.UEFI: variables} if variables else {})

    def _wait_in_rescue(self) -> None:
        """Wait for the end of a migration; the status is always RESCUE."""

        def look() -> str:
            expect.equal(
                'the status of the server', self.server.look().status,
                'RESCUE')
            return self.server.migration()['status']

        expect.wait_for(
            'migration that completes', look, 'completed'.__eq__,
            {'failed', 'error', 'cancelled'}.__contains__)
        self.server.wait_for_status('RESCUE')

    def unrescue(self) -> None:
        """Unrescue the server, and check that its guest has all of its data.

        Then delete it.
        """
        host = self.server.host()
        with self._step(f'unrescue it on {host}'):
            self.server.unrescue()
            expect.equal('the host of the server', self.server.host(), host)
            expect.equal('its disks', self._guest().disks, self._own)
            self._check_volumes(host)
            expect.equal(
                'its images', self._cloud.images(self.server.id),
                self._images)
            expect.equal(
                'what is left of the rescue',
                {file for file in self._cloud.files(host, self.server.id)
                 if file.endswith('.rescue')}, set())
        with self._step('it runs from its own disk, and each of its disks '
                        'has all markers'):
            self._boot(self._booted, self._own[0])
        with self._step('what no guest can write to is as it was'):
            expect.equal('what is there', {
                file: digest for file, digest in self._digests(host).items()
                if file not in self._markers
            }, {
                file: digest for file, digest in self._disks.items()
                if file not in self._markers and not file.endswith('.rescue')
            })
        with self._step('delete it'):
            self.server.delete()

    def travel(
        self, image: str | None = None, booted: str = 'rescue',
        runs_from: str = 'disk.rescue',
    ) -> None:
        """Rescue the server, let it move, unrescue it there and delete it.

        The parameters are those of rescue.
        """
        self.rescue(image, booted, runs_from)
        self.migrate()
        self.unrescue()


def rescued_guest_runs_on(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A guest in rescue runs on while it moves, and its data come along"""
    _Story(cloud, step).travel()


def rescued_without_images(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A rescued server moves, and comes back, though its images are gone"""
    with (_copy(cloud, step, cloud.image) as image,
          _copy(cloud, step, cloud.rescue_image) as rescue_image):
        story = _Story(cloud, step, image)
        story.rescue(rescue_image)
    story.migrate()
    story.unrescue()


@contextlib.contextmanager
def _copy(
    cloud: cloud_api.Cloud, step: scenarios.Step, image: str,
    **properties: str,
) -> abc.Iterator[str]:
    """A copy of an image, whose data no host has yet. Deleted at exit.

    :param properties: what it has beside the properties of the image
    """
    with step(f'upload a copy of image {image}'):
        copied = cloud.copy_image(image, **properties)
    yield copied
    with step(f'delete image {copied}'):
        cloud.delete_image(copied)


def _all_disks(
    cloud: cloud_api.Cloud, step: scenarios.Step, **properties: str
) -> None:
    """A rescued server that has disks of all kinds moves.

    :param properties: what its rescue image has beside those of the cloud's
    """
    with (_copy(cloud, step, cloud.image) as image,
          _copy(cloud, step, cloud.rescue_image, **properties) as rescue_image
          ):
        story = _Story(
            cloud, step, image, cloud.disks_flavor, config_drive=True)
        story.travel(rescue_image)


def rescued_with_all_disks(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """Ephemeral disk, swap and config drive move, which rescue leaves out"""
    _all_disks(cloud, step)


def rescued_with_stable_devices(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A rescue guest moves that has all disks of its server"""
    _all_disks(cloud, step, **_STABLE)


def rescued_with_raw_disks(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """Disks move that are whole by themselves, without a backing file"""
    with hosts.storing(cloud, step, 'raw'):
        _all_disks(cloud, step)
        _all_disks(cloud, step, **_STABLE)


def rescued_with_kernel_and_ramdisk(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """Kernel and ramdisk move, those of the server and those of its rescue"""
    story = _Story(
        cloud, step, cloud.kernel_image(), cloud.disks_flavor,
        config_drive=True, booted='kernel')
    # Nova boots the rescue guest from that kernel, too.
    story.travel(booted='kernel', runs_from='disk')


def rescued_with_uefi(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """UEFI variables move, those of the server and those of its rescue"""
    cloud.require_uefi()
    with (_copy(cloud, step, cloud.image, **_UEFI) as image,
          _copy(cloud, step, cloud.rescue_image, **_UEFI) as rescue_image,
          _copy(cloud, step, cloud.rescue_image, **_UEFI, **_STABLE) as stable
          ):
        for chosen in (rescue_image, stable):
            _Story(cloud, step, image, cloud.larger_flavor).travel(chosen)


def rescued_without_uefi(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A server stays whose UEFI variables its rescue guest does not have"""
    cloud.require_uefi()
    with _copy(cloud, step, cloud.image, **_UEFI) as image:
        story = _Story(cloud, step, image, cloud.larger_flavor)
        story.rescue()
        story.fail_to_migrate('no UEFI variables', 'Unrescue the server')
        story.unrescue()


def rescued_boot_from_volume(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A rescue guest moves that has the volume its server boots from"""
    cloud.require_volumes()
    with _copy(cloud, step, cloud.rescue_image, **_STABLE) as rescue_image:
        _Story(cloud, step, volumes=[servers.ROOT]).travel(rescue_image)


def rescued_with_data_volume(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A volume comes along that its rescued server does without"""
    cloud.require_volumes()
    _Story(cloud, step, volumes=[servers.DATA]).travel()
    # Its other disks travel then, one under the volume's name.
    with hosts.storing(cloud, step, 'qcow2'):
        _Story(cloud, step, volumes=[servers.DATA]).travel()


def rescued_to_cold_and_warm_cache(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """The images that a destination has cached for others stay as they are"""
    source, destination = cloud.hosts()[:2]
    with (_copy(cloud, step, cloud.image) as image,
          _copy(cloud, step, cloud.rescue_image) as rescue_image):
        neighbour = _Story(cloud, step, image, host=destination)
        for cache in ('cold', 'warm'):
            cached = dict[str, str]()
            with step(f'{destination} tells what it has cached: it is {cache} '
                      'for the rescue image'):
                cached = cloud.cached_images(destination)
            story = _Story(cloud, step, image)
            story.rescue(rescue_image)
            with guests.runs_on(
                    cloud, step, neighbour.server.id,
                    'the guest of another server of that image'):
                story.migrate()
            with step('what was cached is as it was'):
                found = cloud.cached_images(destination)
                expect.equal(
                    'the cached images',
                    {name: found.get(name) for name in cached}, cached)
                new = {name: digest for name, digest in found.items()
                       if name not in cached}
                expect.equal('whether any is new', bool(new), cache == 'cold')
                origin = cloud.cached_images(source)
                expect.equal(
                    'the new ones', new,
                    {name: origin.get(name) for name in new})
            story.unrescue()
        neighbour.reboot()
        with step('delete it'):
            neighbour.server.delete()
