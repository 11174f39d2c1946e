# SPDX-License-Identifier: Apache-2.0

"""Cold migration and resize within a cell.

Hosts copy the disks of a server to each other over ssh.
"""

from lab.needs import Need
from lab.scenarios import scenario
from lab.words.scene import Scene
from lab.words.server import Server


def _migrated(scene: Scene) -> Server:
    """A server that has moved to the second host."""
    source, destination = scene.hosts()
    server = scene.booted(source)
    server.migrate(destination)
    server.check_moved(destination)
    server.check_boots()
    server.check_as_large(destination)
    server.check_disk_size()
    return server


def _resized(scene: Scene, destination: str) -> Server:
    """A server that has become larger on a host."""
    server = scene.booted(scene.hosts()[0])
    with scene.only(destination):
        server.resize()
    server.check_moved(destination)
    server.check_boots()
    server.check_grown(destination)
    server.check_disk_grown()
    return server


def _confirm(server: Server, host: str) -> None:
    server.confirm()
    server.check_lives_on(host)
    server.check_guest_runs_on()


def _revert(server: Server, host: str) -> None:
    server.revert()
    server.check_lives_on(host)
    server.check_boots()
    server.check_disk_size()


@scenario(capability=6, needs={Need.GUESTS})
def cold_migrate(scene: Scene) -> None:
    """A server moves to another host with its disk, for good"""
    _confirm(_migrated(scene), scene.hosts()[1])


@scenario(capability=6, needs={Need.GUESTS})
def revert_cold_migration(scene: Scene) -> None:
    """A server that has moved to another host goes back"""
    _revert(_migrated(scene), scene.hosts()[0])


@scenario(capability=6, needs={Need.GUESTS})
def resize(scene: Scene) -> None:
    """A server becomes larger, and moves to another host for that"""
    destination = scene.hosts()[1]
    _confirm(_resized(scene, destination), destination)


@scenario(capability=6, needs={Need.GUESTS})
def revert_resize(scene: Scene) -> None:
    """A server that has become larger goes back to its host and size"""
    source, destination = scene.hosts()
    _revert(_resized(scene, destination), source)


@scenario(capability=6, needs={Need.GUESTS})
def resize_on_host(scene: Scene) -> None:
    """A server becomes larger on the host that it is on"""
    host = scene.hosts()[0]
    _confirm(_resized(scene, host), host)


@scenario(capability=6, needs={Need.GUESTS})
def revert_resize_on_host(scene: Scene) -> None:
    """A server that has become larger on its host gets its size back"""
    host = scene.hosts()[0]
    _revert(_resized(scene, host), host)
