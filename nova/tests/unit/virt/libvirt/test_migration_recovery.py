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
from unittest import mock

import fixtures
from oslo_utils.fixture import uuidsentinel as uuids

from nova import exception
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.unit import fake_instance
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import host as libvirt_host
from nova.virt.libvirt import migration_recovery


class EndJobTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.LibvirtFixture())
        self.useFixture(fixtures.MockPatch('time.sleep'))
        self.instance = objects.Instance(uuid=uuids.instance)
        self.guest = mock.create_autospec(libvirt_guest.Guest, instance=True)
        self.host = mock.create_autospec(libvirt_host.Host, instance=True)
        self.host.get_guest.return_value = self.guest

    def _end_job(self, *types):
        self.guest.get_job_info.side_effect = [
            libvirt_guest.JobInfo(type=job_type) for job_type in types]
        return migration_recovery.end_job(self.host, self.instance)

    def test_aborts(self):
        self.assertTrue(self._end_job(
            fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            fakelibvirt.VIR_DOMAIN_JOB_NONE))
        self.guest.abort_job.assert_called_once_with()

    def test_no_job(self):
        self.assertTrue(self._end_job(fakelibvirt.VIR_DOMAIN_JOB_NONE))
        self.guest.abort_job.assert_not_called()

    def test_guest_goes_while_the_job_is_aborted(self):
        self.assertTrue(self._end_job(
            fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED,
            fakelibvirt.VIR_DOMAIN_JOB_COMPLETED))

    def test_no_guest(self):
        self.host.get_guest.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.assertTrue(self._end_job())

    def test_cannot_be_aborted(self):
        self.stub_out(
            'nova.virt.libvirt.migration_recovery._JOB_END_TIMEOUT', -1)
        self.guest.abort_job.side_effect = fakelibvirt.make_libvirtError(
            fakelibvirt.libvirtError, 'post-copy')
        self.assertFalse(self._end_job(fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED))


class RebuildMigrateDataTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.path = self.useFixture(fixtures.TempDir()).path
        self.flags(instances_path=self.path)
        self.instance = fake_instance.fake_instance_obj(
            None, uuid=uuids.instance,
            expected_attrs=['flavor', 'system_metadata', 'info_cache'])
        self.instance_dir = os.path.join(self.path, uuids.instance)
        os.mkdir(self.instance_dir)
        self.drvr = mock.Mock()
        self.drvr._get_all_assigned_mediated_devices.return_value = {}
        self.backend = self.drvr.image_backend.backend.return_value
        self.backend.is_shared_block_storage.return_value = False
        self.backend.is_file_in_instance_path.return_value = True

    def _rebuild(self, shared_path, dir_on_other_host=True):
        def is_on_other_host(data):
            self.assertTrue(os.path.exists(data['filename']))
            if data['filename'] == self.instance_dir:
                return dir_on_other_host
            return shared_path

        data = migration_recovery.rebuild_migrate_data(
            self.drvr, self.instance, is_on_other_host)
        if os.path.exists(self.instance_dir):
            self.assertEqual([], os.listdir(self.instance_dir))
        self.assertEqual(uuids.instance, data.instance_relative_path)
        return (data.is_shared_instance_path, data.is_shared_block_storage,
                data.block_migration)

    def test_local(self):
        self.assertEqual((False, False, True), self._rebuild(False))

    def test_shared_path(self):
        self.assertEqual((True, True, False), self._rebuild(True))

    def test_shared_block_storage(self):
        self.backend.is_shared_block_storage.return_value = True
        self.backend.is_file_in_instance_path.return_value = False
        self.assertEqual((False, True, False), self._rebuild(False))

    def test_other_host_has_no_such_directory(self):
        self.assertEqual((True, True, False), self._rebuild(
            False, dir_on_other_host=False))

    def test_nothing_that_could_be_removed(self):
        os.rmdir(self.instance_dir)
        self.assertEqual((True, True, False), self._rebuild(False))

    def test_other_host_does_not_answer(self):
        self.assertRaises(
            test.TestingException, migration_recovery.rebuild_migrate_data,
            self.drvr, self.instance,
            mock.Mock(side_effect=test.TestingException))
        self.assertEqual([], os.listdir(self.instance_dir))

    def test_tpm(self):
        self.instance.flavor.extra_specs = {
            'hw:tpm_version': '2.0', 'hw:tpm_model': 'tpm-crb'}
        self.assertTrue(migration_recovery.rebuild_migrate_data(
            self.drvr, self.instance, lambda data: True).has_vtpm)

    def test_mediated_devices(self):
        self.drvr._get_all_assigned_mediated_devices.return_value = {
            uuids.mdev: uuids.instance}
        self.assertIn('target_mdevs', migration_recovery.rebuild_migrate_data(
            self.drvr, self.instance, lambda data: True))
