# SPDX-License-Identifier: Apache-2.0

"""The embedded cloud as the scenarios see it."""

from collections import abc
import contextlib
import logging
import os
import pathlib
from typing import Any

import fixtures
from keystoneauth1 import plugin
from keystoneauth1 import session
from lxml import etree
from nova.tests.fixtures import glance
from nova.tests.fixtures import libvirt as fakelibvirt
from openstack import connection

from lab import accounts
from lab import cloud
from lab.embedded import devices
from lab.embedded import faults
from lab.embedded import hypervisor
from lab.embedded import identity
from lab.embedded import images
from lab.embedded import network
from lab.embedded import services
from lab.needs import EMBEDDED
from lab.words import expect


_ROLES = ('reader', 'member', 'manager', 'admin')
"""Roles, of which each implies those before it."""


class _Login(plugin.BaseAuthPlugin):
    """Who asks, named in headers: there is no Keystone."""

    def __init__(
        self, user: str, project: str, roles: abc.Sequence[str], token: str,
    ):
        super().__init__()
        self._headers = {
            'X-Auth-Token': token,
            'X-Auth-User': user,
            'X-User-Id': user,
            'X-Auth-Project-Id': project,
            'X-Roles': ','.join(roles),
        }
        self._project = project

    def get_headers(self, session: Any) -> dict[str, str]:
        return dict(self._headers)

    def get_project_id(self, session: Any) -> str:
        return self._project

    def get_user_id(self, session: Any) -> str:
        return self._headers['X-User-Id']


class EmbeddedCloud(cloud.Cloud):
    """A cloud in this process, with nothing real but Nova itself.

    :param log: file to which Nova's log is appended
    """

    has = EMBEDDED
    image = glance.GlanceFixture.image1['id']
    rescue_image = glance.GlanceFixture.image3['id']
    flavor = '1'
    larger_flavor = '2'
    disks_flavor = 'disks'
    bandwidth = network.BANDWIDTH

    def __init__(self, log: pathlib.Path):
        self._log = log
        self._connections: dict[str, connection.Connection] = {}

    def __enter__(self) -> 'EmbeddedCloud':
        handler = logging.FileHandler(self._log)
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter(
            '%(asctime)s %(threadName)s %(levelname)s %(name)s %(message)s'))
        self._services = services.Services(handler)
        with contextlib.ExitStack() as stack:
            stack.callback(handler.close)
            stack.enter_context(fixtures.LogHandler(handler))
            stack.enter_context(self._services)
            self._moves = self._services.useFixture(hypervisor.Migrations({
                name: compute.driver._host.get_connection()
                for name, compute in self._services.computes.items()}))
            self.faults = faults.EmbeddedFaults(
                self._services, self._moves, self.connect)
            self.connect().compute.create_flavor(
                id=self.disks_flavor, name='disks', ram=512, vcpus=1, disk=1,
                ephemeral=1, swap=64)
            self.vgpu_flavors = {
                vgpu_type: self._create_flavor(
                    vgpu_type, {
                        'resources:VGPU': '1',
                        f'trait:{devices.trait(vgpu_type)}': 'required'})
                for vgpu_type in devices.VGPU_TYPES}
            self.accelerator_flavor = self._create_flavor(
                'accelerator', {'accel:device_profile': devices.PROFILE})
            self._down = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            # A service that stops leaves those without an answer that wait
            # for one.
            self._moves.release()
            expect.wait_for(
                'idle servers', self._busy, lambda busy: not busy,
                timeout=services.RPC_TIMEOUT)
        finally:
            for opened in self._connections.values():
                opened.close()
            self._down.close()

    def _create_flavor(self, name: str, extra_specs: dict[str, str]) -> str:
        """Create a flavor of the size of the others. Returns its id."""
        compute = self.connect().compute
        created = compute.create_flavor(name=name, ram=512, vcpus=1, disk=1)
        compute.create_flavor_extra_specs(created, extra_specs)
        return created.id

    def _busy(self) -> dict[str, str]:
        """The tasks that servers are busy with, by the id of the server."""
        servers = self.connect().compute.servers(all_projects=True)
        return {server.id: server.task_state
                for server in servers if server.task_state}

    def connect(self, user: str = 'admin') -> connection.Connection:
        return self._connect(
            user, accounts.project(user),
            'admin' if user == accounts.ADMIN else 'member')

    def connect_as(self, role: str, project: str) -> connection.Connection:
        return self._connect(f'{role}-{project}', project, role)

    def _connect(
        self, user: str, project: str, role: str
    ) -> connection.Connection:
        if user not in self._connections:
            implied = _ROLES[:_ROLES.index(role)] if role in _ROLES else ()
            login = _Login(
                user, self._services.project(project), (*implied, role),
                self._services.placement_fixture.token)
            self._connections[user] = connection.Connection(
                session=session.Session(login),
                compute_endpoint_override=(
                    self._services.api_fixture.base_url),
                identity_endpoint_override=identity.URL,
                image_endpoint_override=images.URL,
                placement_endpoint_override=(
                    self._services.placement_fixture.endpoint))
        return self._connections[user]

    def hosts(self) -> list[str]:
        return [host for host, cell in self._services.HOSTS.items()
                if cell == 'cell1']

    def other_cell_hosts(self) -> list[str]:
        return [host for host, cell in self._services.HOSTS.items()
                if cell != 'cell1']

    def cell_of(self, server_id: str) -> str:
        return self._services.cell_of(server_id)

    def records(self, server_id: str) -> dict[str, bool]:
        return self._services.records(server_id)

    def guest(self, host: str, server_id: str) -> cloud.Guest | None:
        try:
            domain = self._moves.connections[host].lookupByUUIDString(
                server_id)
        except fakelibvirt.libvirtError:
            return None
        paths = etree.fromstring(domain.XMLDesc(0)).xpath(
            'devices/disk[@device="disk"]/source/@file')
        return cloud.Guest(
            # One that is paused is active in libvirt, not in the fixture.
            domain.info()[0] in (
                fakelibvirt.VIR_DOMAIN_RUNNING,
                fakelibvirt.VIR_DOMAIN_PAUSED),
            tuple(os.path.basename(path) for path in paths))

    def files(self, host: str, server_id: str) -> set[str]:
        directory = self._services.directory(server_id)
        if not directory.is_dir():
            return set()
        return {path.name for path in directory.iterdir()}

    def put_file(
        self, host: str, server_id: str, name: str, text: str
    ) -> None:
        self._services.directory(server_id).joinpath(name).write_text(text)

    def copy_image(self, image: str, **properties: str) -> str:
        return self._services.copy_image(image, properties)

    def spoil_image(self, image: str) -> None:
        self._services.spoil_image(image)

    def downloads(self, image: str) -> int:
        return self._services.downloads[image]

    def notifications(self, event: str) -> list[dict[str, Any]]:
        return self._services.notifications(event)

    def create_port(self) -> str:
        return self._services.ports.create()

    def delete_port(self, port: str) -> None:
        self._services.ports.delete(port)

    def port(self, port: str) -> cloud.Port:
        return self._services.ports.show(port)

    def bandwidth_provider(self, host: str) -> str:
        return network.provider(host)

    def devices(self, host: str, server_id: str) -> cloud.Devices:
        return devices.of_guest(
            self._moves.connections[host].lookupByUUIDString(server_id))

    def accelerators(self, server_id: str) -> dict[str, str]:
        return self._services.devices.bound(server_id)

    def delete_image(self, image: str) -> None:
        self._services.delete_image(image)

    def audit_placement(self, delete: bool = False) -> str:
        return self._services.audit_placement(delete)

    def recover_moves(self, dry_run: bool = False) -> str:
        return self._services.recover_moves(dry_run)
