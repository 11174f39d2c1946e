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


"""Moves across cells that fail: what is left of them, and where.

All that can be left is compared, with one picture of it, on a few clouds: a
move that has failed can be requested again, so a server fails to move in many
ways before it moves.
"""

import contextlib
import threading
from unittest import mock

import ddt
import oslo_messaging as messaging

from nova.compute import instance_actions
from nova.compute import power_state
from nova import context as nova_context
from nova import exception
from nova import objects
from nova.policies import base as base_policies
from nova.policies import servers as servers_policies
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional import integrated_helpers

_RUNNING = power_state.RUNNING
_SHUTDOWN = power_state.SHUTDOWN


class CrossCellTestCase(integrated_helpers.ProviderUsageBaseTestCase):
    """Two cells, a host in each."""

    NUMBER_OF_CELLS = 2
    compute_driver = 'fake.MediumFakeDriver'
    hosts = {'host1': 'cell1', 'host2': 'cell2'}

    def setUp(self):
        super().setUp()
        self.cinder = self.useFixture(nova_fixtures.CinderFixture(self))
        self.policy.set_rules(
            {servers_policies.CROSS_CELL_RESIZE: base_policies.RULE_ADMIN_API},
            overwrite=False)
        self.flags(rpc_response_timeout=10, long_rpc_timeout=60)
        for host, cell in self.hosts.items():
            self._start_compute(host, cell_name=cell)
        self.flavors = self.api.get_flavors()

    def context_of(self, cell, read_deleted='no'):
        context = nova_context.get_admin_context(read_deleted=read_deleted)
        nova_context.set_target_cell(context, self.cell_mappings[cell])
        return context

    def boot(self, volume=False, port=True):
        """Boot a server on host1."""
        server = self._build_server(
            flavor_id=self.flavors[0]['id'], networks=[
                {'port': self.neutron.port_1['id']}] if port else 'none')
        if volume:
            del server['imageRef']
            server['block_device_mapping_v2'] = [{
                'boot_index': 0, 'source_type': 'volume',
                'destination_type': 'volume',
                'uuid': nova_fixtures.CinderFixture.IMAGE_BACKED_VOL}]
        server['host'] = 'host1'
        server = self.admin_api.post_server({'server': server})
        return self._wait_for_state_change(server, 'ACTIVE')

    def stop(self, server):
        self.api.post_server_action(server['id'], {'os-stop': None})
        self._wait_for_state_change(server, 'SHUTOFF')

    def get_record(self, cell, server, **kwargs):
        return objects.Instance.get_by_uuid(
            self.context_of(cell, **kwargs), server['id'])

    def get_migrations(self, cell, server):
        """Get the migrations that a cell has of a server, newest first."""
        return sorted(
            objects.MigrationList.get_by_filters(
                self.context_of(cell), {'instance_uuid': server['id']}),
            key=lambda migration: -migration.id)

    def get_guests(self, server):
        """Get the power states of the guests of a server by their host."""
        guests = {}
        for host, compute in self.computes.items():
            guest = compute.driver.instances.get(server['id'])
            if guest is not None:
                guests[host] = guest.state
        return guests

    def picture(self, server):
        """Get all that there is of a server, or may be left of a move."""
        now = self.admin_api.get_server(server['id'])
        resources = {}
        for name, consumer in [('server', server['id'])] + [
                ('migration', migration.uuid)
                for migration in self.get_migrations('cell1', server)]:
            for provider, allocation in (
                    self._get_allocations_by_server_uuid(consumer).items()):
                resources[name, provider] = allocation['resources']
        records = {}
        for cell in self.hosts.values():
            with contextlib.suppress(exception.InstanceNotFound):
                record = self.get_record(cell, server, read_deleted='yes')
                records[cell] = {
                    'hidden': record.hidden, 'host': record.host,
                    'move': [thing is not None for thing in (
                        record.migration_context, record.old_flavor,
                        record.new_flavor)],
                    'system_metadata': sorted(record.system_metadata)}
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            nova_context.get_admin_context(), server['id'])
        return {
            'server': {field: now[field] for field in (
                'status', 'OS-EXT-STS:task_state', 'OS-EXT-STS:power_state',
                'OS-EXT-SRV-ATTR:host', 'flavor')},
            'guests': self.get_guests(server),
            'records': records,
            'mapping': mapping.cell_mapping.name,
            'resources': resources,
            'tracked': {
                host for host, compute in self.computes.items() if
                server['id'] in compute.manager.rt.tracked_migrations or
                server['id'] in compute.manager.rt.tracked_instances},
            'bindings': {
                host: binding['status'] for host, binding in
                self.neutron._port_bindings[
                    self.neutron.port_1['id']].items()},
            'volumes': sorted(
                (volume, (attachment['connector'] or {}).get('host', ''))
                for volume, attachments in
                self.cinder.volume_to_attachment.items()
                for attachment in attachments.values()),
            'images': sorted(self.glance.images),
        }

    def move(self, server, resize=True):
        """Request a move of a server to host2."""
        self.notifier.reset()
        if resize:
            action = {'resize': {'flavorRef': self.flavors[1]['id']}}
        else:
            action = {'migrate': None}
        self.admin_api.post_server_action(server['id'], action)

    def move_in_vain(self, server):
        """Request a move of a server that fails, and wait for its end.

        :returns: what the event of conductor says of it
        """
        self.move(server)
        self.notifier.wait_for_versioned_notifications(
            'compute_task.migrate_server.error')
        action = self.admin_api.get_instance_actions(server['id'])[0]

        def get_event():
            events = self.admin_api.get_instance_action_details(
                server['id'], action['request_id'])['events']
            self.assertNotIn(None, [event['result'] for event in events])
            return next(event for event in events
                        if event['event'] == 'conductor_migrate_server')
        event = self._wait_for_assert(get_event, max_retries=50, sleep=0.1)
        self.assertEqual(instance_actions.RESIZE, action['action'])
        self.assertEqual('Error', event['result'])
        return event

    def assert_as_before(self, server, before, failure):
        """Assert that a failure has changed nothing but the history."""
        now = self.picture(server)
        for thing in before:
            self.assertEqual(before[thing], now[thing], (failure, thing))
        migration = self.get_migrations('cell1', server)[0]
        self.assertEqual('error', migration.status, failure)
        fault = objects.InstanceFault.get_latest_for_instance(
            self.context_of('cell1'), server['id'])
        self.assertGreaterEqual(
            fault.created_at, migration.created_at, failure)

    def complete_move(self, server, guest=_RUNNING):
        """Move a server to host2 without a failure."""
        self.move(server)
        self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self.assertEqual({'host2': guest}, self.get_guests(server))
        now = self.picture(server)
        self.assertEqual('cell2', now['mapping'])
        self.assertEqual(
            {'host1': 'INACTIVE', 'host2': 'ACTIVE'}, now['bindings'])


@contextlib.contextmanager
def failing(owner, name, after=False, error=None, failed=None):
    """Make the first call of something fail.

    :param owner: what has it: an object, or the path of a class
    :param name: its name there
    :param after: whether it does its work before it fails
    :param error: the exception; some error of the hypervisor if it is None
    :param failed: threading.Event that is set before
    """
    error = error or exception.HypervisorUnavailable(host='x')
    if isinstance(owner, str):
        patcher = mock.patch('%s.%s' % (owner, name))
        original, _local = patcher.get_original()
    else:
        original = getattr(owner, name)
    fake = isinstance(original, mock.NonCallableMock)
    effect = original.side_effect if fake else original
    calls = []

    def fail_once(*args, **kwargs):
        calls.append(args)
        if len(calls) > 1:
            return effect(*args, **kwargs)
        if after:
            effect(*args, **kwargs)
        if failed is not None:
            failed.set()
        raise error

    with contextlib.ExitStack() as stack:
        if fake:
            # A fixture put it there.
            original.side_effect = fail_once
            stack.callback(setattr, original, 'side_effect', effect)
        elif isinstance(owner, str):
            stack.enter_context(mock.patch(
                '%s.%s' % (owner, name), fail_once))
        else:
            stack.enter_context(mock.patch.object(owner, name, fail_once))
        yield
    assert calls, '%s was not called' % name


@ddt.ddt
class FailedMoveTestCase(CrossCellTestCase):

    def _failures(self, volume):
        """Get the failures after the guest has been touched.

        :returns: dict of their names to the arguments of failing()
        """
        source = self.computes['host1'].driver
        dest = self.computes['host2'].driver
        compute = 'nova.compute.rpcapi.ComputeAPI'
        network = 'nova.network.neutron.API'
        cinder = 'nova.volume.cinder.API'
        timeout = messaging.MessagingTimeout()
        failures = {
            'guest is not stopped': (source, 'power_off'),
            'guest is not destroyed': (source, 'destroy'),
            'guest is destroyed': (source, 'destroy', True),
            'bindings are not activated': (network, 'migrate_instance_start'),
            'source does not answer, and does nothing': (
                compute, 'prep_snapshot_based_resize_at_source', False,
                timeout),
            'source does not answer, but goes on': (
                compute, 'prep_snapshot_based_resize_at_source', True,
                timeout),
            'destination cannot set up ports': (
                network, 'migrate_instance_finish'),
            'destination does not spawn': (dest, 'spawn'),
            'destination fails after it has spawned': (dest, 'spawn', True),
            'destination fails at the very end': (
                self.computes['host2'].manager, '_update_scheduler_instance_'
                'info', True),
        }
        if volume:
            failures.update({
                'attachment is not replaced': (cinder, 'attachment_create',
                                               False),
                'attachment is lost': (cinder, 'attachment_delete', True),
                'destination cannot attach': (cinder, 'attachment_update'),
                'destination fails after the attachment': (
                    cinder, 'attachment_update', True),
            })
        else:
            failures['snapshot'] = (source, 'snapshot')
        return failures

    @ddt.data((True, False), (True, True), (False, False))
    @ddt.unpack
    def test_server_is_as_before(self, volume, stopped):
        server = self.boot(volume)
        if stopped:
            self.stop(server)
        before = self.picture(server)
        guest = _SHUTDOWN if stopped else _RUNNING
        self.assertEqual({'host1': guest}, before['guests'])
        for name, failure in self._failures(volume).items():
            with failing(*failure):
                self.move_in_vain(server)
            self.assert_as_before(server, before, name)
        self.complete_move(server, guest)

    def test_server_cannot_be_restored(self):
        """A hard reboot does what the rollback could not do."""
        server = self.boot(volume=True)
        before = self.picture(server)
        source = self.computes['host1'].driver
        for failure in ((source, 'finish_revert_migration'),
                        (source, 'get_volume_connector')):
            with failing(self.computes['host2'].driver, 'spawn', True):
                with failing(*failure):
                    self.move_in_vain(server)
            now = self.picture(server)
            self.assertEqual('ERROR', now['server']['status'])
            self.assertIsNone(now['server']['OS-EXT-STS:task_state'])
            self.assertNotIn('host2', now['guests'])
            self._reboot_server(server, hard=True)
            self.assert_as_before(server, before, failure)
        self.complete_move(server)

    def test_destination_does_not_answer(self):
        """Nothing is undone while a host may be working on the guest.

        Whatever a user or an administrator does then, there is one guest.
        """
        server = self.boot(volume=True)
        before = self.picture(server)
        call = ('nova.compute.rpcapi.ComputeAPI',
                'finish_snapshot_based_resize_at_dest', True,
                messaging.MessagingTimeout())
        self.fail_undecided(server, call)
        undecided = self.picture(server)
        self.assertEqual('cell1', undecided['mapping'])
        self.assertEqual({'host2': _RUNNING}, undecided['guests'])
        self.assertEqual(
            'RESIZE', undecided['server']['status'])
        self.assertEqual('resize_migrated',
                         undecided['server']['OS-EXT-STS:task_state'])
        self.assertEqual(
            'post-migrating', self.get_migrations('cell1', server)[0].status)
        self.assertEqual(
            'finished', self.get_migrations('cell2', server)[0].status)
        self.assertEqual(
            {'host1': 'INACTIVE', 'host2': 'ACTIVE'}, undecided['bindings'])

        for state in ('error', 'active'):
            self.admin_api.post_server_action(
                server['id'], {'os-resetState': {'state': state}})
            self.api.post_server_action(
                server['id'], {'reboot': {'type': 'HARD'}})
            self._wait_for_action_fail_completion(
                server, 'reboot', 'compute_reboot_instance')
            self.assertEqual({'host2': _RUNNING}, self.get_guests(server))
        self.assertEqual(before['records'].keys() | {'cell2'},
                         self.picture(server)['records'].keys())

    def fail_undecided(self, server, call):
        with failing(*call):
            self.move(server)
            self._wait_for_action_fail_completion(
                server, instance_actions.RESIZE, 'conductor_migrate_server')
        fault = objects.InstanceFault.get_latest_for_instance(
            self.context_of('cell1'), server['id'])
        self.assertIn('host2', fault.message)
        self.assertIn('force it down', fault.message)

    def test_abandon_does_not_answer(self):
        """The same if it is asked to undo what it did."""
        server = self.boot()
        with failing(self.computes['host2'].driver, 'spawn', True):
            self.fail_undecided(server, (
                self.computes['host2'].driver, 'destroy'))
        self.assertEqual({'host2': _RUNNING}, self.get_guests(server))
        self.assertEqual(
            'post-migrating', self.get_migrations('cell1', server)[0].status)
        # The snapshot is still there, to complete the move with.
        self.assertIn('%s-resize-temp' % server['name'], [
            image['name'] for image in self.glance.images.values()])

        self.admin_api.post_server_action(
            server['id'], {'os-resetState': {'state': 'error'}})
        self.api.post_server_action(
            server['id'], {'rebuild': {'imageRef': server['image']['id']}})
        self._wait_for_action_fail_completion(
            server, 'rebuild', 'compute_rebuild_instance')
        self.assertEqual({'host2': _RUNNING}, self.get_guests(server))

    def test_destination_is_forced_down(self):
        """A fenced host is not asked, and removes its guest when it is back.
        """
        server = self.boot(volume=True)
        before = self.picture(server)
        service = self.computes['host2'].service_ref.uuid

        def force_down(*args, **kwargs):
            self.admin_api.put_service_force_down(service, forced_down=True)

        call = 'nova.compute.rpcapi.ComputeAPI.%s'
        name = 'finish_snapshot_based_resize_at_dest'
        with failing(call[:-3], name, True, messaging.MessagingTimeout()):
            with mock.patch.object(
                    self.computes['host2'].manager,
                    '_update_scheduler_instance_info', force_down):
                self.move_in_vain(server)
        now = self.picture(server)
        self.assertEqual(
            {'host1': _RUNNING, 'host2': _RUNNING}, now['guests'])
        # This is the note for host2, of which host1 must not know.
        self.assertTrue(now['records']['cell2']['hidden'])
        for thing in ('server', 'mapping', 'resources', 'bindings', 'volumes'):
            self.assertEqual(before[thing], now[thing], thing)

        self.computes['host1'] = self.restart_compute_service(
            self.computes['host1'])
        self.assertEqual(now['guests'], self.get_guests(server))
        self.computes['host2'] = self.restart_compute_service(
            self.computes['host2'])
        self.admin_api.put_service_force_down(service, forced_down=False)
        self.assert_as_before(server, before, 'forced down')
        self.complete_move(server)

    @ddt.data(True, False)
    def test_server_is_deleted(self, volume):
        """Between any two steps, or while a host does one."""
        rpc = 'nova.compute.rpcapi.ComputeAPI.%s_snapshot_based_resize_at_%s'
        for name in (rpc % ('prep', 'dest'), rpc % ('prep', 'source'),
                     rpc % ('finish', 'dest')):
            for late in (False, True):
                server = self.boot(volume)
                images = sorted(self.glance.images)
                patcher = mock.patch(name)
                original, _local = patcher.get_original()

                def delete_meanwhile(*args, **kwargs):
                    if late:
                        result = original(*args, **kwargs)
                    self.api.delete_server(server['id'])
                    self._wait_until_deleted(server)
                    return result if late else original(*args, **kwargs)

                with mock.patch(name, delete_meanwhile):
                    self.move(server)
                    self._wait_until_deleted(server)

                    def assert_gone():
                        self.assert_gone(server, images, (name, late))
                    self._wait_for_assert(
                        assert_gone, max_retries=50, sleep=0.2)

    def assert_gone(self, server, images, case):
        self.assertEqual({}, self.get_guests(server), case)
        self.assertEqual(
            [], [attachment for attachments in
                 self.cinder.volume_to_attachment.values()
                 for attachment in attachments], case)
        self.assertEqual(
            {}, self.neutron._port_bindings[self.neutron.port_1['id']], case)
        self.assertEqual(images, sorted(self.glance.images), case)
        for cell in self.hosts.values():
            self.assertRaises(
                exception.InstanceNotFound, self.get_record, cell, server)
        self.assertRaises(
            exception.InstanceNotFound, self.get_record, 'cell2', server,
            read_deleted='yes')
        for consumer in [server['id']] + [
                migration.uuid for migration in
                self.get_migrations('cell1', server)]:
            self.assertEqual(
                {}, self._get_allocations_by_server_uuid(consumer), case)


class AlternateHostTestCase(CrossCellTestCase):
    """Two hosts in the other cell."""

    hosts = {'host1': 'cell1', 'host2': 'cell2', 'host3': 'cell2'}

    def setUp(self):
        super().setUp()
        self.prep = 'prep_snapshot_based_resize_at_dest'
        patcher = mock.patch('nova.compute.rpcapi.ComputeAPI.' + self.prep)
        self.real_prep, _local = patcher.get_original()

    @contextlib.contextmanager
    def no_room(self, hosts=1):
        """Make the first hosts fail their claims.

        :returns: list, which gets the names of the hosts
        """
        failed = []
        with contextlib.ExitStack() as stack:
            for host in ('host2', 'host3'):
                rt = self.computes[host].manager.rt
                claim = rt.resize_claim

                def fail(*args, _host=host, _claim=claim, **kwargs):
                    # Whatever the claim has recorded is recorded.
                    _claim(*args, **kwargs)
                    if len(failed) < hosts:
                        failed.append(_host)
                        raise exception.ComputeResourcesUnavailable(
                            reason='test')
                stack.enter_context(
                    mock.patch.object(rt, 'resize_claim', fail))
            yield failed

    def get_tried(self, server):
        action = self.admin_api.get_instance_actions(server['id'])[0]
        events = self.admin_api.get_instance_action_details(
            server['id'], action['request_id'])['events']
        return {event['host']: event['result'] for event in events
                if event['event'] == 'conductor_cross_cell_try_destination'}

    def test_alternates(self):
        server = self.boot(volume=True)
        before = self.picture(server)
        driver = self.computes['host1'].driver

        with mock.patch.object(driver, 'power_off', autospec=True) as off:
            with self.no_room(hosts=2) as failed:
                self.move_in_vain(server)
            self.assertEqual({'host2', 'host3'}, set(failed))
            self.assert_as_before(server, before, 'all fail')
            self.assertEqual(
                dict.fromkeys(failed, 'Error'), self.get_tried(server))

            with self.no_room() as failed:
                self.admin_api.post_server_action(
                    server['id'], {'migrate': {'host': 'host3'}})
                self._wait_for_action_fail_completion(
                    server, instance_actions.MIGRATE,
                    'conductor_migrate_server')
            self.assertEqual(['host3'], failed)
            self._wait_for_assert(
                lambda: self.assert_as_before(server, before, 'named'))

            self.flags(max_attempts=3, group='scheduler')
            with failing('nova.network.neutron.API', 'bind_ports_to_host',
                         error=exception.PortBindingFailed(port_id='x')):
                with failing('nova.compute.rpcapi.ComputeAPI', self.prep, True,
                             messaging.MessagingTimeout()):
                    self.move_in_vain(server)
            self.assert_as_before(server, before, 'bindings, time-out')
            off.assert_not_called()

        with self.no_room() as failed:
            self.move(server)
            self._wait_for_state_change(server, 'VERIFY_RESIZE')
        dest = ({'host2', 'host3'} - set(failed)).pop()
        now = self.picture(server)
        self.assertEqual({dest: _RUNNING}, now['guests'])
        self.assertEqual({'host1', dest}, now['tracked'])
        self.assertEqual(
            {'host1': 'INACTIVE', dest: 'ACTIVE'}, now['bindings'])
        self.assertEqual(
            {'', dest}, {host for _volume, host in now['volumes']})
        self.assertEqual(
            {('migration', self._get_provider_uuid_by_host('host1')),
             ('server', self._get_provider_uuid_by_host(dest))},
            set(now['resources']))
        self.assertEqual(
            {failed[0]: 'Error', dest: 'Success'}, self.get_tried(server))
        for cell in ('cell1', 'cell2'):
            self.assertEqual(
                dest, self.get_migrations(cell, server)[0].dest_compute)

    def test_late_request(self):
        """A host that was given up does not come back into the move."""
        server = self.boot()
        late = []

        def answer_late(*args, **kwargs):
            if not late:
                late.append((args, kwargs))
                raise messaging.MessagingTimeout()
            exc = self.assertRaises(
                exception.MigrationPreCheckError, self.real_prep,
                *late[0][0], **late[0][1])
            late.append(exc)
            return self.real_prep(*args, **kwargs)

        with mock.patch('nova.compute.rpcapi.ComputeAPI.' + self.prep,
                        answer_late):
            self.move(server)
            self._wait_for_state_change(server, 'VERIFY_RESIZE')
        first = late[0][0][8]
        self.assertNotIn(first, self.get_guests(server))
        self.assertEqual({'host1', *self.get_guests(server)},
                         self.picture(server)['tracked'])
        self.assertIn('the move is pre-migrating', str(late[1]))

    def test_anti_affinity(self):
        """Two members of a group that are moved at once are not both there.
        """
        group = self.api.post_server_groups(
            {'name': 'group', 'policy': 'anti-affinity'})
        self._start_compute('host4', cell_name='cell1')
        servers = []
        for host in ('host1', 'host4'):
            request = self._build_server(networks='none', host=host)
            server = self.admin_api.post_server({
                'server': request,
                'os:scheduler_hints': {'group': group['id']}})
            servers.append(self._wait_for_state_change(server, 'ACTIVE'))

        real = self.real_prep
        other = []

        def move_the_other(*args, **kwargs):
            if not other:
                other.append(True)
                self.admin_api.post_server_action(
                    servers[1]['id'], {'migrate': {'host': 'host2'}})
                self._wait_for_action_fail_completion(
                    servers[1], instance_actions.MIGRATE,
                    'conductor_migrate_server')
            return real(*args, **kwargs)

        with mock.patch('nova.compute.rpcapi.ComputeAPI.' + self.prep,
                        move_the_other):
            self.admin_api.post_server_action(
                servers[0]['id'], {'migrate': {'host': 'host2'}})
            self._wait_for_server_parameter(
                servers[0], {'status': 'VERIFY_RESIZE'}, max_retries=60)
        self.assertEqual({'host2': _RUNNING}, self.get_guests(servers[0]))
        self.assertEqual({'host4': _RUNNING}, self.get_guests(servers[1]))
        self.assertEqual({'host2': 'Error'}, self.get_tried(servers[1]))


class _Killed(BaseException):
    """Ends a conductor without any of its error handling."""


class RevertTestCase(CrossCellTestCase):

    def revert(self, server, **kwargs):
        self.notifier.reset()
        return self.api.post_server_action(
            server['id'], {'revertResize': None}, **kwargs)

    def assert_reverted(self, server, before):
        self.notifier.wait_for_versioned_notifications(
            'instance.resize_revert.end')
        self._wait_for_migration_status(server, ['reverted'])
        now = self.picture(server)
        for thing in before:
            self.assertEqual(before[thing], now[thing], thing)

    def test_destination_is_down(self):
        server = self.boot(volume=True)
        before = self.picture(server)
        self.complete_move(server)
        moved = self.picture(server)
        service = self.computes['host2'].service_ref.uuid

        with mock.patch('nova.servicegroup.api.API.service_is_up',
                        autospec=True, return_value=False):
            body = self.revert(server, check_response_status=[409])
        self.assertIn('host2', str(body))
        self.assertEqual(moved, self.picture(server))

        self.admin_api.put_service_force_down(service, forced_down=True)
        rpc = 'nova.compute.rpcapi.ComputeAPI.'
        with mock.patch(
            rpc + 'revert_snapshot_based_resize_at_dest',
        ) as revert_at_dest:
            self.revert(server)
            self.notifier.wait_for_versioned_notifications(
                'instance.resize_revert.end')
            revert_at_dest.assert_not_called()
        now = self.picture(server)
        # host2 is off.
        self.assertEqual(
            {'host1': _RUNNING, 'host2': _RUNNING}, now['guests'])
        for thing in ('server', 'mapping', 'resources', 'bindings', 'volumes'):
            self.assertEqual(before[thing], now[thing], thing)
        self.computes['host2'] = self.restart_compute_service(
            self.computes['host2'])
        self.admin_api.put_service_force_down(service, forced_down=False)
        self.assert_reverted(server, before)
        self.complete_move(server)

    def test_source_fails(self):
        """A hard reboot does what the source could not do."""
        server = self.boot(volume=True)
        before = self.picture(server)
        self.complete_move(server)
        for owner, name in (
                (self.computes['host1'].driver, 'get_volume_connector'),
                (self.computes['host1'].driver, 'finish_revert_migration')):
            with failing(owner, name):
                self.revert(server)
                self._wait_for_state_change(server, 'ERROR')
                self._wait_for_migration_status(server, ['error'])
            self.assertEqual({}, self.get_guests(server))
            self._reboot_server(server, hard=True)
            now = self.picture(server)
            for thing in ('server', 'guests', 'mapping', 'bindings',
                          'volumes', 'resources'):
                self.assertEqual(before[thing], now[thing], (name, thing))
            self.assertEqual(['cell1'], list(now['records']))
            self.complete_move(server)

    def test_conductor_is_killed(self):
        """Never does a hard reboot start a second guest."""
        rpc = 'nova.compute.rpcapi.ComputeAPI'
        task = 'nova.conductor.tasks.cross_cell_migrate.RevertResizeTask'
        dest = 'revert_snapshot_based_resize_at_dest'
        source = 'finish_revert_snapshot_based_resize_at_source'
        for owner, name, after, cell, guests in (
                (rpc, dest, False, 'cell2', {'host2': _RUNNING}),
                (rpc, dest, True, 'cell2', {}),
                (task, '_update_instance_mapping', False, 'cell2', {}),
                (task, '_update_instance_mapping', True, 'cell1', {}),
                (rpc, source, True, 'cell1', {'host1': _RUNNING})):
            server = self.boot(port=False)
            self.move(server, resize=False)
            self._wait_for_state_change(server, 'VERIFY_RESIZE')
            killed = threading.Event()
            with failing(owner, name, after, _Killed(), killed):
                self.revert(server)
                self.assertTrue(killed.wait(30), name)
            self.assertEqual(guests, self.get_guests(server), name)
            mapping = objects.InstanceMapping.get_by_instance_uuid(
                nova_context.get_admin_context(), server['id'])
            self.assertEqual(cell, mapping.cell_mapping.name, name)

            self.admin_api.post_server_action(
                server['id'], {'os-resetState': {'state': 'error'}})
            self.api.post_server_action(
                server['id'], {'reboot': {'type': 'HARD'}})
            result = 'error' if cell == 'cell2' else 'success'
            self._wait_for_instance_action_event(
                server, 'reboot', 'compute_reboot_instance', result)
            if cell == 'cell1':
                guests = {'host1': _RUNNING}
            self.assertEqual(guests, self.get_guests(server), name)
