# SPDX-License-Identifier: Apache-2.0

"""Cold migration and resize from one cell to another.

A disk goes from cell to cell as an image, unless the cells share the files of
servers.
"""

from collections import abc
import contextlib

from lab.needs import Need
from lab.scenarios import scenario
from lab.words import expect
from lab.words.scene import Scene
from lab.words import server as servers
from lab.words.server import Server

_NEEDS = {Need.GUESTS}


def _booted(scene: Scene) -> Server:
    source = scene.hosts()[0]
    server = scene.boot(source)
    server.check_lives_on(source)
    server.check_boots()
    return server


def _check_cell(server: Server, is_home: bool) -> str:
    """Check the cell in which the API looks for a server. Returns its name.

    :param is_home: whether it is to be the one that it was booted in
    """
    cell = server.cloud.cell_of(server.id)
    expect.equal(
        f'whether the API looks for it in {server.cell}',
        cell == server.cell, is_home)
    return cell


@contextlib.contextmanager
def _moving(scene: Scene, server: Server) -> abc.Iterator[str]:
    """Check a move to another cell, which is asked for in the block.

    :yields: the host it goes to
    """
    cloud = scene.cloud
    source, destination = server.host(), cloud.other_cell_hosts()[0]
    copied = Need.OWN_FILES in cloud.has

    def snapshots() -> list[str]:
        # All but that of the first disk are hidden.
        return [image.name for is_hidden in (False, True)
                for image in cloud.connect().image.images(is_hidden=is_hidden)
                if image.instance_uuid == server.id]

    with scene.teller.step(f'move the server to {destination}' + (
            ': its disk is uploaded as an image' if copied else '')):
        yield destination
        if copied:
            expect.wait_for('snapshot', snapshots, bool)
    with scene.teller.step(f'the server comes up on {destination}'):
        server.arrive()
    server.check_moved(destination)
    server.expect_new_swap()
    if server.footprint.images is not None:
        # The other cell has disks in files.
        server.expect_files()
    with scene.teller.step(
            'the API looks for it in the new cell; the old one keeps a '
            'hidden record', is_check=True):
        new = _check_cell(server, is_home=False)
        expect.equal(
            'the cells that have it, and whether that is shown',
            cloud.records(server.id), {new: True, server.cell: False})
    scene.check_audit()
    server.check_boots()
    with scene.teller.step('no image is left', is_check=True):
        expect.wait_for(
            'deletion of the snapshot', snapshots, lambda seen: not seen)
    with scene.teller.step(f'{source} has no guest', is_check=True):
        expect.equal('its guest', cloud.guest(source, server.id), None)


def _migrated(scene: Scene) -> Server:
    server = _booted(scene)
    with _moving(scene, server) as destination:
        server.ask_migration(destination)
    server.check_as_large(destination)
    return server


def _resized(scene: Scene) -> Server:
    server = _booted(scene)
    with scene.only(scene.cloud.other_cell_hosts()[0]):
        with _moving(scene, server) as destination:
            server.ask_resize(as_admin=True)
    server.check_grown(destination)
    server.check_disk_grown()
    return server


def _confirm(scene: Scene, server: Server) -> None:
    server.confirm()
    server.check_lives_on(scene.cloud.other_cell_hosts()[0])
    with scene.teller.step('its new cell has it', is_check=True):
        _check_cell(server, is_home=False)
    scene.check_audit()
    server.check_guest_runs_on()


def _revert(scene: Scene, server: Server) -> None:
    server.revert()
    server.check_lives_on(scene.hosts()[0])
    with scene.teller.step('its old cell has it', is_check=True):
        _check_cell(server, is_home=True)
    scene.check_audit()
    server.check_boots()


@scenario(capability=7, needs=_NEEDS)
def cross_cell_migrate(scene: Scene) -> None:
    """A server moves to another cell, for good"""
    _confirm(scene, _migrated(scene))


@scenario(capability=7, needs=_NEEDS)
def revert_cross_cell_migration(scene: Scene) -> None:
    """A server that has moved to another cell goes back"""
    _revert(scene, _migrated(scene))


@scenario(capability=7, needs=_NEEDS)
def cross_cell_resize(scene: Scene) -> None:
    """A server becomes larger, and moves to another cell for that"""
    _confirm(scene, _resized(scene))


@scenario(capability=7, needs=_NEEDS)
def revert_cross_cell_resize(scene: Scene) -> None:
    """A server that has become larger in another cell goes back"""
    _revert(scene, _resized(scene))


def _there_and_back(scene: Scene, server: Server) -> None:
    """Move a server to the other cell and back, and then for good."""
    server.check_boots()
    for end in _revert, _confirm:
        with _moving(scene, server) as destination:
            server.ask_migration(destination)
        end(scene, server)


@scenario(capability=7, needs=_NEEDS)
def cross_cell_with_all_disks(scene: Scene) -> None:
    """Ephemeral disk and config drive move to another cell, and back"""
    _there_and_back(scene, scene.boot(
        scene.hosts()[0], flavor=scene.cloud.disks_flavor, config_drive=True))


@scenario(capability=7, needs=_NEEDS | {Need.VOLUMES})
def cross_cell_with_volumes(scene: Scene) -> None:
    """A server on a volume, with one more, moves to another cell, and back"""
    _there_and_back(scene, scene.boot(
        scene.hosts()[0], flavor=scene.cloud.disks_flavor,
        volumes=[servers.ROOT, servers.DATA]))


@scenario(capability=7, needs=_NEEDS | {Need.UEFI})
def cross_cell_with_uefi(scene: Scene) -> None:
    """UEFI variables move to another cell, and back"""
    image = scene.copy_image(scene.cloud.image, **servers.UEFI)
    _there_and_back(scene, scene.boot(
        scene.hosts()[0], image.id, scene.cloud.larger_flavor))
