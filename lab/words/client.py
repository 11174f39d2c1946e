# SPDX-License-Identifier: Apache-2.0

"""A server as the REST API has it: looked at, and asked for, without steps.

openstacksdk picks a microversion by itself for some calls; where the
microversion is the point the call is made here.
"""

from __future__ import annotations

import collections
from typing import Any

from openstack.compute.v2 import server as sdk_server
from openstack import connection
from openstack import exceptions

from lab import accounts
from lab import cloud as cloud_api
from lab.words import command_line
from lab.words import expect
from tool.layout import PROJECT
from tool import numbers
from tool import release

RELEASED = release.facts(PROJECT).microversion
"""The latest microversion of the release that the series stands on."""

LIVE_MIGRATE_RESCUED = numbers.microversion(PROJECT, 'live-migrate-rescued')
"""The first microversion that live-migrates rescued servers."""

TRANSFER = numbers.microversion(PROJECT, 'transfer')
"""The first microversion that transfers servers."""

ENDS = frozenset({'completed', 'failed', 'error', 'cancelled'})
"""The statuses of migrations that are over."""


def ids(cloud: cloud_api.Cloud, user: str) -> tuple[str, str]:
    """The ids of a user and of the project that they act in."""
    session = cloud.connect(user).session
    return session.get_user_id(), session.get_project_id()


def _show(seen: sdk_server.Server) -> str:
    """How a server is, for a message."""
    fault = f', {seen.fault["message"]}' if seen.fault else ''
    return f'{seen.status} with task {seen.task_state}{fault}'


class Client:
    """What the owner and the operator can ask the API about one server."""

    def __init__(self, cloud: cloud_api.Cloud, server_id: str):
        self.id = server_id
        self.cloud = cloud
        #: the user who owns it
        self.owner = accounts.FIRST_OWNER
        self._admin = cloud.connect(accounts.ADMIN)
        self._earlier_migrations = 0

    @property
    def _owner(self) -> connection.Connection:
        return self.cloud.connect(self.owner)

    def look(self) -> sdk_server.Server:
        """The server as the operator sees it now."""
        return self._admin.compute.get_server(self.id)

    def host(self) -> str:
        """The name of the host that it is on now."""
        return self.look().compute_host

    def volumes(self) -> dict[str, list[str]]:
        """The hosts that each of its volumes is attached on, by its id."""
        return {
            attached.id: [
                attachment['host_name'] for attachment in
                self._admin.block_storage.get_volume(attached.id).attachments]
            for attached in self.look().attached_volumes}

    def allocations(
        self, consumer: str | None = None
    ) -> dict[str, dict[str, int]]:
        """What Placement has the server use, by name of the host.

        That is of the host and of all that is nested in it.

        :param consumer: the uuid of a migration, for what that holds instead
        """
        used: dict[str, collections.Counter[str]] = {}
        for provider, held in self._allocations(consumer):
            root = provider['root_provider_uuid']
            host = (provider if root == provider['uuid'] else
                    self._provider(root))['name']
            used.setdefault(host, collections.Counter()).update(held)
        return {host: dict(held) for host, held in used.items()}

    def providers(
        self, consumer: str | None = None
    ) -> dict[str, dict[str, int]]:
        """What Placement has the server use, by name of the provider.

        A host can have several of them.

        :param consumer: the uuid of a migration, for what that holds instead
        """
        return {provider['name']: held
                for provider, held in self._allocations(consumer)}

    def _allocations(
        self, consumer: str | None
    ) -> list[tuple[dict[str, Any], dict[str, int]]]:
        """The providers that something is used of, and what of each."""
        response = self._admin.placement.get(
            f'/allocations/{consumer or self.id}')
        exceptions.raise_from_response(response)
        return [(self._provider(provider), held['resources']) for
                provider, held in response.json()['allocations'].items()]

    def _provider(self, uuid: str) -> dict[str, Any]:
        response = self._admin.placement.get(
            f'/resource_providers/{uuid}', microversion='1.14')
        exceptions.raise_from_response(response)
        return response.json()

    def copy_allocations(self, consumer: str) -> None:
        """Have a consumer use what the server uses, which nobody knows of.

        :param consumer: the uuid of one that does not exist
        """
        placement = self._admin.placement
        response = placement.get(
            f'/allocations/{self.id}', microversion='1.28')
        exceptions.raise_from_response(response)
        exceptions.raise_from_response(placement.put(
            f'/allocations/{consumer}', microversion='1.28',
            json={**response.json(), 'consumer_generation': None}))
        expect.note_done('copy of the allocations')

    def consumer(self) -> tuple[str, str]:
        """Ids of the user and project for whom Placement has it use that."""
        response = self._admin.placement.get(
            f'/allocations/{self.id}', microversion='1.12')
        exceptions.raise_from_response(response)
        return response.json()['user_id'], response.json()['project_id']

    def kept(self) -> dict[str, dict[str, int]]:
        """What Placement keeps for its return, by name of the host.

        That is of its last cold migration or resize.
        """
        migrations = [*self.migrations('migration'),
                      *self.migrations('resize')]
        return self.allocations(migrations[0]['uuid']) if migrations else {}

    def migrations(
        self, kind: str = 'live-migration'
    ) -> list[dict[str, Any]]:
        """All migrations of the server, of one kind, the latest first."""
        response = self._admin.compute.get(
            '/os-migrations', microversion=RELEASED,
            params={'instance_uuid': self.id, 'migration_type': kind})
        exceptions.raise_from_response(response)
        return sorted(
            response.json()['migrations'],
            key=lambda migration: migration['id'], reverse=True)

    def last_move(self) -> dict[str, Any]:
        """The last migration of the server, of whatever kind."""
        return max(
            (migration for kind in ('live-migration', 'migration', 'resize')
             for migration in self.migrations(kind)),
            key=lambda migration: migration['id'])

    def migration(self) -> dict[str, Any]:
        """The live migration last asked for."""
        found = self.migrations()
        if len(found) == self._earlier_migrations:
            return {'status': 'not begun'}
        return found[0]

    def bytes_to_copy(self) -> int:
        """How many bytes of disks its live migration copies in all."""
        response = self._admin.compute.get(
            f'/servers/{self.id}/migrations', microversion=RELEASED)
        exceptions.raise_from_response(response)
        return sum(migration['disk_total_bytes'] or 0
                   for migration in response.json()['migrations'])

    def _actions(self) -> dict[str, dict[str, Any]]:
        """The recorded actions by name, each with its events; latest wins."""
        path = f'/servers/{self.id}/os-instance-actions'
        found = {}
        response = self._admin.compute.get(path, microversion=RELEASED)
        exceptions.raise_from_response(response)
        for action in reversed(response.json()['instanceActions']):
            response = self._admin.compute.get(
                f'{path}/{action["request_id"]}', microversion=RELEASED)
            exceptions.raise_from_response(response)
            found[action['action']] = response.json()['instanceAction']
        return found

    def act(
        self, body: dict[str, Any], microversion: str = RELEASED,
        as_admin: bool = False,
    ) -> None:
        """Ask for an action.

        :raises openstack.exceptions.HttpException: if it is refused
        """
        connection = self._admin if as_admin else self._owner
        exceptions.raise_from_response(connection.compute.post(
            f'/servers/{self.id}/action', json=body,
            microversion=microversion))
        expect.note_done(', '.join(body))

    def ask_transfer(
        self, owner: str, transfer_id: str | None = None,
        from_owner: str | None = None,
    ) -> None:
        """Ask for its transfer to a user and their project.

        :param transfer_id: what names this transfer, to ask for it again
        :param from_owner: a user in whose project it must be, or else it
            stays where it is
        :raises openstack.exceptions.HttpException: if it is refused
        """
        user, project = ids(self.cloud, owner)
        self._admin.compute.transfer_server(
            self.id, project, user=user, transfer_id=transfer_id,
            from_project=from_owner and ids(self.cloud, from_owner)[1])
        expect.note_done('transfer_server')

    def ask_live_migration(
        self, host: str | None = None,
        microversion: str | None = None,
    ) -> None:
        """Ask for a live migration, to the scheduler's choice if no host.

        :param microversion: another than the SDK would choose
        """
        earlier = len(self.migrations())
        if microversion is None:
            self._admin.compute.live_migrate_server(self.id, host=host)
            expect.note_done('live_migrate_server')
        else:
            self.act(
                {'os-migrateLive': {'host': host, 'block_migration': 'auto'}},
                microversion, as_admin=True)
        self._earlier_migrations = earlier

    def run(self, line: str) -> str:
        """Run an openstack command as the operator. Returns what it prints.

        :raises openstack.exceptions.HttpException: if it is refused
        :raises osc_lib.exceptions.CommandError: if it fails
        """
        said = command_line.run(self._admin, line)
        expect.note_done(line)
        return said

    def delete_migration(self) -> None:
        """Ask to abort the live migration that is running."""
        exceptions.raise_from_response(self._admin.compute.delete(
            f'/servers/{self.id}/migrations/{self.migrations()[0]["id"]}',
            microversion=RELEASED))
        expect.note_done('abort')

    def complete_migration(self) -> None:
        """Ask to force the live migration that is running to complete."""
        exceptions.raise_from_response(self._admin.compute.post(
            f'/servers/{self.id}/migrations/{self.migrations()[0]["id"]}'
            '/action',
            json={'force_complete': None}, microversion=RELEASED))
        expect.note_done('force_complete')

    def wait_for_status(self, status: str) -> sdk_server.Server:
        """Wait until the server has a status and is busy with nothing.

        :raises lab.words.expect.Unexpected: if it goes to ERROR, or time is
            up
        """
        return expect.wait_for(
            f'server with status {status}', self.look,
            lambda seen: seen.status == status and seen.task_state is None,
            lambda seen: seen.status == 'ERROR' != status, _show)

    def check_migration_is(self, *statuses: str) -> dict[str, Any]:
        """Wait until the live migration last asked for has such a status.

        :raises lab.words.expect.Unexpected: if it ends with another, or time
            is up
        """
        return expect.wait_for(
            f'migration with status {" or ".join(statuses)}', self.migration,
            lambda seen: seen['status'] in statuses,
            lambda seen: seen['status'] in ENDS,
            lambda seen: seen['status'])

    def wait_for_event(self, action: str, event: str) -> dict[str, Any]:
        """Wait until an event of an action has ended, and return it."""

        def look() -> dict[str, Any]:
            events = self._actions()[action]['events']
            return next(
                (seen for seen in events if seen['event'] == event),
                {'result': None})

        return expect.wait_for(
            f'end of the event {event}', look,
            lambda seen: seen['result'] is not None)
