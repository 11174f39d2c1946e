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

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import cross_cell_storage
from nova.compute import manager
from nova.compute import vm_states
from nova import context
from nova import exception
from nova import objects
from nova import test
from nova.virt import driver


class CrossCellStorageTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = context.RequestContext('user', 'project')
        self.driver = mock.create_autospec(driver.ComputeDriver, instance=True)
        self.manager = mock.create_autospec(
            manager.ComputeManager, instance=True, host='a',
            driver=self.driver)
        self.bdi = self.manager._get_instance_block_device_info.return_value
        self.instance = objects.Instance(
            uuid=uuids.instance, vm_state=vm_states.STOPPED,
            migration_context=None, flavor=objects.Flavor(ephemeral_gb=0))
        get_bdms = mock.patch.object(
            objects.Instance, 'get_bdms', autospec=True)
        get_bdms.start()
        self.addCleanup(get_bdms.stop)
        self._set_ephemerals()

    def _set_ephemerals(self, *sizes):
        self.manager._get_instance_block_device_info.return_value = {
            'ephemerals': [{'size': size} for size in sizes]}

    def _check_source(self, ephemeral_gb=0):
        return cross_cell_storage.check_source(
            self.manager, self.context, self.instance,
            objects.Flavor(ephemeral_gb=ephemeral_gb))

    def _check_default(self, move):
        driver.ComputeDriver.check_local_state(
            self.driver, self.context, self.instance, move,
            mock.sentinel.check_wanted)

    def test_check_source(self):
        move = objects.CrossCellMove.new()
        self.driver.get_local_state.return_value = move
        self.assertIs(move, self._check_source())
        self.assertEqual(vm_states.STOPPED, move.old_vm_state)

    def test_source_is_blocked(self):
        self.driver.get_local_state.return_value = objects.CrossCellMove.new(
            blockers=['one reason', 'another'])
        exc = self.assertRaises(
            exception.MigrationPreCheckError, self._check_source)
        self.assertIn('one reason; another', str(exc))

    def test_smaller_flavor(self):
        self.instance.flavor.ephemeral_gb = 3
        self.assertRaises(
            exception.MigrationPreCheckError, self._check_source, 2)
        self.driver.get_local_state.assert_not_called()

    def test_flavor_smaller_than_what_there_is(self):
        self._set_ephemerals(2, 2)
        self.assertRaises(
            exception.MigrationPreCheckError, self._check_source, 3)

    def test_same_and_larger_flavor(self):
        self.instance.flavor.ephemeral_gb = 3
        self._set_ephemerals(1, 1)
        self.driver.get_local_state.return_value = objects.CrossCellMove.new()
        self._check_source(3)
        self._check_source(4)

    def test_destination_is_blocked(self):
        def block(context, instance, move, check_wanted):
            move.blockers.append('the reason')

        self.driver.check_local_state.side_effect = block
        exc = self.assertRaises(
            exception.MigrationPreCheckError,
            cross_cell_storage.check_destination, self.manager, self.context,
            self.instance, objects.CrossCellMove.new(),
            mock.sentinel.check_wanted)
        self.assertIn('the reason', str(exc))

    def test_check_destination(self):
        move = objects.CrossCellMove.new()
        self.assertIs(move, cross_cell_storage.check_destination(
            self.manager, self.context, self.instance, move,
            mock.sentinel.check_wanted))
        self.driver.check_local_state.assert_called_once_with(
            self.context, self.instance, move, mock.sentinel.check_wanted)

    def test_driver_that_carries_nothing(self):
        for ephemeral_gb, ephemerals, blocked in (
                (0, [], False), (1, [], True), (0, [1], True)):
            self.instance.flavor.ephemeral_gb = ephemeral_gb
            self._set_ephemerals(*ephemerals)
            move = driver.ComputeDriver.get_local_state(
                self.driver, self.context, self.instance,
                self.manager._get_instance_block_device_info.return_value)
            self.assertEqual(blocked, bool(move.blockers))

    def test_destination_that_carries_nothing(self):
        move = objects.CrossCellMove.new()
        self._check_default(move)
        self.assertEqual([], move.blockers)
        move.parts.objects.append(objects.LocalPart.new(
            name='disk.local', kind='ephemeral', format='qcow2'))
        self._check_default(move)
        self.assertEqual(1, len(move.blockers))

    def test_move_of_earlier_release_removes_no_disk(self):
        cross_cell_storage.cleanup_source(
            self.driver, self.context, self.instance, [])
        self.assertIs(
            False, self.driver.cleanup.call_args.kwargs['destroy_disks'])
        cross_cell_storage.destroy_at_destination(
            self.driver, self.context, self.instance, [], {})
        self.assertIs(
            False, self.driver.destroy.call_args.kwargs['destroy_disks'])

    def test_export_has_the_digests_saved(self):
        move = objects.CrossCellMove.new()
        move.parts.objects.append(objects.LocalPart.new(
            name='disk.local', kind='ephemeral', format='qcow2'))
        self.instance.migration_context = objects.MigrationContext(
            cross_cell=move)
        self.instance.obj_reset_changes(recursive=True)
        cross_cell_storage.export(self.driver, self.context, self.instance)
        self.driver.export_local_state.assert_called_once_with(
            self.context, self.instance, move)
        self.assertIn(
            'migration_context', self.instance.obj_what_changed())
