# SPDX-License-Identifier: Apache-2.0

"""A server, and what its owner and the operator do with it.

Only through the REST API. openstacksdk picks a microversion by itself for
some calls; where the microversion is the point the call is made here.
"""

from collections import abc
from typing import Any

from openstack.compute.v2 import server as sdk_server
from openstack import exceptions

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests

NAME = 'demo'
"""The name of the servers that scenarios boot."""

RELEASED = '2.104'
"""The latest microversion of the release that the series stands on."""

LIVE_MIGRATE_RESCUED = '2.105'
"""The first microversion that live-migrates rescued servers."""

ROOT = 'root'
"""The volume that a server boots from."""

DATA = 'data'
"""A volume that a server has beside the disk that it boots from."""


def _tell(seen: sdk_server.Server) -> str:
    """How a server is, for a message."""
    fault = f', {seen.fault["message"]}' if seen.fault else ''
    return f'{seen.status} with task {seen.task_state}{fault}'


class Server:
    """A server of the project, on a host of the cloud's choice."""

    def __init__(self, cloud: cloud_api.Cloud, server_id: str):
        self.id = server_id
        self._admin = cloud.connect('admin')
        self._owner = cloud.connect('member')
        self._rescue_image = cloud.rescue_image
        self._earlier_migrations = 0

    def look(self) -> sdk_server.Server:
        """The server as the operator sees it now."""
        return self._admin.compute.get_server(self.id)

    def host(self) -> str:
        return self.look().compute_host

    def wait_for_status(self, status: str) -> sdk_server.Server:
        """Wait until the server has a status and is busy with nothing.

        :raises lab.expect.Unexpected: if it goes to ERROR, or time is up
        """
        return expect.wait_for(
            f'server with status {status}', self.look,
            lambda seen: seen.status == status and seen.task_state is None,
            lambda seen: seen.status == 'ERROR' != status, _tell)

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

    def rescue(self, image: str | None = None) -> None:
        """Rescue and wait for it.

        :param image: id of an image; the cloud's rescue image if none
        """
        self.act(
            {'rescue': {'rescue_image_ref': image or self._rescue_image}})
        self.wait_for_status('RESCUE')

    def unrescue(self) -> None:
        """Unrescue and wait for it."""
        self.act({'unrescue': None})
        self.wait_for_status('ACTIVE')

    def live_migrate(
        self, host: str | None = None,
        microversion: str = LIVE_MIGRATE_RESCUED,
    ) -> None:
        """Ask for a live migration, to the scheduler's choice if no host."""
        earlier = len(self.migrations())
        self.act(
            {'os-migrateLive': {'host': host, 'block_migration': 'auto'}},
            microversion, as_admin=True)
        self._earlier_migrations = earlier

    def migrate(self, host: str | None = None) -> None:
        """Cold-migrate, to the scheduler's choice if no host, and wait."""
        self.act({'migrate': {'host': host}}, as_admin=True)
        self.wait_for_status('VERIFY_RESIZE')

    def resize(self, flavor: str, as_admin: bool = False) -> None:
        """Resize and wait until that can be confirmed."""
        self.act({'resize': {'flavorRef': flavor}}, as_admin=as_admin)
        self.wait_for_status('VERIFY_RESIZE')

    def confirm(self) -> None:
        """Confirm that the server has moved, and wait."""
        self.act({'confirmResize': None})
        self.wait_for_status('ACTIVE')

    def revert(self) -> None:
        """Let the server go back to where it was, and wait."""
        self.act({'revertResize': None})
        self.wait_for_status('ACTIVE')

    def evacuate(self) -> None:
        """Rebuild on another host, of the scheduler's choice, and wait.

        The server does not start there by itself.
        """
        self.act({'evacuate': {}}, as_admin=True)
        self.wait_for_status('SHUTOFF')

    def start(self) -> None:
        """Start and wait for it."""
        self.act({'os-start': None})
        self.wait_for_status('ACTIVE')

    def reboot(self) -> None:
        """Let the guest be started anew, and wait."""
        self.act({'reboot': {'type': 'HARD'}})
        self.wait_for_status('ACTIVE')

    def volumes(self) -> dict[str, list[str]]:
        """The hosts that each of its volumes is attached on, by its id."""
        return {
            attached.id: [
                attachment['host_name'] for attachment in
                self._admin.block_storage.get_volume(attached.id).attachments]
            for attached in self.look().attached_volumes}

    def flavor(self) -> str:
        """The name of the server's flavor."""
        return self.look().flavor.original_name

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

    def migration(self) -> dict[str, Any]:
        """The migration last asked for."""
        found = self.migrations()
        if len(found) == self._earlier_migrations:
            return {'status': 'not begun'}
        return found[0]

    def wait_for_migration(self, *statuses: str) -> dict[str, Any]:
        """Wait until the migration last asked for has one of these statuses.

        :raises lab.expect.Unexpected: if it ends with another, or time is up
        """
        over = {'completed', 'failed', 'error', 'cancelled'}
        return expect.wait_for(
            f'migration with status {" or ".join(statuses)}', self.migration,
            lambda seen: seen['status'] in statuses,
            lambda seen: seen['status'] in over,
            lambda seen: seen['status'])

    def abort_migration(self) -> None:
        """Abort the migration that is running."""
        response = self._admin.compute.delete(
            f'/servers/{self.id}/migrations/{self.migrations()[0]["id"]}',
            microversion=RELEASED)
        exceptions.raise_from_response(response)

    def force_complete_migration(self) -> None:
        """Force the migration that is running to complete."""
        response = self._admin.compute.post(
            f'/servers/{self.id}/migrations/{self.migrations()[0]["id"]}'
            '/action',
            json={'force_complete': None}, microversion=RELEASED)
        exceptions.raise_from_response(response)

    def actions(self) -> dict[str, dict[str, Any]]:
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

    def wait_for_event(self, action: str, event: str) -> dict[str, Any]:
        """Wait until an event of an action has ended, and return it."""

        def look() -> dict[str, Any]:
            events = self.actions()[action]['events']
            return next(
                (seen for seen in events if seen['event'] == event),
                {'result': None})

        return expect.wait_for(
            f'end of the event {event}', look,
            lambda seen: seen['result'] is not None)

    def delete(self) -> None:
        """Delete the server and wait until it is gone."""
        self._owner.compute.delete_server(self.id)
        expect.wait_for(
            'deletion of the server',
            lambda: self._owner.compute.find_server(
                self.id, ignore_missing=True),
            lambda seen: seen is None)

    def allocations(
        self, consumer: str | None = None
    ) -> dict[str, dict[str, int]]:
        """What placement has the server use, by name of the host.

        :param consumer: the uuid of a migration, for what that holds instead
        """
        placement = self._admin.placement
        response = placement.get(f'/allocations/{consumer or self.id}')
        exceptions.raise_from_response(response)
        used = {}
        for provider, held in response.json()['allocations'].items():
            response = placement.get(f'/resource_providers/{provider}')
            exceptions.raise_from_response(response)
            used[response.json()['name']] = held['resources']
        return used

    def kept(self) -> dict[str, dict[str, int]]:
        """What placement keeps for its return, by name of the host.

        That is of its last cold migration or resize.
        """
        migrations = [*self.migrations('migration'),
                      *self.migrations('resize')]
        return self.allocations(migrations[0]['uuid'])

    def check_larger(self, host: str, earlier: dict[str, int]) -> int:
        """Check that it uses more memory and disk of a host than before.

        :param earlier: what it used, by name of the resource
        :returns: the GiB of disk that it uses now
        :raises lab.expect.Unexpected: if it does not use more
        """
        used = self.allocations()[host]
        for resource in ('MEMORY_MB', 'DISK_GB'):
            if used[resource] <= earlier[resource]:
                raise expect.Unexpected(
                    f'{resource}: expected more than {earlier[resource]}, '
                    f'seen {used[resource]}')
        return used['DISK_GB']


def _disks(
    image: str, volumes: abc.Container[str]
) -> list[dict[str, str | int | bool]]:
    """The disks of a server that has volumes, as the API takes them."""
    volume: dict[str, str | int | bool] = {
        'destination_type': 'volume', 'volume_size': 1,
        'delete_on_termination': True}
    disks = [{
        'boot_index': 0, 'source_type': 'image', 'uuid': image,
        **(volume if ROOT in volumes else {'destination_type': 'local'})}]
    if DATA in volumes:
        disks.append({'boot_index': -1, 'source_type': 'blank', **volume})
    return disks


def boot(
    cloud: cloud_api.Cloud, host: str, image: str | None = None,
    flavor: str | None = None, config_drive: bool = False,
    volumes: abc.Collection[str] = (),
) -> Server:
    """Boot a server on a host and wait until it and its guest are up.

    :param image: id of an image; the cloud's if none
    :param flavor: id of a flavor; the cloud's if none
    :param volumes: ROOT if it is to boot from a volume made of the image,
        DATA if it is to have one more; both go when the server is deleted
    :raises lab.expect.Unexpected: if it does not come up
    """
    image = image or cloud.image
    disks: dict[str, Any] = {'image_id': image}
    if volumes:
        disks = {'image_id': '' if ROOT in volumes else image,
                 'block_device_mapping': _disks(image, volumes)}
    created = cloud.connect('admin').compute.create_server(
        name=NAME, flavor_id=flavor or cloud.flavor, networks='none',
        host=host, config_drive=config_drive, **disks)
    server = Server(cloud, created.id)
    server.wait_for_status('ACTIVE')
    guests.settle(cloud, server.id)
    return server
