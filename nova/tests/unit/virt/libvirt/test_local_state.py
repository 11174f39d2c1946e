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

import hashlib
import os
from unittest import mock

import ddt
import fixtures
from oslo_serialization import jsonutils
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils.imageutils import format_inspector
from oslo_utils import units

from nova import context
from nova import exception
from nova.image import glance
from nova import objects
from nova.storage import rbd_utils
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.unit import fake_instance
from nova.virt.libvirt import driver
from nova.virt.libvirt import host
from nova.virt.libvirt import imagebackend
from nova.virt.libvirt import local_state
from nova.virt.libvirt import nvram
from nova.virt.libvirt import utils as libvirt_utils

# Whoever probes this takes it for a qcow2 with a file of the host behind it.
_DISGUISED = (
    b'QFI\xfb' + (3).to_bytes(4) + (104).to_bytes(8) + (11).to_bytes(4) +
    (16).to_bytes(4) + units.Gi.to_bytes(8)).ljust(
        104, b'\0') + b'/etc/shadow'.ljust(units.Ki, b'\0')


class LocalStateTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path
        self.flags(instances_path=self.root)
        self.flags(images_type='qcow2', group='libvirt')
        self.context = context.RequestContext('user', 'project')
        self.instance = fake_instance.fake_instance_obj(
            self.context, uuid=uuids.instance, system_metadata={},
            expected_attrs=['flavor', 'system_metadata'])
        self.instance.migration_context = None
        self.image_api = mock.create_autospec(glance.API, instance=True)
        self.driver = mock.create_autospec(
            driver.LibvirtDriver, instance=True, _image_api=self.image_api,
            image_backend=imagebackend.Backend(use_cow=True))
        self.driver.instance_exists.return_value = False
        self.driver._get_vpmems.return_value = []
        self.driver._get_disk_config_image_type.return_value = 'raw'
        self.driver._lvm_disks.return_value = []
        self.driver._host = mock.create_autospec(host.Host, instance=True)
        self.guest = self.driver._host.get_guest.return_value
        self.guest.get_xml_desc.return_value = '<domain><os/></domain>'
        self.path = os.path.join(self.root, uuids.instance)
        self.kept_path = self.path + '_resize'
        self.state = local_state.LocalState(
            self.driver, self.context, self.instance)

    def _write(self, *names, content=b'content'):
        path = os.path.join(self.root, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(content)
        return path

    def _read(self, *names):
        with open(os.path.join(self.root, *names), 'rb') as f:
            return f.read()

    def _move(self, *parts, **kwargs):
        move = objects.CrossCellMove.new(**kwargs)
        for part in parts:
            move.parts.objects.append(part)
        return move

    def _use_uefi(self, content=b'variables'):
        self.useFixture(nova_fixtures.PrivsepFixture())
        self.useFixture(fixtures.MockPatchObject(
            nvram, 'DIRECTORY', self.useFixture(fixtures.TempDir()).path))
        path = os.path.join(
            nvram.DIRECTORY, self.instance.name + '_VARS.fd')
        self.guest.get_xml_desc.return_value = (
            '<domain><os><nvram>%s</nvram></os></domain>' % path)
        return self._write(path, content=content)

    def _use_rbd(self):
        self.flags(images_type='rbd', group='libvirt')
        self.flags(images_rbd_pool='vms', group='libvirt')
        self.rbd = self.useFixture(fixtures.MockPatchObject(
            rbd_utils, 'RBDDriver', autospec=True)).mock.return_value
        self.rbd.pool = 'vms'
        self.rbd.get_fsid.return_value = 'fsid'
        self.rbd.rbd_user = self.rbd.ceph_conf = None


def _part(content, name='disk.local', kind='ephemeral', disk_format='qcow2'):
    return objects.LocalPart.new(
        name=name, kind=kind, format=disk_format, image_id=uuids.image,
        size=len(content), sha512=hashlib.sha512(content).hexdigest())


class DescribeTestCase(LocalStateTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.utils.get_arch', autospec=True,
            return_value='x86_64'))

    def _describe(self, **block_devices):
        return self.state.describe(dict({
            'root_device_name': '/dev/vda', 'block_device_mapping': [],
            'ephemerals': [], 'swap': None, 'image': []}, **block_devices))

    def _assert_blocked(self, reason, **block_devices):
        move = self._describe(**block_devices)
        self.assertIn(reason, ''.join(move.blockers))
        self.assertIsNone(move.marker)

    def test_persistent_memory(self):
        self.driver._get_vpmems.return_value = [mock.sentinel.vpmem]
        self._assert_blocked('persistent memory')

    def test_vtpm(self):
        self.instance.flavor.extra_specs = {
            'hw:tpm_version': '2.0', 'hw:tpm_model': 'tpm-crb'}
        self._assert_blocked('emulated TPM')

    def test_encrypted_disks(self):
        self._assert_blocked(
            'encrypted', ephemerals=[{'encrypted': True, 'size': 1}])

    def test_encrypted_volume_group(self):
        self.instance.ephemeral_key_uuid = uuids.key
        self._assert_blocked('encrypted')

    def test_disk_that_is_elsewhere(self):
        self.instance.ephemeral_gb = 1
        self._assert_blocked('disk.local is not in the storage')

    def test_virt_type(self):
        self.flags(virt_type='parallels', group='libvirt')
        self.instance.ephemeral_gb = 1
        self._assert_blocked('virt type')

    def test_parts(self):
        self.instance.ephemeral_gb = 1
        self.instance.config_drive = 'True'
        for name in ('disk', 'disk.local', 'disk.swap', 'disk.config'):
            self._write(uuids.instance, name)
        move = self._describe()
        self.assertEqual([], move.blockers)
        self.assertEqual('qcow2', move.storage)
        self.assertEqual(
            [('disk.local', 'ephemeral', 'qcow2'),
             ('disk.config', 'config', 'raw')],
            [(part.name, part.kind, part.format) for part in move.parts])

    def test_uefi_variables(self):
        path = self._use_uefi()
        self.assertEqual(
            [('nvram', 'nvram', 'raw')],
            [(part.name, part.kind, part.format)
             for part in self._describe().parts])
        os.unlink(path)
        self.assertEqual([], list(self._describe().parts))

    def test_no_domain(self):
        self.driver._host.get_guest.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.assertEqual([], list(self._describe().parts))

    def test_marker(self):
        markers = [self._describe().marker for _ in range(2)]
        self.assertEqual(2, len(set(markers)))
        self.assertEqual([markers[1]], [
            name for name in os.listdir(self.path) if 'cross-cell' in name])
        self.state.remove_markers()
        self.assertNotIn(markers[1], os.listdir(self.path))

    def test_ceph_that_does_not_answer(self):
        self._use_rbd()
        self.assertEqual('rbd:fsid/vms', self._describe().storage)
        self.rbd.get_fsid.side_effect = Exception('no answer')
        self.assertEqual('rbd', self._describe().storage)


@ddt.ddt
class ExamineTestCase(LocalStateTestCase):

    marker = 'cross-cell-' + 32 * 'a'

    def _examine(self, *parts, **kwargs):
        move = self._move(
            *parts, **dict({'storage': 'qcow2', 'marker': self.marker},
                           **kwargs))
        self.state.examine(move, self.check_wanted)
        return move

    def check_wanted(self):
        """The server still comes here."""

    def test_nothing_is_removed_if_the_marker_may_be_gone(self):
        """Without one, a directory that is shared looks like a leftover."""
        self._write(uuids.instance, 'disk', content=b'of a guest')
        with mock.patch.object(
                self, 'check_wanted', autospec=True,
                side_effect=exception.MigrationPreCheckError(reason='')):
            self.assertRaises(
                exception.MigrationPreCheckError, self._examine)
        self.assertEqual(
            b'of a guest', self._read(uuids.instance, 'disk'))

    @ddt.data(
        dict(name='../disk'), dict(name='disk.local/x'), dict(name='disk'),
        dict(name='disk.eph'), dict(name='disk.local\n'),
        dict(name='disk.config'), dict(name='disk.local', kind='config'),
        dict(name='disk.local', kind='nvram'))
    def test_invalid_part(self, part):
        self.assertRaises(
            exception.MigrationPreCheckError, self._examine,
            _part(b'', **part))

    def test_part_named_twice(self):
        self.assertRaises(
            exception.MigrationPreCheckError, self._examine, _part(b''),
            _part(b''))

    @ddt.data('../' + marker, marker + '/..', 'x', '')
    def test_invalid_marker(self, marker):
        self.assertRaises(
            exception.MigrationPreCheckError, self._examine, marker=marker)

    def test_shared(self):
        self._write(uuids.instance, self.marker)
        self._write(uuids.instance, 'disk')
        move = self._examine()
        self.assertTrue(move.shared_path)
        self.assertTrue(move.in_place)
        self.assertEqual(b'content', self._read(uuids.instance, 'disk'))

    def test_not_shared(self):
        move = self._examine()
        self.assertTrue(move.may_remove)
        self.assertEqual([], os.listdir(self.root))

    def test_leftovers_are_removed(self):
        self._write(uuids.instance, 'disk')
        self._write(uuids.instance + '_resize', 'disk')
        move = self._examine()
        self.assertEqual([], move.blockers)
        self.assertTrue(move.may_remove)
        self.assertEqual([], os.listdir(self.root))

    def test_leftovers_of_a_guest_stay(self):
        self.driver.instance_exists.return_value = True
        path = self._write(uuids.instance, 'disk')
        self.assertEqual(1, len(self._examine().blockers))
        self.assertTrue(os.path.exists(path))

    def test_unclear(self):
        path = self._write(uuids.instance, 'disk')
        with mock.patch.object(
                local_state, '_create', autospec=True, side_effect=OSError):
            move = self._examine()
        self.assertIsNone(move.shared_path)
        self.assertFalse(move.may_remove)
        self.assertEqual(1, len(move.blockers))
        self.assertTrue(os.path.exists(path))

    def test_other_move_has_not_come_back(self):
        self._write(uuids.instance, self.marker)
        path = self._write(uuids.instance + '_resize', 'disk')
        self.assertIn('has not come back', self._examine().blockers[0])
        self.assertTrue(os.path.exists(path))

    def test_other_kind_in_one_directory(self):
        self._write(uuids.instance, self.marker)
        self.assertIn('not the kind', self._examine(
            storage='flat').blockers[0])

    def test_other_kind(self):
        self.assertTrue(self._examine(storage='rbd:fsid/vms').may_remove)

    def test_signed_images_only(self):
        self.flags(verify_glance_signatures=True, group='glance')
        self.assertIn('signed', self._examine().blockers[0])
        self._write(uuids.instance, self.marker)
        self.assertEqual([], self._examine().blockers)

    def test_one_pool(self):
        self._use_rbd()
        move = self._examine(storage='rbd:fsid/vms')
        self.assertTrue(move.in_place)
        self.assertFalse(move.may_remove)
        self.rbd.cleanup_volumes.assert_not_called()

    @ddt.data('rbd:other/vms', 'rbd:fsid/other', 'qcow2')
    def test_other_pool(self, storage):
        self._use_rbd()
        self.assertIs(False, self._examine(storage=storage).shared)
        is_leftover = self.rbd.cleanup_volumes.call_args.args[0]
        self.assertTrue(is_leftover(uuids.instance + '_disk'))
        self.assertFalse(is_leftover(uuids.neighbour + '_disk'))

    def test_unclear_pool(self):
        self._use_rbd()
        for exists, blockers in ((False, 0), (True, 1)):
            self.rbd.exists.return_value = exists
            move = self._examine(storage='rbd')
            self.assertIsNone(move.shared)
            self.assertEqual(blockers, len(move.blockers))
        self.rbd.cleanup_volumes.assert_not_called()

    def test_disks_in_volume_group(self):
        self.flags(images_type='lvm', group='libvirt')
        self.assertEqual([], self._examine(storage='lvm').blockers)
        self.driver._lvm_disks.return_value = ['disk']
        self.assertEqual(1, len(self._examine(storage='lvm').blockers))


class CarryTestCase(LocalStateTestCase):

    def _send(self, content):
        def download(context, image_id, dest_path):
            self.assertEqual(uuids.image, image_id)
            with open(dest_path, 'wb') as f:
                f.write(content)

        self.image_api.download.side_effect = download

    def test_other_bytes(self):
        self._send(b'what')
        self.assertRaises(
            exception.MigrationError, self.state.take_over,
            self._move(_part(b'that'), shared=False))
        self.assertNotIn('disk.local', os.listdir(self.path))

    def test_truncated(self):
        part = _part(b'what')
        part.size = 5
        self._send(b'what')
        self.assertRaises(
            exception.MigrationError, self.state.take_over,
            self._move(part, shared=False))

    def test_qcow2_that_refers_to_the_host(self):
        self._send(_DISGUISED)
        self.assertRaises(
            format_inspector.SafetyCheckFailed, self.state.take_over,
            self._move(_part(_DISGUISED), shared=False))
        self.assertNotIn('disk.local', os.listdir(self.path))

    def test_raw_that_looks_like_qcow2(self):
        self.flags(images_type='raw', group='libvirt')
        self._send(_DISGUISED)
        self.state.take_over(self._move(
            _part(_DISGUISED, disk_format='raw'), shared=False))
        self.assertEqual(
            _DISGUISED, self._read(uuids.instance, 'disk.local'))
        info = jsonutils.loads(self._read(uuids.instance, 'disk.info'))
        self.assertEqual(
            'raw', info[os.path.join(self.path, 'disk.local')])
        image = imagebackend.Flat(self.instance, 'disk.local')
        self.assertEqual('raw', image.driver_format)

    def test_raw_goes_to_qcow2_as_raw(self):
        self._send(b'what')

        def convert(source, dest, in_format, out_format):
            self.assertEqual(('raw', 'qcow2'), (in_format, out_format))
            os.rename(source, dest)
            self._write(source)

        with mock.patch('nova.virt.images.convert_image', autospec=True,
                        side_effect=convert):
            self.state.take_over(self._move(
                _part(b'what', disk_format='raw'), shared=False))
        self.assertEqual(b'what', self._read(uuids.instance, 'disk.local'))

    @mock.patch('nova.virt.images.convert_image', autospec=True)
    @mock.patch('nova.virt.libvirt.storage.lvm.create_volume', autospec=True)
    def test_lvm(self, create_volume, convert):
        self.flags(images_type='lvm', group='libvirt')
        self.flags(images_volume_group='vg', group='libvirt')
        image = self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.storage.lvm.volume_info', autospec=True))
        image.mock.return_value = {'VG': 'vg', 'LV': 'lv'}
        self._send(b'what')
        self.state.take_over(self._move(
            _part(b'what', disk_format='raw'), shared=False))
        lv = uuids.instance + '_disk.local'
        create_volume.assert_called_once_with('vg', lv, 4, sparse=False)
        convert.assert_called_once_with(
            os.path.join(self.path, 'disk.local.part'), '/dev/vg/' + lv,
            'raw', 'raw', run_as_root=True)

    def test_export(self):
        self._write(uuids.instance, 'disk.config', content=b'the files')
        self._write(uuids.instance, 'cross-cell-' + 32 * 'a')
        sent = []
        self.image_api.update.side_effect = (
            lambda context, image_id, meta, f, purge_props: sent.append(
                (image_id, meta['disk_format'], f.read())))
        expected = _part(b'the files', 'disk.config', 'config', 'raw')
        part = objects.LocalPart.new(
            name='disk.config', kind='config', format='raw',
            image_id=uuids.image)
        with mock.patch('nova.virt.images.qemu_img_info', autospec=True):
            self.state.export(self._move(part, shared=False))
        self.assertEqual([(uuids.image, 'raw', b'the files')], sent)
        self.assertEqual(expected.size, part.size)
        self.assertEqual(expected.sha512, part.sha512)
        self.assertEqual(['disk.config', 'disk.info'],
                         sorted(os.listdir(self.path)))

    def test_export_nothing_that_is_shared(self):
        self.state.export(self._move(_part(b''), shared=True))
        self.image_api.update.assert_not_called()


@ddt.ddt
class UEFIVariablesTestCase(LocalStateTestCase):

    def setUp(self):
        super().setUp()
        self.nvram_path = self._use_uefi()
        self.part = objects.LocalPart.new(
            name='nvram', kind='nvram', format='raw', image_id=uuids.image)

    def _give(self):
        self.state.give_variables(self.guest)
        self.assertNotIn('nvram', os.listdir(self.path))
        return self._read(self.nvram_path)

    def test_image(self):
        move = self._move(self.part, shared=False, storage='qcow2')
        images = {}
        self.image_api.update.side_effect = (
            lambda context, image_id, meta, f, purge_props:
                images.update({image_id: f.read()}))
        self.image_api.download.side_effect = (
            lambda context, image_id, dest_path:
                self._write(dest_path, content=images[image_id]))
        self.state.export(move)
        self.assertEqual([], os.listdir(self.path))
        self._write(self.nvram_path, content=b'template')
        self.state.take_over(move)
        self.assertEqual(b'variables', self._give())

        images[uuids.image] = b'what'
        self.assertRaises(
            exception.MigrationError, self.state.take_over, move)

    def test_directory(self):
        move = self._move(
            self.part, shared=True, shared_path=True, storage='qcow2')
        self.state.export(move)
        self._write(self.nvram_path, content=b'template')
        self.state.take_over(move)
        self.assertEqual(b'variables', self._give())
        self._write(self.nvram_path, content=b'changed')
        self.assertEqual([], os.listdir(self.path))
        self.state.give_back(move)
        self.assertEqual([], os.listdir(self.path))
        self.image_api.update.assert_not_called()

    @ddt.data(False, True)
    def test_source_dies_while_it_saves_them(self, shared):
        """Its guest does not get what has been saved by then."""
        move = self._move(
            self.part, shared=shared, shared_path=shared, storage='qcow2')
        with mock.patch('nova.privsep.nvram.read', autospec=True,
                        side_effect=[b'vari', SystemExit]):
            self.assertRaises(SystemExit, self.state.export, move)
        self.assertEqual(b'variables', self._give())
        self.state.export(move)
        if shared:
            self._write(self.path, 'nvram.part')
            self.state.give_back(move)
        self.assertEqual([], os.listdir(self.path))

    def test_upload_fails(self):
        self.image_api.update.side_effect = exception.ImageNotAuthorized(
            image_id=uuids.image)
        self.assertRaises(
            exception.ImageNotAuthorized, self.state.export,
            self._move(self.part, shared=False, storage='qcow2'))
        self.assertEqual([], os.listdir(self.path))

    def test_directory_with_other_bytes(self):
        move = self._move(
            self.part, shared=True, shared_path=True, storage='qcow2')
        self.state.export(move)
        self._write(self.path, 'nvram', content=b'what')
        self.assertRaises(
            exception.MigrationError, self.state.take_over, move)

    def test_rbd(self):
        self._use_rbd()
        pool = {}
        self.rbd.exists.side_effect = lambda name: name in pool
        self.rbd.import_image.side_effect = (
            lambda path, name: pool.update({name: self._read(path)}))
        self.rbd.remove_image.side_effect = pool.pop
        move = self._move(
            self.part, shared=True, shared_path=False, storage='rbd:fsid/vms')
        self.state.export(move)
        name = uuids.instance + '_nvram'
        self.assertEqual({name: b'variables'}, pool)
        self.assertEqual([], os.listdir(self.path))

        self._write(self.nvram_path, content=b'template')
        with mock.patch(
                'nova.virt.images.convert_image', autospec=True,
                side_effect=lambda source, dest, in_format, out_format:
                    self._write(dest, content=pool[name])):
            self.state.take_over(move)
        self.assertEqual(b'variables', self._give())
        self.rbd.create_snap.assert_not_called()
        for end in (self.state.give_back, self.state.release):
            pool[name] = b'variables'
            end(move)
            self.assertEqual({}, pool)
        self.image_api.update.assert_not_called()

    def test_resize_changes_secure_boot(self):
        """The keys of the template are what the flavor asks for."""
        self._write(self.path, 'nvram')
        self.instance.old_flavor = self.instance.flavor.obj_clone()
        self.instance.flavor.extra_specs = {'os:secure_boot': 'required'}
        self.assertEqual(b'variables', self._give())
        self._write(self.path, 'nvram')
        self.instance.old_flavor = self.instance.flavor
        self.assertEqual(b'content', self._give())

    def test_nothing_to_give(self):
        os.makedirs(self.path)
        self.assertEqual(b'variables', self._give())

    def test_source_keeps_them_for_a_revert(self):
        self.state.export(self._move(self.part, shared=False))
        self.state.revert()
        self.assertEqual(b'variables', self._read(self.nvram_path))

    @ddt.data(True, False, None)
    def test_none_are_left(self, shared):
        """No other host has them, whatever it shares."""
        move = self._move(
            self.part, shared=shared, shared_path=shared, storage='qcow2')
        for end in (self.state.discard, self.state.release):
            self._write(self.nvram_path)
            end(move)
            self.assertFalse(os.path.exists(self.nvram_path))


class InPlaceTestCase(LocalStateTestCase):

    def setUp(self):
        super().setUp()
        self.move = self._move(
            _part(b''), shared=True, shared_path=True, storage='qcow2')
        for name in ('disk', 'disk.local', 'disk.swap'):
            self._write(uuids.instance, name)

    def _files(self):
        return {os.path.relpath(os.path.join(path, name), self.root)
                for path, _, names in os.walk(self.root) for name in names}

    def test_files(self):
        before = self._files()
        self.state.take_over(self.move)
        self.assertEqual(
            {'disk', 'disk.local'}, set(os.listdir(self.path)))
        self.assertEqual(
            {'disk', 'disk.local', 'disk.swap'},
            set(os.listdir(self.kept_path)))
        self._write(uuids.instance, 'disk', content=b'changed')
        for _ in range(2):
            self.state.give_back(self.move)
            self.assertEqual(before, self._files())
            self.assertEqual(b'content', self._read(uuids.instance, 'disk'))

    def test_files_after_a_host_died_half_way(self):
        self.state.take_over(self.move)
        os.unlink(os.path.join(self.path, 'disk.local'))
        self._write(uuids.instance, 'disk', content=b'changed')
        self.state.take_over(self.move)
        self.assertEqual(b'content', self._read(uuids.instance, 'disk'))
        self.assertEqual(b'content', self._read(uuids.instance, 'disk.local'))

    def test_files_are_released(self):
        self.state.take_over(self.move)
        for _ in range(2):
            self.state.release(self.move)
            self.assertEqual([uuids.instance], os.listdir(self.root))
        self.state.give_back(self.move)
        self.assertEqual(b'content', self._read(uuids.instance, 'disk'))

    def test_discard_leaves_what_is_shared_to_the_source(self):
        self.state.take_over(self.move)
        self.driver.instance_exists.return_value = True
        self.state.discard(self.move)
        self.driver._destroy.assert_called_once_with(self.instance)
        self.assertTrue(os.path.exists(self.kept_path))

    def test_unclear_is_left_alone(self):
        before = self._files()
        move = self._move(_part(b''), storage='qcow2')
        self.state.discard(move)
        self.state.release(move)
        self.assertEqual(before, self._files())

    def test_own_directories_are_removed(self):
        move = self._move(storage='qcow2', shared=False, shared_path=False)
        self.state.discard(move)
        self.assertEqual(set(), self._files())

    def test_rbd(self):
        self._use_rbd()
        self.driver._get_disk_config_image_type.return_value = 'rbd'
        self.move.storage = 'rbd:fsid/vms'
        name = uuids.instance + '_'
        snap = libvirt_utils.RESIZE_SNAPSHOT_NAME
        self.state.take_over(self.move)
        self.assertEqual(
            [mock.call(name + disk, snap) for disk in (
                'disk.swap', 'disk.local')],
            self.rbd.create_snap.mock_calls)
        self.state.release(self.move)
        self.rbd.rollback_to_snap.assert_not_called()
        self.rbd.remove_snap.reset_mock()

        # That of the root disk has not been made yet.
        self.rbd.rollback_to_snap.side_effect = [
            exception.SnapshotNotFound(snapshot_id=snap), None, None]
        self.state.give_back(self.move)
        self.assertEqual(3, self.rbd.rollback_to_snap.call_count)
        self.assertEqual(
            [name + 'disk.swap', name + 'disk.local'],
            [call.args[0] for call in self.rbd.remove_snap.mock_calls])
        self.rbd.cleanup_volumes.assert_not_called()

    def test_revert_of_a_move_in_one_cell(self):
        self.assertFalse(self.state.revert())

    def test_revert_of_a_move_across_cells(self):
        self.state.take_over(self.move)
        self.instance.migration_context = objects.MigrationContext(
            cross_cell=self.move)
        self.assertTrue(self.state.revert())
        self.assertFalse(os.path.exists(self.kept_path))
