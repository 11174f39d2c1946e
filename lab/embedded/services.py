# SPDX-License-Identifier: Apache-2.0

"""Nova's services, started as its functional tests start them."""

import collections
from collections import abc
import contextlib
import gc
import logging
import os
import pathlib
from unittest import mock

import fixtures
from nova.cmd import manage
from nova import context as nova_context
from nova.db.main import api as db
from nova import exception
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import imagebackend
from nova.virt.libvirt import imagecache
from nova.virt.libvirt import utils as libvirt_utils
# Not what the fixtures of Nova put in its place.
from nova.virt.libvirt.utils import fetch_image
from oslo_db import exception as db_exc
from oslo_messaging import opts
from oslo_serialization import jsonutils
from oslo_utils import imageutils
from oslo_utils import uuidutils
import sqlalchemy

from lab import accounts
from lab.embedded import devices
from lab.embedded import identity
from lab.embedded import images
from lab.embedded import network

RPC_TIMEOUT = 20
"""Seconds that a service waits for the answer of another."""


_QCOW2 = b'QFI\xfb\0\0\0\3'.ljust(512, b'\0')
"""How the data of an image in that format begins."""


def _create_image(
    driver, context, instance, disk_mapping, injection_info=None, suffix='',
    disk_images=None, block_device_info=None, **kwargs
):
    # The disks are empty files: only a real guest could see what is in them.
    directory = libvirt_utils.get_instance_path(instance)
    os.makedirs(directory, exist_ok=True)
    image = (disk_images or {'image_id': instance.image_ref})['image_id']
    if image and not driver._is_booted_from_volume(block_device_info):
        imagebackend.Flat(path=os.path.join(directory, f'disk{suffix}')).cache(
            fetch_image, imagecache.get_cache_fname(image), context=context,
            image_id=image)
    for name in disk_mapping:
        if name.startswith('disk') and name.endswith(suffix):
            pathlib.Path(directory, name).touch()
    return False, False


def _create_context(env, **kwargs):
    # Its roles say who is an admin. The fixtures of Nova go by the name.
    return nova_context.RequestContext(
        env['HTTP_X_AUTH_USER'], env['HTTP_X_AUTH_PROJECT_ID'],
        roles=env['HTTP_X_ROLES'].split(','), **kwargs)


class Services(base.ServersTestBase):
    """The services and what surrounds them.

    Not a test, though it is made of a test's parts. It runs while it is
    entered.
    """

    NUMBER_OF_CELLS = 2
    # Each service does its part in its own time, as in a real cloud.
    CAST_AS_CALL = False

    HOSTS = {'node1': 'cell1', 'node2': 'cell1', 'node3': 'cell2'}

    def __init__(self, log: logging.Handler):
        self._stop = contextlib.ExitStack()
        super().__init__('id')
        self._log = log

    def addCleanup(self, function, /, *args, **kwargs):
        # What a test runner does at the end of a test, with its result.
        self._stop.callback(function, *args, **kwargs)

    def __enter__(self) -> 'Services':
        with self._stop:
            self.setUp()
            self._stop = self._stop.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._stop.close()
        finally:
            # Stopped services are garbage in cycles, and their idle threads
            # poll until it is collected.
            gc.collect()

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.LibvirtDriver._create_image', _create_image))
        self.devices = self.useFixture(devices.Devices(self))
        for host, cell in self.HOSTS.items():
            self.start_compute(
                hostname=host, cell_name=cell, pci_info=devices.pci_info(),
                libvirt_version=devices.LIBVIRT, qemu_version=devices.QEMU)
            self.devices.prepare(host)
        self.ports = network.Ports(
            self.neutron, self.placement, self.compute_rp_uuids)

    def _setup_services(self) -> None:
        # Nova's tests keep the log in memory, and nowhere else.
        self.useFixture(fixtures.LogHandler(self._log, nuke_handlers=False))
        # Nova lets some calls take half an hour.
        self.flags(
            rpc_response_timeout=RPC_TIMEOUT, long_rpc_timeout=RPC_TIMEOUT)
        # Who listens for calls starts a thread with each until it has as many
        # as it may, and keeps them: idle ones slow down those at work.
        base.CONF.register_opts(dict(opts.list_opts())[None])
        self.flags(executor_thread_pool_size=6)
        # There is no command that makes another format of a disk.
        self.flags(use_cow_images=False)
        # Placement, in the same process, has turned that off.
        self.flags(enforce_new_defaults=True, group='oslo_policy')
        self.policy = self.useFixture(nova_fixtures.RealPolicyFixture())
        super()._setup_services()
        self.useFixture(fixtures.MonkeyPatch(
            'nova.api.auth.NovaKeystoneContext._create_context',
            _create_context))
        first, *others = accounts.PROJECTS
        self.downloads: collections.Counter[str] = collections.Counter()
        self._count_downloads()
        self._projects = {first: self.api_fixture.project_id} | {
            name: uuidutils.generate_uuid(dashed=False) for name in others}
        users = (accounts.ADMIN, *accounts.OWNERS)
        self.useFixture(identity.Identity({
            'projects': self._projects,
            'users': {name: name for name in users}}))
        self.useFixture(images.Images(self.glance))

    def _count_downloads(self) -> None:
        download = self.glance.download

        def count(context, image_id, *args, **kwargs):
            self.downloads[image_id] += 1
            return download(context, image_id, *args, **kwargs)

        self.useFixture(fixtures.MockPatchObject(
            self.glance, 'download', count))
        self.useFixture(fixtures.MonkeyPatch(
            'nova.privsep.path.utime', os.utime))
        # No image has a format that only this command can tell.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.images.qemu_img_info',
            lambda path: imageutils.QemuImgInfo(
                jsonutils.dumps({'filename': path, 'format': 'raw'}),
                format='json')))

    def project(self, name: str) -> str:
        """The id of a project."""
        return self._projects[name]

    def directory(self, server_id: str) -> pathlib.Path:
        """The directory of a server, which all hosts share."""
        return pathlib.Path(base.CONF.instances_path, server_id)

    def copy_image(self, image: str, properties: dict[str, str]) -> str:
        """Copy an image. Returns the id of the copy.

        :param properties: what it has beside the properties of the image
        """
        context = nova_context.get_admin_context()
        metadata = self.glance.show(context, image)
        del metadata['id']
        metadata['properties'] = {**metadata['properties'], **properties}
        return self.glance.create(context, metadata)['id']

    def spoil_image(self, image: str) -> None:
        """Give an image data of another format than it says."""
        self.glance._imagedata[image] = _QCOW2

    def notifications(self, event: str) -> list[dict[str, object]]:
        """The payloads of all versioned notifications of an event."""
        return [each['payload']['nova_object.data']
                for each in self.notifier.versioned_notifications
                if each['event_type'] == event]

    def delete_image(self, image: str) -> None:
        """Delete an image."""
        self.glance.delete(nova_context.get_admin_context(), image)

    @contextlib.contextmanager
    def configured(
        self, section: str, option: str, value: str
    ) -> abc.Iterator[None]:
        """Set an option of all services, which are in one process."""
        group = None if section == 'DEFAULT' else section
        base.CONF.set_override(option, value, group)
        try:
            yield
        finally:
            base.CONF.clear_override(option, group)

    @contextlib.contextmanager
    def images_unreachable(self) -> abc.Iterator[None]:
        """Keep all services from reaching the image service."""

        def fail(*args, **kwargs):
            raise exception.GlanceConnectionFailed(
                server='glance', reason='connection refused')

        with contextlib.ExitStack() as stack:
            for name in ('detail', 'download', 'show'):
                stack.enter_context(
                    mock.patch.object(self.glance, name, fail))
            yield

    @contextlib.contextmanager
    def cell_database_down(self, host: str) -> abc.Iterator[None]:
        """Keep everything from the database of a host's cell."""

        def fail(*args, **kwargs):
            raise db_exc.DBConnectionError()

        with nova_context.target_cell(
            nova_context.get_admin_context(),
            self.cell_mappings[self.HOSTS[host]],
        ) as context:
            engine = db.get_engine(context=context)
        sqlalchemy.event.listen(engine, 'before_cursor_execute', fail)
        try:
            yield
        finally:
            sqlalchemy.event.remove(engine, 'before_cursor_execute', fail)

    def audit_placement(self, delete: bool) -> str:
        """Look for orphaned allocations. Returns what the audit says.

        :param delete: whether to delete them
        """
        said: list[str] = []
        with mock.patch.object(manage, 'print', said.append, create=True):
            manage.PlacementCommands().audit(verbose=True, delete=delete)
        return '\n'.join(said)

    def recover_moves(self, dry_run: bool) -> str:
        """Bring all moves across cells to an end. Returns what is said of it.

        :param dry_run: whether to tell only what would be done
        """
        said: list[str] = []
        with mock.patch.object(manage, 'print', said.append, create=True):
            manage.CellV2Commands().recover_cross_cell_moves(
                older_than=0, dry_run=dry_run)
        return '\n'.join(said)

    def cell_of(self, server_id: str) -> str:
        """Name of the cell in which the API looks for a server."""
        return objects.InstanceMapping.get_by_instance_uuid(
            nova_context.get_admin_context(), server_id).cell_mapping.name

    def records(self, server_id: str) -> dict[str, bool]:
        """Names of the cells that have a server, and whether it is shown."""
        found = {}
        for name, cell in self.cell_mappings.items():
            with nova_context.target_cell(
                nova_context.get_admin_context(), cell,
            ) as context:
                for each in objects.InstanceList.get_by_filters(
                        context, {'uuid': server_id, 'deleted': False}):
                    found[name] = not each.hidden
        return found

    def report_capability(self, host: str, name: str, value: bool) -> None:
        """Give a compute service a driver capability, or take it away.

        :param value: as the driver would say, and the service would report to
            placement the next time it looks at its resources
        """
        manager = self.computes[host].manager
        manager.driver.capabilities[name] = value
        with nova_context.target_cell(
            nova_context.get_admin_context(),
            self.host_mappings[host].cell_mapping,
        ) as context:
            manager.update_available_resource(context)
