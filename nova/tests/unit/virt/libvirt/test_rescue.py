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

import os
import shutil
import signal
from unittest import mock

from cursive import exception as cursive_exc
import ddt
import fixtures
from glanceclient import exc as glance_exc
from keystoneauth1 import exceptions as ks_exc
from oslo_concurrency import processutils
from oslo_serialization import jsonutils
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import vm_states
import nova.conf
from nova import context
from nova import exception
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit import fake_block_device
from nova.tests.unit import fake_instance
from nova.virt import driver
from nova.virt import fake
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import imagecache
from nova.virt.libvirt import rescue

CONF = nova.conf.CONF


class RescueTestBase(test.NoDBTestCase):
    """A rescued instance with files on disk, and the driver of its host.

    The instance has a root disk, an ephemeral disk, a swap disk and a config
    drive, all raw, and a volume on vdb: where legacy rescue puts the root
    disk.
    """

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(fixtures.MockPatch(
            'nova.privsep.utils.supports_direct_io', return_value=True))
        self.instances_path = self.useFixture(fixtures.TempDir()).path
        self.flags(instances_path=self.instances_path,
                   my_ip='127.0.0.1')
        self.flags(images_type='raw', group='libvirt')
        self.context = context.get_admin_context()
        self.instance = fake_instance.fake_instance_obj(
            self.context, uuid=uuids.server, host='source', node='source',
            vm_state=vm_states.RESCUED, root_device_name='/dev/vda',
            image_ref=uuids.server_image, kernel_id='', ramdisk_id='',
            config_drive='True', expected_attrs=['system_metadata'],
            flavor=objects.Flavor(
                root_gb=1, ephemeral_gb=1, swap=1, memory_mb=64, vcpus=1,
                extra_specs={}))
        self.instance.trusted_certs = None
        self.instance.numa_topology = None
        self.instance_dir = os.path.join(self.instances_path, uuids.server)
        os.mkdir(self.instance_dir)
        self.volume = fake_block_device.fake_bdm_object(self.context, {
            'device_name': '/dev/vdb', 'source_type': 'volume',
            'destination_type': 'volume', 'volume_id': uuids.volume,
            'disk_bus': 'virtio', 'device_type': 'disk',
            'connection_info': jsonutils.dumps({
                'serial': uuids.volume, 'driver_volume_type': 'iscsi',
                'data': {'device_path': '/dev/sdx'}})})
        self.bdms = objects.BlockDeviceMappingList(objects=[
            fake_block_device.fake_bdm_object(self.context, {
                'device_name': '/dev/vda', 'source_type': 'image',
                'destination_type': 'local', 'boot_index': 0,
                'disk_bus': 'virtio', 'device_type': 'disk'}),
            fake_block_device.fake_bdm_object(self.context, {
                'device_name': '/dev/vdc', 'source_type': 'blank',
                'destination_type': 'local', 'volume_size': 1,
                'guest_format': None, 'disk_bus': 'virtio',
                'device_type': 'disk', 'boot_index': -1}),
            fake_block_device.fake_bdm_object(self.context, {
                'device_name': '/dev/vdd', 'source_type': 'blank',
                'destination_type': 'local', 'guest_format': 'swap',
                'volume_size': 1, 'disk_bus': 'virtio',
                'device_type': 'disk', 'boot_index': -1}),
            self.volume])
        self.block_device_info = driver.get_block_device_info(
            self.instance, self.bdms)
        self.drvr = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)

    def _path(self, name):
        return os.path.join(self.instance_dir, name)

    def _write(self, path, content):
        with open(path, 'w') as f:
            f.write(content)

    def _read(self, path):
        with open(path) as f:
            return f.read()

    def _write_all(self):
        """Give the server every file; the content of each is its name."""
        for name in ('disk', 'disk.eph0', 'disk.swap', 'disk.config',
                     'disk.rescue', 'disk.config.rescue', 'kernel.rescue',
                     'console.log', 'unrescue.xml'):
            self._write(self._path(name), name)
        self._write(self._path('disk.info'), '{}')

    def _disk(self, name, dev, extra='', driver_format='raw'):
        return f"""
            <disk type="file" device="disk">
              <driver name="qemu" type="{driver_format}"/>
              <source file="{self._path(name)}"/>
              <target dev="{dev}" bus="virtio"/>{extra}
            </disk>"""

    def _volume(self, dev):
        return f"""
            <disk type="block" device="disk">
              <source dev="/dev/sdx"/><target dev="{dev}" bus="virtio"/>
              <serial>{uuids.volume}</serial>
            </disk>"""

    def _legacy_rescue(self, driver_format='raw'):
        return self._guest(
            self._disk('disk.rescue', 'vda', driver_format=driver_format) +
            self._disk('disk', 'vdb', driver_format=driver_format) +
            self._disk('disk.config.rescue', 'hda', '<readonly/>'))

    def _lun(self, dev):
        """A volume whose disk has no serial."""
        return f"""
            <disk type="block" device="lun">
              <source dev="/dev/sdx"/><target dev="{dev}" bus="scsi"/>
            </disk>"""

    def _stable_rescue(self, volume=None):
        return self._guest(
            self._disk('disk', 'vda') + (volume or self._volume('vdb')) +
            self._disk('disk.eph0', 'vdc') + self._disk('disk.swap', 'vdd') +
            self._disk('disk.config', 'hda', '<readonly/>') +
            self._disk('disk.rescue', 'vde'))

    def _guest(self, disks, firmware=''):
        """Make the driver find a guest that has these devices."""
        domain = mock.create_autospec(fakelibvirt.Domain, instance=True)
        domain.XMLDesc.return_value = f"""
            <domain type="kvm"><name>{self.instance.name}</name>
            <uuid>{uuids.server}</uuid><os><type>hvm</type>{firmware}</os>
            <devices>{disks}</devices></domain>"""
        guest = libvirt_guest.Guest(domain)
        self.drvr._host.get_guest = lambda instance: guest
        return guest

    def _migrate_data(self, **kwargs):
        migrate_data = objects.LibvirtLiveMigrateData(
            instance_relative_path=uuids.server, **dict(
                {'is_shared_instance_path': False, 'block_migration': True,
                 'is_shared_block_storage': False}, **kwargs))
        rescue.offer(migrate_data)
        return migrate_data


@ddt.ddt
class FirmwareTest(RescueTestBase):
    """The firmware of a server across its rescue."""

    UEFI = """
        <loader readonly="yes" secure="{secure}" type="pflash"
        >/fw/CODE</loader>
        <nvram template="/fw/VARS">/nvram/server_VARS.fd</nvram>"""

    def _config(self, os='', features='', disk='disk'):
        config = vconfig.LibvirtConfigGuest()
        config.parse_str(
            '<domain><os><type>hvm</type>%s</os><features>%s</features>'
            '<devices>%s</devices></domain>' % (
                os, features, self._disk(disk, 'vda')))
        return config

    def _firmware(self, config):
        return {name: getattr(config, name) for name in (
            'os_loader', 'os_loader_type', 'os_loader_readonly',
            'os_loader_secure', 'os_firmware_secure', 'os_nvram',
            'os_nvram_template')}

    def _smm(self, config):
        return any(isinstance(f, vconfig.LibvirtConfigGuestFeatureSMM)
                   for f in config.features)

    @ddt.data('yes', 'no')
    def test_of_the_server(self, secure):
        server = self._config(
            self.UEFI.format(secure=secure), '<smm state="on"/>')
        rescue.record(self.instance, uuids.rescue_image, server)
        for rescue_guest in (None, self._config(disk='disk.rescue')):
            before = rescue.get_guest_before_rescue(
                self.instance, rescue_guest)
            self.assertEqual(self._firmware(server), self._firmware(before))
            self.assertEqual('/nvram/server_VARS.fd', before.os_nvram)
            self.assertTrue(self._smm(before))

    def test_of_a_server_with_bios(self):
        rescue.record(self.instance, uuids.rescue_image, self._config())
        before = rescue.get_guest_before_rescue(
            self.instance, self._config(self.UEFI.format(secure='yes'),
                                        disk='disk.rescue'))
        self.assertIsNone(before.os_loader)
        self.assertFalse(self._smm(before))

    def test_rescued_again_from_a_rescue_guest(self):
        server = self._config(self.UEFI.format(secure='no'))
        rescue.record(self.instance, uuids.earlier, server)
        rescue.record(self.instance, uuids.rescue_image,
                      self._config(disk='disk.rescue'))
        self.assertEqual(
            uuids.rescue_image,
            self.instance.system_metadata[rescue.RESCUE_IMAGE_ID])
        self.assertEqual(
            self._firmware(server),
            self._firmware(rescue.get_guest_before_rescue(
                self.instance, None)))

    def test_rescued_before_the_upgrade(self):
        server = self._config(self.UEFI.format(secure='no'))
        rescue_guest = self._config(disk='disk.rescue')
        self.assertIs(rescue_guest, rescue.get_guest_before_rescue(
            self.instance, rescue_guest))
        self._write(self._path('unrescue.xml'), (
            '<domain><os><type>hvm</type>%s</os><features/><devices/>'
            '</domain>' % self.UEFI.format(secure='no')))
        self.assertEqual(
            self._firmware(server),
            self._firmware(rescue.get_guest_before_rescue(
                self.instance, rescue_guest)))

    def test_forget(self):
        before = dict(self.instance.system_metadata)
        rescue.record(
            self.instance, uuids.rescue_image,
            self._config(self.UEFI.format(secure='yes'),
                         '<smm state="on"/>'))
        rescue.forget(self.instance)
        self.assertEqual(before, self.instance.system_metadata)

    @ddt.data(True, False)
    def test_driver_restores_it(self, preserve_state):
        """Also in a reboot of what the state was reset of."""
        self._guest(self._disk('disk.rescue', 'vda'))
        rescue.record(self.instance, uuids.rescue_image,
                      self._config(self.UEFI.format(secure='no')))
        with test.nested(
            mock.patch.object(self.drvr, '_get_all_assigned_mediated_devices',
                              autospec=True, return_value={}),
            mock.patch.object(self.drvr, '_destroy', autospec=True),
            mock.patch.object(self.drvr, '_cleanup', autospec=True),
            mock.patch.object(self.drvr, 'destroy', autospec=True),
            mock.patch.object(self.drvr, '_get_guest_xml', autospec=True,
                              side_effect=test.TestingException),
        ) as mocks:
            self.assertRaises(
                test.TestingException, self.drvr._hard_reboot, self.context,
                self.instance, [], None,
                block_device_info=self.block_device_info,
                preserve_state=preserve_state)
        self.assertEqual(
            '/fw/CODE', mocks[-1].call_args.kwargs['old_guest'].os_loader)


class DiskInfoTest(RescueTestBase):
    """What the source tells of the disks of a rescued server."""

    def _names(self):
        info = jsonutils.loads(self.drvr.get_instance_disk_info(
            self.instance, self.block_device_info))
        return sorted(os.path.basename(disk['path']) for disk in info)

    def test_legacy_rescue(self):
        self._write_all()
        self._legacy_rescue()
        self.assertEqual(
            ['disk', 'disk.config', 'disk.config.rescue', 'disk.eph0',
             'disk.rescue', 'disk.swap'], self._names())

    def test_stable_rescue(self):
        self._write_all()
        self._stable_rescue()
        self.assertEqual(
            ['disk', 'disk.config', 'disk.eph0', 'disk.rescue', 'disk.swap'],
            self._names())

    def test_stable_rescue_with_volumes_under_other_names(self):
        """Neither a LUN nor a volume is a disk, nor is its name's disk one."""
        self._write_all()
        for volume in (self._lun('sda'), self._volume('vdf')):
            self._stable_rescue(volume)
            self.assertEqual(
                ['disk', 'disk.config', 'disk.eph0', 'disk.rescue',
                 'disk.swap'], self._names())

    def test_disk_that_is_missing(self):
        self._write_all()
        os.unlink(self._path('disk.swap'))
        self._legacy_rescue()
        self.assertNotIn('disk.swap', self._names())

    def test_without_block_device_info(self):
        self._write_all()
        self._legacy_rescue()
        self.block_device_info = None
        self.assertEqual(
            ['disk', 'disk.config', 'disk.config.rescue', 'disk.rescue',
             'disk.swap'], self._names())

    def test_not_rescued_is_as_the_guest_is(self):
        self.instance.vm_state = vm_states.ACTIVE
        self._write_all()
        self._guest(self._disk('disk', 'vda') + self._volume('vdb'))
        self.assertEqual(['disk'], self._names())


class BlockJobTest(RescueTestBase):
    """Which disks the block job of the migration copies."""

    def _devices(self, guest):
        self.drvr._parse_migration_flags()
        with mock.patch.object(
                objects.BlockDeviceMappingList, 'get_by_instance_uuid',
                return_value=self.bdms):
            return self.drvr._live_migration_copy_disk_paths(
                self.context, self.instance, guest)

    def test_legacy_rescue_root_disk_stands_where_a_volume_was(self):
        self.assertEqual(
            ([self._path('disk.rescue'), self._path('disk')], ['vda', 'vdb']),
            self._devices(self._legacy_rescue()))

    def test_stable_rescue_leaves_the_volume_out(self):
        paths, devices = self._devices(self._stable_rescue())
        self.assertEqual(['vda', 'vdc', 'vdd', 'vde'], devices)
        self.assertNotIn('/dev/sdx', paths)

    def test_stable_rescue_leaves_a_lun_out(self):
        self.assertEqual(
            ['vda', 'vdc', 'vdd', 'vde'],
            self._devices(self._stable_rescue(self._lun('sda')))[1])

    def test_volume_that_kept_an_earlier_serial(self):
        self.volume.volume_id = uuids.migrated_volume
        self.assertEqual(
            ['vda', 'vdc', 'vdd', 'vde'],
            self._devices(self._stable_rescue())[1])


class CheckSourceTest(RescueTestBase):
    """What the source asks the destination to copy."""

    def _files(self, guest, **kwargs):
        migrate_data = self._migrate_data(**kwargs)
        rescue.check_source(
            self.instance, guest, self.block_device_info, migrate_data)
        return sorted(migrate_data.rescue_files)

    def test_legacy_rescue(self):
        self._write_all()
        self.assertEqual(
            ['disk.config', 'disk.config.rescue', 'disk.eph0', 'disk.swap',
             'kernel.rescue'], self._files(self._legacy_rescue()))

    def test_stable_rescue(self):
        self._write_all()
        os.unlink(self._path('disk.config.rescue'))
        self._write(self._path('disk.swap.rescue'), '')
        self.assertEqual(
            ['disk.config', 'kernel.rescue'],
            self._files(self._stable_rescue()))

    def test_stable_rescue_with_a_lun(self):
        self._write_all()
        self.assertIn(
            'disk.config', self._files(self._stable_rescue(self._lun('sda'))))

    def _assert_refused_for_uefi(self, guest):
        for shared in (True, False):
            exc = self.assertRaises(
                exception.MigrationPreCheckError, self._files, guest,
                is_shared_instance_path=shared)
            self.assertIn(
                'The rescue guest has no UEFI variables', str(exc))

    def test_uefi(self):
        self.instance.system_metadata['image_hw_firmware_type'] = 'uefi'
        self._assert_refused_for_uefi(self._legacy_rescue())
        self._files(self._guest('', '<nvram>/nvram/server_VARS.fd</nvram>'))
        self.instance.system_metadata['image_hw_firmware_stateless'] = 'true'
        self._files(self._legacy_rescue())

    def test_uefi_is_the_default_of_aarch64(self):
        self.instance.system_metadata['image_hw_architecture'] = 'aarch64'
        self._assert_refused_for_uefi(self._legacy_rescue())

    def test_shared_instance_path(self):
        self._write_all()
        self.assertEqual([], self._files(
            self._legacy_rescue(), is_shared_instance_path=True))

    def test_shared_block_storage(self):
        self._write(self._path('kernel.rescue'), '')
        self._write(self._path('disk.info'), '{}')
        guest = self._guest("""
            <disk type="network"><source protocol="rbd" name="pool/disk"/>
            <target dev="vda"/></disk>""")
        self.assertEqual(['kernel.rescue'], self._files(
            guest, is_shared_block_storage=True, block_migration=False))

    def test_logical_volume_is_refused(self):
        guest = self._guest("""
            <disk type="block"><source dev="/dev/vg/server_disk.rescue"/>
            <target dev="vda"/></disk>""")
        exc = self.assertRaises(
            exception.MigrationPreCheckError, self._files, guest)
        self.assertIn('/dev/vg/server_disk.rescue', str(exc))

    def test_driver_asks(self):
        """Also through the driver, where the compute manager asks."""
        self._write_all()
        self._legacy_rescue()
        migrate_data = objects.LibvirtLiveMigrateData(
            filename='fake', image_type='raw', disk_available_mb=1,
            is_volume_backed=False, rescue_files={})
        with mock.patch.object(
                self.drvr, '_check_shared_storage_test_file',
                return_value=False):
            self.drvr.check_can_live_migrate_source(
                self.context, self.instance, migrate_data,
                self.block_device_info)
        self.assertIn('disk.eph0', migrate_data.rescue_files)
        self.assertTrue(migrate_data.block_migration)


class ReleasesTest(RescueTestBase):
    """Compute services that do not carry the disks of a rescued server.

    Another release may give the next versions of LibvirtLiveMigrateData a
    meaning of its own. It has no field rescue_files: it does not send it, and
    drops it when it loads an object.
    """

    def _of_another_release(self, version):
        class LibvirtLiveMigrateData(objects.LibvirtLiveMigrateData):
            VERSION = version
            fields = {
                name: field for name, field
                in objects.LibvirtLiveMigrateData.fields.items()
                if name != 'rescue_files'}
        return LibvirtLiveMigrateData

    def _check_destination(self):
        with test.nested(
            mock.patch.object(self.drvr, '_compare_cpu'),
            mock.patch.object(
                self.drvr, '_create_shared_storage_test_file',
                return_value='fake'),
            mock.patch.object(
                self.drvr._network_api, 'has_port_binding_extension',
                return_value=False),
            mock.patch.object(
                self.drvr, '_host_can_support_mdev_live_migration',
                return_value=False),
        ):
            self.instance.vcpu_model = None
            return self.drvr.check_can_live_migrate_destination(
                self.context, self.instance, {'cpu_info': None},
                {'disk_available_least': 1})

    def _check_answer(self, migrate_data):
        return self.drvr.check_source_migrate_data_at_dest(
            self.context, self.instance, migrate_data, None, None, None)

    def test_both_of_this_release(self):
        migrate_data = self._check_destination()
        self.assertEqual({}, migrate_data.rescue_files)
        self.assertIs(migrate_data, self._check_answer(migrate_data))

    def test_offer_for_rescued_servers_only(self):
        self.instance.vm_state = vm_states.ACTIVE
        migrate_data = self._check_destination()
        self.assertNotIn('rescue_files', migrate_data)
        self.assertIs(migrate_data, self._check_answer(migrate_data))

    def test_destination_of_another_release(self):
        self._write_all()
        self._legacy_rescue()
        exc = self.assertRaises(
            exception.MigrationPreCheckError,
            self.drvr.check_can_live_migrate_source, self.context,
            self.instance, objects.LibvirtLiveMigrateData(
                filename='fake', image_type='raw', block_migration=True,
                disk_available_mb=1, is_volume_backed=False),
            self.block_device_info)
        self.assertIn('of the destination is of a release', str(exc))

    def test_source_of_the_next_release(self):
        other = self._of_another_release(
            objects.LibvirtLiveMigrateData.VERSION)
        primitive = self._check_destination().obj_to_primitive()
        primitive = other._obj_from_primitive(
            self.context, other.VERSION, primitive).obj_to_primitive()
        answer = objects.LibvirtLiveMigrateData.obj_from_primitive(primitive)
        exc = self.assertRaises(
            exception.MigrationPreCheckError,
            self._check_answer, answer)
        self.assertIn('of the source is of a release', str(exc))

    def test_source_of_an_earlier_release(self):
        """The conductor does not bring the object back to its version."""
        migrate_data = self._check_destination()
        self.assertRaises(
            exception.ObjectActionError, migrate_data.obj_to_primitive,
            target_version='1.14')


@ddt.ddt
class PreLiveMigrationTest(RescueTestBase):
    """What arrives at the destination before the guest moves."""

    def setUp(self):
        super().setUp()
        self._write_all()
        self.source_path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'instances')
        self.cache = os.path.join(self.instances_path, '_base')
        self.copy_fails = None
        self.copy_hook = None
        self.copied_by = []
        self.compressed = {}
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.utils.copy_image', self._copy_image))
        self.shown = []
        self.stub_out('nova.objects.Migration.save',
                      lambda migration: self.shown.append(migration))
        self.images = {uuids.server_image: 'the image of the server',
                       uuids.rescue_image: 'the rescue image'}
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.utils.fetch_image', self._fetch_image))
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.utils.create_image', self._create_image))

    def _copy_image(self, src, dest, host=None, receive=False,
                    on_execute=None, on_completion=None, compression=True):
        """Copy from the source, whose files stand under another path."""
        self.assertEqual(('source', True), (host, receive))
        self.compressed[os.path.basename(src)] = compression
        process = mock.Mock(spec_set=['pid', 'kill'], pid=1234)
        on_execute(process)
        self.copied_by.append(
            {uuid: list(pids) for uuid, pids
             in self.drvr.job_tracker.jobs.items()})
        src = src.replace(self.instances_path, self.source_path)
        try:
            if self.copy_hook:
                self.copy_hook(src)
        finally:
            on_completion(process)
        if process.kill.called:
            raise processutils.ProcessExecutionError(exit_code=-9)
        if self.copy_fails and src.endswith(self.copy_fails):
            self._write(dest, 'broken off')
            raise processutils.ProcessExecutionError('scp')
        shutil.copy(src, dest)

    def _fetch_image(self, context, target, image_id, trusted_certs=None):
        if image_id not in self.images:
            raise exception.ImageNotFound(image_id=image_id)
        self._write(target, self.images[image_id])

    def _create_image(self, path, disk_format, size, backing_file=None,
                      encryption=None, safe=False):
        self._write(path, 'on ' + os.path.basename(backing_file or 'nothing'))

    def _pre_live_migration(self, guest, disk_info=None, migrate_data=None):
        if disk_info is None:
            disk_info = self.drvr._get_instance_disk_info(
                self.instance, self.block_device_info)
        if migrate_data is None:
            migrate_data = self._migrate_data()
            rescue.check_source(
                self.instance, guest, self.block_device_info, migrate_data)
        shutil.move(self.instances_path, self.source_path)
        os.mkdir(self.instances_path)
        with mock.patch.object(self.drvr, '_connect_volume'):
            self.drvr.pre_live_migration(
                self.context, self.instance, self.block_device_info, [],
                jsonutils.dumps(disk_info), migrate_data)

    def test_legacy_rescue(self):
        self._pre_live_migration(self._legacy_rescue())
        for name in ('disk.eph0', 'disk.swap', 'disk.config',
                     'disk.config.rescue', 'kernel.rescue'):
            self.assertEqual(name, self._read(self._path(name)))
        # these the block job fills
        for name in ('disk', 'disk.rescue'):
            self.assertEqual('on nothing', self._read(self._path(name)))
        self.assertEqual(
            {'disk', 'disk.rescue', 'disk.eph0', 'disk.swap', 'disk.config',
             'disk.config.rescue', 'kernel.rescue', 'disk.info'},
            set(os.listdir(self.instance_dir)))

    def test_copy_broken_off(self):
        self.copy_fails = 'disk.swap'
        self.assertRaises(
            processutils.ProcessExecutionError,
            self._pre_live_migration, self._legacy_rescue())
        # the driver has put nothing else there than what was copied before
        self.assertEqual(
            ['disk.config', 'disk.config.rescue', 'disk.eph0', 'disk.info'],
            sorted(os.listdir(self.instance_dir)))

    def test_copy_is_killed_with_the_instance_directory(self):
        self._pre_live_migration(self._legacy_rescue())
        self.assertEqual([{uuids.server: [1234]}] * 5, self.copied_by)
        self.assertNotIn(uuids.server, self.drvr.job_tracker.jobs)

    def test_attempt_that_timed_out_leaves_the_retry_alone(self):
        """The rollback removes the directory, and a retry makes a new one."""
        def roll_back_and_try_again(src):
            if src.endswith('disk.eph0'):
                shutil.rmtree(self.instance_dir)
                os.mkdir(self.instance_dir)

        self.copy_hook = roll_back_and_try_again
        self.assertRaises(
            FileNotFoundError, self._pre_live_migration,
            self._legacy_rescue())
        self.assertEqual([], os.listdir(self.instance_dir))

    def _migrate_data_of(self, migration_uuid, guest):
        migration = objects.Migration(
            self.context, id=1, uuid=migration_uuid,
            instance_uuid=uuids.server, status='preparing')
        migrate_data = self._migrate_data(migration=migration)
        rescue.check_source(
            self.instance, guest, self.block_device_info, migrate_data)
        return migrate_data

    def test_progress(self):
        guest = self._legacy_rescue()
        migrate_data = self._migrate_data_of(uuids.migration, guest)
        self._pre_live_migration(guest, migrate_data=migrate_data)
        shown = self.shown[-1]
        copied = sum(len(name) for name in (
            'disk.eph0', 'disk.swap', 'disk.config', 'disk.config.rescue',
            'kernel.rescue'))
        self.assertEqual(
            (copied, copied, 0), (shown.disk_total, shown.disk_processed,
                                  shown.disk_remaining))
        self.assertEqual(uuids.migration, shown.uuid)

    def test_progress_with_backing_files(self):
        """Images count only if they come from the source."""
        del self.images[uuids.rescue_image]
        info = self._qcow2_disk_info(uuids.rescue_image)
        rescue.add_backing_sizes(self.drvr, info)
        migrate_data = self._migrate_data_of(
            uuids.migration, self._legacy_rescue('qcow2'))
        migrate_data.rescue_files = {}
        self.instance.system_metadata[
            rescue.RESCUE_IMAGE_ID] = uuids.rescue_image
        self._pre_live_migration(None, info, migrate_data)
        shown = self.shown[-1]
        self.assertEqual(len('at the source'), shown.disk_total)
        self.assertEqual(0, shown.disk_remaining)

    def test_stopped_in_the_midst_of_a_copy(self):
        def stop(src):
            if src.endswith('disk.eph0'):
                self._write(src, 'a part of it')
                self.drvr.stop_pre_live_migration(migrate_data.migration)

        self.copy_hook = stop
        guest = self._legacy_rescue()
        migrate_data = self._migrate_data_of(uuids.migration, guest)
        self.assertRaises(
            exception.PreLiveMigrationStopped, self._pre_live_migration,
            guest, migrate_data=migrate_data)
        self.assertNotIn('disk.swap', self.compressed)
        self.assertEqual(
            ['disk.config', 'disk.config.rescue', 'disk.info'],
            sorted(os.listdir(self.instance_dir)))
        self.assertNotIn(uuids.server, self.drvr.job_tracker.jobs)

    def test_stopped_before_the_first_file(self):
        guest = self._legacy_rescue()
        migrate_data = self._migrate_data_of(uuids.migration, guest)
        self.drvr.stop_pre_live_migration(migrate_data.migration)
        self.assertRaises(
            exception.PreLiveMigrationStopped, self._pre_live_migration,
            guest, migrate_data=migrate_data)
        self.assertEqual({}, self.compressed)
        self.assertEqual(['disk.info'], os.listdir(self.instance_dir))

    def test_stopped_before_an_image_is_fetched(self):
        """Nor is that of the other disk."""
        def fetch_image(context, target, image_id, trusted_certs=None):
            fetched.append(image_id)
            self._write(target, 'the image')
            self.drvr.stop_pre_live_migration(migrate_data.migration)

        fetched = []
        info = self._qcow2_disk_info(uuids.rescue_image)
        migrate_data = self._migrate_data_of(
            uuids.migration, self._legacy_rescue('qcow2'))
        self.instance.system_metadata[
            rescue.RESCUE_IMAGE_ID] = uuids.rescue_image
        with mock.patch('nova.virt.libvirt.utils.fetch_image', fetch_image):
            self.assertRaises(
                exception.PreLiveMigrationStopped, self._pre_live_migration,
                None, info, migrate_data)
        self.assertEqual([uuids.server_image], fetched)

    def test_retry_of_a_copy_that_timed_out_is_not_stopped(self):
        """The source had given it up, and its stop comes late."""
        guest = self._legacy_rescue()
        migrate_data = self._migrate_data_of(uuids.migration, guest)
        stopped = self._migrate_data_of(uuids.timed_out, guest).migration
        self.copy_hook = lambda src: self.drvr.stop_pre_live_migration(stopped)
        self._pre_live_migration(guest, migrate_data=migrate_data)
        self.assertEqual('disk.swap', self._read(self._path('disk.swap')))

    @mock.patch('os.kill', autospec=True)
    def test_rollback_of_a_copy_that_timed_out(self, mock_kill):
        """It kills the process, and no other begins."""
        def roll_back(src):
            if src.endswith('disk.eph0'):
                self.drvr.delete_instance_files(self.instance)
                mock_kill.assert_any_call(1234, signal.SIGKILL)
                raise processutils.ProcessExecutionError(exit_code=-9)

        self.copy_hook = roll_back
        guest = self._legacy_rescue()
        migrate_data = self._migrate_data_of(uuids.migration, guest)
        self.assertRaises(
            processutils.ProcessExecutionError, self._pre_live_migration,
            guest, migrate_data=migrate_data)
        self.assertNotIn('disk.swap', self.compressed)
        self.assertFalse(os.path.exists(self.instance_dir))

    def test_migration_of_another_instance(self):
        guest = self._legacy_rescue()
        migrate_data = self._migrate_data_of(uuids.migration, guest)
        migrate_data.migration.instance_uuid = uuids.another
        self.assertRaises(
            exception.MigrationPreCheckError, self._pre_live_migration,
            guest, migrate_data=migrate_data)
        self.assertEqual({}, self.compressed)

    def _assert_no_room(self, info, needed, **kwargs):
        """With one byte less than is needed, nothing is copied."""
        stats = os.statvfs('/')
        with mock.patch('os.statvfs', autospec=True,
                        return_value=mock.Mock(
                            spec_set=stats, f_bavail=needed - 1, f_frsize=1)):
            exc = self.assertRaises(
                exception.MigrationPreCheckError, self._pre_live_migration,
                self._legacy_rescue('qcow2'), info, **kwargs)
        self.assertIn('take up %d bytes' % needed, str(exc))
        self.assertNotIn(CONF.host, str(exc))
        self.assertEqual(['disk.info'], os.listdir(self.instance_dir))

    def test_no_room(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        rescue.add_backing_sizes(self.drvr, info)
        copied = sum(len(name) for name in (
            'disk.eph0', 'disk.swap', 'disk.config', 'disk.config.rescue',
            'kernel.rescue'))
        self._assert_no_room(
            info, 2 + 2 * len('at the source') + copied)

    def test_no_room_to_merge_an_ephemeral_disk(self):
        info = self._qcow2_disk_info(uuids.rescue_image)[:1]
        self._write(os.path.join(self.cache, 'ephemeral_1_default'), '12345')
        info[0]['backing_file'] = 'ephemeral_1_default'
        info[0]['path'] = self._path('disk.eph0')
        rescue.add_backing_sizes(self.drvr, info)
        migrate_data = self._migrate_data()
        self._assert_no_room(info, 1 + 2 * 5, migrate_data=migrate_data)

    def test_room_for_what_is_in_the_cache_already(self):
        info = self._qcow2_disk_info(uuids.rescue_image)[:1]
        rescue.add_backing_sizes(self.drvr, info)
        with mock.patch('os.statvfs', autospec=True,
                        return_value=mock.Mock(
                            spec_set=os.statvfs('/'),
                            f_bavail=1, f_frsize=1)):
            rescue._check_room(self.drvr, self.instance_dir, info,
                               self._migrate_data())

    @ddt.data(
        {'files': '../../.ssh/authorized_keys'}, {'files': '/etc/passwd'},
        {'files': 'disk.info'}, {'files': 'disk\n'}, {'files': ''},
        {'relative_path': '..'}, {'relative_path': '/root'},
        {'host': '-oProxyCommand=x'}, {'host': 'a b'},
        {'backing_file': '../disk'}, {'backing_file': '/etc/shadow'},
        {'backing_file': '-f'}, {'path': '/x/.ssh/disk'},
        {'path': uuids.server + '/authorized_keys'}, {'type': 'luks'},
        {'disk_size': '1'}, {'virt_disk_size': '1'})
    def test_source_that_is_not_to_be_trusted(self, said):
        info = self._qcow2_disk_info(uuids.rescue_image)
        migrate_data = self._migrate_data()
        (key, value), = said.items()
        if key == 'files':
            migrate_data.rescue_files = {value: 1}
        elif key == 'relative_path':
            migrate_data.instance_relative_path = value
        elif key == 'host':
            self.instance.host = value
        else:
            info[1][key] = value
        before = sorted(os.walk(self.instances_path))
        exc = self.assertRaises(
            exception.MigrationPreCheckError, self.drvr.pre_live_migration,
            self.context, self.instance, self.block_device_info, [],
            jsonutils.dumps(info), migrate_data)
        self.assertIn('what cannot belong to', str(exc))
        self.assertEqual(before, sorted(os.walk(self.instances_path)))
        self.assertEqual({}, self.compressed)

    def test_copies_are_compressed_but_those_of_qcow2(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        info.append(dict(info[0], path=self._path('disk.eph0'),
                         backing_file=''))
        self._pre_live_migration(self._legacy_rescue('qcow2'), info)
        self.assertFalse(self.compressed['disk.eph0'])
        self.assertTrue(self.compressed['disk.config'])

    def test_source_of_another_release(self):
        migrate_data = self._migrate_data()
        del migrate_data.rescue_files
        exc = self.assertRaises(
            exception.MigrationPreCheckError,
            self._pre_live_migration,
            self._legacy_rescue(), migrate_data=migrate_data)
        self.assertIn('of the source is of a release', str(exc))

    def _qcow2_disk_info(self, backing_image):
        """Disk info of a legacy rescue with qcow2 disks."""
        self.flags(images_type='qcow2', group='libvirt')
        self.useFixture(fixtures.MockPatch(
            'nova.virt.images.get_image_format'))
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.imagebackend._update_utime_ignore_eacces'))
        self.useFixture(fixtures.MockPatch(
            'nova.virt.disk.api.get_disk_size', return_value=10))
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.utils.get_disk_backing_file',
            return_value=None))
        os.mkdir(self.cache)
        self.cache_name = imagecache.get_cache_fname(backing_image)
        for name in (self.cache_name,
                     imagecache.get_cache_fname(uuids.server_image)):
            self._write(os.path.join(self.cache, name), 'at the source')
        self.drvr = libvirt_driver.LibvirtDriver(fake.FakeVirtAPI(), False)
        return [
            {'path': self._path(name), 'type': 'qcow2', 'virt_disk_size': 10,
             'backing_file': imagecache.get_cache_fname(image),
             'disk_size': 1, 'over_committed_disk_size': 9}
            for name, image in (('disk', uuids.server_image),
                                ('disk.rescue', backing_image))]

    def _cached(self, image_id):
        return self._read(os.path.join(
            self.cache, imagecache.get_cache_fname(image_id)))

    def test_backing_file_from_the_rescue_image(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.instance.system_metadata[rescue.RESCUE_IMAGE_ID] = (
            uuids.rescue_image)
        self._pre_live_migration(self._legacy_rescue('qcow2'), info)
        self.assertEqual('the rescue image', self._cached(uuids.rescue_image))
        self.assertEqual(
            'the image of the server', self._cached(uuids.server_image))
        self.assertEqual('on ' + self.cache_name,
                         self._read(self._path('disk.rescue')))

    def test_backing_file_of_a_read_only_rescue_disk(self):
        """A rescue from a cdrom: the disk is copied, its image is not."""
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.instance.system_metadata[rescue.RESCUE_IMAGE_ID] = (
            uuids.rescue_image)
        guest = self._guest(
            self._disk('disk', 'vda', driver_format='qcow2') +
            self._disk('disk.rescue', 'hda', '<readonly/>', 'qcow2'))
        with mock.patch.object(processutils, 'execute') as mock_execute:
            self._pre_live_migration(guest, info)
        mock_execute.assert_not_called()
        self.assertEqual('disk.rescue', self._read(self._path('disk.rescue')))
        self.assertEqual('the rescue image', self._cached(uuids.rescue_image))

    def test_backing_file_when_the_rescue_image_is_gone(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.instance.system_metadata[rescue.RESCUE_IMAGE_ID] = (
            uuids.rescue_image)
        del self.images[uuids.rescue_image]
        self._pre_live_migration(self._legacy_rescue('qcow2'), info)
        self.assertEqual('at the source', self._cached(uuids.rescue_image))

    @ddt.data(
        exception.ImageNotAuthorized(image_id=uuids.rescue_image),
        exception.ImageUnacceptable(image_id=uuids.rescue_image, reason='no'),
        cursive_exc.SignatureVerificationError(reason='no'),
        exception.CertificateValidationFailed(cert_uuid='c', reason='no'),
        glance_exc.HTTPInternalServerError())
    def test_backing_file_that_is_refused(self, error):
        """Not even the copy of the source is used then."""
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.instance.system_metadata[rescue.RESCUE_IMAGE_ID] = (
            uuids.rescue_image)
        with mock.patch('nova.virt.libvirt.utils.fetch_image',
                        autospec=True, side_effect=error):
            self.assertRaises(
                type(error), self._pre_live_migration,
                self._legacy_rescue('qcow2'), info)
        self.assertEqual([], os.listdir(self.cache))

    @ddt.data(True, False)
    def test_backing_file_with_trusted_certificates(self, recorded):
        """What the source has cannot be verified."""
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.instance.trusted_certs = objects.TrustedCerts(ids=['cert'])
        del self.images[uuids.server_image]
        if recorded:
            self.instance.system_metadata[rescue.RESCUE_IMAGE_ID] = (
                uuids.rescue_image)
        self.assertRaises(
            exception.ImageNotFound, self._pre_live_migration,
            self._legacy_rescue('qcow2'), info)
        self.assertEqual([], os.listdir(self.cache))

    @ddt.data(
        exception.GlanceConnectionFailed(server='glance', reason='down'),
        ks_exc.ConnectFailure())
    def test_backing_files_when_the_image_service_is_down(self, error):
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.instance.system_metadata[rescue.RESCUE_IMAGE_ID] = (
            uuids.rescue_image)
        with mock.patch('nova.virt.libvirt.utils.fetch_image',
                        side_effect=error):
            self._pre_live_migration(self._legacy_rescue('qcow2'), info)
        self.assertEqual('at the source', self._cached(uuids.rescue_image))
        self.assertEqual('at the source', self._cached(uuids.server_image))

    def test_backing_file_when_rescued_before_the_upgrade(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        self._pre_live_migration(self._legacy_rescue('qcow2'), info)
        self.assertEqual('at the source', self._cached(uuids.rescue_image))

    def test_backing_file_of_another_image_than_recorded(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.instance.system_metadata[rescue.RESCUE_IMAGE_ID] = (
            uuids.server_image)
        self._pre_live_migration(self._legacy_rescue('qcow2'), info)
        self.assertEqual('at the source', self._cached(uuids.rescue_image))

    def test_backing_file_broken_off_does_not_get_into_the_cache(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        self.copy_fails = self.cache_name
        self.assertRaises(
            processutils.ProcessExecutionError, self._pre_live_migration,
            self._legacy_rescue('qcow2'), info)
        self.assertEqual([imagecache.get_cache_fname(uuids.server_image)],
                         os.listdir(self.cache))

    def test_ephemeral_disk_of_the_block_job_gets_its_backing_files_bytes(
            self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        info.append(dict(
            info[0], path=self._path('disk.eph0'),
            backing_file='ephemeral_1_default'))
        self._write(os.path.join(self.cache, 'ephemeral_1_default'),
                    'as formatted at the source')

        def execute(*args):
            self.assertEqual(
                ('qemu-img', 'rebase', '-f', 'qcow2', '-b', '',
                 self._path('disk.eph0')), args)
            self.assertEqual('as formatted at the source',
                             self._read(self._path('disk.eph0.backing')))
            self.assertEqual('on disk.eph0.backing',
                             self._read(self._path('disk.eph0')))
            self._write(self._path('disk.eph0'), 'on its own')

        with mock.patch.object(processutils, 'execute', execute):
            self._pre_live_migration(self._stable_rescue(), info)
        self.assertEqual('on its own', self._read(self._path('disk.eph0')))
        self.assertNotIn('disk.eph0.backing', os.listdir(self.instance_dir))
        self.assertNotIn('ephemeral_1_default', os.listdir(self.cache))

    def test_ephemeral_disk_is_made_independent_of_its_backing_file(self):
        info = self._qcow2_disk_info(uuids.rescue_image)
        info.append(dict(
            info[0], path=self._path('disk.eph0'),
            backing_file='ephemeral_1_default'))
        self._write(os.path.join(self.cache, 'ephemeral_1_default'),
                    'as formatted at the source')
        executed = []

        def execute(*args):
            executed.append(args)
            backing_file = self._path('disk.eph0.backing')
            self.assertEqual('as formatted at the source',
                             self._read(backing_file))

        with mock.patch.object(processutils, 'execute', execute):
            self._pre_live_migration(self._legacy_rescue('qcow2'), info)
        self.assertEqual([
            ('qemu-img', 'rebase', '-f', 'qcow2', '-u', '-F', 'raw',
             '-b', self._path('disk.eph0.backing'), self._path('disk.eph0')),
            ('qemu-img', 'rebase', '-f', 'qcow2', '-b', '',
             self._path('disk.eph0')),
        ], executed)
        self.assertEqual('disk.eph0', self._read(self._path('disk.eph0')))
        self.assertNotIn('disk.eph0.backing', os.listdir(self.instance_dir))
        self.assertNotIn('ephemeral_1_default', os.listdir(self.cache))
