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

import threading
from unittest import mock

import fixtures

from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import live_migration_recovery
from nova.compute import power_state
from nova.compute import rpcapi
from nova.compute import task_states
from nova import context as nova_context
from nova import exception
from nova.network import neutron
from nova import objects
from nova.scheduler.client import report
from nova import servicegroup
from nova import test
from nova.tests.unit import fake_instance
from nova.virt import driver
from nova.virt import hardware
from nova.volume import cinder


class RecoveryTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.driver = mock.create_autospec(driver.ComputeDriver, instance=True)
        self.driver.capabilities = {'supports_live_migration_recovery': True}
        self.driver.end_live_migration.return_value = True
        self.steps = mock.create_autospec(
            live_migration_recovery.Steps, instance=True)
        self.reportclient = mock.create_autospec(
            report.SchedulerReportClient, instance=True)
        self.reportclient.get_allocations_for_consumer.return_value = {}
        self.volume_api = mock.create_autospec(cinder.API, instance=True)
        self.compute_rpcapi = mock.create_autospec(
            rpcapi.ComputeAPI, instance=True)
        self.recovery = live_migration_recovery.LiveMigrationRecovery(
            'source', self.driver, self.compute_rpcapi, self.reportclient,
            mock.create_autospec(neutron.API, instance=True),
            self.volume_api, self.steps)
        self.ask = self.useFixture(fixtures.MockPatchObject(
            self.recovery._guest_api, 'get_power_state',
            autospec=True)).mock
        self.is_up = mock.create_autospec(servicegroup.API, instance=True)
        self.recovery._servicegroup_api = self.is_up
        self.is_up.service_is_up.return_value = True
        self.service = objects.Service(forced_down=False)
        self.patch('nova.objects.Service.get_by_compute_host'
                   ).return_value = self.service
        self.instance = fake_instance.fake_instance_obj(
            self.context, uuid=uuids.instance, host='source',
            task_state=task_states.MIGRATING, system_metadata={},
            expected_attrs=['system_metadata'])
        self.get_instance = self.patch('nova.objects.Instance.get_by_uuid')
        self.get_instance.return_value = self.instance
        self.patch('nova.objects.Instance.save')
        self.save = self.patch('nova.objects.Migration.save')
        self.get_migrations = self.patch(
            'nova.objects.MigrationList.get_by_filters')
        self.bdms = objects.BlockDeviceMappingList(objects=[])
        self.patch('nova.objects.BlockDeviceMappingList.get_by_instance_uuid'
                   ).return_value = self.bdms
        self.patch('nova.objects.InstanceList.get_by_filters'
                   ).return_value = objects.InstanceList(objects=[])
        self.migration = self.make_migration(1, 'running')

    def patch(self, name):
        return self.useFixture(
            fixtures.MockPatch(name, autospec=True)).mock

    def make_migration(self, id, status, dest='dest'):
        return objects.Migration(
            id=id, uuid=getattr(uuids, 'migration%d' % id), status=status,
            instance_uuid=uuids.instance, source_compute='source',
            dest_compute=dest, migration_type='live-migration',
            created_at=timeutils.utcnow(with_timezone=True), updated_at=None)

    def set_up(self, migrations, here, there):
        """Set what the database, this host and the other host say."""
        self.get_migrations.side_effect = lambda *args, **kwargs: (
            objects.MigrationList(objects=list(migrations)))
        if here == power_state.NOSTATE:
            self.driver.get_info.side_effect = exception.InstanceNotFound(
                instance_id=uuids.instance)
        self.driver.get_info.return_value = hardware.InstanceInfo(state=here)
        if isinstance(there, Exception):
            self.ask.side_effect = there
        else:
            self.ask.return_value = there

    def recover(self, *migrations, here=power_state.RUNNING,
                there=power_state.NOSTATE):
        self.set_up(migrations, here, there)
        self.recovery.recover_all(self.context)

    def assert_untouched(self):
        self.assertEqual([], self.steps.mock_calls)
        self.save.assert_not_called()

    def test_guest_is_here(self):
        self.recover(self.migration)
        self.steps.roll_back.assert_called_once_with(
            test.MatchType(nova_context.RequestContext), self.instance,
            'dest', migrate_data=self.driver.rebuild_live_migrate_data.
            return_value, source_bdms=self.bdms)
        self.steps.complete.assert_not_called()

    def test_guest_is_there(self):
        self.recover(self.migration, here=power_state.NOSTATE,
                     there=power_state.RUNNING)
        self.steps.complete.assert_called_once()
        self.steps.roll_back.assert_not_called()

    def test_task_state_was_reset(self):
        self.instance.task_state = None
        self.recover(self.migration, here=power_state.NOSTATE,
                     there=power_state.RUNNING)
        self.assertEqual(task_states.MIGRATING, self.instance.task_state)
        self.steps.complete.assert_called_once()

    def test_another_task_is_under_way(self):
        self.instance.task_state = task_states.REBOOTING
        self.recover(self.migration)
        self.assert_untouched()

    def test_in_doubt(self):
        unknown = exception.GuestStateUnknown(
            uuid=uuids.instance, host='dest', reason='x')
        for here, there in (
                (power_state.RUNNING, power_state.RUNNING),
                (power_state.RUNNING, unknown),
                (power_state.NOSTATE, unknown),
                (power_state.NOSTATE, power_state.NOSTATE)):
            self.driver.get_info.side_effect = None
            self.ask.side_effect = None
            self.recover(self.migration, here=here, there=there)
            self.assert_untouched()

    def test_job_does_not_end(self):
        self.driver.end_live_migration.return_value = False
        self.recover(self.migration)
        self.assert_untouched()

    def test_owned(self):
        self.recovery.own(self.migration)
        self.recover(self.migration)
        self.assert_untouched()
        self.driver.end_live_migration.assert_not_called()

        self.recovery.disown(self.migration)
        self.recover(self.migration)
        self.steps.roll_back.assert_called_once()

    def test_destination_is_down(self):
        self.is_up.service_is_up.return_value = False
        self.recover(self.migration)
        self.assert_untouched()
        self.ask.assert_not_called()
        self.driver.end_live_migration.assert_not_called()

    def test_destination_is_fenced(self):
        self.service.forced_down = True
        self.is_up.service_is_up.return_value = False
        self.recover(self.migration)
        self.ask.assert_not_called()
        self.steps.roll_back.assert_called_once()
        # It cannot be asked whether it has the same directory.
        is_there = self.driver.rebuild_live_migrate_data.call_args.args[1]
        self.assertTrue(is_there({}))
        self.compute_rpcapi.check_instance_shared_storage.assert_not_called()

    def test_destination_is_fenced_with_the_guest(self):
        self.service.forced_down = True
        self.recover(self.migration, here=power_state.NOSTATE)
        self.assert_untouched()

    def test_instance_has_arrived_on_a_fenced_destination(self):
        self.service.forced_down = True
        self.instance.host = 'dest'
        self.recover(self.migration, here=power_state.NOSTATE)
        self.ask.assert_not_called()
        self.assertEqual('completed', self.migration.status)

    def test_deleted_while_the_destination_is_fenced(self):
        self.service.forced_down = True
        self.instance.deleted = True
        self.recover(self.migration, here=power_state.NOSTATE)
        self.ask.assert_not_called()
        self.assertEqual('error', self.migration.status)

    def test_queued_never_asks_the_destination(self):
        self.is_up.service_is_up.return_value = False
        self.recover(self.make_migration(1, 'queued'))
        self.ask.assert_not_called()
        self.steps.roll_back.assert_called_once()

    def test_conductor_is_selecting(self):
        migration = self.make_migration(1, 'accepted')
        self.recover(migration)
        self.assert_untouched()
        self.flags(long_rpc_timeout=-1)
        self.recover(migration)
        self.steps.roll_back.assert_called_once()

    def test_not_the_newest_is_closed(self):
        newest = self.make_migration(2, 'queued', dest='other')
        self.recover(self.migration, newest)
        self.assertEqual('error', self.migration.status)
        self.steps.roll_back.assert_called_once()
        self.assertEqual(
            'other', self.steps.roll_back.call_args.args[2])

    def test_error_of_one_instance_is_isolated(self):
        other = self.make_migration(2, 'running')
        other.instance_uuid = uuids.other
        self.driver.end_live_migration.side_effect = [
            test.TestingException, True]
        self.get_migrations.side_effect = [
            objects.MigrationList(objects=[self.migration, other]),
            objects.MigrationList(objects=[self.migration]),
            objects.MigrationList(objects=[other])]
        self.driver.get_info.return_value = hardware.InstanceInfo(
            state=power_state.RUNNING)
        self.ask.return_value = power_state.NOSTATE
        self.recovery.recover_all(self.context)
        self.steps.roll_back.assert_called_once()

    def test_instance_has_arrived(self):
        self.instance.host = 'dest'
        self.instance.task_state = None
        self.recover(self.migration, here=power_state.NOSTATE,
                     there=power_state.RUNNING)
        self.steps.delete_allocation.assert_called_once()
        self.assertEqual('completed', self.migration.status)

    def test_deleted(self):
        self.instance.deleted = True
        self.recover(self.migration, here=power_state.NOSTATE,
                     there=power_state.RUNNING)
        self.compute_rpcapi.rollback_live_migration_at_destination.\
            assert_called_once()
        self.assertEqual('running', self.migration.status)

        self.driver.has_files_on_other_host.return_value = False
        self.recover(self.migration, here=power_state.NOSTATE)
        self.assertEqual('error', self.migration.status)
        self.assertEqual([uuids.migration1, uuids.instance], [
            call.args[1] for call in self.reportclient.
            delete_allocation_for_instance.call_args_list])
        self.assertEqual([], self.steps.mock_calls)

    def test_driver_cannot(self):
        self.driver.capabilities = {}
        self.recover(self.migration)
        self.get_migrations.assert_not_called()

    def test_may_queue(self):
        asked = self.make_migration(1, 'accepted')
        get = self.patch('nova.objects.Migration.get_by_id')
        for status in ('accepted', 'queued', 'running', 'error'):
            get.return_value = self.make_migration(1, status)
            self.assertEqual(
                status == 'accepted',
                self.recovery.may_queue(self.context, asked))
        self.driver.capabilities = {}
        self.assertTrue(self.recovery.may_queue(self.context, asked))

    def may_begin(self, *migrations):
        self.get_migrations.side_effect = lambda *args, **kwargs: (
            objects.MigrationList(objects=list(migrations)))
        return self.recovery.may_begin(
            self.context, self.instance, migrations[0])

    def test_may_begin(self):
        queued = self.make_migration(2, 'queued')
        self.assertTrue(self.may_begin(queued))
        self.assertTrue(self.may_begin(
            queued, self.make_migration(1, 'error')))
        self.assertFalse(self.may_begin(
            queued, self.make_migration(1, 'running')))
        self.assertFalse(self.may_begin(
            queued, self.make_migration(3, 'error')))
        for status in ('preparing', 'error'):
            self.assertFalse(self.may_begin(self.make_migration(2, status)))
        # What other hosts have left undone, which may be gone for good.
        other = self.make_migration(1, 'running')
        other.source_compute = 'other'
        self.assertTrue(self.may_begin(queued, other))
        other.source_compute = 'dest'
        self.assertFalse(self.may_begin(queued, other))

        self.instance.host = 'dest'
        self.assertFalse(self.may_begin(queued))
        self.instance.host = 'source'
        self.instance.task_state = None
        self.assertFalse(self.may_begin(queued))
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.assertFalse(self.may_begin(queued))

    def at_destination(self, *migrations, here=power_state.NOSTATE,
                       there=power_state.RUNNING):
        """Make this host the destination of migrations."""
        self.recovery._host = 'dest'
        self.set_up(migrations, here, there)

    def may_clear(self):
        return self.recovery.may_clear(
            self.context, self.instance,
            objects.LibvirtLiveMigrateData(migration=self.migration))

    def test_may_clear(self):
        self.at_destination(self.migration)
        self.assertTrue(self.may_clear())
        self.ask.assert_not_called()

    def make_resize(self, id, status):
        """Make a resize from this host to another."""
        migration = self.make_migration(id, status, dest='other')
        migration.source_compute = 'dest'
        migration.migration_type = 'resize'
        return migration

    def test_may_clear_after_moves_that_are_over(self):
        lost = self.make_migration(6, 'running')
        lost.source_compute = 'lost'
        self.at_destination(
            self.migration,
            self.make_migration(2, 'running', dest='other'),
            self.make_migration(4, 'error'),
            self.make_resize(0, 'confirmed'), lost)
        self.assertTrue(self.may_clear())

    def test_may_not_clear_what_another_move_brings(self):
        for status in ('accepted', 'queued', 'preparing', 'running',
                       'post-migrating'):
            self.at_destination(
                self.make_migration(2, status), self.migration)
            self.assertFalse(self.may_clear(), status)

    def test_may_not_clear_what_a_resize_has_left_here(self):
        for status in ('finished', 'error'):
            self.at_destination(
                self.migration, self.make_resize(2, status))
            self.assertFalse(self.may_clear(), status)

    def test_may_not_clear_what_is_here(self):
        self.at_destination(self.migration)
        self.instance.host = 'dest'
        self.assertFalse(self.may_clear())

    def test_is_in_later(self):
        def is_in_later(*migrations):
            self.at_destination(self.migration, *migrations)
            return self.recovery.is_in_later(
                self.context, self.instance,
                objects.LibvirtLiveMigrateData(migration=self.migration))

        for status in ('preparing', 'running', 'post-migrating'):
            self.assertTrue(is_in_later(self.make_migration(2, status)))
            self.assertFalse(
                is_in_later(self.make_migration(2, status, dest='other')))
            # One that nobody brings to an end.
            self.assertFalse(is_in_later(self.make_migration(0, status)))
        for status in ('queued', 'error', 'completed'):
            self.assertFalse(is_in_later(self.make_migration(2, status)))
        self.assertFalse(is_in_later(self.make_resize(2, 'running')))
        leaving = self.make_migration(2, 'running', dest='other')
        leaving.source_compute = 'dest'
        self.assertFalse(is_in_later(leaving))
        # What asks has an exception of its own to raise.
        self.get_migrations.side_effect = exception.NovaException()
        self.assertFalse(is_in_later())

    def may_disconnect(self, known, now, *migrations):
        """Whether a host may do so if it is asked.

        :param known: the Migration that the Instance in the message names
        :param now: the Migration that the database names
        """
        self.at_destination(*migrations)
        self.instance.system_metadata = {}
        asking = self.instance.obj_clone()
        for instance, migration in (
                (asking, known), (self.instance, now)):
            if migration:
                instance.system_metadata = {
                    'live_migration_source_volumes_of': migration.uuid}
        with self.recovery.disconnecting(self.context, asking) as allowed:
            return allowed

    def test_disconnecting(self):
        first, second = self.migration, self.make_migration(2, 'preparing')
        self.assertTrue(self.may_disconnect(first, first, first))
        # A source of an earlier release is asked for by no other.
        self.assertTrue(self.may_disconnect(None, None, first))
        first.status = 'error'
        self.assertTrue(self.may_disconnect(first, None, first))
        for known in (first, None):
            self.assertFalse(
                self.may_disconnect(known, second, first, second))
        # What the second needs is on another host, or it has ended.
        second.dest_compute = 'other'
        self.assertTrue(self.may_disconnect(first, second, first, second))
        second = self.make_migration(2, 'error')
        self.assertTrue(self.may_disconnect(first, second, first, second))

    def test_disconnecting_what_was_not_loaded(self):
        second = self.make_migration(2, 'preparing')
        self.at_destination(second)
        live_migration_recovery.keep_source_volumes(
            self.instance, [objects.BlockDeviceMapping(
                source_type='volume', destination_type='volume',
                volume_id=uuids.volume, attachment_id=uuids.attachment,
                connection_info='x')], second)
        with self.recovery.disconnecting(self.context, objects.Instance(
                uuid=uuids.instance, host='source')) as allowed:
            self.assertFalse(allowed)

    def test_disconnecting_an_instance_that_has_arrived(self):
        self.at_destination(self.migration)
        now = self.instance.obj_clone()
        now.host = 'dest'
        self.get_instance.return_value = now
        with self.recovery.disconnecting(
                self.context, self.instance) as allowed:
            self.assertFalse(allowed)
        # Whoever asks for an instance that is here, knows that it is.
        with self.recovery.disconnecting(self.context, now) as allowed:
            self.assertTrue(allowed)

    def test_disconnecting_what_is_deleted(self):
        self.at_destination()
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        with self.recovery.disconnecting(
                self.context, self.instance) as allowed:
            self.assertTrue(allowed)

    def test_migration_waits_until_volumes_are_disconnected(self):
        self.at_destination(self.migration)
        waiter = threading.Thread(target=self.clear_destination)
        with self.recovery.disconnecting(self.context, self.instance):
            waiter.start()
            waiter.join(0.5)
            self.assertTrue(waiter.is_alive())
            self.driver.has_leftover_directory.assert_not_called()
        waiter.join(60)
        self.driver.has_leftover_directory.assert_called_once()

    def test_may_not_clear_the_only_guest(self):
        self.at_destination(self.migration, here=power_state.RUNNING,
                            there=power_state.NOSTATE)
        self.assertFalse(self.may_clear())
        self.ask.return_value = power_state.RUNNING
        self.assertTrue(self.may_clear())
        self.ask.side_effect = exception.GuestStateUnknown(
            uuid=uuids.instance, host='source', reason='x')
        self.assertRaises(exception.GuestStateUnknown, self.may_clear)

    def test_may_clear_what_is_deleted(self):
        self.at_destination(here=power_state.RUNNING,
                            there=power_state.NOSTATE)
        self.get_instance.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.assertTrue(self.may_clear())

    def test_may_clear_what_a_context_reads_as_deleted(self):
        self.at_destination(here=power_state.RUNNING,
                            there=power_state.NOSTATE)
        self.instance.deleted = True
        self.assertTrue(self.may_clear())

    def check_is_preparing(self, **migrate_data):
        self.recovery.check_is_preparing(
            self.context, self.instance,
            objects.LibvirtLiveMigrateData(**migrate_data))

    def test_is_preparing(self):
        preparing = self.make_migration(2, 'preparing')
        self.at_destination(preparing, self.make_migration(1, 'error'))
        self.check_is_preparing(migration=preparing)
        # as a source of an earlier release sends it
        self.check_is_preparing()

        self.assertRaises(
            exception.MigrationPreCheckError, self.check_is_preparing,
            migration=self.migration)
        for migrations in (
                [], [self.make_migration(1, 'error')],
                [self.make_migration(1, 'preparing', dest='other')]):
            self.at_destination(*migrations)
            self.assertRaises(
                exception.MigrationPreCheckError, self.check_is_preparing)

    def clear_destination(self):
        self.recovery.clear_destination(
            self.context, self.instance,
            objects.LibvirtLiveMigrateData(migration=self.migration))

    def test_clear_destination(self):
        self.migration.status = 'preparing'
        self.at_destination(self.migration)
        for state in (power_state.RUNNING, power_state.PAUSED):
            self.ask.return_value = state
            self.clear_destination()
            self.driver.remove_leftover_directory.assert_called_once()
            self.driver.remove_leftover_directory.reset_mock()

        self.driver.has_leftover_directory.return_value = False
        self.clear_destination()
        self.driver.remove_leftover_directory.assert_not_called()

    def test_destination_is_not_cleared_in_doubt(self):
        self.migration.status = 'preparing'
        self.at_destination(self.migration)
        for state in (power_state.NOSTATE, power_state.SHUTDOWN,
                      power_state.CRASHED):
            self.ask.return_value = state
            self.clear_destination()
        self.ask.side_effect = exception.GuestStateUnknown(
            uuid=uuids.instance, host='source', reason='x')
        self.clear_destination()
        self.ask.side_effect = None
        self.ask.return_value = power_state.RUNNING

        self.instance.task_state = None
        self.clear_destination()
        self.instance.task_state = task_states.MIGRATING
        self.driver.get_info.side_effect = None
        self.driver.get_info.return_value = hardware.InstanceInfo(
            state=power_state.RUNNING)
        self.clear_destination()
        self.at_destination(self.migration)
        self.migration.status = 'running'
        self.clear_destination()
        self.driver.remove_leftover_directory.assert_not_called()

    def test_destination_does_as_ever_if_driver_cannot(self):
        self.driver.capabilities = {}
        self.at_destination()
        self.instance.host = 'dest'
        self.assertTrue(self.may_clear())
        self.assertFalse(self.recovery.is_in_later(
            self.context, self.instance, objects.LibvirtLiveMigrateData()))
        with self.recovery.disconnecting(self.context, objects.Instance(
                uuid=uuids.instance, host='source')) as allowed:
            self.assertTrue(allowed)
        self.check_is_preparing()
        self.clear_destination()
        self.driver.has_leftover_directory.assert_not_called()
        self.get_instance.assert_not_called()

    def test_migration_of_legacy_volumes_is_recorded(self):
        bdm = objects.BlockDeviceMapping(
            self.context, id=1, source_type='volume',
            destination_type='volume', volume_id=uuids.volume,
            attachment_id=None, connection_info='{}')
        live_migration_recovery.keep_source_volumes(
            self.instance, [bdm], self.migration)
        self.assertEqual(
            {'live_migration_source_volumes_of': self.migration.uuid},
            self.instance.system_metadata)

    def test_volumes_are_given_back_without_cinder(self):
        bdm = objects.BlockDeviceMapping(
            self.context, id=1, source_type='volume',
            destination_type='volume', volume_id=uuids.volume,
            attachment_id=uuids.of_source, connection_info='x' * 700)
        live_migration_recovery.keep_source_volumes(
            self.instance, [bdm], self.migration)
        self.assertTrue(all(
            len(value) <= 255
            for value in self.instance.system_metadata.values()))
        bdm.attachment_id = uuids.of_dest
        bdm.connection_info = 'y'
        self.bdms.objects.append(bdm)
        self.patch('nova.objects.BlockDeviceMapping.save')
        self.volume_api.attachment_delete.side_effect = (
            exception.Forbidden())
        self.recover(self.migration)
        self.steps.roll_back.assert_called_once()
        self.assertEqual(uuids.of_source, bdm.attachment_id)
        self.assertEqual('x' * 700, bdm.connection_info)
        self.compute_rpcapi.remove_volume_connection.assert_called_once()

        live_migration_recovery.forget_source_volumes(self.instance)
        self.assertEqual({}, self.instance.system_metadata)

    def test_volumes_of_the_source_are_unknown(self):
        self.bdms.objects.append(objects.BlockDeviceMapping(
            self.context, id=1, source_type='volume',
            destination_type='volume', volume_id=uuids.volume,
            attachment_id=uuids.of_dest, connection_info='y'))
        self.recover(self.migration)
        self.assert_untouched()
