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
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import cross_cell
from nova.compute import manager
from nova.compute import power_state
from nova.compute import task_states
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception
from nova.network import neutron
from nova import objects
from nova import test
from nova.tests.unit import fake_instance
from nova import utils
from nova.virt import driver
from nova.virt import hardware
from nova.volume import cinder

_RUNNING = power_state.RUNNING
_SHUTDOWN = power_state.SHUTDOWN


class CrossCellMovesTestCase(test.NoDBTestCase):
    """A host whose driver has, or does not have, the guest."""

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.guest = None
        self.driver = mock.create_autospec(driver.ComputeDriver, instance=True)
        self.driver.get_info.side_effect = self._get_info
        self.driver.destroy.side_effect = self._lose_guest
        self.driver.power_on.side_effect = self._power_on
        self.driver.finish_revert_migration.side_effect = self._make_guest
        self.driver.get_volume_connector.return_value = {'host': 'here'}
        self.network_api = mock.create_autospec(neutron.API, instance=True)
        self.client = self.patch('nova.network.neutron.get_client')
        self.ports = [{'binding:host_id': 'here'}]
        self.client.return_value.list_ports.side_effect = (
            lambda device_id: {'ports': self.ports})
        self.volume_api = mock.create_autospec(cinder.API, instance=True)
        self.volume_api.attachment_create.return_value = {'id': uuids.new}
        self.volume_api.attachment_get_all.return_value = []
        self.host = mock.create_autospec(cross_cell.Host, instance=True)
        self.host.may_share_disks.return_value = True
        self.moves = cross_cell.CrossCellMoves(
            'here', self.driver, self.network_api, self.volume_api, self.host)

        self.instance = fake_instance.fake_instance_obj(
            self.context, uuid=uuids.instance, host='here', hidden=False,
            vm_state=vm_states.ACTIVE, system_metadata={},
            expected_attrs=['system_metadata', 'flavor', 'info_cache'])
        self.instance.migration_context = None
        self.get_instance = self.patch('nova.objects.Instance.get_by_uuid')
        self.get_instance.return_value = self.instance
        self.save = self.patch('nova.objects.Instance.save')
        self.bdm = objects.BlockDeviceMapping(
            source_type='volume', destination_type='volume',
            volume_id=uuids.volume, instance_uuid=uuids.instance,
            attachment_id=uuids.old, device_name='/dev/vda')
        self.get_bdms = self.patch('nova.objects.Instance.get_bdms')
        self.get_bdms.return_value = objects.BlockDeviceMappingList(
            objects=[self.bdm])
        self.save_bdm = self.patch('nova.objects.BlockDeviceMapping.save')
        self.migration = objects.Migration(
            id=1, created_at=timeutils.utcnow(with_timezone=True),
            uuid=uuids.migration, status='pre-migrating',
            source_compute='source', dest_compute='dest', dest_node='node',
            cross_cell_move=True)
        self.get_migration = self.patch('nova.objects.Migration.get_by_uuid')
        self.get_migration.return_value = self.migration
        self.save_migration = self.patch('nova.objects.Migration.save')
        self.get_migrations = self.patch(
            'nova.objects.MigrationList.get_by_filters')
        self.get_migrations.return_value = objects.MigrationList(
            objects=[self.migration])

    def patch(self, name):
        return self.useFixture(fixtures.MockPatch(name, autospec=True)).mock

    @staticmethod
    def update(obj, values):
        for name, value in values.items():
            setattr(obj, name, value)

    def assert_locked(self):
        """Assert that nobody else can have the lock of the instance."""
        self.assertFalse(
            utils.lockutils.internal_lock(uuids.instance).acquire(
                blocking=False))

    def _get_info(self, instance, use_cache):
        self.assert_locked()
        self.assertFalse(use_cache)
        if self.guest is None:
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        return hardware.InstanceInfo(state=self.guest)

    def _lose_guest(self, *args, **kwargs):
        self.assert_locked()
        self.guest = None

    def _power_on(self, *args, **kwargs):
        self.assert_locked()
        self.assertEqual(_SHUTDOWN, self.guest)
        self.guest = _RUNNING

    def _make_guest(self, *args, power_on=True, **kwargs):
        self.assert_locked()
        self.assertIsNone(self.guest)
        self.guest = _RUNNING if power_on else _SHUTDOWN


@ddt.ddt
class StepTestCase(CrossCellMovesTestCase):
    """A request for a step of a move that may have taken long to arrive."""

    class Manager:
        def __init__(self, test, moves):
            self.test = test
            self.cross_cell = moves
            self.done = False

        @cross_cell.step
        def do(self, context, instance, flavor, migration, snapshot_id=None):
            self.test.assert_locked()
            self.done = True
            return 42

    def setUp(self):
        super().setUp()
        self.manager = self.Manager(self, self.moves)

    def _do(self):
        return self.manager.do(
            self.context, self.instance, mock.sentinel.flavor,
            migration=self.migration)

    @ddt.data({'source_compute': 'here'}, {'dest_compute': 'here'})
    def test_wanted(self, here):
        self.update(self.migration, here)
        self.assertEqual(42, self._do())

    @ddt.data(
        {'dest_compute': 'other'}, {'dest_compute': None},
        {'dest_compute': 'here', 'status': 'error'},
        {'source_compute': 'here', 'status': 'migrating'})
    def test_not_wanted(self, what):
        self.update(self.migration, what)
        self.assertRaises(exception.MigrationPreCheckError, self._do)
        self.assertFalse(self.manager.done)

    def test_record_is_gone(self):
        self.get_migration.side_effect = exception.MigrationNotFound(
            migration_id=uuids.migration)
        self.assertRaises(exception.MigrationPreCheckError, self._do)
        self.assertFalse(self.manager.done)


@ddt.ddt
class AbandonTestCase(CrossCellMovesTestCase):

    def setUp(self):
        super().setUp()
        self.instance.hidden = True
        self.instance.host = 'source'
        self.migration.dest_compute = 'here'

    def _abandon(self):
        self.moves.abandon(self.context, self.instance, self.migration)
        self.assertIsNone(self.guest)

    def test_guest_is_here(self):
        self.guest = _RUNNING
        self._abandon()
        self.driver.destroy.assert_called_once_with(
            self.context, self.instance, mock.ANY,
            block_device_info=self.host.get_block_device_info.return_value,
            destroy_disks=False)
        self.host.drop_claim.assert_called_once_with(
            self.context, self.instance, self.migration)
        self.host.forget.assert_called_once_with(self.context, self.instance)
        self.assertIsNone(self.migration.dest_compute)
        self.save_migration.assert_called_once_with()

    def test_no_step_is_done_later(self):
        self._abandon()
        self.assertRaises(
            exception.MigrationPreCheckError, self.moves.check_wanted,
            self.context, self.migration)

    def test_again(self):
        self.guest = _RUNNING
        self._abandon()
        self._abandon()
        self.host.drop_claim.assert_called_once_with(
            self.context, self.instance, self.migration)
        # Volumes were disconnected the first time, and may belong to another
        # destination by now.
        self.driver.cleanup.assert_called_once_with(
            self.context, self.instance, mock.ANY, block_device_info=None,
            destroy_disks=False)

    def test_record_is_gone(self):
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.guest = _RUNNING
        self._abandon()
        self.host.drop_claim.assert_not_called()
        self.get_bdms.assert_not_called()

    def test_server_is_here(self):
        """A request that arrives after the move was completed is refused."""
        self.instance.hidden = False
        self.guest = _RUNNING
        self.assertRaises(
            exception.InstanceInvalidState, self.moves.abandon, self.context,
            self.instance, self.migration)
        self.assertEqual(_RUNNING, self.guest)
        self.driver.cleanup.assert_not_called()

    def test_hypervisor_does_not_answer(self):
        self.driver.get_info.side_effect = exception.HypervisorUnavailable(
            host='here')
        self.assertRaises(
            exception.HypervisorUnavailable, self.moves.abandon, self.context,
            self.instance, self.migration)
        self.driver.destroy.assert_not_called()
        self.driver.cleanup.assert_not_called()
        self.assertEqual('here', self.migration.dest_compute)

    def test_guest_is_not_destroyed(self):
        self.guest = _RUNNING
        self.driver.destroy.side_effect = test.TestingException
        self.assertRaises(
            test.TestingException, self.moves.abandon, self.context,
            self.instance, self.migration)
        self.assertEqual('here', self.migration.dest_compute)

    def test_volume_is_not_disconnected(self):
        """What matters is that the guest is gone."""
        self.guest = _RUNNING

        def destroy(*args, **kwargs):
            self.guest = None
            raise test.TestingException

        self.driver.destroy.side_effect = destroy
        self._abandon()
        self.host.drop_claim.assert_called_once_with(
            self.context, self.instance, self.migration)

    def test_disks_are_not_shared(self):
        self.host.may_share_disks.return_value = False
        self._abandon()
        self.assertIs(
            True, self.driver.cleanup.call_args.kwargs['destroy_disks'])
        self.host.discard_disks.assert_called_once_with(
            self.context, self.instance)

    def test_disks_of_another_destination(self):
        """What the records say of disks is not true for this host."""
        self.migration.dest_compute = 'other'
        self.host.may_share_disks.return_value = False
        self._abandon()
        self.assertIs(
            False, self.driver.cleanup.call_args.kwargs['destroy_disks'])
        self.host.discard_disks.assert_not_called()


class CheckDestinationTestCase(CrossCellMovesTestCase):

    def setUp(self):
        super().setUp()
        self.migration.dest_compute = 'here'

    def _check_destination(self, check):
        return self.moves.check_destination(
            self.context, self.instance, self.migration, check)

    def test_wanted(self):
        def check(check_wanted):
            self.assert_locked()
            check_wanted()
            return 42

        self.assertEqual(42, self._check_destination(check))

    def test_not_wanted(self):
        self.migration.status = 'error'
        check = mock.Mock()
        self.assertRaises(
            exception.MigrationPreCheckError, self._check_destination, check)
        check.assert_not_called()

    def test_given_up_meanwhile(self):
        def check(check_wanted):
            self.migration.dest_compute = None
            check_wanted()

        self.assertRaises(
            exception.MigrationPreCheckError, self._check_destination, check)


@ddt.ddt
class RestoreTestCase(CrossCellMovesTestCase):

    def setUp(self):
        super().setUp()
        self.instance.task_state = task_states.RESIZE_MIGRATING
        self.instance.system_metadata['old_vm_state'] = vm_states.ACTIVE
        self.migration.source_compute = 'here'
        self.migration.status = 'post-migrating'

    def _restore(self):
        self.moves.restore(self.context, self.instance, self.migration)
        self.assertEqual('error', self.migration.status)
        self.assertNotIn(
            cross_cell.NOT_CONNECTED, self.instance.system_metadata)

    def test_moved_since(self):
        """A recovery that is late does not touch what goes on now."""
        self.get_migrations.return_value.objects.append(objects.Migration(
            id=2, uuid=uuids.later, created_at=self.migration.created_at,
            status='migrating'))
        self.guest = _SHUTDOWN
        self.assertRaises(
            exception.InstanceInvalidState, self.moves.restore, self.context,
            self.instance, self.migration)
        self.assertEqual(_SHUTDOWN, self.guest)
        self.assertEqual('post-migrating', self.migration.status)

    def assert_connected(self, attachment, times=1):
        self.assertEqual(
            [mock.call(self.context, attachment, {'host': 'here'},
                       '/dev/vda')] * times,
            self.volume_api.attachment_update.mock_calls)
        self.volume_api.attachment_complete.assert_called_with(
            self.context, attachment)
        self.host.get_block_device_info.assert_any_call(
            self.context, self.instance, self.get_bdms.return_value,
            refresh=True)

    @ddt.data((vm_states.ACTIVE, _RUNNING), (vm_states.STOPPED, _SHUTDOWN))
    @ddt.unpack
    def test_guest_is_gone(self, vm_state, guest):
        self.instance.system_metadata['old_vm_state'] = vm_state
        self.instance.vm_state = vm_states.ERROR
        self._restore()
        self.assertEqual(guest, self.guest)
        self.assertEqual(guest, self.instance.power_state)
        self.assertEqual(vm_state, self.instance.vm_state)
        # Who may use the server is for conductor to say.
        self.assertEqual(
            task_states.RESIZE_MIGRATING, self.instance.task_state)
        self.assert_connected(uuids.old)
        migration = (
            self.network_api.migrate_instance_start.call_args.args[2])
        self.assertEqual('here', migration.dest_compute)

    @ddt.data((vm_states.ACTIVE, _RUNNING), (vm_states.STOPPED, _SHUTDOWN))
    @ddt.unpack
    def test_guest_was_stopped_only(self, vm_state, guest):
        self.instance.system_metadata['old_vm_state'] = vm_state
        self.guest = _SHUTDOWN
        self._restore()
        self.assertEqual(guest, self.guest)
        self.driver.finish_revert_migration.assert_not_called()
        self.volume_api.attachment_update.assert_not_called()

    def test_again(self):
        self._restore()
        self._restore()
        self.assertEqual(_RUNNING, self.guest)
        self.assert_connected(uuids.old)

    def test_after_a_crash_before_the_guest_is_made(self):
        self.driver.finish_revert_migration.side_effect = KeyboardInterrupt
        self.assertRaises(
            KeyboardInterrupt, self.moves.restore, self.context, self.instance,
            self.migration)
        self.assertIn(cross_cell.NOT_CONNECTED, self.instance.system_metadata)
        self.driver.finish_revert_migration.side_effect = self._make_guest
        self._restore()
        self.assertEqual(_RUNNING, self.guest)
        self.assert_connected(uuids.old, times=2)

    @ddt.data(
        exception.VolumeAttachmentNotFound(attachment_id=uuids.old),
        exception.InvalidInput(reason='it is connected'))
    def test_attachment_is_replaced(self, error):
        self.volume_api.attachment_update.side_effect = [error, {}]
        if isinstance(error, exception.VolumeAttachmentNotFound):
            self.volume_api.attachment_delete.side_effect = error
        self._restore()
        self.assertEqual(uuids.new, self.bdm.attachment_id)
        self.volume_api.attachment_delete.assert_called_once_with(
            self.context, uuids.old)
        self.volume_api.attachment_complete.assert_called_once_with(
            self.context, uuids.new)

    def test_stray_attachment(self):
        self.volume_api.attachment_get_all.return_value = [
            {'id': uuids.old}, {'id': uuids.stray}]
        self._restore()
        self.volume_api.attachment_get_all.assert_called_once_with(
            self.context, instance_id=uuids.instance)
        self.volume_api.attachment_delete.assert_called_once_with(
            self.context, uuids.stray)

    def test_no_volume(self):
        """A cloud may have no volume service."""
        self.get_bdms.return_value = objects.BlockDeviceMappingList(objects=[
            objects.BlockDeviceMapping(
                source_type='image', destination_type='local')])
        self._restore()
        self.assertEqual(_RUNNING, self.guest)
        self.assertEqual([], self.volume_api.mock_calls)

    def test_port_has_lost_its_binding(self):
        self.ports[0]['binding:host_id'] = ''
        self._restore()
        self.network_api.setup_instance_network_on_host.\
            assert_called_once_with(self.context, self.instance, 'here')

    def test_port_is_bound(self):
        self._restore()
        self.network_api.setup_instance_network_on_host.assert_not_called()

    @ddt.data(None, _SHUTDOWN)
    def test_server_is_being_deleted(self, guest):
        """What the deletion knows is from before the move."""
        self.guest = guest
        self.instance.task_state = task_states.DELETING
        self.volume_api.attachment_delete.side_effect = (
            exception.VolumeAttachmentNotFound(attachment_id=uuids.old))
        self.moves.restore(self.context, self.instance, self.migration)
        self.assertEqual(guest, self.guest)
        self.volume_api.attachment_update.assert_not_called()
        if guest is None:
            self.volume_api.attachment_delete.assert_called_once_with(
                self.context, uuids.old)
        else:
            self.volume_api.attachment_delete.assert_not_called()

    @ddt.data(
        ({'task_state': task_states.SOFT_DELETING}, vm_states.ACTIVE),
        ({'vm_state': vm_states.SOFT_DELETED}, vm_states.SOFT_DELETED))
    @ddt.unpack
    def test_server_is_soft_deleted(self, state, vm_state):
        """It can be brought back to life, but not by this."""
        self.update(self.instance, state)
        self._restore()
        self.assertEqual(_SHUTDOWN, self.guest)
        self.assertEqual(vm_state, self.instance.vm_state)
        self.assert_connected(uuids.old)

    def test_server_is_deleted(self):
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.moves.restore(self.context, self.instance, self.migration)
        self.assertIsNone(self.guest)

    @ddt.data({'hidden': True}, {'host': 'other'})
    def test_server_is_elsewhere(self, where):
        self.update(self.instance, where)
        self.assertRaises(
            exception.InstanceInvalidState, self.moves.restore, self.context,
            self.instance, self.migration)
        self.assertIsNone(self.guest)
        self.assertEqual('post-migrating', self.migration.status)

    def test_hypervisor_does_not_answer(self):
        self.driver.get_info.side_effect = exception.HypervisorUnavailable(
            host='here')
        self.assertRaises(
            exception.HypervisorUnavailable, self.moves.restore, self.context,
            self.instance, self.migration)
        self.driver.finish_revert_migration.assert_not_called()
        self.driver.power_on.assert_not_called()


@ddt.ddt
class PrepareStartTestCase(CrossCellMovesTestCase):

    def setUp(self):
        super().setUp()
        self.instance.system_metadata['old_vm_state'] = vm_states.ACTIVE

    def _prepare_start(self):
        self.moves.prepare_start(self.context, self.instance)

    def test_never_moved(self):
        del self.instance.system_metadata['old_vm_state']
        self._prepare_start()
        self.get_migrations.assert_not_called()
        self.driver.get_info.assert_not_called()

    @ddt.data(
        {'source_compute': 'here', 'status': 'post-migrating'},
        {'dest_compute': 'here', 'status': 'reverting'},
        {'dest_compute': 'here', 'status': 'reverted'})
    def test_guest_may_be_elsewhere(self, what):
        self.update(self.migration, what)
        self.assertRaises(
            exception.InstanceInvalidState, self._prepare_start)

    @ddt.data(
        {'source_compute': 'here', 'status': 'error'},
        {'source_compute': 'here', 'status': 'reverting'},
        {'dest_compute': 'here', 'status': 'confirming'},
        {'source_compute': 'here', 'status': 'post-migrating',
         'cross_cell_move': False})
    def test_guest_is_here(self, what):
        self.update(self.migration, what)
        self._prepare_start()

    def test_hidden(self):
        self.update(
            self.migration, {'source_compute': 'here', 'status': 'confirming'})
        self.instance.hidden = True
        self.assertRaises(
            exception.InstanceInvalidState, self._prepare_start)

    def test_evacuated_from_a_source(self):
        self.migration.status = 'post-migrating'
        self.instance.host = 'source'
        self.assertRaises(
            exception.InstanceInvalidState, self._prepare_start)

    @ddt.data(
        (True, {'source_compute': 'here', 'status': 'migrating'}),
        (False, {'source_compute': 'here', 'status': 'error'}),
        (False, {'dest_compute': 'here', 'status': 'migrating'}),
        (False, {'source_compute': 'here', 'status': 'migrating',
                 'cross_cell_move': False}))
    @ddt.unpack
    def test_is_leaving(self, leaves, what):
        self.update(self.migration, what)
        self.assertIs(
            leaves, self.moves.is_leaving(self.context, self.instance))

    def test_restore_has_failed(self):
        self.update(
            self.migration, {'source_compute': 'here', 'status': 'error'})
        self.instance.system_metadata[cross_cell.NOT_CONNECTED] = 'True'
        self.ports[0]['binding:host_id'] = 'dest'
        self._prepare_start()
        self.network_api.setup_instance_network_on_host.\
            assert_called_once_with(self.context, self.instance, 'here')
        self.volume_api.attachment_update.assert_called_once_with(
            self.context, uuids.old, {'host': 'here'}, '/dev/vda')
        self.volume_api.attachment_complete.assert_called_once_with(
            self.context, uuids.old)
        self.assertNotIn(
            cross_cell.NOT_CONNECTED, self.instance.system_metadata)
        self.save.assert_called_once_with()


@ddt.ddt
class RemoveAbandonedTestCase(CrossCellMovesTestCase):
    """A host that was fenced is back."""

    def setUp(self):
        super().setUp()
        self.instance.hidden = True
        self.migration = self.make_migration(1, 'error')
        self.get_migrations.side_effect = self._get_migrations
        self.destroy = self.patch('nova.objects.Instance.destroy')
        self.migrations = [self.migration]
        self.guest = _RUNNING

    def make_migration(self, id, status):
        return objects.Migration(
            id=id, uuid=getattr(uuids, 'migration%d' % id), status=status,
            instance_uuid=uuids.instance, cross_cell_move=True,
            dest_compute='here', created_at=timeutils.utcnow(
                with_timezone=True))

    def _get_migrations(self, context, filters):
        return objects.MigrationList(objects=[
            migration for migration in self.migrations
            if migration.status in filters.get('status', migration.status)])

    @ddt.data('error', 'reverted')
    def test_undone(self, status):
        self.migration.status = status
        self.moves.remove_abandoned(self.context)
        self.assertIsNone(self.guest)
        self.destroy.assert_called_once_with(hard_delete=True)

    def assert_kept(self):
        self.moves.remove_abandoned(self.context)
        self.assertEqual(_RUNNING, self.guest)
        self.destroy.assert_not_called()

    def test_server_is_here(self):
        """It has come by another move since."""
        self.instance.hidden = False
        self.assert_kept()

    def test_another_move_is_under_way(self):
        self.migrations.append(self.make_migration(2, 'pre-migrating'))
        self.assert_kept()

    def test_other_host(self):
        self.migration.dest_compute = 'other'
        self.assert_kept()

    def test_not_a_move_across_cells(self):
        self.migration.cross_cell_move = False
        self.assert_kept()

    def test_record_is_gone(self):
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.assert_kept()

    def test_record_is_kept_as_long_as_the_guest(self):
        self.driver.destroy.side_effect = test.TestingException
        self.assert_kept()


@ddt.ddt
class HostTestCase(test.NoDBTestCase):
    """What the compute manager does for a move."""

    def setUp(self):
        super().setUp()
        self.manager = mock.create_autospec(
            manager.ComputeManager, instance=True)
        self.manager.rt = mock.Mock(
            tracked_migrations={}, tracked_instances=set())
        self.manager.instance_events = mock.create_autospec(
            manager.InstanceEvents, instance=True)
        self.host = manager._CrossCellHost(self.manager)
        self.instance = objects.Instance(
            uuid=uuids.instance, flavor=objects.Flavor(id=1),
            new_flavor=objects.Flavor(id=2))
        self.migration = objects.Migration(dest_node='node')

    def test_nothing_is_claimed(self):
        self.host.drop_claim(
            mock.sentinel.context, self.instance, self.migration)
        self.manager.rt.drop_move_claim.assert_not_called()

    @ddt.data(True, False)
    def test_drop_claim(self, resize):
        if not resize:
            self.instance.new_flavor = None
        self.manager.rt.tracked_migrations[uuids.instance] = self.migration
        self.host.drop_claim(
            mock.sentinel.context, self.instance, self.migration)
        self.manager.rt.drop_move_claim.assert_called_once_with(
            mock.sentinel.context, self.instance, 'node',
            self.instance.new_flavor or self.instance.flavor)

    def _know_move(self, move):
        self.instance.migration_context = objects.MigrationContext(
            cross_cell=move)

    @ddt.data(
        (None, True),
        ({'shared': None, 'shared_path': False}, True),
        ({'shared': True, 'shared_path': False}, True),
        ({'shared': False, 'shared_path': False}, False))
    @ddt.unpack
    def test_disks_may_be_shared(self, fields, shared):
        self._know_move(fields and objects.CrossCellMove.new(**fields))
        self.assertEqual(shared, self.host.may_share_disks(self.instance))

    @ddt.data(('discard_disks', 'discard_local_state'),
              ('give_back_disks', 'restore_local_state'))
    @ddt.unpack
    def test_disks(self, name, method):
        self.manager.driver = mock.create_autospec(
            driver.ComputeDriver, instance=True)
        move = objects.CrossCellMove.new()
        self._know_move(move)
        getattr(self.host, name)(mock.sentinel.context, self.instance)
        getattr(self.manager.driver, method).assert_called_once_with(
            mock.sentinel.context, self.instance, move)

    def test_forget(self):
        self.host.forget(mock.sentinel.context, self.instance)
        self.manager.instance_events.clear_events_for_instance.\
            assert_called_once_with(self.instance)
        self.manager._delete_scheduler_instance_info.assert_called_once_with(
            mock.sentinel.context, uuids.instance)
