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

import datetime
import functools
import os
import threading

from lxml import etree

from nova.compute import power_state
from nova.compute import utils as compute_utils
from nova import context as nova_context
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova.tests.functional import integrated_helpers
from nova.tests.functional.libvirt import base


class LiveMigrateRescuedTestBase(
    base.LibvirtMigrationMixin,
    base.ServersTestBase,
    integrated_helpers.InstanceHelperMixin
):
    """A server in rescue, and a second host that it may move to."""

    ADMIN_API = True
    CAST_AS_CALL = False
    microversion = '2.105'

    def setUp(self):
        super().setUp()
        self.migrating = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.outcome = None

    def _start_hosts(self):
        self.start_compute('source')
        self.start_compute('dest')
        self.src = self.computes['source']
        self.dest = self.computes['dest']
        # a guest that goes on for ever ends with the test
        self.addCleanup(self.go_on.set)

    def _create_rescued_server(self, networks='none'):
        self.server = self._create_server(host='source', networks=networks)
        self._rescue_server(self.server)

    def _migrate_stub(self, domain, destination, params, flags):
        domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED
        self.migrating.set()
        self.go_on.wait(60)
        if self.outcome is not None:
            domain._job_type = self.outcome
            raise fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError, 'operation aborted',
                error_code=fakelibvirt.VIR_ERR_INTERNAL_ERROR)
        try:
            super()._migrate_stub(domain, destination, params, flags)
        except Exception:
            # the monitor would wait for ever for a job that does not end
            domain.fail_job()
            raise

    def _live_migrate(self, host=None):
        self.api.post_server_action(self.server['id'], {'os-migrateLive': {
            'host': host, 'block_migration': 'auto'}})

    def _wait_for_server_parameter(self, *args, **kwargs):
        return self._wait_longer(
            super()._wait_for_server_parameter, *args, **kwargs)

    def _wait_for_migration_status(self, *args, **kwargs):
        return self._wait_longer(
            super()._wait_for_migration_status, *args, **kwargs)

    def _wait_longer(self, wait, *args, **kwargs):
        """Let a helper wait a minute, which gives up after 5 seconds."""
        return self._wait_for_assert(
            functools.partial(wait, *args, **kwargs), max_retries=12)

    def _domain(self, host):
        """The domain of the server on a host, None without one."""
        connection = self.computes[host].driver._host.get_connection()
        try:
            return connection.lookupByUUIDString(self.server['id'])
        except fakelibvirt.libvirtError:
            return None

    def _domain_xml(self, host):
        return etree.fromstring(self._domain(host).XMLDesc(0))

    def _guest_disks(self, compute):
        return [os.path.basename(path) for path in self._domain_xml(
            compute.host).xpath('devices/disk/source/@file')]

    def _assert_server(self, host):
        """The server is in rescue on a host and nothing is under way."""
        server = self._wait_for_server_parameter(
            self.server, {'OS-EXT-STS:task_state': None})
        self.assertEqual('RESCUE', server['status'])
        self.assertEqual('rescued', server['OS-EXT-STS:vm_state'])
        self.assertEqual(
            power_state.RUNNING, server['OS-EXT-STS:power_state'])
        self.assertEqual(host, server['OS-EXT-SRV-ATTR:host'])
        self.assertEqual(
            [self.compute_rp_uuids[host]],
            list(self._get_allocations_by_server_uuid(self.server['id'])))

    def _assert_nothing_can_start_it(self):
        server = self.api.get_server(self.server['id'])
        self.assertEqual('migrating', server['OS-EXT-STS:task_state'])
        exc = self.assertRaises(
            client.OpenStackApiException, self.api.post_server_action,
            self.server['id'], {'unrescue': None})
        self.assertEqual(409, exc.response.status_code)

    def _assert_refused(self, code, *words, host=None):
        exc = self.assertRaises(
            client.OpenStackApiException, self._live_migrate, host)
        self.assertEqual(code, exc.response.status_code)
        for word in words:
            self.assertIn(word, str(exc))
        self._assert_server('source')


class LiveMigrateRescuedTest(LiveMigrateRescuedTestBase):
    """A rescued server moves, stays in rescue, and comes back from it."""

    def setUp(self):
        super().setUp()
        self._start_hosts()
        self._create_rescued_server()

    def _make_incapable(self, host):
        """Let the driver of a host say that it cannot, and report it."""
        self.computes[host].driver.capabilities[
            'supports_live_migrate_rescued'] = False
        self._run_periodics()
        self.assertNotIn(
            compute_utils.LIVE_MIGRATE_RESCUED_TRAIT,
            self._get_provider_traits(self.compute_rp_uuids[host]))

    def _test_migrate_and_unrescue(self, host):
        self._live_migrate(host)
        self._wait_for_migration_status(self.server, ['completed'])
        self._assert_server('dest')
        self.assertEqual(['disk.rescue', 'disk'], self._guest_disks(self.dest))

        self._unrescue_server(self.server)
        self.assertEqual(['disk'], self._guest_disks(self.dest))

    def test_scheduler_picks_the_host(self):
        self._test_migrate_and_unrescue(None)

    def test_named_host(self):
        self._test_migrate_and_unrescue('dest')

    def test_microversion_2_104(self):
        self.api.microversion = '2.104'
        self._assert_refused(409, 'rescued')

    def test_source_not_capable(self):
        self._make_incapable('source')
        self._assert_refused(400, 'The source node source does not support')

    def test_named_destination_not_capable(self):
        self._make_incapable('dest')
        self._assert_refused(
            400, 'The destination node dest does not support', host='dest')

    def test_destination_went_back_to_an_earlier_release(self):
        """Its trait in placement is the only trace of the later one."""
        self.stub_out('nova.virt.libvirt.rescue.offer', lambda data: None)
        self._live_migrate('dest')
        self._wait_for_migration_status(self.server, ['error'])
        self._assert_server('source')
        event = self._wait_for_action_fail_completion(
            self.server, 'live-migration', 'conductor_live_migrate_instance')
        # refused, and the scheduler then asked for another one
        self.assertIn('Only hosts that support the live migration of rescued '
                      'servers were considered', event['details'])

    def test_guest_powered_off(self):
        self.src.driver._host.get_connection().lookupByUUIDString(
            self.server['id']).destroy()
        context = nova_context.get_admin_context()
        instance = objects.Instance.get_by_uuid(context, self.server['id'])
        instance.power_state = power_state.SHUTDOWN
        instance.save()
        exc = self.assertRaises(
            client.OpenStackApiException, self._live_migrate)
        self.assertEqual(409, exc.response.status_code)
        self.assertIn('Unrescue it', str(exc))

        self._unrescue_server(self.server)
        self._live_migrate('dest')
        self._wait_for_migration_status(self.server, ['completed'])

    def test_scheduler_finds_no_capable_host(self):
        self._make_incapable('dest')
        self._live_migrate()
        self._wait_for_migration_status(self.server, ['error'])
        self._assert_server('source')
        event = self._wait_for_action_fail_completion(
            self.server, 'live-migration', 'conductor_live_migrate_instance')
        self.assertIn(
            'Only hosts that support the live migration of rescued servers '
            'were considered.', event['details'])

    def _hold_migration(self):
        """Start a migration that goes on until the test lets it end.

        :returns: the path of its record in the API
        """
        self.go_on.clear()
        self._live_migrate()
        migration = self._wait_for_migration_status(self.server, ['running'])
        self.assertTrue(self.migrating.wait(60))
        return '/servers/%s/migrations/%s' % (
            self.server['id'], migration['id'])

    def test_during_the_migration(self):
        self._hold_migration()
        server = self.api.get_server(self.server['id'])
        self.assertEqual('RESCUE', server['status'])
        self._assert_nothing_can_start_it()

        self.go_on.set()
        self._wait_for_migration_status(self.server, ['completed'])
        self._assert_server('dest')

    def test_failure_rolls_back(self):
        self.outcome = fakelibvirt.VIR_DOMAIN_JOB_FAILED
        self._live_migrate()
        self._wait_for_migration_status(self.server, ['failed'])
        self._assert_server('source')
        self.assertEqual(['disk.rescue', 'disk'], self._guest_disks(self.src))

        self._unrescue_server(self.server)
        self.assertEqual(['disk'], self._guest_disks(self.src))

    def test_abort(self):
        def abort(domain):
            self.outcome = fakelibvirt.VIR_DOMAIN_JOB_CANCELLED
            self.go_on.set()

        self.stub_out('nova.tests.fixtures.libvirt.Domain.abortJob', abort)
        path = self._hold_migration()
        self.api.api_delete(path)
        self._wait_for_migration_status(self.server, ['cancelled'])
        self._assert_server('source')
        self.assertEqual(['disk.rescue', 'disk'], self._guest_disks(self.src))

    def test_force_complete(self):
        def suspend(domain):
            self.go_on.set()

        self.stub_out('nova.tests.fixtures.libvirt.Domain.suspend', suspend)
        path = self._hold_migration()
        self.api.api_post(
            path + '/action', {'force_complete': None},
            check_response_status=[202])
        self._wait_for_migration_status(self.server, ['completed'])
        self._assert_server('dest')

    def test_rescue_timeout_at_the_destination(self):
        self._live_migrate()
        self._wait_for_migration_status(self.server, ['completed'])
        self.flags(rescue_timeout=1)
        context = nova_context.get_admin_context()
        instance = objects.Instance.get_by_uuid(context, self.server['id'])
        instance.launched_at -= datetime.timedelta(minutes=1)
        instance.save()

        self.src.manager._poll_rescued_instances(context)
        self._assert_server('dest')
        self.dest.manager._poll_rescued_instances(context)
        self._wait_for_state_change(self.server, 'ACTIVE')
        self.assertEqual(['disk'], self._guest_disks(self.dest))
