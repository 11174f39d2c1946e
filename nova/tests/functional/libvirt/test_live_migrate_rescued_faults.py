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

import contextlib
import functools
import os
import shutil
import threading

import fixtures

import nova.conf
from nova import context as nova_context
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova.tests.functional.libvirt import test_live_migrate_rescued
from nova.virt.libvirt import driver as libvirt_driver

CONF = nova.conf.CONF


class Killed(BaseException):
    """Ends a thread of a killed service, which does not clean up."""


class HostConf:
    """The configuration as the host sees it that the thread works for."""

    def __init__(self, host_dirs):
        self._host_dirs = host_dirs

    def __getattr__(self, name):
        if name == 'instances_path':
            return self._host_dirs.current()
        return getattr(CONF, name)


class HostDirs(fixtures.Fixture):
    """Give each host an instances_path of its own.

    All services share a process, and so a configuration. The driver that a
    thread is in tells which host it works for.
    """

    METHODS = (
        'check_can_live_migrate_destination',
        'check_can_live_migrate_source',
        'check_instance_shared_storage_remote',
        'cleanup',
        'cleanup_live_migration_destination_check',
        'destroy',
        'get_instance_disk_info',
        'pre_live_migration',
        'rebuild_live_migrate_data',
        'rescue',
        'rollback_live_migration_at_destination',
        'spawn',
        'unrescue',
    )

    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path
        self._local = threading.local()
        for module in ('driver', 'utils', 'rescue'):
            self.useFixture(fixtures.MonkeyPatch(
                f'nova.virt.libvirt.{module}.CONF', HostConf(self)))
        for name in self.METHODS:
            self.useFixture(fixtures.MonkeyPatch(
                f'nova.virt.libvirt.driver.LibvirtDriver.{name}',
                self._on_host(getattr(libvirt_driver.LibvirtDriver, name))))

    def path(self, host, *names):
        return os.path.join(self.root, host, *names)

    def elsewhere(self, path, host):
        """The path on a host of what has this path on another."""
        _host, below = os.path.relpath(path, self.root).split(os.sep, 1)
        return self.path(host, below)

    def current(self):
        return getattr(self._local, 'path', CONF.instances_path)

    @contextlib.contextmanager
    def _set(self, path):
        before = self.current()
        os.makedirs(path, exist_ok=True)
        self._local.path = path
        try:
            yield
        finally:
            self._local.path = before

    def _on_host(self, method):
        def on_host(drvr, *args, **kwargs):
            host = drvr.virtapi._compute.host
            if method.__name__ == 'check_instance_shared_storage_remote':
                context, data = args
                args = (context, {
                    'filename': self.elsewhere(data['filename'], host)})
            with self._set(self.path(host)):
                return method(drvr, *args, **kwargs)
        return on_host


class FaultsTestBase(test_live_migrate_rescued.LiveMigrateRescuedTestBase):
    """Services are killed in the middle of a live migration."""

    networks = 'auto'
    DISKS = {'disk', 'disk.config', 'disk.eph0', 'disk.rescue'}

    def setUp(self):
        self._set_up_files()
        self.died = threading.Event()
        self.addCleanup(self.died.set)
        super().setUp()
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
        """Give each host files of its own.

        The disks are no images here, so what looks into them is stubbed out,
        and the block job copies none.
        """
        self.host_dirs = self.useFixture(HostDirs())
        for name, result in (
                ('_get_instance_disk_info_from_config', []),
                ('_live_migration_copy_disk_paths', ([], [])),
                ('_create_images_and_backing', None)):
            self.useFixture(fixtures.MockPatch(
                f'nova.virt.libvirt.driver.LibvirtDriver.{name}',
                return_value=result))
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.utils.copy_image', side_effect=self._copy))

    def _copy(self, src, dest, host, receive, compression=True):
        shutil.copy(self.host_dirs.elsewhere(src, host), dest)

    def _dir(self, host):
        return self.host_dirs.path(host, self.server['id'])

    def _end(self, domain):
        domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE

    def _domain(self, host):
        """The domain of the server on a host, None without one."""
        connection = self.computes[host].driver._host.get_connection()
        try:
            return connection.lookupByUUIDString(self.server['id'])
        except fakelibvirt.libvirtError:
            return None

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
        self.assertTrue(self.migrating.wait(20))
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
        if self._dir('source') != self._dir('dest'):
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

    def _kill_and_restart(self, host):
        self._kill(host)
        self._restart(host)

    def _run_clean_up(self, host):
        self.computes[host].manager._cleanup_incomplete_migrations(
            nova_context.get_admin_context())

    def _bindings(self):
        return set(self.neutron._port_bindings[self.port_id])

    def _assert_all_on(self, host, other):
        """All of the server is on a host, and nothing of it on the other."""
        self._assert_server(host)
        self.assertIsNotNone(self._domain(host))
        self.assertIsNone(self._domain(other))
        self.assertEqual({host}, self._bindings())
        self.assertLessEqual(self.DISKS, set(os.listdir(self._dir(host))))
        if self._dir(host) != self._dir(other):
            self.assertFalse(os.path.exists(self._dir(other)))
        migration = self._migration()
        self.assertEqual({}, self._get_allocations_by_server_uuid(
            migration['uuid']))

    def _migration(self):
        """The first migration of the server."""
        return min(self.api.api_get('/os-migrations').body['migrations'],
                   key=lambda migration: migration['id'])

    def _assert_event(self, *words):
        event = self._wait_for_action_fail_completion(
            self.server, 'live-migration', 'compute_recover_live_migration')
        for word in words:
            self.assertIn(word, event['details'])

    def _assert_nothing_can_start_it(self):
        server = self.api.get_server(self.server['id'])
        self.assertEqual('migrating', server['OS-EXT-STS:task_state'])
        exc = self.assertRaises(
            client.OpenStackApiException, self.api.post_server_action,
            self.server['id'], {'unrescue': None})
        self.assertEqual(409, exc.response.status_code)


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
        self._assert_event('dest does not tell', 'asks again')
        self.assertIsNone(self._domain('source'))
        self.assertTrue(os.path.exists(self._dir('source')))

        self._run_clean_up('source')
        self._assert_nothing_can_start_it()

        self.flags(rpc_response_timeout=60)
        self._restart('dest')
        self._run_clean_up('source')
        self._assert_all_on('dest', 'source')

    def test_before_it_notes_the_end(self):
        def die(*args, **kwargs):
            noted.set()
            raise Killed()

        noted = threading.Event()
        # what the source does next when the destination has taken over
        self.src.manager.instance_events.clear_events_for_instance = die
        self._live_migrate('dest')
        self.assertTrue(noted.wait(20))
        self.assertNotEqual({}, self._get_allocations_by_server_uuid(
            self._migration()['uuid']))

        self._kill_and_restart('source')
        self._assert_all_on('dest', 'source')
        self.assertEqual('completed', self._migration()['status'])

    def test_job_does_not_end(self):
        self.stub_out('nova.tests.fixtures.libvirt.Domain.abortJob',
                      lambda domain: None)
        self.stub_out('nova.virt.libvirt.lost_migration._JOB_END_TIMEOUT', 0)
        self._hold_migration()
        self._kill_and_restart('source')
        self._assert_nothing_can_start_it()
        self._assert_event('still migrates')

        self._end(self._domain('source'))
        self._run_clean_up('source')
        self._assert_all_on('source', 'dest')

    def test_destination_does_not_answer(self):
        self._hold_migration()
        self._kill('dest')
        self._kill('source')
        self.flags(rpc_response_timeout=1)
        self._restart('source')
        self._assert_server('source')
        self.assertEqual({'source'}, self._bindings())
        self.assertLessEqual(
            self.DISKS, set(os.listdir(self._dir('source'))))


class SourceKilledSharedPathTest(FaultsTestBase):
    """The same, with one directory for the disks of both hosts."""

    def _set_up_files(self):
        pass

    def _dir(self, host):
        return os.path.join(CONF.instances_path, self.server['id'])

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
            self.assertTrue(self.migrating.wait(20))
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
        self._assert_all_on('source', 'dest')
        self.assertEqual('error', self._migration()['status'])

    def test_tells_the_source_after_that_has_recovered(self):
        self._migrate_until_source_is_told()
        self._kill_and_restart('source')
        self._assert_all_on('source', 'dest')

        self.src.manager.driver.live_migration = self.fail
        self.src.manager.live_migration(
            *self.tell_source.args,
            **{key: value for key, value in self.tell_source.keywords.items()
               if key != 'host'})
        self._assert_all_on('source', 'dest')
