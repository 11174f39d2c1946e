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

import oslo_messaging as messaging
from oslo_serialization import jsonutils
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import live_migration_recovery
from nova.compute import power_state
from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova import objects
from nova import test
from nova.tests.unit import fake_instance


class LiveMigrationRecoveryTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = mock.sentinel.context
        self.manager = mock.Mock(host='source', _lost_live_migrations=set())
        self.manager.compute_rpcapi.get_guest_power_state.return_value = (
            power_state.NOSTATE)
        self.instance = fake_instance.fake_instance_obj(
            None, uuid=uuids.instance, host='source',
            vm_state=vm_states.RESCUED, task_state=task_states.MIGRATING)
        self.migration = objects.Migration(
            id=2, uuid=uuids.migration, status='running',
            source_compute='source', dest_compute='dest')

    def _is_guest_here(self, here, there=None, status='running'):
        self.migration.status = status
        self.manager._get_power_state.return_value = here
        if there is not None:
            self.manager.compute_rpcapi.get_guest_power_state.\
                return_value = there
        return live_migration_recovery._is_guest_here(
            self.manager, self.context, self.instance, self.migration)

    def test_guest_that_runs_is_here(self):
        self.manager.compute_rpcapi.get_guest_power_state.side_effect = (
            exception.NovaException)
        self.assertTrue(self._is_guest_here(power_state.RUNNING))

    def test_paused_server_is_here(self):
        self.manager.compute_rpcapi.get_guest_power_state.side_effect = (
            exception.NovaException)
        self.instance.vm_state = vm_states.PAUSED
        self.assertTrue(self._is_guest_here(power_state.PAUSED))

    def test_guest_that_was_not_touched_is_here(self):
        for status in ('accepted', 'queued', 'preparing'):
            self.assertTrue(self._is_guest_here(
                power_state.NOSTATE, power_state.RUNNING, status))

    def test_guest_is_here_if_no_destination_was_selected(self):
        self.migration.dest_compute = None
        self.assertTrue(self._is_guest_here(
            power_state.SHUTDOWN, power_state.SHUTDOWN, 'error'))
        # Without a name of a host any might answer.
        self.assertEqual([], self.manager.compute_rpcapi.mock_calls)

    def test_guest_that_is_on_one_host_only(self):
        for state in (power_state.PAUSED, power_state.SHUTDOWN):
            self.assertTrue(self._is_guest_here(state, power_state.NOSTATE))
        for state in (power_state.RUNNING, power_state.SHUTDOWN):
            self.assertFalse(self._is_guest_here(power_state.NOSTATE, state))
        self.manager.compute_rpcapi.get_guest_power_state.assert_called_with(
            self.context, self.instance, 'dest')

    def test_guest_that_is_on_both_or_none(self):
        for here, there in (
                (power_state.SHUTDOWN, power_state.RUNNING),
                (power_state.PAUSED, power_state.RUNNING),
                (power_state.SHUTDOWN, power_state.SHUTDOWN),
                (power_state.NOSTATE, power_state.NOSTATE)):
            self.assertRaises(exception.MigrationError,
                              self._is_guest_here, here, there)

    def test_guest_may_be_where_nobody_answers(self):
        self.manager.compute_rpcapi.get_guest_power_state.side_effect = (
            exception.UnsupportedRPCVersion(api='api', required='6.6'))
        for here in (power_state.NOSTATE, power_state.SHUTDOWN,
                     power_state.PAUSED):
            exc = self.assertRaises(
                exception.MigrationError, self._is_guest_here, here)
            self.assertIn('dest does not tell', str(exc))

    @mock.patch('nova.objects.MigrationList.get_by_filters', return_value=[])
    def test_no_migration(self, mock_get):
        self.instance.save = mock.Mock()
        self.assertTrue(live_migration_recovery.recover(
            self.manager, self.context, self.instance))
        self.assertIsNone(self.instance.task_state)
        self.instance.save.assert_called_once_with(
            expected_task_state=[task_states.MIGRATING])
        self.manager._rollback_live_migration.assert_not_called()

    def test_driver_that_cannot(self):
        self.manager.driver.end_live_migration.side_effect = (
            NotImplementedError)
        self.assertTrue(live_migration_recovery.recover(
            self.manager, self.context, self.instance))
        self.manager._reset_live_migration.assert_called_once_with(
            self.context, self.instance)

    def test_hypervisor_does_not_answer(self):
        self.manager.driver.end_live_migration.side_effect = (
            exception.HypervisorUnavailable)
        self.assertFalse(live_migration_recovery.recover(
            self.manager, self.context, self.instance))
        self.assertEqual(task_states.MIGRATING, self.instance.task_state)
        self.assertEqual(
            {uuids.instance}, self.manager._lost_live_migrations)

    @mock.patch.object(live_migration_recovery, '_recover')
    @mock.patch.object(live_migration_recovery, 'conclude')
    @mock.patch('nova.objects.MigrationList.get_by_filters')
    @mock.patch('nova.objects.Instance.get_by_uuid')
    def _try_again(self, mock_get, mock_migrations, mock_conclude,
                   mock_recover, found, recovered=None):
        """Look again for an instance beside one that migrates as it should.

        :returns: the mocks that recover a migration and that conclude it
        """
        self.manager._lost_live_migrations.add(uuids.instance)
        self.migration.instance_uuid = uuids.instance
        self.migration.save = mock.Mock()
        mock_get.side_effect = found
        mock_migrations.return_value = [
            objects.Migration(
                instance_uuid=uuids.other, dest_compute='dest'),
            self.migration]
        mock_recover.side_effect = recovered
        live_migration_recovery.try_again(self.manager, self.context)
        return mock_recover, mock_conclude

    def test_recovers_when_tried_again(self):
        mock_recover, mock_conclude = self._try_again(
            found=[self.instance] * 2, recovered=[True])
        mock_recover.assert_called_once_with(
            self.manager, self.context, self.instance, False)
        mock_conclude.assert_not_called()
        self.assertEqual(set(), self.manager._lost_live_migrations)

    def test_fails_when_tried_again(self):
        self._try_again(found=[self.instance] * 2,
                        recovered=exception.HypervisorUnavailable)
        self.assertEqual(
            {uuids.instance}, self.manager._lost_live_migrations)

    def test_has_arrived_when_tried_again(self):
        self.instance.host = 'dest'
        self.instance.task_state = None
        mock_recover, mock_conclude = self._try_again(
            found=[self.instance] * 2)
        mock_recover.assert_not_called()
        mock_conclude.assert_called_once_with(
            self.manager, self.context, self.instance, self.migration)
        self.assertEqual('completed', self.migration.status)
        self.assertEqual(set(), self.manager._lost_live_migrations)

    def test_migrates_from_elsewhere_when_tried_again(self):
        self.instance.host = 'dest'
        mock_recover, mock_conclude = self._try_again(
            found=[self.instance] * 2)
        mock_recover.assert_not_called()
        mock_conclude.assert_not_called()

    def test_is_deleted_when_tried_again(self):
        self._try_again(found=exception.InstanceNotFound(
            instance_id=uuids.instance))
        self.assertEqual(set(), self.manager._lost_live_migrations)

    def test_database_does_not_answer_when_tried_again(self):
        self.assertRaises(messaging.MessagingTimeout, self._try_again,
                          found=messaging.MessagingTimeout)
        self.assertEqual(
            {uuids.instance}, self.manager._lost_live_migrations)

    @mock.patch('nova.objects.MigrationList.get_by_filters')
    def test_latest_migration_counts(self, mock_get):
        mock_get.return_value = [
            objects.Migration(id=1), self.migration]
        self.assertIs(self.migration, live_migration_recovery._find_migration(
            self.manager, self.context, self.instance))

    @mock.patch('nova.objects.ComputeNode.get_by_uuid')
    def test_destination_is_told_by_its_allocations(self, mock_get):
        nodes = {uuids.source: 'source', uuids.dest: 'dest'}
        self.manager.reportclient.get_allocations_for_consumer.\
            return_value = {uuids.nested: {}, uuids.source: {}, uuids.dest: {}}

        def get_by_uuid(context, uuid):
            if uuid not in nodes:
                raise exception.ComputeHostNotFound(host=uuid)
            return objects.ComputeNode(host=nodes[uuid])

        mock_get.side_effect = get_by_uuid
        self.assertEqual('dest', live_migration_recovery._find_destination(
            self.manager, self.context, self.instance))
        del nodes[uuids.dest]
        self.assertIsNone(live_migration_recovery._find_destination(
            self.manager, self.context, self.instance))

    @mock.patch('nova.objects.BlockDeviceMappingList.get_by_instance_uuid',
                return_value=[])
    def test_no_destination_was_selected(self, mock_bdms):
        self.migration.status = 'accepted'
        self.migration.dest_compute = None
        self.manager.reportclient.get_allocations_for_consumer.\
            return_value = {}
        live_migration_recovery._roll_back(
            self.manager, self.context, self.instance, self.migration)
        rollback = self.manager._rollback_live_migration
        rollback.assert_called_once()
        self.assertIsNone(rollback.call_args.args[2])
        migrate_data = rollback.call_args.kwargs['migrate_data']
        self.assertIs(self.migration, migrate_data.migration)
        # No host is to be told to clean up: without a name any might be.
        self.assertNotIsInstance(
            migrate_data, objects.migrate_data.LibvirtLiveMigrateData)
        self.assertEqual([], self.manager.compute_rpcapi.mock_calls)

    def test_no_destination_has_attached_a_volume(self):
        self.migration.status = 'error'
        self.migration.dest_compute = None
        self.manager.reportclient.get_allocations_for_consumer.\
            return_value = {}
        bdm = self._volume_bdm()
        with mock.patch(
                'nova.objects.BlockDeviceMappingList.get_by_instance_uuid',
                return_value=[bdm]):
            live_migration_recovery._roll_back(
                self.manager, self.context, self.instance, self.migration)
        rollback = self.manager._rollback_live_migration
        self.assertEqual([bdm], rollback.call_args.kwargs['source_bdms'])
        # No host is to be told to disconnect the volume either.
        self.assertTrue(rollback.call_args.kwargs['pre_live_migration'])
        self.manager.volume_api.attachment_get_all.assert_not_called()

    def _rolls_back_before_the_guest_was_touched(self, bdm, changed=False):
        rebuild = self.manager.driver.rebuild_live_migrate_data
        rebuild.return_value = objects.LibvirtLiveMigrateData()
        with mock.patch.object(live_migration_recovery, '_source_bdms',
                               return_value=([bdm], changed)):
            live_migration_recovery._roll_back(
                self.manager, self.context, self.instance, self.migration)
        rollback = self.manager._rollback_live_migration
        return rollback.call_args.kwargs['pre_live_migration']

    def test_interfaces_come_back_without_volumes(self):
        disk = objects.BlockDeviceMapping(
            source_type='image', destination_type='local')
        self.assertFalse(self._rolls_back_before_the_guest_was_touched(disk))
        self.migration.status = 'preparing'
        self.assertTrue(self._rolls_back_before_the_guest_was_touched(disk))

    def test_volumes_tell_of_an_earlier_rollback(self):
        volume = self._volume_bdm()
        self.assertTrue(self._rolls_back_before_the_guest_was_touched(volume))
        self.assertFalse(self._rolls_back_before_the_guest_was_touched(
            volume, changed=True))

    @mock.patch.object(live_migration_recovery, '_source_bdms',
                       return_value=(mock.sentinel.bdms, False))
    @mock.patch.object(live_migration_recovery, '_migrate_data')
    def _complete(self, compute_nodes, mock_data, mock_bdms):
        self.manager.rt.compute_nodes = compute_nodes
        live_migration_recovery._complete(
            self.manager, self.context, self.instance, self.migration)
        self.manager._post_live_migration_update_host.assert_called_once_with(
            self.context, self.instance, 'dest',
            block_migration=mock_data.return_value.block_migration,
            migrate_data=mock_data.return_value,
            source_bdms=mock.sentinel.bdms)

    def test_resource_tracker_learns_of_the_devices_first(self):
        self._complete({})
        self.manager.update_available_resource.assert_called_once_with(
            self.context, startup=True)

    def test_resource_tracker_knows_the_devices(self):
        self._complete({'node': mock.sentinel.node})
        self.manager.update_available_resource.assert_not_called()

    def _volume_bdm(self):
        return objects.BlockDeviceMapping(
            source_type='volume', destination_type='volume',
            volume_id=uuids.volume, attachment_id=uuids.of_dest,
            connection_info='{"data": "dest"}')

    def _source_bdms(self, *attachment_ids):
        bdm = self._volume_bdm()
        self.manager.volume_api.attachment_get_all.return_value = [
            {'id': attachment_id} for attachment_id in attachment_ids]
        self.manager.volume_api.attachment_get.side_effect = (
            lambda context, attachment_id: {
                'id': attachment_id, 'connection_info': {'data': 'source'}})
        with mock.patch(
                'nova.objects.BlockDeviceMappingList.get_by_instance_uuid',
                return_value=[bdm]):
            return live_migration_recovery._source_bdms(
                self.manager, self.context, self.instance)

    def test_other_attachment_is_of_the_source(self):
        bdms, changed = self._source_bdms(uuids.of_source, uuids.of_dest)
        self.assertTrue(changed)
        self.assertEqual(uuids.of_source, bdms[0].attachment_id)
        self.assertEqual({'data': 'source', 'serial': uuids.volume},
                         jsonutils.loads(bdms[0].connection_info))
        self.manager.volume_api.attachment_get_all.assert_called_once_with(
            self.context, instance_id=uuids.instance, volume_id=uuids.volume)

    def test_only_attachment_is_of_the_source(self):
        bdms, changed = self._source_bdms(uuids.of_dest)
        self.assertFalse(changed)
        self.assertEqual(uuids.of_dest, bdms[0].attachment_id)
        self.assertEqual('{"data": "dest"}', bdms[0].connection_info)

    def test_too_many_attachments(self):
        self.assertRaises(
            exception.MigrationError, self._source_bdms,
            uuids.of_source, uuids.of_dest, uuids.stray)
