# SPDX-License-Identifier: Apache-2.0

"""Live migration and evacuation of ordinary servers."""

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import scenarios
from lab import server as servers


def live_migrate(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server moves to another host, and its guest runs on"""
    source, destination = cloud.hosts()[:2]
    with step(f'boot a server on {source}'):
        server = servers.boot(cloud, source)
        guest = cloud.guest(source, server.id)
        usage = server.allocations()[source]
    with step('its guest runs and writes a marker to its disk'):
        guests.check_own_boot(cloud, server.id, [])

    with guests.runs_on(cloud, step, server.id):
        with step(f'live-migrate it to {destination}'):
            server.live_migrate(destination, servers.RELEASED)
            server.wait_for_migration('completed')
            server.wait_for_status('ACTIVE')

    with step(f'it is on {destination}, {source} has nothing of it'):
        expect.equal('its host', server.host(), destination)
        expect.equal(
            'the resources it uses', server.allocations(),
            {destination: usage})
        expect.equal(
            f'the guest on {destination}', cloud.guest(
                destination, server.id), guest)
        expect.equal(
            f'the guest on {source}', cloud.guest(source, server.id), None)
        if not cloud.shared_files():
            expect.equal(
                f'the files on {source}', cloud.files(source, server.id),
                set())

    with step('delete it'):
        server.delete()


def evacuate(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """A server leaves a dead host, and an audit finds what it left behind"""
    source, destination = cloud.hosts()[:2]
    # Without real guests, nothing is ever told.
    first = ''
    with step(f'boot a server on {source}'):
        server = servers.boot(cloud, source)
        usage = server.allocations()[source]
    with step('its guest runs and writes a marker to its disk'):
        first = guests.check_own_boot(cloud, server.id, [])

    with cloud.host_down(source):
        with step(f'{source} is down: evacuate the server'):
            server.evacuate()
            expect.equal('its host', server.host(), destination)
        with step('it uses resources on both hosts'):
            expect.equal(
                'the resources it uses', server.allocations(),
                {source: usage, destination: usage})

        with step('an audit of Placement finds those on the dead host'):
            expect.mentions(
                cloud.audit_placement(), server.id, 'can be deleted')
            expect.equal(
                'the hosts whose resources it uses',
                set(server.allocations()), {source, destination})
        with step('and deletes them'):
            expect.mentions(
                cloud.audit_placement(delete=True), server.id, 'Deleted')
            expect.equal(
                'the resources it uses', server.allocations(),
                {destination: usage})
        with step('another audit finds nothing'):
            expect.equal('the audit', cloud.audit_placement(), '')

        with step(f'start it on {destination}'):
            server.start()
        with step('its disk is ' + (
                'the same' if cloud.shared_files() else 'a new one')):
            guests.check_own_boot(
                cloud, server.id, [first] if cloud.shared_files() else [])

    with step(f'{source} is back, and has nothing of it'):
        expect.wait_for(
            f'deletion of the guest on {source}',
            lambda: cloud.guest(source, server.id), lambda seen: seen is None)
        if not cloud.shared_files():
            expect.equal(
                f'the files on {source}', cloud.files(source, server.id),
                set())
    with step(f'it still runs on {destination}'):
        expect.equal('its host', server.wait_for_status(
            'ACTIVE').compute_host, destination)
        guest = cloud.guest(destination, server.id)
        expect.equal(
            'whether its guest runs', guest is not None and guest.running,
            True)
        expect.equal(
            'the resources it uses', server.allocations(),
            {destination: usage})
    with step('delete it'):
        server.delete()
