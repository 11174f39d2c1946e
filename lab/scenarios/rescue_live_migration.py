# SPDX-License-Identifier: Apache-2.0

"""Live migration of servers that are in rescue."""

from collections import abc
import contextlib

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import scenarios
from lab import server as servers

_RESCUE_GUEST = cloud_api.Guest(True, ('disk.rescue', 'disk'))
_GUEST = cloud_api.Guest(True, ('disk',))


def _rescued(
    cloud: cloud_api.Cloud, step: scenarios.Step, host: str
) -> servers.Server:
    with step(f'boot a server on {host} and rescue it'):
        server = servers.boot(cloud, host)
        server.rescue()
        guests.settle(cloud, server.id)
    return server


def _check_images(
    cloud: cloud_api.Cloud, server: servers.Server, guest: cloud_api.Guest
) -> None:
    """The server has the images of its guest, if its disks are images."""
    images = cloud.images(server.id)
    if images is not None:
        expect.equal('its images', images, set(guest.disks))


def _check_place(
    cloud: cloud_api.Cloud, server: servers.Server, host: str
) -> None:
    """The server is in rescue on a host, and on that host only."""
    seen = server.wait_for_status('RESCUE')
    expect.equal('the state of the server', seen.vm_state, 'rescued')
    expect.equal('the host of the server', seen.compute_host, host)
    for name in cloud.hosts():
        expect.equal(
            f'the guest on {name}', cloud.guest(name, server.id),
            _RESCUE_GUEST if name == host else None)
    _check_images(cloud, server, _RESCUE_GUEST)
    expect.equal(
        'the hosts whose resources the server uses',
        set(server.allocations()), {host})
    for migration in server.migrations():
        expect.wait_for(
            'return of what the migration held',
            lambda: server.allocations(migration['uuid']),
            lambda held: not held)


def _check_in_rescue(server: servers.Server) -> None:
    """The server is in rescue while it migrates."""
    seen = server.look()
    expect.equal('the status of the server', seen.status, 'RESCUE')
    expect.equal('the state of the server', seen.vm_state, 'rescued')
    expect.equal('its task', seen.task_state, 'migrating')


def _check_unmoved(
    cloud: cloud_api.Cloud, server: servers.Server, host: str
) -> None:
    """The server is in rescue on its host and never began to leave it."""
    _check_place(cloud, server, host)
    expect.equal('the migrations of the server', server.migrations(), [])


def _unrescue(
    cloud: cloud_api.Cloud, step: scenarios.Step, server: servers.Server,
    host: str,
) -> None:
    with step(f'unrescue it on {host}'):
        server.unrescue()
        expect.equal(
            f'the guest on {host}', cloud.guest(host, server.id), _GUEST)
        _check_images(cloud, server, _GUEST)
        expect.equal('the host of the server', server.host(), host)
    with step('delete it'):
        server.delete()


def _migrate(
    cloud: cloud_api.Cloud, step: scenarios.Step, to_host: bool
) -> None:
    source, destination = cloud.hosts()[:2]
    server = _rescued(cloud, step, source)
    usage = server.allocations()[source]

    with cloud.migration_held(server.id) as migration:
        with step('live-migrate it to ' + (
                destination if to_host else 'a host of the scheduler\'s')):
            server.live_migrate(destination if to_host else None)
            migration.wait_until_running()
        with step('it is in rescue while it moves'):
            _check_in_rescue(server)

    with step('the migration, held no more, completes'):
        done = server.wait_for_migration('completed')
        expect.equal('its source', done['source_compute'], source)
        expect.equal('its destination', done['dest_compute'], destination)

    with step(f'it is in rescue on {destination}, {source} has nothing of it'):
        _check_place(cloud, server, destination)
        expect.equal(
            'the resources it uses', server.allocations()[destination], usage)

    with step('the live migration is recorded as one of its actions'):
        expect.wait_for(
            'success of all its events',
            lambda: {event['event']: event['result'] for event
                     in server.actions()['live-migration']['events']},
            lambda events: set(events.values()) == {'Success'},
            lambda events: 'Error' in events.values())

    _unrescue(cloud, step, server, destination)


def live_migrate_rescued(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A rescued server moves to a host the scheduler picks, and comes back"""
    _migrate(cloud, step, to_host=False)


def live_migrate_rescued_to_host(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A rescued server moves to a named host, and comes back from rescue"""
    _migrate(cloud, step, to_host=True)


def refuse_before_2_105(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """With microversion 2.104 the API refuses a rescued server, as before"""
    source, destination = cloud.hosts()[:2]
    server = _rescued(cloud, step, source)
    with step('live-migrate it with microversion 2.104: refused with 409'):
        with expect.refused(409) as refusal:
            server.live_migrate(destination, microversion='2.104')
        expect.mentions(refusal.message, 'rescued')
    with step(f'it is in rescue on {source}, unmoved'):
        _check_unmoved(cloud, server, source)
    _unrescue(cloud, step, server, source)


def _refuse_host(
    cloud: cloud_api.Cloud, step: scenarios.Step, text: str,
    fault: contextlib.AbstractContextManager[None], to_host: str | None,
    *words: str,
) -> None:
    source = cloud.hosts()[0]
    server = _rescued(cloud, step, source)
    with scenarios.lasting(step, text, fault):
        with step('live-migrate it: refused with 400'):
            with expect.refused(400) as refusal:
                server.live_migrate(to_host)
        with step(f'the message: {refusal.message}'):
            expect.mentions(refusal.message, *words)
        with step(f'it is in rescue on {source}, unmoved'):
            _check_unmoved(cloud, server, source)
    _unrescue(cloud, step, server, source)


def refuse_source(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """The API refuses, and names the source, when the source cannot"""
    source = cloud.hosts()[0]
    _refuse_host(
        cloud, step, f'take the ability to do it from {source}',
        cloud.incapable(source), None, f'source node {source}')


def refuse_destination(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """The API refuses, and names the destination, when that one cannot"""
    destination = cloud.hosts()[1]
    _refuse_host(
        cloud, step, f'take the ability to do it from {destination}',
        cloud.incapable(destination), destination,
        f'destination node {destination}')


def refuse_not_upgraded(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """The API refuses a destination that still runs the earlier release"""
    destination = cloud.hosts()[1]
    _refuse_host(
        cloud, step, f'take {destination} back to the earlier release',
        cloud.not_upgraded(destination), destination,
        f'destination node {destination}', 'not upgraded')


def no_capable_destination(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """When no other host can, the error of the action says why"""
    source, *others = cloud.hosts()
    server = _rescued(cloud, step, source)
    with scenarios.lasting(
            step, f'take the ability to do it from {", ".join(others)}',
            cloud.incapable(*others)):
        with step('live-migrate it: the scheduler finds no host'):
            server.live_migrate()
            server.wait_for_migration('error')
        event = server.wait_for_event(
            'live-migration', 'conductor_live_migrate_instance')
        with step(f'the error: {event["details"]}'):
            expect.equal('the result of the event', event['result'], 'Error')
            expect.mentions(event['details'], 'No valid host', 'rescued')
        with step(f'it is in rescue on {source}'):
            _check_place(cloud, server, source)
    _unrescue(cloud, step, server, source)


@contextlib.contextmanager
def _moving(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> abc.Iterator[tuple[servers.Server, str, str]]:
    """Hold the migration of a rescued server while the block runs.

    :returns: the server, the host it was on and the host it moves to
    """
    source, destination = cloud.hosts()[:2]
    server = _rescued(cloud, step, source)
    with cloud.migration_held(server.id) as migration:
        with step(f'live-migrate it to {destination}'):
            server.live_migrate(destination)
            migration.wait_until_running()
        yield server, source, destination


def unrescue_during_migration(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """While it moves, a server cannot be unrescued"""
    with _moving(cloud, step) as (server, source, destination):
        with step('unrescue it on the way: refused with 409'):
            with expect.refused(409) as refusal:
                server.act({'unrescue': None})
            expect.mentions(refusal.message, 'migrating')
            _check_in_rescue(server)
    with step(f'the migration completes on {destination}'):
        server.wait_for_migration('completed')
        _check_place(cloud, server, destination)
    _unrescue(cloud, step, server, destination)


def failed_migration(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A migration that fails leaves the server in rescue where it was"""
    source, destination = cloud.hosts()[:2]
    server = _rescued(cloud, step, source)
    with cloud.migration_fails(server.id):
        with step(f'live-migrate it to {destination}: the hypervisor fails'):
            server.live_migrate(destination)
            server.wait_for_migration('failed')
        with step(f'it is in rescue on {source}, {destination} has nothing'):
            _check_place(cloud, server, source)
    _unrescue(cloud, step, server, source)


def abort_migration(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """An aborted migration leaves the server in rescue where it was"""
    with _moving(cloud, step) as (server, source, destination):
        with step('abort the migration'):
            server.wait_for_migration('running')
            server.abort_migration()
            server.wait_for_migration('cancelled')
        with step(f'it is in rescue on {source}, {destination} has nothing'):
            _check_place(cloud, server, source)
    _unrescue(cloud, step, server, source)


def force_complete_migration(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A migration that does not end can be forced to complete"""
    with _moving(cloud, step) as (server, source, destination):
        with step('force the migration to complete'):
            server.wait_for_migration('running')
            server.force_complete_migration()
            server.wait_for_migration('completed')
        with step(f'it is in rescue on {destination}'):
            _check_place(cloud, server, destination)
    _unrescue(cloud, step, server, destination)
