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

import datetime
from unittest import mock

from oslo_utils import fixture as utils_fixture
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import timeutils

from nova.compute import cross_cell_confirm
from nova.compute import task_states
from nova.compute import vm_states
from nova.conductor import api as conductor_api
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import test
from nova.tests.unit import fake_instance


class CrossCellConfirmTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.flags(rpc_response_timeout=60)
        self.context = nova_context.get_admin_context()
        self.now = timeutils.utcnow()
        self.useFixture(utils_fixture.TimeFixture(self.now))
        self.migration = objects.Migration(
            self.context, id=1, uuid=uuids.migration, status='finished',
            source_compute='source', cross_cell_move=True,
            updated_at=self.now - datetime.timedelta(hours=1))
        self.instance = self._instance(None)

    def _instance(self, task_state, age=3600):
        return fake_instance.fake_instance_obj(
            self.context, vm_state=vm_states.RESIZED, task_state=task_state,
            updated_at=self.now - datetime.timedelta(seconds=age))

    def _begin(self, instance):
        """Begin a confirm.

        :returns: the arguments with which the instance was saved
        """
        with mock.patch.object(instance, 'save', autospec=True) as save:
            cross_cell_confirm.begin(instance, self.migration)
        self.assertEqual(task_states.RESIZE_CONFIRMING, instance.task_state)
        return save.mock_calls

    def test_begin(self):
        self.assertEqual(
            [mock.call(expected_vm_state=[vm_states.RESIZED],
                       expected_task_state=[None])],
            self._begin(self.instance))

    def test_begin_after_interruption(self):
        self.assertEqual(
            [mock.call(expected_vm_state=[vm_states.RESIZED],
                       expected_task_state=['resize_confirming'])],
            self._begin(self._instance('resize_confirming', age=61)))

    def test_begin_while_another_confirm_runs(self):
        instance = self._instance('resize_confirming', age=59)
        self.assertRaises(
            exception.InstanceInvalidState, cross_cell_confirm.begin,
            instance, self.migration)
        # The API has stored the task state a while ago, but works still.
        instance = self._instance('resize_confirming', age=61)
        self.migration.updated_at = self.now - datetime.timedelta(seconds=59)
        self.assertRaises(
            exception.InstanceInvalidState, cross_cell_confirm.begin,
            instance, self.migration)

    def test_begin_another_request_is_faster(self):
        for error, attr, actual in (
            (exception.UnexpectedTaskStateError, 'task_state',
             'resize_reverting'),
            (exception.InstanceUpdateConflict, 'vm_state', 'active'),
        ):
            instance = self._instance(None)
            with mock.patch.object(
                instance, 'save', autospec=True, side_effect=error(
                    instance_uuid=instance.uuid, expected={attr: None},
                    actual={attr: actual}),
            ):
                ex = self.assertRaises(
                    exception.InstanceInvalidState, cross_cell_confirm.begin,
                    instance, self.migration)
            self.assertEqual(attr, ex.kwargs['attr'])
            self.assertEqual(actual, ex.kwargs['state'])

    @mock.patch('nova.objects.MigrationList.get_by_filters')
    @mock.patch('nova.objects.Migration.get_by_instance_and_status')
    def _get_migration(self, instance, found, mock_get, mock_list):
        mock_get.side_effect = exception.MigrationNotFoundByStatus(
            instance_id=instance.uuid, status='finished')
        mock_list.return_value = objects.MigrationList(objects=found)
        try:
            return cross_cell_confirm.get_migration(self.context, instance)
        finally:
            statuses = ['confirming']
            if instance.task_state == 'resize_confirming':
                statuses.append('confirmed')
            mock_list.assert_called_once_with(
                self.context,
                {'instance_uuid': instance.uuid, 'status': statuses},
                sort_keys=['id'], sort_dirs=['desc'])

    def test_get_migration(self):
        self.migration.status = 'confirming'
        for task_state in (None, 'resize_confirming'):
            self.assertIs(self.migration, self._get_migration(
                self._instance(task_state), [self.migration]))

    def test_get_migration_without_cross_cell_move(self):
        self.migration.cross_cell_move = False
        for found in ([], [self.migration]):
            self.assertRaises(
                exception.MigrationNotFoundByStatus, self._get_migration,
                self.instance, found)

    def test_confirm_on_delete(self):
        """The server is deleted even if its source fails."""
        compute_task_api = mock.create_autospec(conductor_api.ComputeTaskAPI)
        confirm = compute_task_api.confirm_snapshot_based_resize
        confirm.side_effect = test.TestingException('timeout')
        with mock.patch.object(
            self.migration, 'save', autospec=True,
        ) as save:
            cross_cell_confirm.confirm_on_delete(
                self.context, self.instance, self.migration, compute_task_api)
        save.assert_called_once_with()
        self.assertEqual('confirming', self.migration.status)
        confirm.assert_called_once_with(
            self.context, self.instance, self.migration, do_cast=False)
