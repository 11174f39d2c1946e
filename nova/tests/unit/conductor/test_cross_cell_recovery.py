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
from keystoneauth1 import exceptions as keystone_exception
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import task_states
from nova.compute import vm_states
from nova.conductor import cross_cell_records
from nova.conductor import cross_cell_recovery
from nova import context as nova_context
from nova import exception
from nova.image import glance
from nova import objects
from nova import test

Way = cross_cell_recovery.Way


def _make_move(mapped_cell, source, target, status='post-migrating',
               is_newest=True):
    """Make a Move of what its records say.

    :param mapped_cell: UUID of the cell that the server is mapped to
    :param source: task state, whether it is hidden, of the instance; None if
        there is none
    :param target: vm state and task state of the instance, status of the
        migration; None if the cell has no record
    :param status: of the migration in the source cell
    :param is_newest: whether the server has not been moved since
    """
    sides = [
        cross_cell_recovery.Side(
            objects.CellMapping(uuid=uuid),
            nova_context.get_admin_context())
        for uuid in (uuids.source_cell, uuids.target_cell)]
    sides[0].migration = objects.Migration(
        uuid=uuids.migration, status=status)
    if source:
        task_state, hidden = source
        sides[0].instance = objects.Instance(
            vm_state=vm_states.ACTIVE, task_state=task_state, hidden=hidden)
    if target:
        vm_state, task_state, status = target
        if vm_state:
            sides[1].instance = objects.Instance(
                vm_state=vm_state, task_state=task_state)
        sides[1].migration = objects.Migration(
            uuid=uuids.migration, status=status)
    return cross_cell_recovery.Move(
        uuids.server, mapped_cell, sides[0], sides[1] if target else None,
        is_newest)


@ddt.ddt
class FindWayTestCase(test.NoDBTestCase):
    """What the records mean, one line each of the table of the docs."""

    @ddt.data(
        # The target cell has nothing yet.
        (Way.BACK, (task_states.RESIZE_PREP, False), None),
        (Way.BACK, (task_states.RESIZE_MIGRATED, False), None),
        (Way.BACK, (None, False), None),
        (Way.NONE, (task_states.REBOOTING, False), None),
        # It has a record.
        (Way.BACK, (task_states.RESIZE_PREP, False),
         (vm_states.ACTIVE, task_states.RESIZE_PREP, 'pre-migrating')),
        (Way.BACK, (task_states.RESIZE_MIGRATED, False),
         (vm_states.ACTIVE, task_states.RESIZE_FINISH, 'pre-migrating')),
        (Way.BACK, (task_states.RESIZE_MIGRATED, False),
         (vm_states.ERROR, None, 'error')),
        # The operator has reset the state meanwhile.
        (Way.BACK, (None, False),
         (vm_states.ACTIVE, task_states.RESIZE_MIGRATED, 'pre-migrating')),
        (Way.FORWARD, (task_states.RESIZE_MIGRATED, False),
         (vm_states.RESIZED, None, 'finished')),
        # The record in the target cell has gone, or goes last.
        (Way.REVERT, (task_states.RESIZE_REVERTING, False), None),
        (Way.REVERT, (task_states.RESIZE_REVERTING, False),
         (vm_states.RESIZED, task_states.RESIZE_REVERTING, 'reverting')),
        # The server was deleted.
        (Way.REMOVE, None,
         (vm_states.ACTIVE, task_states.RESIZE_PREP, 'pre-migrating')),
        (Way.NONE, None, None),
    )
    @ddt.unpack
    def test_server_in_source_cell(self, way, source, target):
        self.assertEqual(
            way, cross_cell_recovery.find_way(
                _make_move(uuids.source_cell, source, target)))

    def test_record_of_an_earlier_move(self):
        """It says nothing of how far this move has come."""
        move = _make_move(
            uuids.source_cell, (task_states.RESIZE_PREP, False),
            (vm_states.RESIZED, None, 'finished'))
        move.target.migration.uuid = uuids.earlier
        self.assertEqual(Way.BACK, cross_cell_recovery.find_way(move))

    @ddt.data(
        # It has ended, but for what was left for a host that was fenced.
        (Way.NONE, (None, False), None, {'status': 'error'}),
        (Way.LEAVE, (None, False),
         (vm_states.ACTIVE, task_states.RESIZE_FINISH, 'error'),
         {'status': 'error'}),
        (Way.LEAVE, (None, False),
         (vm_states.RESIZED, task_states.RESIZE_REVERTING, 'reverted'),
         {'status': 'reverted'}),
        # The server is on another move by now, within its cell.
        (Way.NONE, (task_states.RESIZE_MIGRATING, False), None,
         {'status': 'pre-migrating', 'is_newest': False}),
        (Way.LEAVE, (task_states.RESIZE_REVERTING, False),
         (vm_states.RESIZED, task_states.RESIZE_REVERTING, 'reverted'),
         {'status': 'reverted', 'is_newest': False}))
    @ddt.unpack
    def test_move_has_ended(self, way, source, target, kwargs):
        self.assertEqual(
            way, cross_cell_recovery.find_way(
                _make_move(uuids.source_cell, source, target, **kwargs)))

    @ddt.data(
        # The mapping was switched, the source is still shown.
        (Way.FORWARD, (task_states.RESIZE_MIGRATED, False),
         (vm_states.RESIZED, None, 'finished')),
        (Way.NONE, (task_states.RESIZE_MIGRATED, True),
         (vm_states.RESIZED, None, 'finished')),
        (Way.CONFIRM, (task_states.RESIZE_MIGRATED, True),
         (vm_states.RESIZED, task_states.RESIZE_CONFIRMING, 'confirming')),
        (Way.CONFIRM, (task_states.RESIZE_MIGRATED, True),
         (vm_states.RESIZED, None, 'confirming')),
        (Way.CONFIRM, None, (vm_states.RESIZED, None, 'confirming')),
        (Way.CONFIRM, (task_states.RESIZE_MIGRATED, True),
         (vm_states.ACTIVE, None, 'confirmed')),
        (Way.NONE, None, (vm_states.ACTIVE, None, 'confirmed')),
        (Way.REVERT, (task_states.RESIZE_MIGRATED, True),
         (vm_states.RESIZED, task_states.RESIZE_REVERTING, 'reverting')),
        # The operator has reset the state.
        (Way.REVERT, (task_states.RESIZE_MIGRATED, True),
         (vm_states.ERROR, None, 'reverting')),
        (Way.RESET, (task_states.RESIZE_MIGRATED, True),
         (vm_states.ACTIVE, None, 'finished')),
        # The server was deleted, and its migrations with it.
        (Way.REMOVE, (task_states.RESIZE_MIGRATED, True), None),
        (Way.REMOVE, (task_states.RESIZE_MIGRATED, True),
         (None, None, 'finished')),
        (Way.NONE, None, (None, None, 'finished')),
    )
    @ddt.unpack
    def test_server_in_target_cell(self, way, source, target):
        self.assertEqual(
            way, cross_cell_recovery.find_way(
                _make_move(uuids.target_cell, source, target)))


@ddt.ddt
class CheckHostsTestCase(test.NoDBTestCase):
    """A host that has something to do is not waited for if it is down."""

    def _check(self, way, forced_down=False):
        recovery = mock.create_autospec(
            cross_cell_recovery.Recovery, instance=True)
        move = _make_move(
            uuids.source_cell, (task_states.RESIZE_MIGRATED, False),
            (vm_states.ACTIVE, task_states.RESIZE_FINISH, 'pre-migrating'))
        move.source.migration.source_compute = 'source'
        move.target.migration.dest_compute = 'dest'
        with mock.patch(
                'nova.conductor.cross_cell_rollback.is_forced_down',
                autospec=True, return_value=forced_down):
            cross_cell_recovery.Recovery._check_hosts(recovery, move, way)
        return [call.args[1] for call in recovery._check_host.mock_calls]

    @ddt.data(
        (Way.FORWARD, []),
        (Way.LEAVE, ['dest']),
        (Way.CONFIRM, ['source']),
        (Way.RESET, ['source']),
        (Way.BACK, ['source', 'dest']),
        (Way.REVERT, ['source', 'dest']),
        (Way.REMOVE, ['source', 'dest']))
    @ddt.unpack
    def test_hosts(self, way, hosts):
        self.assertEqual(hosts, self._check(way))

    @ddt.data(Way.LEAVE, Way.BACK, Way.REVERT, Way.REMOVE)
    def test_fenced_host(self, way):
        self.assertNotIn('dest', self._check(way, forced_down=True))


class DeleteImagesTestCase(test.NoDBTestCase):

    def test_image_service_refuses(self):
        """The operator is told why, and what to do instead."""
        recovery = mock.create_autospec(
            cross_cell_recovery.Recovery, instance=True)
        recovery._context = nova_context.get_admin_context()
        recovery._image_api = mock.create_autospec(glance.API, instance=True)
        recovery._image_api.get_all.side_effect = (
            keystone_exception.EmptyCatalog('The service catalog is empty.'))
        recovery._tell = mock.Mock()
        cross_cell_recovery.Recovery._delete_images(
            recovery, _make_move(uuids.source_cell, None, None))
        recovery._tell.assert_called_once_with(
            uuids.server, 'the temporary images of the move could not be '
            'deleted: The service catalog is empty. List them with "openstack '
            f'image list --property instance_uuid={uuids.server}", and again '
            'with "--hidden", and delete those with "-resize-temp" in their '
            'name')


class MoveFinderTestCase(test.TestCase):
    """What is found out while a cell does not answer."""

    NUMBER_OF_CELLS = 3

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.contexts = {}
        for name, mapping in self.cell_mappings.items():
            self.contexts[name] = nova_context.get_admin_context()
            nova_context.set_target_cell(self.contexts[name], mapping)
        objects.HostMapping(
            self.context, host='host1',
            cell_mapping=self.cell_mappings['cell1']).create()
        objects.InstanceMapping(
            self.context, instance_uuid=uuids.server, project_id='project',
            cell_mapping=self.cell_mappings['cell1']).create()
        self._create_records('cell1')

    def _create_records(self, cell, **kwargs):
        """Create the records of a move in a cell."""
        context = self.contexts[cell]
        objects.Instance(
            context, uuid=uuids.server, project_id='project', user_id='user',
            **kwargs).create()
        objects.Migration(
            context, uuid=uuids.migration, instance_uuid=uuids.server,
            migration_type='migration', status='pre-migrating',
            source_compute='host1', cross_cell_move=True).create()

    def _find(self, *silent):
        """Find the move while some cells do not answer."""
        original = nova_context.scatter_gather_cells

        def gather(*args, **kwargs):
            results = original(*args, **kwargs)
            for name in silent:
                results[self.cell_mappings[name].uuid] = (
                    nova_context.did_not_respond_sentinel)
            return results

        finder = cross_cell_recovery.MoveFinder(self.context)
        with mock.patch.object(nova_context, 'scatter_gather_cells', gather):
            return finder, finder.find(), finder.get(uuids.server)

    def test_target_is_found(self):
        self._create_records('cell2', hidden=True)
        finder, found, move = self._find()
        self.assertEqual([uuids.server], found)
        self.assertEqual('cell1', move.source.cell.name)
        self.assertEqual('cell2', move.target.cell.name)
        self.assertTrue(move.target.instance.hidden)
        self.assertEqual(uuids.migration, move.target.migration.uuid)
        self.assertTrue(move.mapped_to_source)
        self.assertEqual(set(), finder.silent_cells)

    def test_cell_that_has_nothing_is_not_waited_for(self):
        self._create_records('cell2', hidden=True)
        finder, _found, move = self._find('cell3')
        self.assertEqual('cell2', move.target.cell.name)
        self.assertEqual(
            {self.cell_mappings['cell3'].uuid}, finder.silent_cells)

    def test_cell_that_may_have_something_is_waited_for(self):
        self.assertRaises(exception.CellTimeout, self._find, 'cell2')
        self.assertRaises(exception.CellTimeout, self._find, 'cell1')

    def test_cell_with_the_migration_is_the_target(self):
        """Another cell may have a record that an older move has left."""
        self._create_records('cell2', hidden=True)
        objects.Instance(
            self.contexts['cell3'], uuid=uuids.server, project_id='project',
            user_id='user', hidden=True).create()
        _finder, _found, move = self._find()
        self.assertEqual('cell2', move.target.cell.name)

    def test_record_of_an_earlier_move(self):
        """The host that needs it is the destination of that move."""
        self._create_records('cell2', hidden=True)
        objects.Migration(
            self.contexts['cell1'], instance_uuid=uuids.server,
            migration_type='migration', status='error',
            source_compute='host1', cross_cell_move=True,
            created_at=timeutils.utcnow() + datetime.timedelta(1)).create()
        _finder, _found, move = self._find()
        self.assertNotEqual(uuids.migration, move.source.migration.uuid)
        self.assertEqual('cell2', move.target.cell.name)
        self.assertEqual(uuids.migration, move.target.migration.uuid)

    def test_moved_since(self):
        _finder, _found, move = self._find()
        self.assertTrue(move.is_newest)
        objects.Migration(
            self.contexts['cell1'], instance_uuid=uuids.server,
            migration_type='resize', status='migrating',
            source_compute='host1',
            created_at=timeutils.utcnow() + datetime.timedelta(1)).create()
        _finder, _found, move = self._find()
        self.assertFalse(move.is_newest)

    def test_newest_move_counts(self):
        context = self.contexts['cell1']
        objects.Migration(
            context, uuid=uuids.old, instance_uuid=uuids.server,
            migration_type='migration', status='error',
            source_compute='host1', cross_cell_move=True,
            created_at=timeutils.utcnow() - datetime.timedelta(1)).create()
        _finder, _found, move = self._find()
        self.assertEqual(uuids.migration, move.source.migration.uuid)

    def test_one_of_several_recoveries_claims_a_move(self):
        """They have read the same; the next one has to wait."""
        moves = [self._find()[2] for _ in range(2)]
        for _ in range(2):
            self.assertEqual([True, False], [
                cross_cell_records.claim(move.claimable) for move in moves])
            # Whoever finds it again, even within the second, can claim it.
            moves = [self._find()[2] for _ in range(2)]
        moves[0].claimable.updated_at = None
        self.assertFalse(cross_cell_records.claim(moves[0].claimable))

    def test_claim_what_the_source_cell_has_no_migration_of(self):
        self._create_records('cell2', hidden=True)
        _finder, _found, move = self._find()
        move.source.migration = None
        self.assertEqual(
            move.target.migration.id, move.claimable.id)

    def test_moves_within_a_cell_are_left_alone(self):
        objects.Migration(
            self.contexts['cell1'], instance_uuid=uuids.other,
            migration_type='resize', status='finished',
            source_compute='host1').create()
        finder = cross_cell_recovery.MoveFinder(self.context)
        self.assertEqual([uuids.server], finder.find())
        self.assertEqual([], finder.find(uuids.other))
        self.assertIsNone(finder.get(uuids.other))
