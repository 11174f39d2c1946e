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
from unittest import mock

import ddt
import fixtures
from oslo_utils.fixture import uuidsentinel as uuids

from nova.conductor.tasks import cross_cell_destination
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import test


def _migration(minute, **fields):
    return objects.Migration(**dict({
        'uuid': getattr(uuids, 'migration%d' % minute),
        'created_at': datetime.datetime(2026, 1, 1, 0, minute),
        'status': 'pre-migrating', 'dest_compute': 'host1',
        'dest_node': None}, **fields))


def _selection(number, request='{}'):
    return objects.Selection(
        service_host='host%d' % number, nodename='node%d' % number,
        allocation_request=request, allocation_request_version='1.36')


class DestinationSearchTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.target_context = mock.sentinel.target_context
        self.migration = _migration(2, dest_compute=None)
        self.save = self.patch('nova.objects.Migration.save')
        self.events = self.patch('nova.compute.utils.EventReporter')
        # An event does not keep an exception to itself.
        self.events.return_value.__exit__.return_value = False
        name = cross_cell_destination.__name__ + '.'
        self.rollback = self.patch(name + 'cross_cell_rollback')
        self.client = self.patch(
            name + 'report.report_client_singleton').return_value
        self.claim = self.patch(name + 'scheduler_utils.claim_resources')
        self.claim.return_value = True
        self.fill = self.patch(name + 'scheduler_utils.fill_provider_mapping')
        self.patch(name + 'nova_context.set_target_cell')
        self.get_group = self.patch(
            'nova.objects.InstanceGroup.get_by_instance_uuid')
        self.get_group.side_effect = exception.InstanceGroupNotFound(
            group_uuid='x')
        self.tried = []
        self.undone = []
        self.able = set()

    def patch(self, name):
        return self.useFixture(fixtures.MockPatch(name, autospec=True)).mock

    def prepare(self, selection):
        self.assertEqual(
            (selection.service_host, None),
            (self.migration.dest_compute, self.migration.dest_node))
        self.tried.append(selection.service_host)
        if selection.service_host not in self.able:
            raise exception.MigrationPreCheckError(
                reason='%s is full' % selection.service_host)
        return 'context of %s' % selection.service_host

    def undo(self):
        self.undone.append(self.tried[-1] if self.tried else None)

    def find(self, *alternates):
        self.search = cross_cell_destination.DestinationSearch(
            self.target_context, objects.Instance(
                self.context, uuid=uuids.instance), self.migration,
            mock.sentinel.request_spec, _selection(1), list(alternates))
        return self.search.find(self.prepare, self.undo)


class AlternatesTestCase(DestinationSearchTestCase):

    def test_first(self):
        self.able = {'host1'}
        self.assertEqual('context of host1', self.find(_selection(2)))
        self.assertEqual('node1', self.migration.dest_node)
        self.assertEqual([], self.undone)
        self.claim.assert_not_called()

    def test_last(self):
        self.able = {'host3'}
        self.assertEqual(
            'context of host3', self.find(_selection(2), _selection(3)))
        self.assertEqual(['host1', 'host2', 'host3'], self.tried)
        self.assertEqual(['host1', 'host2'], self.undone)
        self.assertEqual(
            [mock.call(self.target_context, uuids.instance,
                       self.migration.uuid)] * 2,
            self.rollback.abandon_at_dest.mock_calls)
        self.assertEqual(
            [mock.call(self.context, uuids.instance, force=True)] * 2,
            self.client.delete_allocation_for_instance.mock_calls)
        self.assertEqual(2, self.fill.call_count)
        self.assertEqual(
            [('conductor_cross_cell_try_destination', host)
             for host in self.tried],
            [call.args[1:3] for call in self.events.call_args_list])

    def test_no_resources(self):
        self.able = {'host2', 'host3'}
        self.claim.side_effect = [False, True]
        self.find(_selection(2), _selection(3))
        self.assertEqual(['host1', 'host3'], self.tried)

    def test_without_placement(self):
        self.able = {'host2'}
        self.find(_selection(2, request=None))
        self.claim.assert_not_called()

    def test_exhausted(self):
        ex = self.assertRaises(
            exception.MaxRetriesExceeded, self.find, _selection(2))
        self.assertIn('host2 is full', str(ex))
        self.assertEqual(['host1', 'host2'], self.undone)
        self.assertIsNone(self.migration.dest_compute)

    def test_only_one(self):
        ex = self.assertRaises(exception.MigrationPreCheckError, self.find)
        self.assertIn('host1 is full', str(ex))
        self.assertEqual(['host1'], self.undone)

    def test_deleted(self):
        self.rollback.check_not_deleted.side_effect = (
            exception.InstanceNotFound(instance_id=uuids.instance))
        self.assertRaises(
            exception.InstanceNotFound, self.find, _selection(2))
        self.assertEqual(['host1'], self.tried)


@ddt.ddt
class AntiAffinityTestCase(DestinationSearchTestCase):
    """Another member of the group, and what it does."""

    def setUp(self):
        super().setUp()
        self.able = {'host1', 'host2'}
        self.group = objects.InstanceGroup(
            policy='anti-affinity', _rules={},
            members=[uuids.instance, uuids.member])
        self.get_group.side_effect = None
        self.get_group.return_value = self.group
        get_mappings = self.patch(
            'nova.objects.InstanceMappingList.get_by_instance_uuids')
        get_mappings.return_value = objects.InstanceMappingList(objects=[
            objects.InstanceMapping(
                instance_uuid=uuids.member,
                cell_mapping=objects.CellMapping(uuid=uuids.cell))])
        self.member = objects.Instance(uuid=uuids.member, host='other')
        self.get_member = self.patch('nova.objects.Instance.get_by_uuid')
        self.get_member.return_value = self.member
        self.moves = []
        get_moves = self.patch('nova.objects.MigrationList.get_by_filters')
        get_moves.side_effect = lambda *args: objects.MigrationList(
            objects=list(self.moves))

    def assert_refused(self):
        ex = self.assertRaises(exception.MigrationPreCheckError, self.find)
        self.assertIn(uuids.member, str(ex))

    def test_elsewhere(self):
        self.assertEqual('context of host1', self.find())

    def test_there(self):
        self.member.host = 'host1'
        self.assert_refused()
        self.assertEqual([], self.tried)

    def test_alternate(self):
        self.member.host = 'host1'
        self.assertEqual('context of host2', self.find(_selection(2)))

    def test_more_are_allowed(self):
        self.member.host = 'host1'
        self.group._rules = {'max_server_per_host': '2'}
        self.assertEqual('context of host1', self.find())

    def test_other_policy(self):
        self.member.host = 'host1'
        self.group.policy = 'soft-anti-affinity'
        self.assertEqual('context of host1', self.find())

    def test_deleted_member(self):
        self.get_member.side_effect = exception.InstanceNotFound(
            instance_id=uuids.member)
        self.assertEqual('context of host1', self.find())

    @ddt.data({'status': 'error'}, {'dest_compute': 'host9'},
              {'source_compute': 'host1', 'dest_compute': 'host9'})
    def test_other_move(self, fields):
        self.moves = [_migration(1, **fields)]
        self.assertEqual('context of host1', self.find())

    def test_earlier_move(self):
        self.moves = [_migration(1)]
        self.assert_refused()
        self.assertEqual([], self.tried)

    def test_later_move(self):
        """It will see this one."""
        self.moves = [_migration(3)]
        self.assertEqual('context of host1', self.find())

    def test_later_move_that_is_ahead(self):
        """It did not see this one."""
        self.moves = [_migration(3, dest_node='node1')]
        self.assert_refused()

    def test_earlier_move_appears_meanwhile(self):
        prepare = self.prepare

        def prepare_and_meet(selection):
            self.moves = [_migration(1)]
            return prepare(selection)

        self.prepare = prepare_and_meet
        self.assert_refused()
        self.assertEqual(['host1'], self.undone)
