# SPDX-License-Identifier: Apache-2.0

"""What becomes of a rescued guest and its data when it moves.

Each guest writes a marker to all of its disks as it boots: the server's own
one before the rescue and after it, and the rescue guest, which in a legacy
rescue has but the first of them.
"""

from lab.needs import Need
from lab.scenarios import scenario
from lab.words import expect
from lab.words.scene import Image
from lab.words.scene import Scene
from lab.words import server as servers
from lab.words.server import Server

_STABLE = {'hw_rescue_device': 'disk', 'hw_rescue_bus': 'virtio'}
"""What an image has with which a rescued server keeps all of its devices."""


def _move(scene: Scene, server: Server) -> None:
    """Live-migrate a rescued server, and check that nothing is lost."""
    destination = scene.hosts()[1]
    server.live_migrate(destination)
    server.check_guest_runs_on()
    server.check_disks(destination)
    server.check_lives_on(destination)


def _unrescue(server: Server) -> None:
    """Unrescue a server, and check that its guest has all of its data."""
    host = server.host()
    server.unrescue()
    server.check_lives_on(host)
    server.check_boots()


def _travel(
    scene: Scene, server: Server, rescue_image: Image | None = None,
    booted: str = 'rescue', file: str = 'disk.rescue',
) -> None:
    """Rescue a server, move it, and unrescue it there.

    :param rescue_image: the cloud's if none
    :param booted: the name of the image that boots, on the console
    :param file: that of the disk that has this image
    """
    server.check_boots()
    server.rescue(rescue_image.id if rescue_image else None)
    server.check_rescue_boots(booted, file)
    _move(scene, server)
    _unrescue(server)
    server.delete()


def _all_disks(scene: Scene, **properties: str) -> None:
    """A rescued server that has disks of all kinds moves.

    :param properties: what its rescue image has beside those of the cloud's
    """
    image = scene.copy_image(scene.cloud.image)
    rescue_image = scene.copy_image(
        scene.cloud.rescue_image, 'the rescue image', **properties)
    server = scene.boot(
        scene.hosts()[0], image.id, scene.cloud.disks_flavor,
        config_drive=True)
    _travel(scene, server, rescue_image)


@scenario(capability=3, needs={Need.GUESTS})
def rescued_guest_runs_on(scene: Scene) -> None:
    """A guest in rescue runs on while it moves, and its data come along"""
    _travel(scene, scene.boot(scene.hosts()[0]))


@scenario(capability=3)
def rescued_without_images(scene: Scene) -> None:
    """A rescued server moves, and comes back, though its images are gone"""
    image = scene.copy_image(scene.cloud.image)
    rescue_image = scene.copy_image(
        scene.cloud.rescue_image, 'the rescue image')
    server = scene.boot(scene.hosts()[0], image.id)
    server.check_boots()
    server.rescue(rescue_image.id)
    server.check_rescue_boots()
    rescue_image.delete()
    image.delete()
    _move(scene, server)
    _unrescue(server)


@scenario(capability=3, needs={Need.GUESTS})
def rescued_with_all_disks(scene: Scene) -> None:
    """Ephemeral disk, swap and config drive move, which rescue leaves out"""
    _all_disks(scene)


@scenario(capability=3)
def rescued_with_stable_devices(scene: Scene) -> None:
    """A rescue guest moves that has all disks of its server"""
    _all_disks(scene, **_STABLE)


@scenario(capability=3, needs={Need.GUESTS})
def rescued_with_raw_disks(scene: Scene) -> None:
    """Disks move that are whole by themselves, without a backing file"""
    with scene.storing('raw'):
        _all_disks(scene)
        _all_disks(scene, **_STABLE)


@scenario(capability=3, needs={Need.GUESTS})
def rescued_with_kernel_and_ramdisk(scene: Scene) -> None:
    """Kernel and ramdisk move, those of the server and those of its rescue"""
    server = scene.boot(
        scene.hosts()[0], scene.cloud.kernel_image(),
        scene.cloud.disks_flavor, config_drive=True, booted='kernel')
    # Nova boots the rescue guest from that kernel, too.
    _travel(scene, server, booted='kernel', file='disk')


@scenario(capability=3, needs={Need.GUESTS, Need.UEFI})
def rescued_with_uefi(scene: Scene) -> None:
    """UEFI variables move, those of the server and those of its rescue"""
    cloud = scene.cloud
    image = scene.copy_image(cloud.image, **servers.UEFI)
    for properties in ({}, _STABLE):
        rescue_image = scene.copy_image(
            cloud.rescue_image, 'the rescue image', **servers.UEFI,
            **properties)
        server = scene.boot(scene.hosts()[0], image.id, cloud.larger_flavor)
        _travel(scene, server, rescue_image)


@scenario(capability=3, needs={Need.GUESTS, Need.UEFI})
def rescued_without_uefi(scene: Scene) -> None:
    """A server whose rescue guest lacks its UEFI variables is not moved"""
    source, destination = scene.hosts()
    image = scene.copy_image(scene.cloud.image, **servers.UEFI)
    server = scene.boot(source, image.id, scene.cloud.larger_flavor)
    server.check_boots()
    server.rescue()
    server.check_rescue_boots()

    server.fail_to_live_migrate(destination)
    server.check_error(
        'compute_check_can_live_migrate_source', 'no UEFI variables',
        'Unrescue the server')
    server.check_guest_runs_on()
    server.check_lives_on(source)
    server.check_disks(source)
    with scene.teller.step(
            f'{destination} has no UEFI variables of it', is_check=True):
        expect.equal(
            'its UEFI variables',
            scene.cloud.uefi_variables(destination, server.id), None)
    _unrescue(server)


@scenario(capability=15, needs={Need.GUESTS, Need.VOLUMES})
def rescued_boot_from_volume(scene: Scene) -> None:
    """A rescue guest moves that has the volume its server boots from"""
    rescue_image = scene.copy_image(
        scene.cloud.rescue_image, 'the rescue image', **_STABLE)
    server = scene.boot(scene.hosts()[0], volumes=[servers.ROOT])
    _travel(scene, server, rescue_image)


@scenario(capability=3, needs={Need.GUESTS, Need.VOLUMES})
def rescued_with_data_volume(scene: Scene) -> None:
    """A volume comes along that its rescued server does without"""
    _travel(scene, scene.boot(scene.hosts()[0], volumes=[servers.DATA]))
    # Its other disks travel then, one under the volume's name.
    with scene.storing('qcow2'):
        _travel(scene, scene.boot(scene.hosts()[0], volumes=[servers.DATA]))


@scenario(capability=3, needs={Need.GUESTS})
def rescued_to_cold_and_warm_cache(scene: Scene) -> None:
    """The images that a destination has cached for others stay as they are"""
    cloud = scene.cloud
    source, destination = scene.hosts()
    image = scene.copy_image(cloud.image)
    rescue_image = scene.copy_image(cloud.rescue_image, 'the rescue image')
    neighbour = scene.boot(destination, image.id, called='its neighbour')
    neighbour.check_boots()
    for cache in ('cold', 'warm'):
        cached = cloud.cached_images(destination)
        server = scene.boot(source, image.id)
        server.check_boots()
        server.rescue(rescue_image.id)
        server.check_rescue_boots()
        _move(scene, server)
        neighbour.check_guest_runs_on()
        with scene.teller.step(
                f'{destination}, {cache} for the rescue image, still has '
                'what it had cached', is_check=True):
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
        _unrescue(server)
        server.delete()
    neighbour.reboot()
    neighbour.check_boots()
