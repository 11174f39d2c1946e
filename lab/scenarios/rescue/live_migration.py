# SPDX-License-Identifier: Apache-2.0

"""Live migration of servers that are in rescue."""

from collections import abc
from contextlib import AbstractContextManager

from lab.needs import Need
from lab.scenarios import scenario
from lab.words.client import LIVE_MIGRATE_RESCUED
from lab.words.client import RELEASED
from lab.words import command_line
from lab.words.scene import Scene
from lab.words.server import Server


def _unrescue(server: Server, host: str) -> None:
    server.unrescue()
    server.check_guest('disk')
    server.check_lives_on(host)


def _migrate(scene: Scene, to: abc.Callable[[str], str | None]) -> None:
    """Live-migrate a rescued server, and look at it on the way.

    :param to: the host to ask for, by that which it moves to
    """
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with server.live_migrating(to(destination)):
        server.check_busy('migrating')
    server.check_migrated(source, destination)
    server.check_lives_on(destination)
    server.check_recorded()
    _unrescue(server, destination)


@scenario(capability=2)
def live_migrate_rescued(scene: Scene) -> None:
    """A rescued server moves to a host the scheduler picks, and comes back"""
    _migrate(scene, lambda destination: None)


@scenario(capability=2)
def live_migrate_rescued_to_host(scene: Scene) -> None:
    """A rescued server moves to a named host, and comes back from rescue"""
    _migrate(scene, lambda destination: destination)


@scenario(capability=2)
def refuse_before_2_105(scene: Scene) -> None:
    """With the released microversion a rescued server is refused, as before"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with scene.refused(
            f'live-migrate it with microversion {RELEASED}', 409, 'rescued'):
        server.ask_live_migration(destination, microversion=RELEASED)
    server.check_unmoved(source)
    _unrescue(server, source)


def _refuse_host(
    scene: Scene, text: str, fault: AbstractContextManager[None],
    to_host: str | None, *words: str,
) -> None:
    source = scene.hosts()[0]
    server = scene.rescued(source)
    with scene.lasting(text, fault, 'give it back'):
        with scene.refused('live-migrate it', 400, *words):
            server.ask_live_migration(to_host)
        server.check_unmoved(source)
    _unrescue(server, source)


@scenario(capability=2)
def refuse_source(scene: Scene) -> None:
    """The API refuses, and names the source, when the source cannot"""
    source = scene.hosts()[0]
    _refuse_host(
        scene, f'take the ability to do it from {source}',
        scene.cloud.faults.incapable(source), None, f'source node {source}')


@scenario(capability=2)
def refuse_destination(scene: Scene) -> None:
    """The API refuses, and names the destination, when that one cannot"""
    destination = scene.hosts()[1]
    _refuse_host(
        scene, f'take the ability to do it from {destination}',
        scene.cloud.faults.incapable(destination), destination,
        f'destination node {destination}')


@scenario(capability=2)
def refuse_not_upgraded(scene: Scene) -> None:
    """A destination that went back to the earlier release is not moved to"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with scene.lasting(
            f'take the upgrade from {destination}',
            scene.cloud.faults.not_upgraded(destination), 'give it back'):
        server.fail_to_live_migrate(destination)
        server.check_migration('error')
        server.check_error(
            'conductor_live_migrate_instance', 'No valid host', 'rescued')
        server.check_lives_on(source)
    _unrescue(server, source)


@scenario(capability=2)
def no_capable_destination(scene: Scene) -> None:
    """When no other host can, the error of the action says why"""
    source, *others = scene.cloud.hosts()
    server = scene.rescued(source)
    with scene.lasting(
            f'take the ability to do it from {", ".join(others)}',
            scene.cloud.faults.incapable(*others), 'give it back'):
        server.fail_to_live_migrate()
        server.check_migration('error')
        server.check_error(
            'conductor_live_migrate_instance', 'No valid host', 'rescued')
        server.check_lives_on(source)
    _unrescue(server, source)


def _command(server: Server, destination: str) -> str:
    """The command of the admin guide, told to wait."""
    return command_line.of_guide(
        'live-migrate-rescued', HostC=destination, SERVER=server.id
    ) + ' --wait'


@scenario(capability=2)
def openstack_migrates_rescued(scene: Scene) -> None:
    """The admin guide's command moves a rescued server, and waits for that"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    command = _command(server, destination)
    server.type(command)
    server.check_migrated(source, destination)
    server.check_lives_on(destination)
    server.type(command.replace(f' --host {destination}', ''))
    server.check_lives_on(server.host())
    _unrescue(server, server.host())


@scenario(capability=2)
def openstack_refused_before_2_105(scene: Scene) -> None:
    """With the released microversion, the openstack command is refused"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    command = _command(server, destination).replace(
        LIVE_MIGRATE_RESCUED, RELEASED)
    with scene.refused(f'type "{command}"', 409, 'rescued'):
        server.run(command)
    server.check_unmoved(source)
    _unrescue(server, source)


@scenario(capability=2)
def openstack_says_what_failed(scene: Scene) -> None:
    """The openstack command that waits fails if the migration does"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with scene.cloud.faults.migration_fails(server.id):
        server.check_typing_fails(
            _command(server, destination),
            'status of the migration: failed', 'of the server: RESCUE')
        server.check_lives_on(source)
    _unrescue(server, source)


@scenario(capability=2)
def unrescue_during_migration(scene: Scene) -> None:
    """While it moves, a server cannot be unrescued"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with server.live_migrating(destination):
        with scene.refused('unrescue it on the way', 409, 'migrating'):
            server.act({'unrescue': None})
        server.check_busy('migrating')
    server.check_migrated(source, destination)
    server.check_lives_on(destination)
    _unrescue(server, destination)


@scenario(capability=2)
def failed_migration(scene: Scene) -> None:
    """A migration that fails leaves the server in rescue where it was"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with scene.cloud.faults.migration_fails(server.id):
        server.fail_to_live_migrate(destination)
        server.check_migration('failed')
        server.check_lives_on(source)
    _unrescue(server, source)


@scenario(capability=2)
def abort_migration(scene: Scene) -> None:
    """An aborted migration leaves the server in rescue where it was"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with server.live_migrating(destination) as move:
        move.abort()
        server.check_lives_on(source)
    _unrescue(server, source)


@scenario(capability=3, needs={Need.GUESTS, Need.LOCAL_DISKS})
def abort_while_files_are_copied(scene: Scene) -> None:
    """A migration that is aborted while files are copied copies no further"""
    source, destination = scene.hosts()
    server = scene.boot(source, config_drive=True)
    server.check_boots()
    server.rescue()
    server.check_rescue_boots()
    with server.live_migrating(destination, 'files') as move:
        server.check_copying()
        move.abort('preparing')
        server.check_lives_on(source, cleared_up=True)
    server.check_guest_runs_on()
    server.live_migrate(destination)
    _unrescue(server, destination)


@scenario(capability=2)
def force_complete_migration(scene: Scene) -> None:
    """A migration that does not end can be forced to complete"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with server.live_migrating(destination) as move:
        move.force_complete()
        server.check_lives_on(destination)
    _unrescue(server, destination)


@scenario(capability=3, needs={Need.SERVICES})
def delete_during_migration(scene: Scene) -> None:
    """A server that is deleted as it moves leaves nothing on either host"""
    source, destination = scene.hosts()
    server = scene.rescued(source)
    with server.live_migrating(destination):
        server.delete()


@scenario(capability=3, needs={Need.SERVICES})
def reset_state_during_migration(scene: Scene) -> None:
    """A server whose state is reset as it moves arrives all the same"""
    source, destination = scene.hosts()
    server = scene.booted(source)
    with server.live_migrating(destination) as move:
        server.reset_state()
        move.let_guest_move()
    server.check_migrated(source, destination)
    server.check_lives_on(destination, cleared_up=True)
    server.check_guest_runs_on()
