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

import fixtures
import oslo_messaging as messaging
from oslo_serialization import jsonutils
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import live_migration_recovery
from nova.compute import power_state
from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova.network import model as network_model
from nova import objects
from nova import test
from nova.tests.unit import fake_instance


class LiveMigrationRecoveryTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = mock.sentinel.context
        self.manager = mock.Mock(host='source', _lost_live_migrations={})
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

    @mock.patch('nova.objects.MigrationList.get_by_filters', return_value=[])
    def test_driver_that_cannot(self, mock_get):
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
            {uuids.instance: None}, self.manager._lost_live_migrations)

    @mock.patch('nova.objects.MigrationList.get_by_filters')
    def test_database_does_not_answer(self, mock_get):
        mock_get.return_value = [self.migration]
        with mock.patch('nova.compute.utils.EventReporter',
                        side_effect=messaging.MessagingTimeout):
            self.assertFalse(live_migration_recovery.recover(
                self.manager, self.context, self.instance))
        self.assertEqual(
            {uuids.instance: 2}, self.manager._lost_live_migrations)

    def _try_again(self, found=None, recovered=None, lost=2, latest=2):
        """Look again for an instance whose migration was lost.

        :param lost: the id of that migration, if it is known
        :param latest: the id of its latest unfinished migration
        :returns: the mocks that recover a migration and that conclude it
        """
        self.manager._lost_live_migrations[uuids.instance] = lost
        self.migration.save = mock.Mock()
        with test.nested(
            mock.patch('nova.objects.Instance.get_by_uuid',
                       side_effect=[found or self.instance]),
            mock.patch('nova.objects.Migration.get_by_id',
                       return_value=self.migration),
            mock.patch('nova.objects.MigrationList.get_by_filters',
                       return_value=[objects.Migration(id=latest)]),
            mock.patch.object(live_migration_recovery, '_recover',
                              side_effect=recovered),
            mock.patch.object(live_migration_recovery, 'conclude'),
        ) as (_instance, _migration, _migrations, mock_recover, mock_conclude):
            live_migration_recovery.try_again(self.manager, self.context)
        return mock_recover, mock_conclude

    def test_recovers_when_tried_again(self):
        mock_recover, mock_conclude = self._try_again(recovered=[True])
        mock_recover.assert_called_once_with(
            self.manager, self.context, self.instance, False)
        mock_conclude.assert_not_called()
        self.assertEqual({}, self.manager._lost_live_migrations)

    def test_unknown_migration_when_tried_again(self):
        mock_recover, mock_conclude = self._try_again(
            recovered=[True], lost=None)
        mock_recover.assert_called_once_with(
            self.manager, self.context, self.instance, False)
        self.assertEqual({}, self.manager._lost_live_migrations)

    def test_fails_when_tried_again(self):
        self._try_again(recovered=exception.HypervisorUnavailable)
        self.assertEqual(
            {uuids.instance: 2}, self.manager._lost_live_migrations)

    def test_is_in_another_migration_when_tried_again(self):
        mock_recover, mock_conclude = self._try_again(latest=3)
        mock_recover.assert_not_called()
        mock_conclude.assert_not_called()
        self.assertEqual({}, self.manager._lost_live_migrations)

    def test_has_arrived_when_tried_again(self):
        self.instance.host = 'dest'
        self.instance.task_state = None
        mock_recover, mock_conclude = self._try_again()
        mock_recover.assert_not_called()
        mock_conclude.assert_called_once_with(
            self.manager, self.context, self.instance, self.migration)
        self.assertEqual('completed', self.migration.status)
        self.assertEqual({}, self.manager._lost_live_migrations)

    def test_source_gives_up_its_part_when_tried_again(self):
        self.instance.host = 'dest'
        self.instance.task_state = None
        self.migration.status = 'error'
        _mock_recover, mock_conclude = self._try_again()
        mock_conclude.assert_called_once_with(
            self.manager, self.context, self.instance, self.migration)
        self.assertEqual('error', self.migration.status)

    def test_was_rolled_back_when_tried_again(self):
        self.instance.task_state = None
        mock_recover, mock_conclude = self._try_again()
        mock_recover.assert_not_called()
        mock_conclude.assert_not_called()
        self.assertEqual('error', self.migration.status)
        self.assertEqual({}, self.manager._lost_live_migrations)

    def test_migrates_from_elsewhere_when_tried_again(self):
        self.instance.host = 'dest'
        mock_recover, mock_conclude = self._try_again()
        mock_recover.assert_not_called()
        mock_conclude.assert_not_called()

    def test_is_deleted_when_tried_again(self):
        self._try_again(found=exception.InstanceNotFound(
            instance_id=uuids.instance))
        self.assertEqual({}, self.manager._lost_live_migrations)

    def test_database_does_not_answer_when_tried_again(self):
        self.assertRaises(messaging.MessagingTimeout, self._try_again,
                          found=messaging.MessagingTimeout())
        self.assertEqual(
            {uuids.instance: 2}, self.manager._lost_live_migrations)

    def test_is_over_while_it_is_to_be_recovered(self):
        with mock.patch('nova.objects.Migration.get_by_id',
                        return_value=self.migration):
            self.assertFalse(live_migration_recovery.is_over(
                self.manager, self.context, self.instance, self.migration))
            for lost in (2, None):
                self.manager._lost_live_migrations[uuids.instance] = lost
                self.assertTrue(live_migration_recovery.is_over(
                    self.manager, self.context, self.instance,
                    self.migration))
            self.manager._lost_live_migrations[uuids.instance] = 1
            self.assertFalse(live_migration_recovery.is_over(
                self.manager, self.context, self.instance, self.migration))

    @mock.patch('nova.objects.ComputeNode.get_by_host_and_nodename')
    @mock.patch('nova.objects.Instance.get_by_uuid')
    @mock.patch('nova.objects.Migration.get_by_id')
    def test_is_over_when_it_was_rolled_back(
            self, mock_migration, mock_instance, mock_node):
        mock_migration.return_value = self.migration
        mock_instance.return_value = self.instance
        mock_node.return_value = mock.Mock(uuid=uuids.node)
        self.migration.status = 'error'
        self.migration.dest_node = 'dest-node'
        self.instance.task_state = None
        self.assertTrue(live_migration_recovery.is_over(
            self.manager, self.context, self.instance, self.migration))
        # What the conductor has claimed since is given back.
        remove = (self.manager.reportclient.
                  remove_provider_tree_from_instance_allocation)
        remove.assert_called_once_with(
            self.context, uuids.instance, uuids.node)
        self.manager.network_api.setup_networks_on_host.\
            assert_called_once_with(
                self.context, self.instance, 'dest', teardown=True)

    @mock.patch.object(live_migration_recovery, 'conclude_at_rest')
    @mock.patch('nova.objects.Instance.get_by_uuid')
    @mock.patch('nova.objects.MigrationList.get_by_filters')
    def test_one_that_is_not_concluded_keeps_none_from_it(
            self, mock_get, mock_instance, mock_conclude):
        migrations = [
            objects.Migration(uuid=uuids.migration, instance_uuid=uuid)
            for uuid in (uuids.deleted, uuids.fails, uuids.instance)]
        mock_get.return_value = migrations
        mock_instance.side_effect = [
            exception.InstanceNotFound(instance_id=uuids.deleted),
            messaging.MessagingTimeout(), self.instance]
        live_migration_recovery.conclude_all(self.manager, self.context)
        mock_conclude.assert_called_once_with(
            self.manager, self.context, self.instance, migrations[2])

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

    @mock.patch('nova.objects.BlockDeviceMappingList.get_by_instance_uuid',
                return_value=[])
    def _interfaces_come_back(self, status, mock_bdms):
        self.migration.status = status
        self.manager.driver.rebuild_live_migrate_data.return_value = (
            objects.LibvirtLiveMigrateData())
        live_migration_recovery._roll_back(
            self.manager, self.context, self.instance, self.migration)
        return self.manager.driver.rollback_live_migration_at_source.called

    def test_interfaces_come_back_if_the_guest_was_touched(self):
        self.assertFalse(self._interfaces_come_back('preparing'))
        self.assertFalse(self._interfaces_come_back('cancelled'))
        self.assertTrue(self._interfaces_come_back('running'))

    @mock.patch.object(live_migration_recovery, '_bdms_to_disconnect',
                       return_value=mock.sentinel.bdms)
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
            id=1, source_type='volume', destination_type='volume',
            volume_id=uuids.volume, attachment_id=uuids.of_dest,
            connection_info='{"data": "dest"}')

    def _with_attachments(self, function, *attachment_ids):
        """Call a function while Cinder tells of these attachments."""
        bdms = objects.BlockDeviceMappingList(objects=[
            self._volume_bdm(), objects.BlockDeviceMapping(
                id=2, source_type='image', destination_type='local'),
            objects.BlockDeviceMapping(
                id=3, source_type='volume', destination_type='volume',
                volume_id=uuids.other, attachment_id=None)])
        self.manager.volume_api.attachment_get_all.return_value = [
            {'id': attachment_id, 'volume_id': uuids.volume}
            for attachment_id in attachment_ids]
        self.manager.volume_api.attachment_get.side_effect = (
            lambda context, attachment_id: {
                'id': attachment_id, 'connection_info': {'data': 'source'}})
        with mock.patch(
                'nova.objects.BlockDeviceMappingList.get_by_instance_uuid',
                return_value=bdms):
            found = function()
        self.manager.volume_api.attachment_get_all.assert_called_once_with(
            self.context, instance_id=uuids.instance, all_tenants=True)
        return found

    def _bdms_to_disconnect(self, *attachment_ids):
        return self._with_attachments(
            lambda: live_migration_recovery._bdms_to_disconnect(
                self.manager, self.context, self.instance), *attachment_ids)

    def _assert_of_source(self, bdm):
        self.assertEqual(uuids.of_source, bdm.attachment_id)
        self.assertEqual({'data': 'source', 'serial': uuids.volume},
                         jsonutils.loads(bdm.connection_info))

    def test_source_gives_up_its_own_attachment(self):
        bdms = self._bdms_to_disconnect(uuids.of_source, uuids.of_dest)
        self.assertEqual([1, 2, 3], [bdm.id for bdm in bdms])
        self._assert_of_source(bdms[0])

    def test_attachment_of_the_destination_is_left_alone(self):
        bdms = self._bdms_to_disconnect(uuids.of_dest)
        self.assertEqual([2, 3], [bdm.id for bdm in bdms])

    def test_too_many_attachments(self):
        self.assertRaises(
            exception.MigrationError, self._bdms_to_disconnect,
            uuids.of_source, uuids.of_dest, uuids.stray)

    def test_no_attachments(self):
        self.assertRaises(
            exception.MigrationError, self._bdms_to_disconnect)

    def _roll_back_volumes(self, *attachment_ids):
        """:returns: the volumes of the destination, and of the source"""
        self._with_attachments(
            lambda: live_migration_recovery._roll_back_volumes(
                self.manager, self.context, self.instance, self.migration),
            *attachment_ids)
        remove = self.manager._remove_remote_volume_connections
        remove.assert_called_once_with(
            self.context, 'dest', mock.ANY, self.instance)
        roll_back = self.manager._rollback_volume_bdms
        roll_back.assert_called_once_with(
            self.context, remove.call_args.args[2], mock.ANY, self.instance)
        return roll_back.call_args.args[1:3]

    def test_volume_returns_to_the_source(self):
        (of_dest,), (of_source,) = self._roll_back_volumes(
            uuids.of_source, uuids.of_dest)
        self.assertEqual(uuids.of_dest, of_dest.attachment_id)
        self.assertEqual('{"data": "dest"}', of_dest.connection_info)
        self._assert_of_source(of_source)

    def test_volume_that_is_back_is_left_alone(self):
        self.assertEqual(([], []), self._roll_back_volumes(uuids.of_dest))

    def test_volume_whose_other_attachment_is_deleted(self):
        saved = []
        self.useFixture(fixtures.MonkeyPatch(
            'nova.objects.BlockDeviceMapping.save',
            lambda bdm: saved.append(bdm)))
        self.assertEqual(([], []), self._roll_back_volumes(uuids.of_source))
        self._assert_of_source(*saved)


class RemoveStraysTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = mock.sentinel.context
        self.manager = mock.Mock(host='dest')
        self.driver = self.manager.driver
        self.driver.list_stray_instances.return_value = {
            uuids.instance, uuids.other}
        self.driver.rebuild_live_migrate_data.return_value = (
            objects.LibvirtLiveMigrateData(
                is_shared_instance_path=False, is_shared_block_storage=False))
        self.manager.compute_rpcapi.get_guest_power_state.return_value = (
            power_state.RUNNING)
        self.instance = objects.Instance(
            uuid=uuids.instance, host='source', vm_state=vm_states.RESCUED,
            task_state=None, resources=None,
            info_cache=objects.InstanceInfoCache(
                network_info=network_model.NetworkInfo(
                    [network_model.VIF(id=uuids.port)])))
        self.refresh = self.useFixture(fixtures.MockPatchObject(
            self.instance, 'refresh')).mock
        self.useFixture(fixtures.MockPatch(
            'nova.objects.Service.get_by_compute_host'))
        self.service_is_up = self.useFixture(fixtures.MockPatch(
            'nova.servicegroup.API.service_is_up', return_value=True)).mock
        self.get_instance = self.useFixture(fixtures.MockPatch(
            'nova.objects.Instance.get_by_uuid',
            return_value=self.instance)).mock
        self.get_migrations = self.useFixture(fixtures.MockPatch(
            'nova.objects.MigrationList.get_by_filters',
            return_value=[objects.Migration(
                instance_uuid=uuids.instance)])).mock

    def _remove(self):
        live_migration_recovery.remove_strays(self.manager, self.context)
        return self.manager._do_rollback_live_migration_at_destination

    def test_removes(self):
        self._remove().assert_called_once_with(
            self.context, self.instance, destroy_disks=True,
            migrate_data=self.driver.rebuild_live_migrate_data.return_value)
        self.get_instance.assert_called_once_with(
            self.context, uuids.instance)

    def test_shared_block_storage_keeps_the_disks(self):
        data = self.driver.rebuild_live_migrate_data.return_value
        data.is_shared_block_storage = True
        self._remove().assert_called_once_with(
            self.context, self.instance, destroy_disks=False,
            migrate_data=data)

    def test_shared_path(self):
        data = self.driver.rebuild_live_migrate_data.return_value
        data.is_shared_instance_path = True
        self._remove().assert_not_called()

    def test_other_host_does_not_answer(self):
        self.driver.rebuild_live_migrate_data.side_effect = (
            test.TestingException)
        self._remove().assert_not_called()

    def test_no_guest_on_its_host(self):
        self.manager.compute_rpcapi.get_guest_power_state.return_value = (
            power_state.NOSTATE)
        self._remove().assert_not_called()

    def test_instance_of_this_host(self):
        self.instance.host = 'dest'
        self._remove().assert_not_called()

    def test_instance_of_no_host(self):
        self.instance.host = None
        self._remove().assert_not_called()

    def test_task_under_way(self):
        self.instance.task_state = task_states.MIGRATING
        self._remove().assert_not_called()

    def test_resized(self):
        self.instance.vm_state = vm_states.RESIZED
        self._remove().assert_not_called()

    def test_persistent_memory(self):
        self.instance.resources = objects.ResourceList(
            objects=[objects.Resource()])
        self._remove().assert_not_called()

    def test_pci_device_of_a_port(self):
        vif, = self.instance.get_network_info()
        vif['profile'] = {'pci_slot': '0000:06:00.1'}
        self._remove().assert_not_called()

    def test_its_host_is_down(self):
        self.service_is_up.return_value = False
        self._remove().assert_not_called()
        self.assertEqual([], self.manager.compute_rpcapi.mock_calls)

    def _test_changes_while_its_host_is_asked(self, **changes):
        def refresh():
            self.manager.compute_rpcapi.get_guest_power_state.\
                assert_called_once_with(self.context, self.instance, 'source')
            self.instance.update(changes)

        self.refresh.side_effect = refresh
        self._remove().assert_not_called()
        self.refresh.assert_called_once_with()

    def test_task_begins_meanwhile(self):
        self._test_changes_while_its_host_is_asked(
            task_state=task_states.RESIZE_PREP)

    def test_is_resized_meanwhile(self):
        self._test_changes_while_its_host_is_asked(
            vm_state=vm_states.RESIZED)

    def test_arrives_meanwhile(self):
        self._test_changes_while_its_host_is_asked(host='dest')

    def test_guest_appears_meanwhile(self):
        self.driver.list_stray_instances.side_effect = [
            {uuids.instance}, set()]
        self._remove().assert_not_called()

    def test_no_failed_migration(self):
        self.get_migrations.return_value = []
        self._remove().assert_not_called()

    def test_deleted(self):
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self._remove().assert_not_called()

    def test_no_strays(self):
        self.driver.list_stray_instances.return_value = set()
        self._remove().assert_not_called()
        self.get_migrations.assert_not_called()

    def test_driver_that_cannot(self):
        self.driver.list_stray_instances.side_effect = NotImplementedError
        self._remove().assert_not_called()
        self.get_migrations.assert_not_called()


class KeepRescuedTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.manager = mock.Mock(host='source')
        self.instance = objects.Instance(
            uuid=uuids.instance, host='dest', vm_state=vm_states.RESCUED)

    def _keep_rescued(self):
        return live_migration_recovery.keep_rescued(
            self.manager, mock.sentinel.context, self.instance,
            mock.sentinel.migration)

    def test_on_destination(self):
        self.assertTrue(self._keep_rescued())
        self.manager._delete_allocation_after_move.assert_called_once_with(
            mock.sentinel.context, self.instance, mock.sentinel.migration)
        self.manager.network_api.setup_networks_on_host.\
            assert_called_once_with(mock.sentinel.context, self.instance,
                                    'source', teardown=True)

    def test_source_cannot_give_up_all(self):
        self.manager._delete_allocation_after_move.side_effect = (
            exception.AllocationDeleteFailed(
                consumer_uuid=uuids.migration, error='error'))
        self.assertTrue(self._keep_rescued())

    def test_on_source(self):
        self.instance.host = 'source'
        self.assertFalse(self._keep_rescued())
        self.manager._delete_allocation_after_move.assert_not_called()

    def test_not_rescued(self):
        self.instance.vm_state = vm_states.ACTIVE
        self.assertFalse(self._keep_rescued())
        self.manager._delete_allocation_after_move.assert_not_called()
