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


def _make_recovery(lost_host):
    """Make a Recovery of a deployment without cells."""
    with mock.patch('nova.objects.CellMappingList.get_all', autospec=True,
                    return_value=[]):
        return cross_cell_recovery.Recovery(
            nova_context.get_admin_context(), 0, lost_host=lost_host)


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

    def test_deleted_server_without_mapping(self):
        self.assertEqual(Way.REMOVE, cross_cell_recovery.find_way(_make_move(
            None, None, (vm_states.ACTIVE, None, 'error'))))

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

    def _check(self, way, forced_down=False, lost=None):
        recovery = _make_recovery(lost)
        move = _make_move(
            uuids.source_cell, (task_states.RESIZE_MIGRATED, False),
            (vm_states.ACTIVE, task_states.RESIZE_FINISH, 'pre-migrating'))
        move.source.migration.source_compute = 'source'
        move.target.migration.dest_compute = 'dest'
        with test.nested(
            mock.patch('nova.conductor.cross_cell_rollback.is_forced_down',
                       autospec=True, return_value=forced_down),
            mock.patch.object(recovery, '_check_host', autospec=True),
            mock.patch.object(recovery, '_check_lost_host', autospec=True),
        ) as (_is_forced_down, check_host, check_lost_host):
            recovery._check_hosts(move, way)
        # It may have come back in the meantime.
        self.assertEqual(lost is not None, check_lost_host.called)
        return [call.args[1] for call in check_host.mock_calls]

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

    @ddt.data(Way.LEAVE, Way.BACK, Way.REVERT, Way.REMOVE)
    def test_lost_destination(self, way):
        self.assertNotIn('dest', self._check(way, lost='dest'))

    @ddt.data(Way.CONFIRM, Way.RESET, Way.REMOVE)
    def test_lost_source(self, way):
        self.assertNotIn('source', self._check(way, lost='source'))

    @ddt.data(Way.BACK, Way.REVERT)
    def test_server_does_not_go_back_to_a_lost_host(self, way):
        recovery = _make_recovery('source')
        move = _make_move(
            uuids.source_cell, (task_states.RESIZE_MIGRATED, False), None)
        move.source.migration.source_compute = 'source'
        with mock.patch.object(
                recovery, '_check_host', autospec=True) as check:
            recovery._check_hosts(move, way)
        check.assert_called_once_with(move.source, 'source')


@ddt.ddt
class LostHostTestCase(test.NoDBTestCase):
    """An operator says that a host will never come back."""

    def setUp(self):
        super().setUp()
        self.recovery = _make_recovery('lost')
        for api in ('_network_api', '_volume_api'):
            setattr(self.recovery, api, mock.create_autospec(
                getattr(self.recovery, api)))

    def _run(self, **service):
        """Run the recovery of nothing.

        :param service: what the service of the host is
        :returns: whether it was begun
        """
        service = service and objects.Service(
            host='lost', binary='nova-compute', **service)
        with test.nested(
            mock.patch.object(self.recovery._finder, 'get_service',
                              autospec=True, return_value=service or None),
            mock.patch.object(self.recovery._finder, 'find', autospec=True,
                              return_value=[]),
        ) as (_get_service, find):
            try:
                self.recovery.run()
            except exception.Invalid as e:
                self.assertIn('ost lost is', str(e))
            return find.called

    def test_service_is_deleted(self):
        self.assertTrue(self._run())

    @ddt.data((True, 3600, True), (True, 0, False), (False, 3600, False))
    @ddt.unpack
    def test_service(self, forced_down, age, lost):
        """A service that has reported a moment ago runs, forced down or not.
        """
        last_seen = timeutils.utcnow(with_timezone=True) - datetime.timedelta(
            seconds=age)
        self.assertEqual(lost, self._run(
            forced_down=forced_down, last_seen_up=last_seen))

    def _make_records(self, move, attachments):
        """Give each side of a move a record with volume attachments."""
        for side, ids in zip(move.sides, attachments):
            side.instance = mock.create_autospec(
                objects.Instance, instance=True, uuid=uuids.server,
                hidden=True, vm_state=vm_states.RESIZED, task_state=None)
            side.instance.get_bdms.return_value = [
                objects.BlockDeviceMapping(attachment_id=it) for it in ids]
            side.instance.get_network_info.return_value = [
                {'id': uuids.port}]

    @mock.patch('nova.conductor.cross_cell_rollback.abandon_at_dest',
                autospec=True)
    def test_lost_destination(self, abandon):
        """It is not asked, and its record is not kept for it."""
        move = _make_move(
            uuids.source_cell, (None, False),
            (vm_states.RESIZED, None, 'reverted'))
        move.target.migration.dest_compute = 'lost'
        self._make_records(
            move, ([uuids.both], [uuids.both, uuids.lost, None]))
        with mock.patch.object(
                self.recovery, '_check_lost_host', autospec=True) as check:
            self.recovery._leave(move)
            check.assert_called_once_with()
            abandon.assert_not_called()
            self.recovery._volume_api.attachment_delete.\
                assert_called_once_with(move.target.context, uuids.lost)
            self.recovery._network_api.delete_port_binding.\
                assert_called_once_with(
                    move.target.context, uuids.port, 'lost')
            move.target.instance.destroy.assert_called_once_with(
                hard_delete=True)

            move.target.instance.destroy.reset_mock()
            check.side_effect = exception.Invalid('it runs')
            self.assertRaises(
                exception.Invalid, self.recovery._leave, move)
        move.target.instance.destroy.assert_not_called()

    @ddt.data(None, 'attachment_delete', 'cleanup_instance_network_on_host')
    @mock.patch('nova.scheduler.client.report.report_client_singleton',
                autospec=True)
    def test_lost_source_of_a_confirm(self, failure, client):
        """The record goes when nothing else is left, then all is confirmed."""
        move = _make_move(
            uuids.target_cell, (None, True),
            (vm_states.RESIZED, None, 'confirming'))
        move.source.migration.source_compute = 'lost'
        self._make_records(move, ([uuids.lost], [uuids.attachment]))
        for api in (self.recovery._network_api, self.recovery._volume_api):
            if failure in dir(api):
                getattr(api, failure).side_effect = test.TestingException
        with test.nested(
            mock.patch.object(self.recovery, '_check_lost_host',
                              autospec=True),
            mock.patch('nova.conductor.tasks.cross_cell_migrate.'
                       'ConfirmResizeTask', autospec=True),
            mock.patch.object(cross_cell_records, 'end_events',
                              autospec=True),
        ) as (_check, task, _end_events):
            if failure:
                self.assertRaises(test.TestingException,
                                  self.recovery._confirm, move)
                move.source.instance.destroy.assert_not_called()
                task.assert_not_called()
                return
            self.recovery._confirm(move)
        self.recovery._volume_api.attachment_delete.assert_called_once_with(
            move.source.context, uuids.lost)
        self.recovery._network_api.cleanup_instance_network_on_host.\
            assert_called_once_with(
                move.source.context, move.source.instance, 'lost')
        client.return_value.delete_allocation_for_instance.\
            assert_called_once_with(
                self.recovery._context, uuids.migration, force=True)
        move.source.instance.destroy.assert_called_once_with(hard_delete=True)
        task.return_value.execute.assert_called_once_with()


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


@ddt.ddt
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

    def _move_on(self, status='confirmed', **kwargs):
        """Record that the server was moved to the third cell since."""
        self._create_records('cell2', hidden=True)
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            self.context, uuids.server)
        mapping.cell_mapping = self.cell_mappings['cell3']
        mapping.save()
        objects.Instance.get_by_uuid(
            self.contexts['cell1'], uuids.server).destroy(hard_delete=True)
        context = self.contexts['cell3']
        objects.Instance(
            context, uuid=uuids.server, project_id='project',
            user_id='user', **kwargs).create()
        objects.Migration(
            context, uuid=uuids.newest, instance_uuid=uuids.server,
            migration_type='migration', status=status,
            source_compute='host1', cross_cell_move=True,
            created_at=timeutils.utcnow() + datetime.timedelta(1)).create()

    @ddt.data(False, True)
    def test_record_of_an_earlier_move_to_another_cell(self, deleted):
        """It is found although the server has moved on.

        :param deleted: whether the host that it came from is deleted
        """
        self._move_on()
        if deleted:
            objects.HostMapping.get_by_host(self.context, 'host1').destroy()
        _finder, found, move = self._find()
        self.assertEqual([uuids.server], found)
        self.assertEqual(Way.LEAVE, cross_cell_recovery.find_way(move))
        self.assertEqual('cell3', move.source.cell.name)
        self.assertEqual('cell2', move.target.cell.name)
        self.assertEqual(uuids.migration, move.target.migration.uuid)

    def test_earlier_move_while_a_resize_waits_to_be_confirmed(self):
        """What that has in the source cell is not to be left."""
        self._move_on('finished', vm_state=vm_states.RESIZED)
        objects.Instance(
            self.contexts['cell1'], uuid=uuids.server, project_id='project',
            user_id='user', hidden=True).create()
        _finder, _found, move = self._find()
        self.assertEqual(Way.NONE, cross_cell_recovery.find_way(move))

    def test_source_host_of_a_move_under_way_is_deleted(self):
        objects.HostMapping.get_by_host(self.context, 'host1').destroy()
        self.assertRaises(exception.HostMappingNotFound, self._find)

    def test_service(self):
        for cell in ('cell1', 'cell2'):
            objects.Service(
                self.contexts[cell], host='host of ' + cell, topic='compute',
                binary='nova-compute').create()
        get_service = cross_cell_recovery.MoveFinder(self.context).get_service
        self.assertEqual('host of cell2', get_service('host of cell2').host)
        self.assertIsNone(get_service('host of cell3'))
        with mock.patch.object(
                nova_context, 'scatter_gather_cells', autospec=True,
                return_value={self.cell_mappings['cell1'].uuid: None,
                              self.cell_mappings['cell2'].uuid:
                              nova_context.did_not_respond_sentinel}):
            self.assertRaises(
                exception.CellTimeout, get_service, 'host of cell2')

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
