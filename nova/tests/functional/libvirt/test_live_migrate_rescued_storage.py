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

import errno
import io
import os
import threading
from unittest import mock

from cursive import exception as cursive_exc
import ddt
import fixtures
from glanceclient import exc as glance_exc
from lxml import etree
from oslo_concurrency import processutils
from oslo_utils.fixture import uuidsentinel as uuids

from nova import context as nova_context
from nova import exception
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.fixtures import libvirt_storage as storage
from nova.tests.functional.api import client
from nova.tests.functional.libvirt import test_live_migrate_rescued
from nova.virt.libvirt import imagecache
from nova.virt.libvirt import rescue

# What the instance directory has beside what belongs to the server.
# disk.swap.rescue is made by a stable device rescue, but no guest has it.
HOST_FILES = ('disk.info', 'console.log', 'disk.swap.rescue')


class RescuedStorageTestBase(
    test_live_migrate_rescued.LiveMigrateRescuedTestBase
):
    """A server that has one of each kind of disk, with bytes in them."""

    def setUp(self):
        super().setUp()
        self.cinder = self.useFixture(nova_fixtures.CinderFixture(self))
        self._create_image(uuids.kernel, 'the kernel')
        self._create_image(uuids.ramdisk, 'the ramdisk')
        self._create_image(
            uuids.server_image, 'the image of the server',
            kernel_id=uuids.kernel, ramdisk_id=uuids.ramdisk)
        self._create_image(uuids.legacy, 'the rescue image')
        self._create_image(
            uuids.stable, 'the rescue image for stable devices',
            hw_rescue_bus='virtio', hw_rescue_device='disk')

    def _setup_storage(self):
        self.storage = self.useFixture(storage.LibvirtStorageFixture())
        self.host_dirs = self.storage.host_dirs

    def _create_image(self, image_id, content, **properties):
        self.glance.create(None, {
            'id': image_id, 'name': content, 'status': 'active',
            'container_format': 'bare', 'disk_format': 'raw', 'min_ram': 0,
            'min_disk': 0, 'locations': [], 'properties': properties,
        }, data=io.BytesIO(content.encode().ljust(storage.IMAGE_SIZE, b'\0')))

    def _start_hosts_with(self, images_type, shared_path=False):
        self.flags(max_local_block_devices=5)
        self.flags(images_type=images_type, group='libvirt')
        if images_type == 'rbd':
            self.flags(images_rbd_pool='vms', group='libvirt')
        self.host_dirs.shared = shared_path
        self._start_hosts()

    def _create_full_server(self, root='image'):
        """Create a server with all that a server can have.

        :param root: 'image' or 'volume'
        """
        flavor = self._create_flavor(disk=1, ephemeral=2, swap=1)
        server = self._build_server(
            image_uuid=uuids.server_image if root == 'image' else '',
            flavor_id=flavor, networks='none', host='source')
        server['config_drive'] = True
        bdms = server['block_device_mapping_v2'] = [
            {'source_type': 'blank', 'destination_type': 'local',
             'volume_size': 1, 'boot_index': -1, 'guest_format': 'ext4'},
            {'source_type': 'blank', 'destination_type': 'local',
             'volume_size': 1, 'boot_index': -1},
            {'source_type': 'volume', 'destination_type': 'volume',
             'uuid': nova_fixtures.CinderFixture.SWAP_OLD_VOL,
             'boot_index': -1}]
        if root == 'image':
            bdms.append({
                'source_type': 'image', 'destination_type': 'local',
                'uuid': uuids.server_image, 'boot_index': 0})
        else:
            bdms.append({
                'source_type': 'volume', 'destination_type': 'volume',
                'uuid': nova_fixtures.CinderFixture.IMAGE_BACKED_VOL,
                'boot_index': 0})
        self._boot(server)

    def _boot(self, server):
        server = self.api.post_server({'server': server})
        self.server = self._wait_for_state_change(server, 'ACTIVE')

    def _instance(self):
        return objects.Instance.get_by_uuid(
            nova_context.get_admin_context(), self.server['id'])

    def _devices(self, host):
        """What the guest has, but for what differs from host to host."""
        domain = self._domain_xml(host)
        disks = []
        for disk in domain.findall('devices/disk'):
            source = disk.find('source')
            disks.append((
                disk.get('device'), disk.find('target').get('dev'),
                disk.find('target').get('bus'), disk.findtext('serial'),
                os.path.basename(source.get('file', '')) or
                source.get('name'), disk.find('readonly') is not None))
        return {
            'disks': sorted(disks, key=lambda disk: disk[1]),
            'boot': [os.path.basename(domain.findtext('os/' + name) or '')
                     for name in ('kernel', 'initrd')],
            'uefi': domain.findtext('os/nvram') is not None,
            'tpm': domain.find('devices/tpm') is not None,
            'interfaces': len(domain.findall('devices/interface')),
            'hostdevs': len(domain.findall('devices/hostdev'))}

    def _write_to_disks(self, host, text):
        """Let the guest write to each of the disks that it has attached."""
        for disk in self._domain_xml(host).findall('devices/disk'):
            source = disk.find('source')
            target = disk.find('target').get('dev')
            if disk.find('readonly') is not None:
                continue
            if source.get('file'):
                path = source.get('file')
                storage.write(path, len(storage.read(path).rstrip(b'\0')) + 1,
                              f'{text}, {target}'.encode())
            elif source.get('protocol') == 'rbd':
                image = self.storage.rbd_images[
                    source.get('name').partition('/')[2]]
                image['content'] += f'\0{text}, {target}'.encode()

    def _contents(self, host):
        """All bytes of the server on a host, by the name of the file."""
        contents = {
            name: self._content(host, self.server['id'], name)
            for name in self.storage.files(
                host, self.server['id'], but=HOST_FILES)}
        for name, image in self.storage.rbd_images.items():
            contents[name.partition('_')[2]] = [
                text for text in image['content'].split(b'\0') if text]
        contents.pop('disk.swap.rescue', None)
        return contents

    def _content(self, host, *names):
        path = self.host_dirs.path(host, *names)
        return [storage.size(path)] + [
            text for text in storage.read(path).split(b'\0') if text]

    def _rescue(self, image_id):
        """Rescue the server.

        Keeps in ``self.before`` and ``self.rescued`` what the guest had
        before and has now, and in ``self.contents`` all bytes of the server.
        """
        self.before = self._devices('source')
        self._write_to_disks('source', 'running')
        running = self._contents('source')
        self.api.post_server_action(self.server['id'], {
            'rescue': {'rescue_image_ref': image_id}})
        self._wait_for_state_change(self.server, 'RESCUE')
        self.rescued = self._devices('source')
        contents = self._contents('source')
        self.assertEqual(running, {name: contents[name] for name in running})
        self._write_to_disks('source', 'rescued')
        self.contents = self._contents('source')

    def _migrate_stub(self, domain, destination, params, flags):
        self._copy_disks(params.get('migrate_disks', []))
        # QEMU opens all the files that its guest has.
        for path in etree.fromstring(params['destination_xml']).xpath(
                'devices/disk/source/@file | os/kernel/text() | '
                'os/initrd/text()'):
            storage.read(self.host_dirs.elsewhere(path, 'dest'))
        super()._migrate_stub(domain, destination, self._at_dest(params),
                              flags)

    def _at_dest(self, params):
        xml = params['destination_xml'].replace(
            self.host_dirs.path('source'), self.host_dirs.path('dest'))
        return dict(params, destination_xml=xml)

    def _copy_disks(self, targets):
        for disk in self._domain_xml('source').findall('devices/disk'):
            if disk.find('target').get('dev') in targets:
                path = disk.find('source').get('file')
                storage.mirror(path, self.host_dirs.elsewhere(path, 'dest'))

    def _live_migrate_and_check(self):
        self._live_migrate()
        self._wait_for_migration_status(self.server, ['completed'])
        self._assert_server('dest')
        self.assertEqual(self.rescued, self._devices('dest'))
        self.assertEqual(self.contents, self._contents('dest'))
        if not self.host_dirs.shared:
            self.assertEqual(
                set(), self.storage.files('source', self.server['id']))

    def _unrescue_and_check(self):
        self._unrescue_server(self.server)
        self.assertEqual(self.before, self._devices('dest'))
        self.assertEqual(
            {name: content for name, content in self.contents.items()
             if not name.endswith('.rescue')}, self._contents('dest'))

    def _cache(self, host):
        """The image cache of a host: name to content."""
        return {name: self._content(host, '_base', name)
                for name in self.storage.files(host, '_base')}

    def _assert_cached(self, *image_ids):
        """The cache of the destination has these images, and no others."""
        source = self._cache('source')
        self.assertEqual(
            {name: source[name]
             for name in map(imagecache.get_cache_fname, image_ids)},
            self._cache('dest'))


@ddt.ddt
class MigrateEveryStorageTest(RescuedStorageTestBase):
    """One server has all that the table of the documentation names."""

    local_disks = {'disk', 'disk.eph0', 'disk.eph1', 'disk.swap',
                   'disk.config', 'kernel', 'ramdisk'}
    rescue_disks = {'disk.rescue', 'disk.config.rescue'}

    def _test(self, images_type, rescue_image, root='image', **kwargs):
        self._start_hosts_with(images_type, **kwargs)
        self._create_full_server(root)
        self._rescue(rescue_image)
        self._live_migrate_and_check()
        self._unrescue_and_check()

    @ddt.data('qcow2', 'raw', 'flat', 'rbd')
    def test_legacy(self, images_type):
        self._test(images_type, uuids.legacy)
        self.assertLessEqual(
            self.local_disks | self.rescue_disks |
            {'kernel.rescue', 'ramdisk.rescue'}, set(self.contents))

    @ddt.data('qcow2', 'raw', 'flat', 'rbd')
    def test_stable(self, images_type):
        self._test(images_type, uuids.stable)
        self.assertLessEqual(
            self.local_disks | self.rescue_disks, set(self.contents))

    @ddt.data('qcow2', 'raw')
    def test_legacy_vfat_config_drive(self, images_type):
        self.flags(config_drive_format='vfat')
        self._test(images_type, uuids.legacy)

    @ddt.data('qcow2', 'raw')
    def test_stable_vfat_config_drive(self, images_type):
        self.flags(config_drive_format='vfat')
        self._test(images_type, uuids.stable)

    @ddt.data('qcow2', 'raw')
    def test_legacy_shared_path(self, images_type):
        self._test(images_type, uuids.legacy, shared_path=True)

    @ddt.data('qcow2', 'raw')
    def test_stable_shared_path(self, images_type):
        self._test(images_type, uuids.stable, shared_path=True)

    def test_legacy_root_disk_has_the_name_that_a_volume_had(self):
        self._start_hosts_with('qcow2')
        server = self._build_server(
            image_uuid=uuids.server_image, networks='none', host='source')
        server['block_device_mapping_v2'] = [
            {'source_type': 'image', 'destination_type': 'local',
             'uuid': uuids.server_image, 'boot_index': 0},
            {'source_type': 'volume', 'destination_type': 'volume',
             'uuid': nova_fixtures.CinderFixture.SWAP_OLD_VOL,
             'boot_index': -1}]
        self._boot(server)
        self._rescue(uuids.legacy)
        self.assertEqual(
            ['vda', 'vdb'], [disk[1] for disk in self.before['disks']])
        self.assertIn('disk', [
            disk[4] for disk in self.rescued['disks'] if disk[1] == 'vdb'])
        self._live_migrate_and_check()
        self._unrescue_and_check()

    @ddt.data('qcow2', 'raw', 'rbd')
    def test_volume_backed(self, images_type):
        self._test(images_type, uuids.stable, root='volume')
        self.assertLessEqual(
            (self.local_disks | self.rescue_disks) -
            {'disk', 'kernel', 'ramdisk'}, set(self.contents))

    def test_volume_backed_shared_path(self):
        self._test('qcow2', uuids.stable, root='volume', shared_path=True)


@ddt.ddt
class RescueAgainTest(RescuedStorageTestBase):
    """A rescue that no unrescue has ended does not change the next one."""

    def _assert_fresh(self):
        """The disk of the next rescue has nothing on it but its image."""
        self.api.post_server_action(self.server['id'], {
            'rescue': {'rescue_image_ref': uuids.stable}})
        self._wait_for_state_change(self.server, 'RESCUE')
        content = self._contents('source')['disk.rescue']
        self.assertEqual(
            [b'the rescue image for stable devices'],
            [text for text in content if isinstance(text, bytes)])
        self._unrescue_server(self.server)
        self.assertEqual(self.before, self._devices('source'))

    def _hard_reboot(self):
        self.api.post_server_action(
            self.server['id'], {'reboot': {'type': 'HARD'}})
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.assertEqual(self.before, self._devices('source'))
        self.assertEqual([], [name for name in self._contents('source')
                              if name.endswith('.rescue')])

    @ddt.data('qcow2', 'raw', 'flat', 'rbd')
    def test_failed_rescue(self, images_type):
        self._start_hosts_with(images_type)
        self._create_full_server()
        self.before = self._devices('source')
        with mock.patch.object(
                self.src.driver, '_create_guest', autospec=True,
                side_effect=exception.NovaException):
            self.api.post_server_action(self.server['id'], {
                'rescue': {'rescue_image_ref': uuids.legacy}})
            self._wait_for_state_change(self.server, 'ERROR')
        self._hard_reboot()
        self._assert_fresh()

    @ddt.data('qcow2', 'raw', 'flat', 'rbd')
    def test_state_that_was_reset(self, images_type):
        self._start_hosts_with(images_type)
        self._create_full_server()
        self._rescue(uuids.legacy)
        self.api.post_server_action(
            self.server['id'], {'os-resetState': {'state': 'active'}})
        self._assert_fresh()

        self._rescue(uuids.legacy)
        self.api.post_server_action(
            self.server['id'], {'os-resetState': {'state': 'active'}})
        self._hard_reboot()
        self._assert_fresh()


@ddt.ddt
class ImagesTest(RescuedStorageTestBase):
    """Where the destination gets the backing files of qcow2 disks from."""

    def setUp(self):
        super().setUp()
        self._start_hosts_with('qcow2')
        self._create_full_server()
        self._rescue(uuids.legacy)
        self.downloaded = []

    def _download(self, error=None):
        """Record what the image service is asked for, and let it fail."""
        def download(context, image_id, **kwargs):
            self.downloaded.append(image_id)
            if error:
                raise error
            return real_download(context, image_id, **kwargs)

        real_download = self.glance.download
        self.useFixture(fixtures.MockPatchObject(
            self.glance, 'download', download))

    def _migrate_and_check(self):
        self._live_migrate_and_check()
        self._assert_cached(uuids.server_image, uuids.legacy)
        self._unrescue_and_check()

    def test_cold_cache(self):
        self._download()
        self._migrate_and_check()
        self.assertEqual([uuids.legacy, uuids.server_image],
                         sorted(self.downloaded, key=[
                             uuids.legacy, uuids.server_image].index))

    def test_warm_cache(self):
        """Another server of these images is on the destination."""
        for image_id in (uuids.server_image, uuids.legacy):
            server = self._build_server(
                image_uuid=image_id, networks='none', host='dest',
                flavor_id=self._create_flavor(disk=1, ephemeral=0))
            server = self.api.post_server({'server': server})
            self._wait_for_state_change(server, 'ACTIVE')
        self._download()
        self._live_migrate_and_check()
        self.assertEqual([], self.downloaded)
        self._unrescue_and_check()

    def test_images_deleted(self):
        for image_id in (uuids.server_image, uuids.legacy, uuids.kernel,
                         uuids.ramdisk):
            self.glance.delete(None, image_id)
        self._migrate_and_check()

    def test_rescued_before_the_upgrade(self):
        instance = self._instance()
        del instance.system_metadata[rescue.RESCUE_IMAGE_ID]
        instance.save()
        self._download()
        self._migrate_and_check()
        self.assertEqual([uuids.server_image], self.downloaded)

    def test_image_service_down(self):
        self._download(exception.GlanceConnectionFailed(
            server='glance', reason='down'))
        self._migrate_and_check()

    def test_backing_file_is_not_aged_out_while_rescued(self):
        """The cache of a host keeps what the rescue disk is backed by."""
        self.flags(remove_unused_original_minimum_age_seconds=-1,
                   group='image_cache')
        self._live_migrate_and_check()
        context = nova_context.get_admin_context()
        for compute in (self.dest, self.src):
            compute.driver.manage_image_cache(
                context, objects.InstanceList.get_by_host(
                    context, compute.host))
        self.assertEqual(self.contents, self._contents('dest'))
        # What no server runs from is removed.
        self.assertNotIn(imagecache.get_cache_fname(uuids.legacy),
                         self._cache('source'))
        self._unrescue_and_check()


@ddt.ddt
class FailureTest(RescuedStorageTestBase):
    """A migration that fails leaves all as it was."""

    def setUp(self):
        super().setUp()
        self._start_hosts_with('qcow2')
        self._create_full_server()
        self._rescue(uuids.legacy)

    def _assert_nothing_happened(self, migration_status='failed'):
        self._wait_for_migration_status(self.server, [migration_status])
        self._assert_server('source')
        self.assertEqual(self.rescued, self._devices('source'))
        self.assertEqual(self.contents, self._contents('source'))
        self.assertEqual(
            set(), self.storage.files('dest') - {'_base', 'locks'})
        # What has got into the cache is the whole of the right image.
        cache = self._cache('dest')
        self.assertEqual(
            {name: content for name, content in self._cache('source').items()
             if name in cache}, cache)

    def _break_copy(self, name):
        """Let the copy of a file end in the midst of it."""
        def before_copy(path, dest):
            if os.path.basename(path) == name:
                with open(dest, 'wb') as f:
                    f.write(b'not all of it')
                raise processutils.ProcessExecutionError(
                    stderr='write: No space left on device', exit_code=1)

        self.storage.before_copy = before_copy

    def _test_copy_broken_off(self, name):
        self._break_copy(name)
        self._live_migrate()
        self._assert_nothing_happened()
        self.storage.before_copy = lambda path, dest: None
        self._live_migrate_and_check()
        self._unrescue_and_check()

    @ddt.data('disk.config', 'disk.eph1', 'kernel.rescue')
    def test_copy_of_a_disk_broken_off(self, name):
        self._test_copy_broken_off(name)

    def test_copy_of_a_formatted_backing_file_broken_off(self):
        self._test_copy_broken_off('swap_1')

    @ddt.data('server_image', 'legacy')
    def test_copy_of_an_image_broken_off(self, image):
        image_id = getattr(uuids, image)
        self.glance.delete(None, image_id)
        self._test_copy_broken_off(imagecache.get_cache_fname(image_id))

    @ddt.data(
        exception.ImageNotAuthorized(image_id=uuids.legacy),
        exception.ImageUnacceptable(image_id=uuids.legacy, reason='no data'),
        cursive_exc.SignatureVerificationError(reason='not its own'),
        glance_exc.HTTPInternalServerError())
    def test_image_refused(self, error):
        """The copy of the source is not used in its place."""
        with mock.patch.object(self.glance, 'download', autospec=True,
                               side_effect=error):
            self._live_migrate()
            self._assert_nothing_happened()
        self.assertEqual({}, self._cache('dest'))

    def test_destination_disk_full(self):
        def fail(*args, **kwargs):
            raise OSError(errno.ENOSPC, 'No space left on device')

        with mock.patch('nova.virt.libvirt.utils.create_image', fail):
            self._live_migrate()
            self._assert_nothing_happened()

    def test_libvirt_refuses(self):
        def refuse(domain, destination, params, flags):
            domain.fail_job()
            raise fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError, 'unable to migrate',
                error_code=fakelibvirt.VIR_ERR_INTERNAL_ERROR)

        with mock.patch.object(fakelibvirt.Domain, 'migrateToURI3', refuse):
            self._live_migrate()
            self._assert_nothing_happened()
        self._unrescue_server(self.server)
        self.assertEqual(self.before, self._devices('source'))

    def test_guest_is_gone_before_the_migration(self):
        domain = self._domain('source')
        domain.destroy()
        domain.undefine()
        self._live_migrate()
        self._wait_for_migration_status(self.server, ['error'])
        self._assert_server('source')
        self.assertEqual(self.contents, self._contents('source'))
        self.assertEqual(set(), self.storage.files('dest') - {'locks'})
        # Unrescue makes the guest again.
        self._unrescue_server(self.server)
        self.assertEqual(self.before, self._devices('source'))

    def test_guest_ends_in_the_midst_of_the_migration(self):
        def end(domain, destination, params, flags):
            domain.destroy()
            raise fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError, 'domain is not running',
                error_code=fakelibvirt.VIR_ERR_OPERATION_INVALID)

        with mock.patch.object(fakelibvirt.Domain, 'migrateToURI3', end):
            self._live_migrate()
            self._assert_nothing_happened()
        self._unrescue_server(self.server)
        self.assertEqual(self.before, self._devices('source'))


class CopyTest(RescuedStorageTestBase):
    """An operator follows the copy of the files, and aborts it."""

    def setUp(self):
        super().setUp()
        self.flags(live_migration_monitor_interval=1, group='libvirt')
        self.copying = threading.Event()
        self.go_on_copying = threading.Event()
        self._start_hosts_with('qcow2')
        self._create_full_server()
        self._rescue(uuids.legacy)
        self.notifier.reset()

    def _hold_copy(self):
        """Start a migration, the copy of which does not get on.

        The first file is on the destination, and a part of the second.
        """
        def before_copy(path, dest):
            if not self.storage.copied:
                return
            with open(dest, 'wb') as f:
                f.write(b'a part')
            self.part_dir = os.path.dirname(dest)
            self.copying.set()
            for _ in range(600):
                if (self.storage.killed.is_set() or
                        self.go_on_copying.wait(0.1)):
                    break

        self.addCleanup(self.go_on_copying.set)
        self.storage.before_copy = before_copy
        self._live_migrate()
        self.assertTrue(self.copying.wait(60))
        migration = self._wait_for_migration_status(
            self.server, ['preparing'])
        self.path = '/servers/%s/migrations/%s' % (
            self.server['id'], migration['id'])

    def _wait_for_progress(self, processed):
        """Wait until the API shows what is copied, and return the total."""
        def get():
            migration = self.api.api_get(self.path).body['migration']
            self.assertEqual('preparing', migration['status'])
            self.assertEqual(processed, migration['disk_processed_bytes'])
            return migration

        migration = self._wait_for_assert(get)
        self.assertEqual(
            migration['disk_total_bytes'] - processed,
            migration['disk_remaining_bytes'])
        return migration['disk_total_bytes']

    def _sizes(self, *names):
        return {
            name: os.path.getsize(self.host_dirs.path('source', *names, name))
            for name in self.storage.files('source', *names)}

    def test_progress(self):
        sizes = self._sizes(self.server['id']) | self._sizes('_base')
        self._hold_copy()
        first, = self.storage.copied
        total = self._wait_for_progress(sizes[first] + len(b'a part'))

        self.go_on_copying.set()
        self._wait_for_migration_status(self.server, ['completed'])
        self.assertEqual(
            sum(sizes[name] for name in self.storage.copied), total)
        self._assert_server('dest')
        self.assertEqual(self.contents, self._contents('dest'))

    def _abort(self):
        self.api.api_delete(self.path)
        self.notifier.wait_for_versioned_notifications(
            'instance.live_migration_abort.end')

    def _assert_aborted(self):
        self._wait_for_migration_status(self.server, ['cancelled'])
        self._assert_server('source')
        self.assertEqual(self.rescued, self._devices('source'))
        self.assertEqual(self.contents, self._contents('source'))
        self._wait_for_assert(lambda: self.assertEqual(
            set(), self.storage.files('dest') - {'_base', 'locks'}))
        # One that the abort was taken note of, one that all is rolled back.
        self.notifier.wait_for_versioned_notifications(
            'instance.live_migration_abort.end', n_events=2)
        self.assertEqual([], [
            notification['event_type'] for notification
            in self.notifier.versioned_notifications
            if notification['priority'] == 'ERROR'])
        self.assertEqual([], list(
            objects.InstanceFaultList.get_by_instance_uuids(
                nova_context.get_admin_context(), [self.server['id']])))
        actions = self.api.get_instance_actions(self.server['id'])
        self.assertEqual([None] * len(actions),
                         [action['message'] for action in actions])

    def test_abort(self):
        self._hold_copy()
        self._abort()
        self._assert_aborted()
        self.assertTrue(self.storage.killed.is_set())
        self.assertEqual(1, len(self.storage.copied))
        self.assertFalse(os.path.exists(self.part_dir))
        tracker = self.dest.driver.copy_tracker
        self.assertEqual(({}, {}), (tracker._copies, tracker._stopped_early))

        # What was stopped is that migration, not the next one.
        self.storage.killed.clear()
        self.storage.before_copy = lambda path, dest: None
        self._live_migrate_and_check()
        self._unrescue_and_check()

    def test_abort_that_the_destination_does_not_know(self):
        """It copies to the end, and all of it is removed again."""
        with mock.patch.object(
                self.src.manager.guest_api, 'stop_pre_live_migration',
                autospec=True) as stop:
            self._hold_copy()
            self._abort()
            stop.assert_called_once()
        self.go_on_copying.set()
        self._assert_aborted()
        self.assertFalse(self.storage.killed.is_set())
        self.assertLess(1, len(self.storage.copied))


class RefusedTest(RescuedStorageTestBase):
    """What cannot move is refused in words before anything is touched."""

    def _assert_refused_by_source(self, reason):
        self._live_migrate()
        self._wait_for_migration_status(self.server, ['error'])
        self._assert_server('source')
        self.assertEqual(self.rescued, self._devices('source'))
        self.assertEqual(self.contents, self._contents('source'))
        self.assertEqual(set(), self.storage.files('dest') - {'locks'})
        event = self._wait_for_action_fail_completion(
            self.server, 'live-migration',
            'compute_check_can_live_migrate_source')
        self.assertIn(reason, event['details'])

    def _create_server_of(self, image_id):
        self._boot(self._build_server(
            image_uuid=image_id, networks='none', host='source',
            flavor_id=self._create_flavor(disk=1, ephemeral=0)))

    def test_uefi_variables_that_the_rescue_guest_does_not_have(self):
        self._start_hosts_with('qcow2')
        self._create_image(uuids.uefi, 'UEFI', hw_firmware_type='uefi',
                           hw_machine_type='q35')
        self._create_server_of(uuids.uefi)
        self._rescue(uuids.legacy)
        self._assert_refused_by_source(
            'The rescue guest has no UEFI variables')

    def test_uefi_variables_that_the_rescue_guest_has(self):
        self._start_hosts_with('qcow2')
        for image_id, name in ((uuids.uefi, 'UEFI'),
                               (uuids.uefi_rescue, 'UEFI rescue')):
            self._create_image(image_id, name, hw_firmware_type='uefi',
                               hw_machine_type='q35')
        self._create_server_of(uuids.uefi)
        self._rescue(uuids.uefi_rescue)
        self.assertTrue(self.before['uefi'])
        self._live_migrate_and_check()
        self._unrescue_and_check()

    def test_tpm_keeps_a_server_from_being_rescued(self):
        self.flags(swtpm_enabled=True, group='libvirt',
                   supported_tpm_secret_security=['host'])
        self.flags(
            backend='nova.tests.functional.libvirt.test_vtpm.FakeKeyManager',
            group='key_manager')
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.driver.LibvirtDriver._check_vtpm_support'))
        self.useFixture(fixtures.MockPatchObject(
            fakelibvirt.Connection, '_domain_capability_tpm',
            fakelibvirt.Connection._domain_capability_tpm_supported))
        self._start_hosts_with('qcow2')
        self._create_image(uuids.tpm, 'TPM', hw_tpm_version='2.0',
                           hw_tpm_model='tpm-crb')
        flavor = self._create_flavor(
            disk=1, ephemeral=0,
            extra_spec={'hw:tpm_secret_security': 'host'})
        self._boot(self._build_server(
            image_uuid=uuids.tpm, networks='none', host='source',
            flavor_id=flavor))
        exc = self.assertRaises(
            client.OpenStackApiException, self._rescue, uuids.legacy)
        self.assertEqual(400, exc.response.status_code)
        self.assertIn("'rescue' not supported for vTPM-enabled", str(exc))

    def test_logical_volumes(self):
        self._start_hosts_with('qcow2')
        self._create_server_of(uuids.server_image)
        self._rescue(uuids.legacy)
        domain = self._domain('source')
        domain.xml = domain.xml.replace(
            '<disk type="file"', '<disk type="block"').replace(
            '<source file=', '<source dev=')
        self.rescued = self._devices('source')
        self._assert_refused_by_source('is a logical volume of its host')

    def test_shares(self):
        self._start_hosts_with('qcow2')
        self._create_server_of(uuids.server_image)
        self._rescue(uuids.legacy)
        objects.ShareMapping(
            nova_context.get_admin_context(), uuid=uuids.mapping,
            instance_uuid=self.server['id'], share_id=uuids.share,
            status='active', tag='share', export_location='nfs:/share',
            share_proto='NFS').create()
        self._assert_refused(409, 'share')
