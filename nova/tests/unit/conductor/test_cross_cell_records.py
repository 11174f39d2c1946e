#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

import copy
import threading
import time
from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import cross_cell_progress
from nova.compute import instance_actions
from nova.compute import task_states
from nova.conductor import cross_cell_records
from nova import context as nova_context
from nova import exception
from nova.network import model as network_model
from nova import objects
from nova import test


class CrossCellRecordsTestCase(test.TestCase):

    def setUp(self):
        super().setUp()
        self.ctxts = []
        for cell in list(self.cell_mappings.values())[:2]:
            ctxt = nova_context.RequestContext(
                'fake-user', 'fake-project', is_admin=True,
                request_id='req-' + uuids.request)
            nova_context.set_target_cell(ctxt, cell)
            self.ctxts.append(ctxt)
        self.source_ctxt, self.target_ctxt = self.ctxts

    def _create_instance(self, ctxt, **fields):
        instance = objects.Instance(
            ctxt, uuid=uuids.instance, user_id=ctxt.user_id,
            project_id=ctxt.project_id, system_metadata={},
            flavor=objects.Flavor(id=1, flavorid='a', name='a'),
            info_cache=objects.InstanceInfoCache(
                network_info=network_model.NetworkInfo()), **fields)
        instance.create()
        return instance

    @staticmethod
    def _start_action(ctxt, action=instance_actions.RESIZE):
        objects.InstanceAction.action_start(
            ctxt, uuids.instance, action, want_result=False)

    @staticmethod
    def _add_event(ctxt, name, host=None, finished=True):
        objects.InstanceActionEvent.event_start(
            ctxt, uuids.instance, name, host=host, want_result=False)
        if finished:
            objects.InstanceActionEvent.event_finish(
                ctxt, uuids.instance, name, want_result=False)

    @staticmethod
    def _get_events(ctxt):
        """Names, hosts and results by action; the oldest are the first."""
        actions = objects.InstanceActionList.get_by_instance_uuid(
            ctxt, uuids.instance)
        return [
            (action.action, [
                (event.event, event.host, event.result)
                for event in reversed(
                    objects.InstanceActionEventList.get_by_action(
                        ctxt, action.id))])
            for action in reversed(actions)]

    def _add_fault(self, ctxt, message):
        objects.InstanceFault(
            ctxt, instance_uuid=uuids.instance, code=500, message=message,
            details='', host='host').create()

    def test_clone_instance(self):
        """Fields that are not loaded are cloned, those of a move are not."""
        self._create_instance(
            self.source_ctxt, trusted_certs=objects.TrustedCerts(ids=['a']),
            vcpu_model=objects.VirtCPUModel(vendor='fake'), host='a',
            node='a', compute_id=3, metadata={'a': 'b'})
        instance = objects.Instance.get_by_uuid(
            self.source_ctxt, uuids.instance, expected_attrs=[])
        instance.old_flavor = instance.flavor
        instance.migration_context = objects.MigrationContext(
            instance_uuid=uuids.instance)
        instance.save()

        clone = cross_cell_records.clone_instance(self.target_ctxt, instance)
        clone.create()

        self.assertIs(self.target_ctxt, clone._context)
        found = objects.Instance.get_by_uuid(
            self.target_ctxt, uuids.instance, expected_attrs=['metadata'])
        self.assertEqual(['a'], found.trusted_certs.ids)
        self.assertEqual('fake', found.vcpu_model.vendor)
        self.assertEqual({'a': 'b'}, found.metadata)
        self.assertEqual('a', found.flavor.flavorid)
        self.assertEqual('a', found.node)
        self.assertIsNone(found.compute_id)
        self.assertIsNone(found.old_flavor)
        self.assertIsNone(found.migration_context)
        self.assertEqual(3, instance.compute_id)
        self.assertIsNotNone(instance.migration_context)

    def test_carry_back(self):
        source = self._create_instance(
            self.source_ctxt, display_name='new', locked=True,
            locked_by='owner', host='a', node='a', compute_id=1)
        source.system_metadata = {'locked_reason': 'x'}
        target = self._create_instance(
            self.target_ctxt, display_name='old', host='b', node='b',
            compute_id=2)

        cross_cell_records.carry_back(source, target)
        target.save()

        found = objects.Instance.get_by_uuid(
            self.target_ctxt, uuids.instance,
            expected_attrs=['system_metadata'])
        self.assertEqual('new', found.display_name)
        self.assertTrue(found.locked)
        self.assertEqual('owner', found.locked_by)
        self.assertEqual({'locked_reason': 'x'}, found.system_metadata)
        self.assertEqual(('b', 2), (found.host, found.compute_id))

    def test_carry_actions(self):
        for ctxt in self.ctxts:
            self._create_instance(ctxt)
            self._start_action(ctxt)
            self._add_event(ctxt, 'both', 'a')
        self._add_event(self.source_ctxt, 'both', 'b')
        self._add_event(self.source_ctxt, 'one', 'a', finished=False)
        other = self.source_ctxt.elevated()
        other.request_id = 'req-' + uuids.other_request
        self._start_action(other, instance_actions.LOCK)
        self._add_event(other, 'api_lock')
        expected = [
            ('resize', [('both', 'a', 'Success'), ('both', 'b', 'Success'),
                        ('one', 'a', None)]),
            ('lock', [('api_lock', None, 'Success')])]
        self.assertEqual(expected, self._get_events(self.source_ctxt))

        for _ in range(2):
            cross_cell_records.carry_actions(
                self.source_ctxt, self.target_ctxt, uuids.instance)
            self.assertEqual(expected, self._get_events(self.target_ctxt))

    def test_carry_faults(self):
        for ctxt in self.ctxts:
            self._create_instance(ctxt)
        for message in ('b', 'a', 'a'):
            self._add_fault(self.source_ctxt, message)

        for _ in range(2):
            cross_cell_records.carry_faults(
                self.source_ctxt, self.target_ctxt, uuids.instance)
            faults, carried = [
                [(fault.message, fault.created_at) for fault in
                 objects.InstanceFaultList.get_by_instance_uuids(
                     ctxt, [uuids.instance])]
                for ctxt in self.ctxts]
            self.assertEqual(3, len(faults))
            self.assertEqual(faults, carried)

    def test_complete_in_target_cell(self):
        for ctxt in self.ctxts:
            instance = self._create_instance(ctxt)
            self._start_action(ctxt)
            self._add_event(ctxt, 'conductor', finished=False)
        self._add_event(self.source_ctxt, 'compute', 'a')
        self._add_fault(self.source_ctxt, 'fault')

        cross_cell_records.complete_in_target_cell(
            self.source_ctxt, self.target_ctxt, instance)

        self.assertEqual(
            [('resize', [('conductor', None, 'Success'),
                         ('compute', 'a', 'Success')])],
            self._get_events(self.target_ctxt))
        fault = objects.InstanceFault.get_latest_for_instance(
            self.target_ctxt, uuids.instance)
        self.assertEqual('fault', fault.message)

    @mock.patch.object(cross_cell_records, 'carry_faults', autospec=True,
                       side_effect=exception.NovaException('no database'))
    def test_complete_in_target_cell_fails(self, carry_faults):
        instance = self._create_instance(self.target_ctxt)
        cross_cell_records.complete_in_target_cell(
            self.source_ctxt, self.target_ctxt, instance)
        carry_faults.assert_called_once()
        self.assertIn('are not complete there', self.stdlog.logger.output)

    def test_forget_move(self):
        instance = self._create_instance(
            self.source_ctxt, task_state='old', progress=50)
        instance.old_flavor = instance.flavor
        instance.new_flavor = instance.flavor
        instance.system_metadata['old_vm_state'] = 'active'
        instance.migration_context = objects.MigrationContext(
            instance_uuid=uuids.instance)
        instance.save()
        # Whoever moved the instance did not get as far as to save this.
        instance.task_state = 'new'

        cross_cell_records.forget_move(instance)

        found = objects.Instance.get_by_uuid(
            self.source_ctxt, uuids.instance,
            expected_attrs=['system_metadata'])
        self.assertIsNone(found.old_flavor)
        self.assertIsNone(found.new_flavor)
        self.assertIsNone(found.migration_context)
        self.assertEqual({}, found.system_metadata)
        self.assertEqual('a', found.flavor.flavorid)
        self.assertEqual('old', found.task_state)
        self.assertEqual(0, found.progress)

    def test_forget_move_of_deleted_instance(self):
        instance = self._create_instance(self.source_ctxt)
        objects.Instance.get_by_uuid(
            self.source_ctxt, uuids.instance).destroy()

        cross_cell_records.forget_move(instance)

        self.assertRaises(exception.InstanceNotFound, instance.refresh)

    def test_forget_move_fails(self):
        """The rollback of a move goes on."""
        instance = self._create_instance(self.source_ctxt)
        with mock.patch.object(
                objects.Instance, 'save', autospec=True,
                side_effect=test.TestingException):
            cross_cell_records.forget_move(instance)
        self.assertIn('could not be removed', self.stdlog.logger.output)

    def _create_migration(self, ctxt):
        migration = objects.Migration(
            ctxt, instance_uuid=uuids.instance, status='migrating',
            migration_type='migration', cross_cell_move=True)
        migration.create()
        return migration

    def test_heartbeat(self):
        """All records are touched, again and again, and nothing else."""
        migrations = [self._create_migration(ctxt) for ctxt in self.ctxts]
        # What another service has written meanwhile stays.
        other = objects.Migration.get_by_uuid(
            self.source_ctxt, migrations[0].uuid)
        other.status = 'post-migrating'
        other.save()
        beats = [threading.Event() for _i in range(4)]
        touch = cross_cell_records.touch

        def count(migration):
            touch(migration)
            next(beat for beat in beats if not beat.is_set()).set()

        with mock.patch.object(cross_cell_records, '_BEAT', 0.01), \
                mock.patch.object(cross_cell_records, 'touch', count):
            with cross_cell_records.heartbeat(*migrations):
                self.assertTrue(beats[-1].wait(60))
        for migration in migrations:
            self.assertIsNone(migration.updated_at)
            found = objects.Migration.get_by_uuid(
                migration._context, migration.uuid)
            self.assertIsNotNone(found.updated_at)
            self.assertEqual(
                'migrating' if migration is migrations[1] else
                'post-migrating', found.status)

    def test_heart_does_not_beat_afterwards(self):
        with mock.patch.object(cross_cell_records, '_BEAT', 0.01):
            with cross_cell_records.heartbeat() as thread:
                self.assertTrue(thread.is_alive())
        self.assertFalse(thread.is_alive())

    def _wait_for_progress(self, instance, progress):
        """Wait until the source cell shows the progress of the target cell.

        :param instance: the Instance of the target cell
        :param progress: what that says
        """
        instance.progress = progress
        instance.save()
        for _i in range(600):
            found = objects.Instance.get_by_uuid(
                self.source_ctxt, uuids.instance)
            if found.progress == progress:
                return found
            time.sleep(0.05)
        self.fail('The progress is %s.' % found.progress)

    def test_progress_shown(self):
        source = self._create_instance(
            self.source_ctxt, progress=50,
            task_state=task_states.RESIZE_MIGRATED)
        target = self._create_instance(
            self.target_ctxt, progress=50,
            task_state=task_states.RESIZE_FINISH)
        with mock.patch.object(cross_cell_progress, 'INTERVAL', 0.01):
            with cross_cell_records.progress_shown(source, target):
                self._wait_for_progress(target, 60)
                # Nothing else is carried.
                target.display_name = 'new'
                found = self._wait_for_progress(target, 70)
        self.assertIsNone(found.display_name)
        self.assertEqual(task_states.RESIZE_MIGRATED, found.task_state)
        self.assertEqual(50, source.progress)

    def test_progress_cannot_be_shown(self):
        """It is tried again."""
        source = self._create_instance(
            self.source_ctxt, task_state=task_states.RESIZE_MIGRATED)
        target = self._create_instance(self.target_ctxt)
        get = objects.Instance.get_by_uuid
        errors = iter([test.TestingException(), test.TestingException()])

        def fail_at_first(context, *args, **kwargs):
            if context.cell_uuid == self.target_ctxt.cell_uuid:
                for error in errors:
                    raise error
            return get(context, *args, **kwargs)

        with mock.patch.object(cross_cell_progress, 'INTERVAL', 0.01), \
                mock.patch.object(
                    objects.Instance, 'get_by_uuid', autospec=True,
                    side_effect=fail_at_first), \
                cross_cell_records.progress_shown(source, target):
            self._wait_for_progress(target, 60)
        self.assertEqual(2, self.stdlog.logger.output.count('is not known'))

    def test_touch_of_deleted_migration(self):
        migration = self._create_migration(self.source_ctxt)
        with mock.patch.object(
                objects.Migration, 'save', autospec=True,
                side_effect=exception.MigrationNotFound(migration_id=1)):
            cross_cell_records.touch(migration)
        self.assertNotIn('could not be updated', self.stdlog.logger.output)

    def test_touch_fails(self):
        """The work on the move goes on."""
        migration = self._create_migration(self.source_ctxt)
        with mock.patch.object(
                objects.Migration, 'save', autospec=True,
                side_effect=test.TestingException):
            cross_cell_records.touch(migration)
        self.assertIn('could not be updated', self.stdlog.logger.output)

    @staticmethod
    def _raise_testing_exception():
        raise test.TestingException()

    def test_end_events(self):
        self._create_instance(self.source_ctxt)
        self._start_action(self.source_ctxt, instance_actions.REBOOT)
        self._add_event(self.source_ctxt, 'reboot', finished=False)
        # Each action is of another request.
        other_ctxt = copy.copy(self.source_ctxt)
        other_ctxt.request_id = 'req-' + uuids.other
        self._start_action(other_ctxt)
        self._add_event(other_ctxt, 'done')
        self._add_event(other_ctxt, 'open', finished=False)

        cause = self.assertRaises(
            test.TestingException, self._raise_testing_exception)
        cross_cell_records.end_events(
            self.source_ctxt, uuids.instance, cause)
        self.assertEqual([
            (instance_actions.REBOOT, [('reboot', None, None)]),
            (instance_actions.RESIZE, [
                ('done', None, 'Success'), ('open', None, 'Error')]),
        ], self._get_events(self.source_ctxt))
