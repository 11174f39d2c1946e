# SPDX-License-Identifier: Apache-2.0

"""Live migration and evacuation of ordinary servers."""

from lab.needs import Need
from lab.scenarios import scenario
from lab.words import client
from lab.words import expect
from lab.words.scene import Scene


@scenario(capability=20, needs={Need.GUESTS})
def live_migrate(scene: Scene) -> None:
    """A server moves to another host, and its guest runs on"""
    source, destination = scene.hosts()
    server = scene.booted(source)

    server.live_migrate(destination, client.RELEASED)
    server.check_lives_on(destination)
    server.check_guest_runs_on()


@scenario(capability=12)
def audit_during_move(scene: Scene) -> None:
    """While a rescued server moves, an audit deletes an orphan and no more"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with server.live_migrating(destination):
        scene.check_audit_deletes_orphan(server)
        server.check_uses(destination)
    server.check_migrated(source, destination)
    server.check_lives_on(destination)
    scene.check_audit()
    server.unrescue()


@scenario(capability=12)
def audit_without_a_cell(scene: Scene) -> None:
    """While the database of a cell is down, an audit deletes nothing"""
    host, _ = scene.hosts()
    server = scene.booted(host)
    with scene.lasting(
            'the database of its cell is down',
            scene.cloud.faults.cell_database_down(host),
            'the database is up again'):
        scene.check_audit_gives_up()
        server.check_uses(host)
    scene.check_audit()


@scenario(capability=12)
def evacuate(scene: Scene) -> None:
    """A server leaves a dead host, and an audit finds what it left behind"""
    source, destination = scene.hosts()
    server = scene.booted(source)

    with scene.lasting(
            f'{source} fails', scene.cloud.faults.host_down(source),
            f'{source} comes back'):
        server.evacuate()
        server.check_uses(source, destination)
        scene.check_audit(server.id, 'can be deleted')
        server.check_uses(source, destination)
        scene.check_audit(server.id, 'Deleted', delete=True)
        server.check_uses(destination)
        scene.check_audit()
        server.start(destination)
        # Where its disk was a file of its host, it has a new one.
        server.check_boots()

    with scene.teller.step(f'{source} deletes its guest', is_check=True):
        expect.wait_for(
            f'deletion of the guest on {source}',
            lambda: scene.cloud.guest(source, server.id),
            lambda seen: seen is None)
    server.check_lives_on(destination)
