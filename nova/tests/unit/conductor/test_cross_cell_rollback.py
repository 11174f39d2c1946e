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

import ddt
import fixtures
import oslo_messaging as messaging
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import cross_cell
from nova.compute import task_states
from nova.compute import vm_states
from nova.conductor import cross_cell_rollback
from nova import context as nova_context
from nova import exception
from nova.network import neutron
from nova import objects
from nova import test
from nova.tests.unit import fake_instance
from nova.volume import cinder

_MOVES = 'nova.objects.MigrationList.get_by_filters'
_TIMEOUT = messaging.MessagingTimeout()


class RollbackTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.instance = fake_instance.fake_instance_obj(
            self.context, uuid=uuids.instance, vm_state=vm_states.ACTIVE,
            task_state=task_states.RESIZE_PREP, system_metadata={},
            expected_attrs=['system_metadata'])
        self.get_instance = self.patch('nova.objects.Instance.get_by_uuid')
        self.get_instance.return_value = self.instance
        self.refresh = self.patch('nova.objects.Instance.refresh')
        self.save = self.patch('nova.objects.Instance.save')
        self.migration = objects.Migration(
            uuid=uuids.migration, status='pre-migrating',
            source_compute='source', dest_compute='dest')
        self.get_migration = self.patch('nova.objects.Migration.get_by_uuid')
        self.get_migration.return_value = self.migration
        self.save_migration = self.patch('nova.objects.Migration.save')
        self.service = objects.Service(forced_down=False)
        self.get_service = self.patch(
            'nova.objects.Service.get_by_compute_host')
        self.get_service.return_value = self.service
        rpcapi = 'nova.compute.cross_cell_rpcapi.CrossCellAPI.'
        self.patch(rpcapi + '__init__').return_value = None
        self.abandon = self.patch(rpcapi + 'abandon')
        self.restore = self.patch(rpcapi + 'restore')

    def patch(self, name):
        return self.useFixture(fixtures.MockPatch(name, autospec=True)).mock

    def not_found(self):
        return exception.InstanceNotFound(instance_id=uuids.instance)


class CheckNothingLeftTestCase(RollbackTestCase):

    def test_record(self):
        moves = self.patch(_MOVES)
        moves.return_value = [
            objects.Migration(cross_cell_move=cross_cell, dest_compute=host)
            for cross_cell, host in (
                (True, None), (False, 'neighbour'), (True, 'dest'))]
        self.context.cell_uuid = uuids.cell
        error = self.assertRaises(
            exception.MigrationPreCheckError,
            cross_cell_rollback.check_nothing_left, self.context,
            uuids.instance)
        self.assertIn(uuids.cell, str(error))
        self.assertIn('host dest has', str(error))

    def test_no_record(self):
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        cross_cell_rollback.check_nothing_left(self.context, uuids.instance)
        self.get_instance.assert_called_once_with(
            self.context, uuids.instance, expected_attrs=[])


@ddt.ddt
class DeletedTestCase(RollbackTestCase):

    def test_exists(self):
        cross_cell_rollback.check_not_deleted(self.instance)

    @ddt.data({'task_state': task_states.DELETING},
              {'task_state': task_states.SOFT_DELETING},
              {'vm_state': vm_states.SOFT_DELETED})
    def test_about_to_be_deleted(self, state):
        for name, value in state.items():
            setattr(self.instance, name, value)
        self.assertRaises(
            exception.UnexpectedDeletingTaskStateError,
            cross_cell_rollback.check_not_deleted, self.instance)

    def test_deleted(self):
        self.get_instance.side_effect = self.not_found()
        self.assertRaises(
            exception.InstanceNotFound,
            cross_cell_rollback.check_not_deleted, self.instance)

    def _forget(self, device_id='', destination_type='volume'):
        get_bdms = self.patch(
            'nova.objects.BlockDeviceMappingList.get_by_instance_uuid')
        # Those of a server that is deleted are deleted too.
        get_bdms.side_effect = lambda context, instance_uuid: [
            objects.BlockDeviceMapping(destination_type=destination_type)
        ] if context.read_deleted == 'yes' else []
        network_api = mock.create_autospec(neutron.API, instance=True)
        network_api.show_port.return_value = {'port': {'device_id': device_id}}
        volume_api = mock.create_autospec(cinder.API, instance=True)
        volume_api.attachment_get_all.return_value = [{'id': uuids.attachment}]
        cross_cell_rollback.forget_deleted(
            self.instance, self.migration, network_api, volume_api,
            [uuids.port])
        self.assertEqual(
            [mock.call(self.context, instance_id=uuids.instance)] if
            volume_api.attachment_delete.called else [],
            volume_api.attachment_get_all.mock_calls)
        return (volume_api.attachment_delete.mock_calls,
                network_api.delete_port_binding.mock_calls)

    def test_forget(self):
        self.get_instance.side_effect = self.not_found()
        self.assertEqual(
            ([mock.call(self.context, uuids.attachment)],
             [mock.call(self.context, uuids.port, 'source')]),
            self._forget())

    def test_no_volume_to_forget(self):
        """A cloud may have no volume service."""
        self.get_instance.side_effect = self.not_found()
        self.assertEqual(
            ([], [mock.call(self.context, uuids.port, 'source')]),
            self._forget(destination_type='local'))

    def test_port_of_another_server_by_now(self):
        self.get_instance.side_effect = self.not_found()
        self.assertEqual([], self._forget(uuids.other)[1])

    def test_nothing_to_forget(self):
        self.assertEqual(([], []), self._forget())

    @mock.patch('nova.scheduler.client.report.report_client_singleton',
                autospec=True)
    def test_allocation(self, client):
        delete = client.return_value.delete_allocation_for_instance
        cross_cell_rollback.forget_deleted_allocation(self.instance)
        delete.assert_not_called()
        self.get_instance.side_effect = self.not_found()
        cross_cell_rollback.forget_deleted_allocation(self.instance)
        delete.assert_called_once_with(
            self.context, uuids.instance, force=True)


@ddt.ddt
class AbandonTestCase(RollbackTestCase):

    def _abandon(self):
        return cross_cell_rollback.abandon_at_dest(
            self.context, uuids.instance, uuids.migration)

    @ddt.data(task_states.RESIZE_PREP, task_states.RESIZE_MIGRATED, None)
    def test_done(self, task_state):
        self.instance.task_state = task_state
        self.assertTrue(self._abandon())
        self.abandon.assert_called_once_with(
            self.context, 'dest', self.instance, self.migration)

    def test_nothing_claimed(self):
        self.migration.dest_compute = None
        self.assertTrue(self._abandon())
        self.abandon.assert_not_called()

    def test_no_records(self):
        self.get_instance.side_effect = self.not_found()
        self.assertTrue(self._abandon())
        self.abandon.assert_not_called()

    @ddt.data(_TIMEOUT, exception.HypervisorUnavailable(host='dest'))
    def test_host_cannot_have_the_guest(self, error):
        """It has not been asked to make one."""
        self.abandon.side_effect = error
        self.assertTrue(self._abandon())

    @ddt.data(_TIMEOUT, exception.HypervisorUnavailable(host='dest'))
    def test_host_may_have_the_guest(self, error):
        self.instance.task_state = task_states.RESIZE_MIGRATED
        self.abandon.side_effect = error
        exc = self.assertRaises(
            exception.CrossCellMoveUndecided, self._abandon)
        self.assertIn('dest', str(exc))
        self.save_migration.assert_not_called()

    def test_no_service_record(self):
        self.instance.task_state = task_states.RESIZE_MIGRATED
        self.abandon.side_effect = _TIMEOUT
        self.get_service.side_effect = exception.ComputeHostNotFound(
            host='dest')
        self.assertRaises(exception.CrossCellMoveUndecided, self._abandon)

    def test_host_is_fenced(self):
        self.instance.task_state = task_states.RESIZE_MIGRATED
        self.service.forced_down = True
        self.assertFalse(self._abandon())
        self.abandon.assert_not_called()
        self.assertEqual('error', self.migration.status)
        self.save_migration.assert_called_once_with()


@ddt.ddt
class RestoreTestCase(RollbackTestCase):

    def setUp(self):
        super().setUp()
        self.instance.task_state = task_states.RESIZE_MIGRATING

    def _restore(self):
        cross_cell_rollback.restore_at_source(self.instance, self.migration)

    def assert_error(self, vm_state=vm_states.ERROR):
        self.assertEqual(vm_state, self.instance.vm_state)
        self.assertIn(cross_cell.NOT_CONNECTED, self.instance.system_metadata)
        self.save.assert_called_once_with()

    def test_done(self):
        self._restore()
        self.restore.assert_called_once_with(
            self.context, 'source', self.instance, self.migration)
        self.assertEqual(vm_states.ACTIVE, self.instance.vm_state)
        self.save.assert_not_called()

    def test_guest_was_not_touched(self):
        self.instance.task_state = task_states.RESIZE_PREP
        self._restore()
        self.restore.assert_not_called()

    def test_deleted(self):
        self.refresh.side_effect = self.not_found()
        self._restore()
        self.restore.assert_not_called()

    def test_failed(self):
        self.restore.side_effect = exception.HypervisorUnavailable(host='x')
        self._restore()
        self.assert_error()

    def test_failed_and_deleted(self):
        self.instance.task_state = task_states.DELETING
        self.restore.side_effect = exception.HypervisorUnavailable(host='x')
        self._restore()
        self.assert_error(vm_states.ACTIVE)

    def test_no_answer(self):
        """It may still be working on the move."""
        self.restore.side_effect = _TIMEOUT
        exc = self.assertRaises(
            exception.CrossCellMoveUndecided, self._restore)
        self.assertIn('source', str(exc))
        self.save.assert_not_called()

    def test_no_answer_from_a_fenced_host(self):
        self.restore.side_effect = _TIMEOUT
        self.service.forced_down = True
        self._restore()
        self.assert_error()
