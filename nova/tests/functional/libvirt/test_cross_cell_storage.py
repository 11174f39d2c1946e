# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What a move across cells does to the disks of a server, byte by byte."""

import io
import os
import time
from unittest import mock

import ddt
import fixtures
from lxml import etree
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import cross_cell_progress
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.policies import base as base_policies
from nova.policies import servers as servers_policies
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.fixtures import libvirt_storage as storage
from nova.tests.functional.api import client
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import local_state

# What no server misses if it is made anew.
_MADE_ANEW = ('disk.info', 'console.log', 'disk.swap')


class CrossCellStorageTestBase(base.ServersTestBase):
    """Host a is in one cell and host b in another, with files of their own."""

    ADMIN_API = True
    NUMBER_OF_CELLS = 2
    microversion = 'latest'

    def setUp(self):
        super().setUp()
        self.cinder = self.useFixture(nova_fixtures.CinderFixture(self))
        self.policy.set_rules(
            {servers_policies.CROSS_CELL_RESIZE: base_policies.RULE_ADMIN_API},
            overwrite=False)
        self.flags(max_local_block_devices=5)
        # A raw snapshot has as many bytes as the disk.
        self.flags(snapshot_image_format='qcow2', group='libvirt')
        # That of the fixture is none that an inspector knows.
        self.flags(disable_deep_image_inspection=True, group='workarounds')
        self.glance.create(None, {
            'id': uuids.image, 'name': 'image', 'status': 'active',
            'container_format': 'bare', 'disk_format': 'raw', 'min_ram': 0,
            'min_disk': 0, 'locations': [], 'properties': {
                'hw_machine_type': 'q35', 'hw_firmware_type': 'uefi'}},
            data=io.BytesIO(b'the image'.ljust(storage.IMAGE_SIZE, b'\0')))
        self.images_before = set(self.glance.images)
        self.flavor = self._create_flavor(disk=1, ephemeral=2, swap=1)
        self.created_images = []
        create = self.glance.create

        def record(context, metadata, data=None):
            self.created_images.append(metadata)
            return create(context, metadata, data)

        self.glance.create = record

    def _setup_storage(self):
        self.storage = self.useFixture(storage.LibvirtStorageFixture())
        self.host_dirs = self.storage.host_dirs

    def _start_hosts(self, images_type, shared=False):
        self.flags(images_type=images_type, group='libvirt')
        self.flags(use_cow_images=images_type == 'qcow2')
        if images_type == 'rbd':
            self.flags(images_rbd_pool='vms', group='libvirt')
            if not shared:
                self.storage.rbd_images_of.update(a={}, b={})
        else:
            self.host_dirs.shared = shared
        for host, cell in (('a', 'cell1'), ('b', 'cell2')):
            self.start_compute(host, cell_name=cell)

    def _create_full_server(self, root='image'):
        server = self._build_server(
            image_uuid=uuids.image if root == 'image' else '',
            flavor_id=self.flavor, networks='none', host='a')
        server['config_drive'] = True
        if root == 'image':
            server['block_device_mapping_v2'] = [
                {'source_type': 'image', 'destination_type': 'local',
                 'uuid': uuids.image, 'boot_index': 0},
                {'source_type': 'blank', 'destination_type': 'local',
                 'volume_size': 1, 'boot_index': -1, 'guest_format': 'ext4'},
                {'source_type': 'blank', 'destination_type': 'local',
                 'volume_size': 1, 'boot_index': -1}]
        else:
            # It has the ephemeral disk of its flavor.
            server['block_device_mapping_v2'] = [
                {'source_type': 'volume', 'destination_type': 'volume',
                 'uuid': nova_fixtures.CinderFixture.IMAGE_BACKED_VOL,
                 'boot_index': 0}]
        self._boot(server)

    def _boot(self, server):
        self.server = self._wait_for_state_change(
            self.api.post_server({'server': server}), 'ACTIVE')

    def _domain(self, host):
        connection = self.computes[host].driver._host.get_connection()
        try:
            return connection.lookupByUUIDString(self.server['id'])
        except fakelibvirt.libvirtError:
            return None

    def _disks(self, host):
        """The local disks of the guest on a host: name to source element."""
        disks = {}
        for disk in etree.fromstring(self._domain(host).XMLDesc(0)).findall(
                'devices/disk'):
            source = disk.find('source')
            if source.get('file'):
                disks[os.path.basename(source.get('file'))] = disk
            elif source.get('protocol') == 'rbd':
                disks[source.get('name').rpartition('_')[2]] = disk
        return disks

    def _rbd_images(self, host):
        return self.storage.rbd_images_of.get(host, self.storage.rbd_images)

    def _write(self, host, text):
        """Write to each disk of the guest on a host."""
        for name, disk in self._disks(host).items():
            if disk.find('readonly') is not None:
                continue
            source = disk.find('source')
            data = f'{text}, {name}'.encode()
            if source.get('file'):
                path = source.get('file')
                storage.write(
                    path, len(storage.read(path).rstrip(b'\0')) + 1, data)
            else:
                image = self._rbd_images(host)[
                    source.get('name').partition('/')[2]]
                image['content'] = (
                    image['content'].rstrip(b'\0') + b'\0' + data)
        path = self._uefi_variables(host)
        if path is not None:
            storage.write(path, len(storage.read(path).rstrip(b'\0')) + 1,
                          f'{text}, UEFI'.encode())

    def _contents(self, host):
        """Size and bytes of the disks that the guest on a host has."""
        contents = {}
        for name, disk in self._disks(host).items():
            source = disk.find('source')
            if source.get('file'):
                path = source.get('file')
                contents[name] = (
                    storage.size(path), storage.read(path).rstrip(b'\0'))
            else:
                image = self._rbd_images(host)[
                    source.get('name').partition('/')[2]]
                contents[name] = (
                    image['size'], image['content'].rstrip(b'\0'))
        for name in _MADE_ANEW:
            contents.pop(name, None)
        path = self._uefi_variables(host)
        if path is not None:
            contents['nvram'] = (
                storage.size(path), storage.read(path).rstrip(b'\0'))
        return contents

    def _uefi_variables(self, host):
        """The path of the variables that the guest on a host has, or None."""
        return etree.fromstring(self._domain(host).XMLDesc(0)).findtext(
            'os/nvram')

    def _assert_nothing_on(self, host):
        self.assertIsNone(self._domain(host))
        if not self.host_dirs.shared:
            self.assertEqual(
                set(), self.storage.files(host, self.server['id']))
        self.assertEqual(
            set(), self.storage.files(host, self.server['id'] + '_resize'))
        if host in self.storage.rbd_images_of:
            self.assertEqual({}, self.storage.rbd_images_of[host])
        self.assertEqual({}, self.storage.uefi_variables(host))

    def _assert_nothing_else(self):
        """Nothing of the move is in the image service or shared storage."""
        self.assertEqual(self.images_before, set(self.glance.images))
        for name, image in self.storage.rbd_images.items():
            self.assertEqual({}, image['snaps'], name)
            self.assertFalse(name.endswith('_nvram'), name)
        for host in self.computes:
            self.assertEqual(set(), {
                name for name in self.storage.files(host, self.server['id'])
                if name.startswith(('cross-cell-', 'nvram')) or
                name.endswith('.part')})

    def _assert_refused(self, reason, **kwargs):
        """A move is refused, and the server runs as if none had been tried."""
        before = self._contents('a')
        domain = self._domain('a')
        self.assertRaises(
            client.OpenStackApiException, self._move, **kwargs)
        server = self._wait_for_state_change(self.server, 'ACTIVE')
        self.assertIsNone(server['OS-EXT-STS:task_state'])
        self.assertIn('error', [
            migration['status'] for migration in
            self.api.api_get('/os-migrations').body['migrations']])
        ctxt = nova_context.get_admin_context()
        fault = objects.InstanceFault.get_latest_for_instance(
            ctxt, self.server['id'])
        self.assertIn(reason, fault.message + (fault.details or ''))
        self.assertIs(domain, self._domain('a'))
        self.assertEqual(before, self._contents('a'))
        self._assert_nothing_else()

    def _move(self, flavor=None):
        if flavor is None:
            self.api.post_server_action(
                self.server['id'], {'migrate': {'host': 'b'}})
        else:
            self.api.post_server_action(
                self.server['id'], {'resize': {'flavorRef': flavor}})
        self._wait_for_state_change(self.server, 'VERIFY_RESIZE')


@ddt.ddt
class MoveEveryStorageTest(CrossCellStorageTestBase):
    """One server has one of each kind of disk, and goes and comes back."""

    local_disks = {
        'image': {
            'disk', 'disk.eph0', 'disk.eph1', 'disk.config', 'nvram'},
        'volume': {'disk.eph0', 'disk.config'}}

    def _test(self, images_type, shared=False, root='image'):
        self._start_hosts(images_type, shared)
        self._create_full_server(root)
        self._write('a', 'before')
        before = self._contents('a')
        self.assertEqual(self.local_disks[root], set(before))

        self._move()
        self.assertIsNone(self._domain('a'))
        self.assertEqual(before, self._contents('b'))
        self.assertEqual(self.images_before, set(self.glance.images))
        if shared:
            self.assertEqual([], self.created_images)
        self._write('b', 'to be reverted')
        self._revert_resize(self.server)
        self.assertEqual(before, self._contents('a'))
        self._assert_nothing_on('b')
        self._assert_nothing_else()

        self._write('a', 'again')
        before = self._contents('a')
        self._move()
        self._write('b', 'to be confirmed')
        after = self._contents('b')
        for name, (size, content) in before.items():
            self.assertEqual(size, after[name][0])
            self.assertTrue(after[name][1].startswith(content), name)
        self._confirm_resize(self.server, cross_cell=True)
        self.assertEqual(after, self._contents('b'))
        self._assert_nothing_on('a')
        self._assert_nothing_else()

    @ddt.data('qcow2', 'raw', 'rbd')
    def test_not_shared(self, images_type):
        self._test(images_type)

    @ddt.data('qcow2', 'raw', 'rbd')
    def test_shared(self, images_type):
        self._test(images_type, shared=True)

    @ddt.data(('qcow2', False), ('rbd', False), ('raw', True), ('rbd', True))
    @ddt.unpack
    def test_volume_backed(self, images_type, shared):
        self._test(images_type, shared, root='volume')


class ProgressTest(CrossCellStorageTestBase):
    """The user sees how far a move is, on both hosts."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatchObject(
            cross_cell_progress, 'INTERVAL', 0.05))
        self.seen = []
        self._update, self.glance.update = self.glance.update, self._upload
        self._get, self.glance.download = self.glance.download, self._download

    def _see(self, progress):
        """Wait until the API shows a progress."""
        for _i in range(200):
            server = self.api.get_server(self.server['id'])
            if server['progress'] == progress:
                break
            time.sleep(0.05)
        self.seen.append((server['status'], server['progress']))

    def _upload(self, context, image_id, metadata, data=None, **kwargs):
        if data is not None and data.name.endswith('disk.eph1'):
            # It is the last of three disks of one size.
            data.seek(os.path.getsize(data.name) // 2)
            self._see(41)
            data.seek(0)
        return self._update(context, image_id, metadata, data, **kwargs)

    def _download(self, context, image_id, data=None, dst_path=None, **kwargs):
        image = self.glance.show(context, image_id)
        if image['name'].endswith('-resize-temp'):
            # It is the last, and the others are small.
            with open(dst_path, 'wb') as f:
                f.truncate(image['size'] // 2)
            self._see(75)
        return self._get(context, image_id, data, dst_path, **kwargs)

    def test_progress(self):
        self._start_hosts('qcow2')
        self._create_full_server()
        self._move()
        self.assertEqual([('RESIZE', 41), ('RESIZE', 75)], self.seen)
        # As after a resize within a cell, and again after a revert.
        self.assertEqual(
            0, self.api.get_server(self.server['id'])['progress'])
        for action in self.api.get_instance_actions(self.server['id']):
            details = self.api.api_get(
                '/servers/%s/os-instance-actions/%s' % (
                    self.server['id'], action['request_id'])
            ).body['instanceAction']
            for event in details['events']:
                self.assertIsNotNone(event['start_time'], event)
                self.assertIsNotNone(event['finish_time'], event)
        self._revert_resize(self.server)
        self.assertEqual(
            0, self.api.get_server(self.server['id'])['progress'])


@ddt.ddt
class FailedMoveTest(CrossCellStorageTestBase):
    """A guest that cannot be made in the other cell costs no byte."""

    def _leave_disks_of_long_ago(self, host):
        """What a failed move of an earlier release has left."""
        if host in self.storage.rbd_images_of:
            for name in ('disk', 'disk.eph0', 'disk.local', 'disk.swap'):
                self.storage.rbd_images_of[host][
                    '%s_%s' % (self.server['id'], name)] = {
                        'size': 1, 'content': b'of long ago', 'snaps': {}}
            return
        for directory in (self.server['id'], self.server['id'] + '_resize'):
            os.mkdir(self.host_dirs.path(host, directory))
            for name in ('disk', 'disk.eph0', 'disk.config'):
                with open(self.host_dirs.path(host, directory, name),
                          'wb') as f:
                    f.write(b'of long ago')

    @ddt.data(('qcow2', False), ('raw', True), ('rbd', False), ('rbd', True))
    @ddt.unpack
    def test_spawn_fails(self, images_type, shared):
        self._start_hosts(images_type, shared)
        self._create_full_server()
        self._write('a', 'before')
        before = self._contents('a')
        if not shared:
            self._leave_disks_of_long_ago('b')

        driver = self.computes['b'].driver
        arrived = {}

        def fail(*args, **kwargs):
            # A guest has already written to its disks.
            real(*args, **kwargs)
            arrived.update(self._contents('b'))
            self._write('b', 'lost')
            raise exception.NovaException('no guest today')

        real = driver._create_guest
        with mock.patch.object(
                driver, '_create_guest', autospec=True, side_effect=fail):
            self.assertRaises(client.OpenStackApiException, self._move)
        self.assertEqual(before, arrived)
        self._assert_nothing_on('b')
        self._assert_nothing_else()

        self.api.post_server_action(
            self.server['id'], {'reboot': {'type': 'HARD'}})
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.assertEqual(before, self._contents('a'))

        # The next move takes what has been written since.
        self._write('a', 'later')
        before = self._contents('a')
        self._move()
        self.assertEqual(before, self._contents('b'))


class RefusedMoveTest(CrossCellStorageTestBase):
    """What cannot be moved stays as it is, and its guest runs on."""

    def test_refused(self):
        self._start_hosts('raw')
        self._create_full_server()
        self._write('a', 'before')

        # Move what could stay in its cell to the other.
        self.flags(cross_cell_move_weight_multiplier=-1.0,
                   group='filter_scheduler')
        self._assert_refused(
            'The ephemeral disks of the server have 2 GiB, the flavor has 1',
            flavor=self._create_flavor(disk=1, ephemeral=1, swap=1))

        connection = self.computes['b'].driver._host.get_connection()
        guest = connection.defineXML(self._domain('a').XMLDesc(0))
        self._assert_refused('it has a guest of the server already')
        guest.undefine()

        path = self.host_dirs.path('b', self.server['id'])
        os.mkdir(path)
        with mock.patch.object(
                local_state.LocalState, '_has', autospec=True,
                return_value=None):
            self._assert_refused('cannot say whose it is')
        self.assertTrue(os.path.exists(path))

        self.flags(verify_glance_signatures=True, group='glance')
        self._assert_refused('it accepts signed images only')
