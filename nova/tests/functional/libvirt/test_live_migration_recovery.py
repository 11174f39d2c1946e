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

import functools
import os
import shutil
import threading
from unittest import mock

import fixtures
import oslo_messaging
from oslo_serialization import jsonutils

from nova.compute import manager
from nova.compute import rpcapi
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import cast_as_call
from nova.tests.fixtures import host_dirs
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import test_live_migrate_rescued


class Killed(BaseException):
    """Ends a thread of a killed service, which does not clean up."""


class FaultsTestBase(test_live_migrate_rescued.LiveMigrateRescuedTestBase):
    """Services are killed in the middle of a live migration."""

    DISKS = {'disk', 'disk.config', 'disk.eph0', 'disk.rescue'}

    def setUp(self):
        super().setUp()
        self.died = threading.Event()
        self.host_dirs = self.useFixture(host_dirs.HostDirs())
        self._set_up_files()
        self._start_hosts()
        # what waits to be killed ends with the test
        self.addCleanup(self.died.set)
        self._create_rescued_server(networks='auto')
        self.flags(vif_plugging_timeout=0)
        os.makedirs(self._dir('source'), exist_ok=True)
        for name in self.DISKS:
            with open(os.path.join(self._dir('source'), name), 'w') as f:
                f.write(name)
        port, = self.neutron.list_ports(
            True, device_id=self.server['id'])['ports']
        self.port_id = port['id']
        self.stub_out('nova.tests.fixtures.libvirt.Domain.abortJob', self._end)

    def _set_up_files(self):
        """Stub out what looks into the disks, which are no images here.

        The block job copies none of them.
        """
        for name, result in (
                ('_get_instance_disk_info_from_config', []),
                ('_live_migration_copy_disk_paths', ([], [])),
                ('_create_images_and_backing', None)):
            self.useFixture(fixtures.MockPatch(
                f'nova.virt.libvirt.driver.LibvirtDriver.{name}',
                return_value=result))
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.utils.copy_image', side_effect=self._copy))

    def _copy(self, src, dest, host, receive, **kwargs):
        shutil.copy(self.host_dirs.elsewhere(src, host), dest)

    def _dir(self, host):
        return self.host_dirs.path(host, self.server['id'])

    def _end(self, domain):
        domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE

    def _hold_migration(self):
        """Start a migration that libvirt goes on with by itself."""
        def live_migration(context, instance, *args):
            self._domain('source')._job_type = (
                fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED)
            self.migrating.set()
            self.died.wait(60)
            raise Killed()

        self.src.driver.live_migration = live_migration
        self._live_migrate('dest')
        self.assertTrue(self.migrating.wait(60))
        self._wait_for_migration_status(self.server, ['running'])
        self.assertTrue(os.path.exists(self._dir('dest')))
        self.assertEqual({'source', 'dest'}, self._bindings())

    def _move_guest(self):
        """Let libvirt end the migration, with nobody to notice."""
        domain = self._domain('source')
        connection = self.computes['dest'].driver._host.get_connection()
        connection.createXML(domain.XMLDesc(0), 0)
        domain.destroy()
        domain.undefine()
        self._copy_disks()

    def _migrate_stub(self, domain, destination, params, flags):
        self._copy_disks()
        super()._migrate_stub(domain, destination, params, flags)

    def _copy_disks(self):
        """Do what a block job does."""
        if not self.host_dirs.shared:
            for name in self.DISKS:
                shutil.copy(os.path.join(self._dir('source'), name),
                            self._dir('dest'))

    def _kill(self, host):
        compute = self.computes[host]
        compute.manager.graceful_shutdown = lambda timeout: None
        self.died.set()
        compute.stop()

    def _restart(self, host):
        compute = self.restart_compute_service(host)
        if host == 'source':
            self.src = compute
        else:
            self.dest = compute
        self._recover()

    def _recover(self):
        """Run the periodic task of the source."""
        if 'source' in self.computes:
            self.computes['source'].manager._recover_live_migrations(
                nova_context.get_admin_context())

    def _kill_and_restart(self, host):
        self._kill(host)
        self._restart(host)

    def _fail_without_rollback_at_destination(self):
        """Let a migration fail, of which the destination is not told."""
        self.outcome = fakelibvirt.VIR_DOMAIN_JOB_FAILED
        with fixtures.MonkeyPatch(
                'nova.compute.rpcapi.ComputeAPI.'
                'rollback_live_migration_at_destination',
                lambda *args, **kwargs: None):
            self._live_migrate('dest')
            self._wait_for_migration_status(self.server, ['failed'])
        self.outcome = None
        self._end(self._domain('source'))
        self._assert_server('source')
        self.assertTrue(os.path.exists(self._dir('dest')))

    def _keep(self, name, raises=None):
        """Keep the message of that name, instead of sending it.

        :returns: list that gets a callable, which sends it and waits until it
            is dealt with; and a fixture that does so
        """
        kept = []
        send = getattr(rpcapi.ComputeAPI, name)

        def keep(*args, **kwargs):
            kept.append(functools.partial(send, *args, **kwargs))
            if raises:
                raise raises

        return kept, fixtures.MonkeyPatch(
            f'nova.compute.rpcapi.ComputeAPI.{name}', keep)

    def _fail_and_keep(self, name):
        """Make a migration fail without one of its requests.

        :param name: of the RPC method
        :returns: a function that makes the request
        """
        kept, stub = self._keep(name)
        self.outcome = fakelibvirt.VIR_DOMAIN_JOB_FAILED
        with stub:
            self._live_migrate('dest')
            self._wait_for_migration_status(self.server, ['failed'])
        self.outcome = None
        self._end(self._domain('source'))
        request, = kept
        return request

    def _bindings(self):
        return set(self.neutron._port_bindings[self.port_id])

    def _assert_all_on(self, host, other):
        """All of the server is on a host, and nothing of it on the other."""
        self._assert_server(host)
        self.assertIsNotNone(self._domain(host))
        self.assertLessEqual(self.DISKS, set(os.listdir(self._dir(host))))
        # a rollback does not wait for the destination
        self._wait_for_assert(
            functools.partial(self._assert_nothing_on, other),
            max_retries=120)
        self.assertEqual({host}, self._bindings())
        migration = self._migration()
        self.assertEqual({}, self._get_allocations_by_server_uuid(
            migration['uuid']))

    def _assert_nothing_on(self, host):
        self.assertIsNone(self._domain(host))
        self.assertNotIn(host, self._bindings())
        if not self.host_dirs.shared:
            self.assertFalse(os.path.exists(self._dir(host)))

    def _migration(self):
        """The first migration of the server."""
        return min(self.api.api_get('/os-migrations').body['migrations'],
                   key=lambda migration: migration['id'])


class SourceKilledTest(FaultsTestBase):

    def test_guest_stays(self):
        self._hold_migration()
        self._kill_and_restart('source')
        self._assert_all_on('source', 'dest')
        self.assertEqual('error', self._migration()['status'])

        self._live_migrate('dest')
        self._wait_for_migration_status(self.server, ['completed'])

    def test_guest_arrives(self):
        self._hold_migration()
        self._kill('source')
        self._move_guest()
        self._restart('source')
        self._assert_all_on('dest', 'source')
        self.assertEqual('completed', self._migration()['status'])

        self._unrescue_server(self.server)
        self.assertEqual(['disk'], self._guest_disks(self.dest))
        self.assertIsNone(self._domain('source'))

    def test_guest_arrives_and_destination_does_not_answer(self):
        self.flags(resume_guests_state_on_host_boot=True)
        self._hold_migration()
        self._kill('source')
        self._move_guest()
        self._kill('dest')
        self.flags(rpc_response_timeout=1)
        self._restart('source')
        self._assert_nothing_can_start_it()
        self.assertIsNone(self._domain('source'))
        self.assertTrue(os.path.exists(self._dir('source')))

        self._recover()
        self._assert_nothing_can_start_it()

        self.flags(rpc_response_timeout=60)
        self._restart('dest')
        self._recover()
        self._assert_all_on('dest', 'source')

    def test_before_it_notes_the_end(self):
        def die(*args, **kwargs):
            noted.set()
            raise Killed()

        noted = threading.Event()
        # what the source does next when the destination has taken over
        self.src.manager.instance_events.clear_events_for_instance = die
        self._live_migrate('dest')
        self.assertTrue(noted.wait(60))
        self.assertNotEqual({}, self._get_allocations_by_server_uuid(
            self._migration()['uuid']))

        self._kill_and_restart('source')
        self._assert_all_on('dest', 'source')
        self.assertEqual('completed', self._migration()['status'])

    def test_job_does_not_end(self):
        self.stub_out('nova.tests.fixtures.libvirt.Domain.abortJob',
                      lambda domain: None)
        self.stub_out(
            'nova.virt.libvirt.migration_recovery._JOB_END_TIMEOUT', 0)
        self._hold_migration()
        self._kill_and_restart('source')
        self._assert_nothing_can_start_it()

        self._end(self._domain('source'))
        self._recover()
        self._assert_all_on('source', 'dest')

    def test_destination_does_not_answer(self):
        self._hold_migration()
        self._kill('dest')
        self._kill('source')
        self.flags(rpc_response_timeout=1)
        self._restart('source')
        self._assert_nothing_can_start_it()

        self.flags(rpc_response_timeout=60)
        self._restart('dest')
        self._assert_all_on('source', 'dest')

    def test_destination_is_down(self):
        # nobody waits for it
        self._hold_migration()
        self._kill('source')
        with fixtures.MockPatch(
                'nova.servicegroup.API.service_is_up', return_value=False):
            with fixtures.MockPatch(
                    'nova.compute.guest_rpcapi.GuestAPI.get_power_state',
                    side_effect=self.fail):
                self._restart('source')
        self._assert_nothing_can_start_it()
        self._recover()
        self._assert_all_on('source', 'dest')

    def test_destination_of_an_earlier_release(self):
        self._hold_migration()
        self._kill('source')
        with fixtures.MonkeyPatch(
                'nova.compute.guest_rpcapi._NAMESPACE', 'absent'):
            self._restart('source')
        self._assert_nothing_can_start_it()
        self._kill_and_restart('source')
        self._assert_all_on('source', 'dest')

    def test_guest_on_both_hosts(self):
        self._hold_migration()
        self._kill('source')
        self.computes['dest'].driver._host.get_connection().createXML(
            self._domain('source').XMLDesc(0), 0)
        self._restart('source')
        self._assert_nothing_can_start_it()
        self.assertIsNotNone(self._domain('source'))
        self.assertIsNotNone(self._domain('dest'))
        self.assertLessEqual(self.DISKS, set(os.listdir(self._dir('source'))))
        self.assertTrue(os.path.exists(self._dir('dest')))

    def test_state_is_reset_and_guest_arrives(self):
        self._hold_migration()
        self._kill('source')
        self._move_guest()
        self._reset_state()
        self._restart('source')
        self._assert_all_on('dest', 'source')

    def test_state_is_reset_and_guest_stays(self):
        self._hold_migration()
        self._kill('source')
        self._reset_state()
        self._restart('source')
        self._assert_all_on('source', 'dest')

    def _reset_state(self):
        instance = objects.Instance.get_by_uuid(
            nova_context.get_admin_context(), self.server['id'])
        instance.task_state = None
        instance.save()

    def test_server_is_deleted(self):
        self._hold_migration()
        self._kill('source')
        self._move_guest()
        with mock.patch.object(
                manager.ComputeManager, '_recover_live_migrations',
                autospec=True):
            self._restart('source')
        self._delete_server(self.server)
        self._recover()
        self._wait_for_assert(
            functools.partial(self._assert_nothing_on, 'dest'),
            max_retries=120)
        self._recover()
        migrations = objects.MigrationList.get_by_filters(
            nova_context.get_admin_context(read_deleted='yes'),
            {'instance_uuid': self.server['id']})
        self.assertEqual(['error'], [each.status for each in migrations])
        self.assertEqual({}, self._get_allocations_by_server_uuid(
            migrations[0].uuid))


class MonitorFailsTest(FaultsTestBase):
    """The source fails to follow a migration, as without a message queue."""

    def setUp(self):
        super().setUp()
        self.stub_out('nova.virt.libvirt.driver.LibvirtDriver.'
                      '_live_migration_monitor', self._monitor)

    def _monitor(self, *args):
        future = args[-2]
        if not future.exception():
            # as libvirt does
            domain = self._domain('source')
            domain.destroy()
            domain.undefine()
        raise oslo_messaging.MessagingTimeout()

    def _wait_until_disowned(self):
        self._wait_for_assert(functools.partial(
            self.assertEqual, set(),
            self.src.manager.live_migration_recovery._owned), max_retries=120)

    def test_guest_stays(self):
        self.outcome = fakelibvirt.VIR_DOMAIN_JOB_FAILED
        self._live_migrate('dest')
        self._wait_for_migration_status(self.server, ['running'])
        self._wait_until_disowned()
        self._assert_nothing_can_start_it()
        self._end(self._domain('source'))
        self._recover()
        self._assert_all_on('source', 'dest')
        self.assertEqual('error', self._migration()['status'])

    def test_guest_arrives(self):
        self._live_migrate('dest')
        self._wait_for_migration_status(self.server, ['running'])
        self._wait_until_disowned()
        self._assert_nothing_can_start_it()
        self._recover()
        self._assert_all_on('dest', 'source')
        self.assertEqual('completed', self._migration()['status'])
        self._unrescue_server(self.server)
        self.assertEqual(['disk'], self._guest_disks(self.dest))


class SharedPathMixin:
    """One directory for the disks of both hosts."""

    def _set_up_files(self):
        self.host_dirs.shared = True


class SourceKilledSharedPathTest(SharedPathMixin, FaultsTestBase):

    def test_guest_stays(self):
        self._hold_migration()
        self._kill_and_restart('source')
        self._assert_all_on('source', 'dest')

    def test_guest_arrives(self):
        self._hold_migration()
        self._kill('source')
        self._move_guest()
        self._restart('source')
        self._assert_all_on('dest', 'source')


class SourceKilledVolumeTest(FaultsTestBase):
    """The same, with a volume, which each host attaches for itself."""

    VOLUME = nova_fixtures.CinderFixture.SWAP_OLD_VOL

    def _create_rescued_server(self, networks):
        self.cinder = self.useFixture(nova_fixtures.CinderFixture(self))
        self.server = self._create_server(host='source', networks=networks)
        self._attach_volume(self.server, self.VOLUME)
        self._rescue_server(self.server)
        self.of_source = self._attachments()
        self.assertEqual(1, len(self.of_source))

    def _attachments(self):
        """The ids of the attachments that Cinder has of the volume."""
        return set(self.cinder.attachment_ids_for_instance(self.server['id']))

    def _assert_attached(self, attachments):
        self.assertEqual(attachments, self._attachments())
        bdm = objects.BlockDeviceMapping.get_by_volume_and_instance(
            nova_context.get_admin_context(), self.VOLUME, self.server['id'])
        self.assertEqual(attachments, {bdm.attachment_id})
        self.assertEqual(
            bdm.attachment_id,
            jsonutils.loads(bdm.connection_info)['data']['attachment_id'])

    def _hold_migration(self):
        super()._hold_migration()
        self.of_dest = self._attachments() - self.of_source
        self.assertEqual(1, len(self.of_dest))

    def test_guest_stays(self):
        self._hold_migration()
        self._kill_and_restart('source')
        self._assert_all_on('source', 'dest')
        self._assert_attached(self.of_source)

    def test_guest_arrives(self):
        self._hold_migration()
        self._kill('source')
        self._move_guest()
        self._restart('source')
        self._assert_all_on('dest', 'source')
        self._assert_attached(self.of_dest)

    def test_destination_does_not_take_over_at_first(self):
        self._hold_migration()
        self._kill('source')
        self._move_guest()
        with fixtures.MockPatch(
                'nova.compute.rpcapi.ComputeAPI.'
                'post_live_migration_at_destination',
                side_effect=oslo_messaging.MessagingTimeout):
            self._restart('source')
        self._assert_nothing_can_start_it()
        self._assert_attached(self.of_dest)

        self._recover()
        self._assert_all_on('dest', 'source')
        self._assert_attached(self.of_dest)

    def test_what_an_earlier_migration_has_connected_is_removed_late(self):
        """The next one uses the same connection."""
        disconnect = self._fail_and_keep('remove_volume_connection')
        self._hold_migration()
        with mock.patch.object(
                self.dest.driver, 'detach_volume', autospec=True) as detach:
            disconnect()
            detach.assert_not_called()
            self._kill_and_restart('source')
            self._assert_all_on('source', 'dest')
            detach.assert_called_once()
            disconnect()
            self.assertEqual(2, detach.call_count)


class RollbackLostTest(FaultsTestBase):
    """The destination is not told that a migration is rolled back."""

    def test_next_migration_clears_the_destination(self):
        self._fail_without_rollback_at_destination()
        self._live_migrate('dest')
        self._wait_for_migration_status(self.server, ['completed'])
        self._assert_server('dest')


class DelayedTest(FaultsTestBase):
    """What a source has asked for arrives after a later migration."""

    def _fail_and_keep_rollback(self):
        roll_back = self._fail_and_keep(
            'rollback_live_migration_at_destination')
        self.useFixture(cast_as_call.CastAsCallFixture(self))
        return roll_back

    def _assert_tasks(self, number):
        """So many tasks are waited for when the destination shuts down."""
        self.assertEqual(number, len(self.dest.manager._in_progress_tasks))

    def test_rollback(self):
        roll_back = self._fail_and_keep_rollback()
        self._assert_tasks(1)
        roll_back()
        self._assert_all_on('source', 'dest')
        self._assert_tasks(0)

    def test_rollback_while_the_guest_moves_again(self):
        roll_back = self._fail_and_keep_rollback()
        self._hold_migration()
        roll_back()
        self._assert_tasks(1)
        self.assertTrue(os.path.exists(self._dir('dest')))
        self.assertEqual({'source', 'dest'}, self._bindings())
        self._kill('source')
        self._move_guest()
        roll_back()
        self._restart('source')
        self.assertIsNotNone(self._domain('dest'))
        self.assertLessEqual(self.DISKS, set(os.listdir(self._dir('dest'))))

    def test_rollback_after_the_guest_has_arrived(self):
        roll_back = self._fail_and_keep_rollback()
        self._live_migrate('dest')
        self._wait_for_migration_status(self.server, ['completed'])
        roll_back()
        self._assert_all_on('dest', 'source')
        self._assert_tasks(0)

    def test_preparation_after_the_source_has_given_up(self):
        kept, stub = self._keep(
            'pre_live_migration', raises=oslo_messaging.MessagingTimeout())
        with stub:
            self._live_migrate('dest')
            self._wait_for_migration_status(self.server, ['failed'])
        prepare, = kept
        self.assertRaises(exception.MigrationPreCheckError, prepare)
        self._assert_all_on('source', 'dest')

        # The next migration is being prepared when it comes once more.
        send = rpcapi.ComputeAPI.pre_live_migration

        def send_both(*args, **kwargs):
            self.assertRaises(exception.MigrationPreCheckError, prepare)
            return send(*args, **kwargs)

        with fixtures.MonkeyPatch(
                'nova.compute.rpcapi.ComputeAPI.pre_live_migration',
                send_both):
            self._live_migrate('dest')
            self._wait_for_assert(functools.partial(
                self._assert_server, 'dest'), max_retries=120)
        self._assert_all_on('dest', 'source')
        self._assert_tasks(0)


class PostTest(FaultsTestBase):
    """The destination cannot be told, or cannot do, what is left to do."""

    def _test_lost(self, post):
        with fixtures.MonkeyPatch(
                'nova.compute.rpcapi.ComputeAPI.'
                'post_live_migration_at_destination', post):
            self._live_migrate('dest')
            self.assertTrue(self.lost.wait(60))
            self._wait_for_assert(functools.partial(
                self.assertEqual, set(),
                self.src.manager.live_migration_recovery._owned),
                max_retries=120)
        self._recover()
        self._assert_all_on('dest', 'source')
        self.assertEqual('completed', self._migration()['status'])
        self._unrescue_server(self.server)
        self.assertEqual(['disk'], self._guest_disks(self.dest))

    def setUp(self):
        super().setUp()
        self.lost = threading.Event()

    def test_call_lost(self):
        self._test_lost(self._time_out)

    def test_reply_lost(self):
        call = rpcapi.ComputeAPI.post_live_migration_at_destination

        def lose_reply(*args, **kwargs):
            call(*args, **kwargs)
            self._time_out()

        self._test_lost(lose_reply)

    def _time_out(self, *args, **kwargs):
        self.lost.set()
        raise oslo_messaging.MessagingTimeout()


class ConductorTest(FaultsTestBase):

    def setUp(self):
        super().setUp()
        self.tell_source = None

    def _migrate_until_source_is_told(self):
        """Start a migration, of which the source is not told."""
        stop = fixtures.MonkeyPatch(
            'nova.compute.rpcapi.ComputeAPI.live_migration',
            self._live_migration)
        with stop:
            self._live_migrate('dest')
            self.assertTrue(self.migrating.wait(60))
        self._wait_for_migration_status(self.server, ['accepted'])
        self.assertEqual({'source', 'dest'}, self._bindings())

    def _live_migration(self, rpcapi, *args, **kwargs):
        self.tell_source = functools.partial(
            rpcapi.live_migration, *args, **kwargs)
        self.migrating.set()
        raise Killed()

    def test_killed_before_it_tells_the_source(self):
        self._migrate_until_source_is_told()
        self._kill_and_restart('source')
        # the conductor may be selecting
        self._assert_nothing_can_start_it()
        self.flags(long_rpc_timeout=-1)
        self._recover()
        self._assert_all_on('source', 'dest')
        self.assertEqual('error', self._migration()['status'])

    def test_tells_the_source_after_that_has_recovered(self):
        self._migrate_until_source_is_told()
        self.flags(long_rpc_timeout=-1)
        self._recover()
        self._assert_all_on('source', 'dest')

        self.src.manager.driver.live_migration = self.fail
        self.src.manager.live_migration(
            *self.tell_source.args,
            **{key: value for key, value in self.tell_source.keywords.items()
               if key != 'host'})
        self._wait_for_assert(functools.partial(
            self.assertEqual, set(),
            self.src.manager.live_migration_recovery._owned), max_retries=120)
        self._recover()
        self._assert_all_on('source', 'dest')
        self.assertEqual('error', self._migration()['status'])

    def test_tells_the_source_after_that_has_restarted(self):
        self._migrate_until_source_is_told()
        self._kill_and_restart('source')
        self.src.manager.live_migration(
            *self.tell_source.args,
            **{key: value for key, value in self.tell_source.keywords.items()
               if key != 'host'})
        self._wait_for_migration_status(self.server, ['completed'])
        self._assert_all_on('dest', 'source')
