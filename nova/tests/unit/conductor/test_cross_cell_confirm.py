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

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import api as compute_api
from nova.compute import task_states
from nova.compute import vm_states
from nova.conductor import cross_cell_confirm
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import test
from nova.tests.unit import fake_instance


class PollUnconfirmedTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.flags(connection='sqlite://', group='api_database')
        self.flags(resize_confirm_window=30)
        self.compute_api = mock.create_autospec(compute_api.API)
        self.cell = objects.CellMapping(uuid=uuids.cell)
        self.instances = {}

    def _migration(self, name, vm_state=vm_states.RESIZED, task_state=None):
        """Make a migration that is to be confirmed, and its instance."""
        instance = fake_instance.fake_instance_obj(
            nova_context.get_admin_context(), uuid=getattr(uuids, name),
            vm_state=vm_state, task_state=task_state)
        self.instances[instance.uuid] = instance
        return objects.Migration(
            uuid=getattr(uuids, 'migration_' + name),
            instance_uuid=instance.uuid, source_compute='source')

    def _poll(self, *migrations, mapped_to=None, **others):
        """Confirm what is found.

        :param migrations: Migration objects of the cell
        :param mapped_to: UUID of the cell of the servers
        :param others: what other cells answer
        :returns: names of the servers and what is confirmed, in this order
        """
        cell = mapped_to or self.cell
        results = {getattr(uuids, name): result
                   for name, result in others.items()}
        results[self.cell.uuid] = objects.MigrationList(objects=migrations)
        context = nova_context.get_admin_context()
        with test.nested(
            mock.patch('nova.context.scatter_gather_skip_cell0',
                       autospec=True, return_value=results),
            mock.patch('nova.objects.InstanceMapping.get_by_instance_uuid',
                       return_value=objects.InstanceMapping(
                           cell_mapping=cell)),
            mock.patch('nova.context.set_target_cell', autospec=True),
            mock.patch('nova.objects.Instance.get_by_uuid',
                       side_effect=lambda ctxt, uuid, **kwargs:
                       self.instances[uuid]),
        ) as (scatter, _, set_target_cell, _):
            cross_cell_confirm.poll_unconfirmed(context, self.compute_api)
        if scatter.called:
            scatter.assert_called_once_with(
                context, objects.MigrationList.get_unconfirmed_cross_cell, 30)
        calls = self.compute_api.confirm_resize.mock_calls
        requests = []
        for call in calls:
            context, instance = call.args
            set_target_cell.assert_any_call(context, cell)
            self.assertTrue(context.is_admin)
            requests.append(context.request_id)
        # Each is an action of its own.
        self.assertEqual(len(set(requests)), len(requests))
        return [(call.args[1].uuid, call.kwargs['migration'].uuid)
                for call in calls]

    def test_poll(self):
        """One that fails or whose source is down keeps no other."""
        names = ('down', 'busy', 'broken', 'fine')
        self.compute_api.confirm_resize.side_effect = [
            exception.ServiceUnavailable(),
            exception.InstanceInvalidState(
                attr='task_state', instance_uuid=uuids.busy,
                state='resize_reverting', method='confirm_resize'),
            test.TestingException('oops'), None]
        self.assertEqual(
            [(getattr(uuids, name), getattr(uuids, 'migration_' + name))
             for name in names],
            self._poll(
                *map(self._migration, names),
                dead=nova_context.did_not_respond_sentinel,
                failing=exception.CellTimeout()))
        log = self.stdlog.logger.output
        self.assertIn('Source host source is down', log)
        self.assertEqual(1, log.count('could not be confirmed'), log)

    def test_poll_instance_is_gone(self):
        gone = self._migration('gone')
        del self.instances[uuids.gone]
        self.assertEqual(
            [(uuids.fine, uuids.migration_fine)],
            self._poll(gone, self._migration('fine')))

    def test_poll_states(self):
        """Only a resize that waits, or an interrupted confirm of one."""
        self.assertEqual(
            [(uuids.interrupted, uuids.migration_interrupted)],
            self._poll(
                self._migration('reverted',
                                task_state=task_states.RESIZE_REVERTING),
                self._migration('deleted', task_state=task_states.DELETING),
                self._migration('reset', vm_state=vm_states.ACTIVE),
                self._migration('failed', vm_state=vm_states.ERROR),
                self._migration('interrupted',
                                task_state=task_states.RESIZE_CONFIRMING)))

    def test_poll_server_is_in_another_cell(self):
        self.assertEqual([], self._poll(
            self._migration('elsewhere'),
            mapped_to=objects.CellMapping(uuid=uuids.other)))

    def test_poll_disabled(self):
        for option, value, group in (
            ('connection', None, 'api_database'),
            ('cross_cell_poll_interval', 0, 'conductor'),
            ('resize_confirm_window', 0, None),
        ):
            with mock.patch(
                'nova.context.scatter_gather_skip_cell0', autospec=True,
            ) as scatter:
                self.flags(group=group, **{option: value})
                cross_cell_confirm.poll_unconfirmed(
                    nova_context.get_admin_context(), self.compute_api)
                scatter.assert_not_called()
            self.flags(group=group, **{option: {
                'connection': 'sqlite://', 'cross_cell_poll_interval': 60,
                'resize_confirm_window': 30}[option]})
