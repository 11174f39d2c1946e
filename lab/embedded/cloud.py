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

from lab import cloud
from lab.embedded import hypervisor
from lab.embedded import services
from lab import expect

CAPABILITY = 'supports_live_migrate_rescued'

RELEASED_VERSION = 74
"""The service version of nova-compute 34.0.0."""


class _Login(plugin.BaseAuthPlugin):
    """Who asks, told in headers: there is no Keystone."""

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


class EmbeddedCloud:
    """A lab.cloud.Cloud in this process, from entering it until leaving.

    :param log: file to which Nova's log is appended
    """

    image = glance.GlanceFixture.image1['id']
    rescue_image = glance.GlanceFixture.image3['id']
    flavor = '1'
    larger_flavor = '2'
    disks_flavor = 'disks'

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
            self._hypervisors = {
                name: compute.driver._host.get_connection()
                for name, compute in self._services.computes.items()}
            self._moves = self._services.useFixture(
                hypervisor.Migrations(self._hypervisors))
            self.connect().compute.create_flavor(
                id=self.disks_flavor, name='disks', ram=512, vcpus=1, disk=1,
                ephemeral=1, swap=64)
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

    def _busy(self) -> dict[str, str]:
        """The tasks that servers are busy with, by the id of the server."""
        servers = self.connect().compute.servers(all_projects=True)
        return {server.id: server.task_state
                for server in servers if server.task_state}

    def connect(self, user: str = 'admin') -> connection.Connection:
        if user not in self._connections:
            api = self._services.api_fixture
            roles = {'admin': ['reader', 'member', 'admin'],
                     'member': ['reader', 'member']}[user]
            login = _Login(
                user, api.project_id, roles,
                self._services.placement_fixture.token)
            self._connections[user] = connection.Connection(
                session=session.Session(login),
                compute_endpoint_override=api.base_url,
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
        raise cloud.CannotTell('no server leaves its cell')

    def records(self, server_id: str) -> dict[str, bool]:
        raise cloud.CannotTell('no server leaves its cell')

    def require_disk_copies(self) -> None:
        raise cloud.CannotTell('its disks are empty files')

    def require_volumes(self) -> None:
        raise cloud.CannotTell('it has no volumes')

    def require_uefi(self) -> None:
        raise cloud.CannotTell('its guests have no firmware')

    def guest(self, host: str, server_id: str) -> cloud.Guest | None:
        try:
            domain = self._hypervisors[host].lookupByUUIDString(server_id)
        except fakelibvirt.libvirtError:
            return None
        paths = etree.fromstring(domain.XMLDesc(0)).xpath(
            'devices/disk[@device="disk"]/source/@file')
        return cloud.Guest(
            bool(domain.isActive()),
            tuple(os.path.basename(path) for path in paths))

    def files(self, host: str, server_id: str) -> set[str]:
        directory = self._services.directory(server_id)
        if not directory.is_dir():
            return set()
        return {path.name for path in directory.iterdir()}

    def shared_files(self) -> bool:
        return True

    def digests(self, host: str, server_id: str) -> dict[str, str]:
        raise cloud.CannotTell('its disks are empty files')

    def cached_images(self, host: str) -> dict[str, str]:
        raise cloud.CannotTell('its hosts cache no images')

    def uefi_variables(self, host: str, server_id: str) -> str | None:
        return None

    def images(self, server_id: str) -> set[str] | None:
        return None

    def put_file(
        self, host: str, server_id: str, name: str, text: str
    ) -> None:
        self._services.directory(server_id).joinpath(name).write_text(text)

    def console(self, server_id: str) -> str:
        raise cloud.CannotTell('its guests are not real')

    def type(self, server_id: str, line: str, until: str) -> str:
        raise cloud.CannotTell('its guests are not real')

    def copy_image(self, image: str, **properties: str) -> str:
        return self._services.copy_image(image, properties)

    def kernel_image(self) -> str:
        raise cloud.CannotTell('its guests are not real')

    def delete_image(self, image: str) -> None:
        self._services.delete_image(image)

    def migration_fails(
        self, server_id: str
    ) -> contextlib.AbstractContextManager[None]:
        return self._moves.failing(server_id)

    def migration_held(
        self, server_id: str
    ) -> contextlib.AbstractContextManager[cloud.HeldMigration]:
        return self._moves.held(server_id)

    def disks_held(
        self, server_id: str
    ) -> contextlib.AbstractContextManager[cloud.HeldMigration]:
        raise cloud.CannotTell('its disks are empty files')

    def copy_held(
        self, host: str
    ) -> contextlib.AbstractContextManager[cloud.HeldCopy]:
        raise cloud.CannotTell('its hosts share their files')

    def kill_guest(self, host: str, server_id: str) -> None:
        self._moves.kill(host, server_id)

    def killed(
        self, service: str, host: str | None = None, gently: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        if service == 'libvirtd' and host is not None:
            return self._moves.unreachable(host)
        if service == 'glance':
            return self._services.images_unreachable()
        raise cloud.CannotTell('its services are one process')

    def frozen(
        self, service: str, host: str
    ) -> contextlib.AbstractContextManager[None]:
        raise cloud.CannotTell('its services are one process')

    def new_disk(
        self, host: str
    ) -> contextlib.AbstractContextManager[cloud.Disk]:
        raise cloud.CannotTell('its hosts share their files')

    @contextlib.contextmanager
    def incapable(self, *hosts: str) -> abc.Iterator[None]:
        try:
            for host in hosts:
                self._services.report_capability(host, CAPABILITY, False)
            yield
        finally:
            for host in hosts:
                self._services.report_capability(host, CAPABILITY, True)

    @contextlib.contextmanager
    def not_upgraded(self, host: str) -> abc.Iterator[None]:
        current = self._services.report_version(host, RELEASED_VERSION)
        try:
            yield
        finally:
            self._services.report_version(host, current)

    def hosts_configured(
        self, section: str, option: str, value: str
    ) -> contextlib.AbstractContextManager[None]:
        return self._services.configured(section, option, value)

    @contextlib.contextmanager
    def host_down(self, host: str) -> abc.Iterator[None]:
        services = self.connect().compute
        (service,) = services.services(binary='nova-compute', host=host)
        self._services.computes[host].stop()
        for domain in self._hypervisors[host].listAllDomains(
                fakelibvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            domain.destroy()
        services.update_service_forced_down(service, forced=True)
        try:
            yield
        finally:
            self._services.restart_compute_service(host)
            services.update_service_forced_down(service, forced=False)

    def audit_placement(self, delete: bool = False) -> str:
        return self._services.audit_placement(delete)
