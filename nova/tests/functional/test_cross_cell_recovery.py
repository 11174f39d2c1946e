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

"""Moves across cells whose conductor is killed, and what becomes of them."""

import contextlib
import datetime
import io
import threading
from unittest import mock

import ddt
from oslo_utils import timeutils

from nova.cmd import manage
from nova.compute import power_state
from nova.compute import rpcapi
from nova.conductor import cross_cell_records
from nova import context as nova_context
from nova import exception
from nova.servicegroup.drivers import db as db_driver
from nova.tests.functional import test_cross_cell_rollback

_RPC = 'nova.compute.rpcapi.ComputeAPI.'


class Killed(BaseException):
    """Ends the thread of a service that was killed."""


@ddt.ddt
class KilledConductorTestCase(test_cross_cell_rollback.CrossCellTestCase):

    def setUp(self):
        super().setUp()
        self._command = manage.CellV2Commands()

    def recover(self, **kwargs):
        """Run the command.

        :returns: its exit code, and what it has printed
        """
        with mock.patch('sys.stdout', new_callable=io.StringIO) as output:
            code = self._command.recover_cross_cell_moves(**kwargs)
        return code, output.getvalue()

    @contextlib.contextmanager
    def killed(self, path, after, which=None):
        """Stop a thread of conductor for good before or after a call.

        It stands still, so that no handler of an exception does what a killed
        process would not do.

        :param path: what is called, as mock.patch() takes it
        :param after: whether it is killed after the call
        :param which: tells from the first argument of a call whether it is
            the one
        """
        reached, forever = threading.Event(), threading.Event()
        self.addCleanup(forever.set)
        patcher = mock.patch(path)
        original, _local = patcher.get_original()

        def stop(*args, **kwargs):
            if reached.is_set() or (which and not which(*args)):
                return original(*args, **kwargs)
            if after:
                original(*args, **kwargs)
            reached.set()
            forever.wait()
            raise Killed()

        with mock.patch(path, stop):
            yield
            self.assertTrue(reached.wait(30), path)

    @ddt.data(True, False)
    def test_move(self, volume):
        server = self.boot(volume)
        before = self.picture(server)
        for path, after in (
                ('nova.objects.InstanceAction.create', True),
                (_RPC + 'prep_snapshot_based_resize_at_dest', False),
                (_RPC + 'prep_snapshot_based_resize_at_dest', True),
                (_RPC + 'prep_snapshot_based_resize_at_source', False),
                (_RPC + 'prep_snapshot_based_resize_at_source', True),
                (_RPC + 'finish_snapshot_based_resize_at_dest', False)):
            name = '%s %s' % ('after' if after else 'before', path)
            with self.killed(path, after):
                self.move(server)
            stopped = self.picture(server)
            code, output = self.recover()
            self.assertEqual(0, code, output)
            self.assertIn('a conductor was at work', output)
            code, output = self.recover(older_than=0, dry_run=True)
            self.assertEqual(1, code, output)
            self.assertEqual(
                'Server %s: the move has not come to its end: roll it back.\n'
                % server['id'], output)
            self.assertEqual(stopped, self.picture(server), name)

            code, output = self.recover(older_than=0)
            self.assertEqual(0, code, output)
            self.assert_as_before(server, before, name)
            self.assertEqual((0, ''), self.recover(older_than=0))
            self.assertIn('Error', self._get_results(server))
            self.assertNotIn(None, self._get_results(server))
        self.complete_move(server)

    def test_periodic_task(self):
        """Conductors recover what has been left alone for long enough."""
        server = self.boot()
        before = self.picture(server)
        with self.killed(
                _RPC + 'prep_snapshot_based_resize_at_source', after=True):
            self.move(server)
        stopped = self.picture(server)
        other = self.start_service('conductor', host='other')

        def recover():
            other.manager._recover_cross_cell_moves(
                nova_context.get_admin_context())

        recover()
        self.assertEqual(stopped, self.picture(server))

        source, target = [
            self.get_migrations(cell, server)[0]
            for cell in self.hosts.values()]
        old = timeutils.utcnow(with_timezone=True) - datetime.timedelta(
            seconds=301)
        source.updated_at = old
        source.save()
        # One record that is not old is enough.
        recover()
        self.assertEqual(stopped, self.picture(server))
        target.updated_at = old
        target.save()

        # A third one has found the same, is faster, and dies.
        claim = cross_cell_records.claim

        def claim_too_late(migration):
            self.assertTrue(claim(migration))
            return claim(migration)

        with mock.patch.object(cross_cell_records, 'claim', claim_too_late):
            recover()
        recover()
        self.assertEqual(stopped, self.picture(server))
        source.updated_at = old
        source.save()
        recover()
        self.assert_as_before(server, before, 'periodic task')

    def test_move_of_a_guest_that_has_arrived(self):
        server = self.boot()
        self.complete_move(server)
        moved = self.picture(server)
        self._revert_resize(server)
        for path, after, which in (
                (_RPC + 'finish_snapshot_based_resize_at_dest', True, None),
                ('nova.objects.InstanceMapping.save', False, None),
                ('nova.objects.InstanceMapping.save', True, None),
                ('nova.conductor.cross_cell_records.complete_in_target_cell',
                 False, None)):
            name = '%s %s' % ('after' if after else 'before', path)
            with self.killed(path, after, which):
                self.move(server)
            code, output = self.recover(older_than=0)
            self.assertEqual(0, code, output)
            self.assertEqual(moved, self.picture(server), name)
            self.assertNotIn(None, self._get_results(server))
            self._revert_resize(server)

    def test_confirm(self):
        server = self.boot(volume=True)
        images = self.picture(server)['images']
        for path, after in (
                (_RPC + 'confirm_snapshot_based_resize_at_source', False),
                (_RPC + 'confirm_snapshot_based_resize_at_source', True),
                ('nova.objects.Instance.destroy', True)):
            name = '%s %s' % ('after' if after else 'before', path)
            self.complete_move(server)
            with self.killed(path, after):
                self.api.post_server_action(
                    server['id'], {'confirmResize': None})
            stopped = self.picture(server)
            code, output = self.recover(older_than=0, dry_run=True)
            self.assertEqual(1, code, output)
            self.assertIn('is being confirmed', output)
            self.assertEqual(stopped, self.picture(server), name)

            code, output = self.recover(older_than=0)
            self.assertEqual(0, code, output)
            now = self.picture(server)
            self.assertEqual('ACTIVE', now['server']['status'])
            self.assertEqual({'host2': power_state.RUNNING}, now['guests'])
            self.assertEqual({'host2': 'ACTIVE'}, now['bindings'])
            self.assertEqual(['cell2'], list(now['records']))
            self.assertEqual(images, now['images'])
            self.assertEqual(
                {('server', self._get_provider_uuid_by_host('host2'))},
                set(now['resources']))
            self.assertNotIn(None, self._get_results(server))
            # Back, for the next one.
            self.admin_api.post_server_action(
                server['id'], {'resize': {'flavorRef': self.flavors[0]['id']}})
            self._wait_for_state_change(server, 'VERIFY_RESIZE')
            self.api.post_server_action(server['id'], {'confirmResize': None})
            self._wait_for_state_change(server, 'ACTIVE')

    def test_revert(self):
        server = self.boot(volume=True)
        before = self.picture(server)
        for path, after in (
                (_RPC + 'revert_snapshot_based_resize_at_dest', False),
                (_RPC + 'revert_snapshot_based_resize_at_dest', True),
                ('nova.objects.InstanceMapping.save', False),
                (_RPC + 'finish_revert_snapshot_based_resize_at_source',
                 False),
                (_RPC + 'finish_revert_snapshot_based_resize_at_source',
                 True)):
            name = '%s %s' % ('after' if after else 'before', path)
            self.complete_move(server)
            with self.killed(path, after):
                self.api.post_server_action(
                    server['id'], {'revertResize': None})
            code, output = self.recover(older_than=0, dry_run=True)
            self.assertEqual(1, code, output)
            # In the end, only the record in the target cell is left.
            self.assertIn(
                'the move has ended' if 'finish' in path and after else
                'is being reverted', output, name)

            code, output = self.recover(older_than=0)
            self.assertEqual(0, code, output)
            self.assertEqual(before, self.picture(server), name)
            self.assertEqual(
                'reverted', self.get_migrations('cell1', server)[0].status)
            self.assertNotIn(None, self._get_results(server))

    def test_destination_is_fenced(self):
        """What tells it to remove its guest stays until it is back."""
        server = self.boot()
        before = self.picture(server)
        self.complete_move(server)
        service = self.computes['host2'].service_ref.uuid
        self.admin_api.put_service_force_down(service, forced_down=True)
        with self.killed('nova.objects.InstanceMapping.save', after=False):
            self.api.post_server_action(server['id'], {'revertResize': None})
        # It is too early to remove what the revert still needs.
        self.computes['host2'] = self.restart_compute_service(
            self.computes['host2'])
        code, output = self.recover(older_than=0)
        self.assertEqual(1, code, output)
        self.assertIn('the resize is being reverted', output)
        self._start_compute('host3', cell_name='cell2')
        with mock.patch(
                'nova.compute.cross_cell_rpcapi.CrossCellAPI.check_source',
        ) as check_source:
            for _i in range(2):
                code, output = self.recover(older_than=0)
                self.assertEqual(1, code, output)
                self.assertIn('host2 is forced down', output)
                self.assertTrue(self.get_record('cell2', server).hidden)
                now = self.admin_api.get_server(server['id'])
                self.assertEqual('ACTIVE', now['status'])
                self.assertNotIn('fault', now)
                # Another host of the cell cannot have the server meanwhile.
                self.assertIn(
                    'host host2 has to remove its guest first',
                    self.move_in_vain(server)['details'])
                migration = self.get_migrations('cell1', server)[0]
                self.assertFalse(migration.cross_cell_move)
                # What a move of before may have left.
                migration.cross_cell_move = True
                migration.save()
            check_source.assert_not_called()

        self.computes['host2'] = self.restart_compute_service(
            self.computes['host2'])
        self.admin_api.put_service_force_down(service, forced_down=False)
        self.assertEqual((0, ''), self.recover(older_than=0))
        self.assertEqual(before, self.picture(server))
        self._lose_destination(server, before, service)

    def _lose_destination(self, server, before, service):
        """Have host2 gone for good when a resize is reverted without it."""
        self.admin_api.put_service(
            self.computes['host3'].service_ref.uuid, {'status': 'disabled'})
        self.complete_move(server)
        self.admin_api.put_service_force_down(service, forced_down=True)
        self._revert_resize(server)
        left = self.picture(server)
        code, output = self.recover(older_than=0, lost_host='host2')
        self.assertEqual((2, 'Host host2 is forced down, but its service runs,'
                             ' or did so a moment ago.\n'), (code, output))
        code, output = self.recover(older_than=0, lost_host='host3')
        self.assertEqual((2, 'Host host3 is not forced down.\n'),
                         (code, output))

        with self.unseen('host2'):
            code, output = self.recover(
                older_than=0, lost_host='host2', dry_run=True)
            self.assertEqual(1, code, output)
            self.assertIn('remove what it has left in the other cell', output)
            self.assertIn('host2 is lost', output)
            self.assertEqual(left, self.picture(server))

            code, output = self.recover(older_than=0, lost_host='host2')
            self.assertEqual(0, code, output)
        self.assertEqual((0, ''), self.recover(older_than=0))
        now = self.picture(server)
        for thing in before.keys() - {'guests', 'tracked'}:
            self.assertEqual(before[thing], now[thing], thing)
        self.admin_api.api_delete('/os-services/%s' % service)
        self.admin_api.put_service(
            self.computes['host3'].service_ref.uuid, {'status': 'enabled'})
        self.move(server)
        self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self.assertEqual({'host2', 'host3'}, set(self.get_guests(server)))

        # Should host2 come back nonetheless, its guest is not taken for the
        # server.
        self.assertRaises(
            exception.InvalidConfiguration, self.restart_compute_service,
            self.computes['host2'])

    @contextlib.contextmanager
    def unseen(self, host):
        """Stop the service of a host, which has not reported for some time.

        Its last report may come late.
        """
        self.computes[host].stop()
        is_up = db_driver.DbDriver.is_up
        with mock.patch.object(
                db_driver.DbDriver, 'is_up', lambda driver, service:
                service['host'] != host and is_up(driver, service)):
            yield

    def test_server_deleted_during_a_revert(self):
        server = self.boot(volume=True)
        self.complete_move(server)
        migration = self.get_migrations('cell1', server)[0]
        rpc = 'revert_snapshot_based_resize_at_dest'
        original = getattr(rpcapi.ComputeAPI, rpc)

        def delete(*args, **kwargs):
            original(*args, **kwargs)
            self._delete_server(server)

        with mock.patch(_RPC + rpc, delete):
            self.api.post_server_action(server['id'], {'revertResize': None})
            self._wait_until_deleted(server)
            self._wait_for_assert(lambda: self.assertIn(
                'deleted while its resize', self.stdlog.logger.output))
        code, output = self.recover(older_than=0)
        self.assertEqual(0, code, output)
        self.assert_gone(server, migration)

    def test_deleted_server(self):
        images = sorted(self.glance.images)
        for path, after in (
                (_RPC + 'prep_snapshot_based_resize_at_dest', True),
                (_RPC + 'prep_snapshot_based_resize_at_source', True),
                (_RPC + 'finish_snapshot_based_resize_at_dest', True),
                ('nova.objects.InstanceMapping.save', True)):
            server = self.boot(volume=True)
            with self.killed(path, after):
                self.move(server)
            migration = self.get_migrations('cell1', server)[0]
            self._delete_server(server)
            code, output = self.recover(older_than=0)
            self.assertEqual(0, code, output)
            self.assert_gone(server, migration, path)
            self.assertEqual(images, sorted(self.glance.images), path)

    def test_server_deleted_while_its_source_is_down(self):
        server = self.boot()
        self.complete_move(server)
        migration = self.get_migrations('cell1', server)[0]
        others = [self.boot(port=False) for _i in range(2)]
        for other in others:
            self.move(other)
            self._wait_for_state_change(other, 'VERIFY_RESIZE')
        source = self.computes['host1']
        service = self.admin_api.get_services(
            binary='nova-compute', host='host1')[0]
        with self.unseen('host1'):
            self.admin_api.put_service_force_down(service['id'], True)
            for deleted in (server, others[0]):
                self._delete_server(deleted)
            code, output = self.recover(older_than=0)
            self.assertEqual(1, code, output)
            self.assertIn('host1', output)
            self.assertTrue(self.get_record('cell1', server).hidden)
            self._lose_source(*others)

        source.start()
        self.admin_api.put_service_force_down(service['id'], False)
        # A cloud may have no volume service.
        with mock.patch(
                'nova.volume.cinder.API.attachment_get_all', autospec=False,
                side_effect=exception.CinderConnectionFailed(reason='none')):
            code, output = self.recover(older_than=0)
        self.assertEqual(0, code, output)
        self.assert_gone(server, migration)

    def _lose_source(self, deleted, kept):
        """Have host1 gone for good.

        :param deleted: a server that was deleted when it waited to be
            confirmed
        :param kept: a server that waits to be confirmed
        """
        self.admin_api.post_server_action(
            kept['id'], {'os-resetState': {'state': 'active'}})
        migrations = [self.get_migrations('cell1', server)[0]
                      for server in (deleted, kept)]
        for server, migration in zip((deleted, kept), migrations):
            options = {'instance_uuid': server['id'], 'older_than': 0}
            code, output = self.recover(**options)
            self.assertEqual(1, code, output)
            code, output = self.recover(**options, lost_host='host1')
            self.assertEqual(0, code, output)
            self.assertIn('host1 is lost', output)
            self.assertRaises(exception.InstanceNotFound, self.get_record,
                              'cell1', server)
            self.assertEqual({}, self._get_allocations_by_server_uuid(
                migration.uuid))
        self.assert_gone(deleted, migrations[0])
        self.assertEqual('ACTIVE', self.api.get_server(kept['id'])['status'])
        self.assertEqual(
            'confirmed', self.get_migrations('cell2', kept)[0].status)
        self._delete_server(kept)

    def assert_gone(self, server, migration, message=''):
        """Assert that nothing is left of a server and of its move."""
        self.assertEqual({}, self.get_guests(server), message)
        for cell in self.hosts.values():
            self.assertRaises(
                exception.InstanceNotFound, self.get_record, cell, server)
        for consumer in (server['id'], migration.uuid):
            self.assertEqual(
                {}, self._get_allocations_by_server_uuid(consumer), message)
        self.assertEqual([], [
            attachments for attachments in
            self.cinder.volume_to_attachment.values() if attachments])
        self.assertEqual({}, self.neutron._port_bindings.get(
            self.neutron.port_1['id']), message)

    def _get_results(self, server):
        """Get the results of the events of the newest action of a server."""
        action = self.admin_api.get_instance_actions(server['id'])[0]
        return [event['result'] for event in
                self.admin_api.get_instance_action_details(
                    server['id'], action['request_id'])['events']]
