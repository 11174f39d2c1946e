# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
# http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import owner
from nova.compute import task_states
from nova.compute import vm_states
from nova import context
from nova import exception
from nova import test
from nova.tests.unit import fake_instance
from nova.virt import driver


class CheckUnchangedTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = context.RequestContext(
            user_id=uuids.user, project_id=uuids.source)
        self.instance = self._instance(uuids.source)
        self.take_back = mock.Mock(spec=())
        self.mock_get = self._patch('nova.objects.Instance.get_by_uuid')
        self.mock_sleep = self._patch('time.sleep')

    def _patch(self, name):
        patcher = mock.patch(name, autospec=True)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def _instance(self, project_id, task_state=None):
        return fake_instance.fake_instance_obj(
            self.context, uuid=uuids.instance, project_id=project_id,
            task_state=task_state)

    def _check(self):
        owner.check_unchanged(self.context, self.instance, self.take_back)

    def test_unchanged(self):
        self.mock_get.return_value = self._instance(uuids.source)

        self._check()

        self.take_back.assert_not_called()
        self.mock_sleep.assert_not_called()

    def test_the_owner_is_read_as_administrator(self):
        """Another project's user would find the instance no more."""
        self.mock_get.return_value = self._instance(uuids.source)

        self._check()

        self.assertTrue(self.mock_get.call_args.args[0].is_admin)
        self.assertFalse(self.context.is_admin)

    def test_held_but_not_yet_transferred(self):
        """The transfer has yet to look, and will see what is attached."""
        self.mock_get.return_value = self._instance(
            uuids.source, task_states.TRANSFERRING)

        self._check()

        self.take_back.assert_not_called()

    def test_transferred(self):
        self.mock_get.return_value = self._instance(uuids.target)

        e = self.assertRaises(exception.InstanceInvalidState, self._check)

        self.take_back.assert_called_once_with()
        self.assertNotIn(uuids.target, e.format_message())
        self.mock_sleep.assert_not_called()

    def test_transfer_is_undone(self):
        """The transfer has seen what is attached: it must stay."""
        self.mock_get.side_effect = [
            self._instance(uuids.target, task_states.TRANSFERRING),
            self._instance(uuids.source)]

        self._check()

        self.take_back.assert_not_called()
        self.mock_sleep.assert_called_once_with(owner.PAUSE)

    def test_transfer_does_not_end(self):
        self.mock_get.return_value = self._instance(
            uuids.target, task_states.TRANSFERRING)

        self.assertRaises(exception.InstanceInvalidState, self._check)

        self.take_back.assert_called_once_with()
        self.assertEqual(owner.LOOKS, self.mock_get.call_count)
        self.assertEqual(owner.LOOKS - 1, self.mock_sleep.call_count)

    def test_deleted(self):
        self.mock_get.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)

        self.assertRaises(exception.InstanceNotFound, self._check)

        self.take_back.assert_called_once_with()

    def test_owner_cannot_be_read(self):
        self.mock_get.side_effect = test.TestingException

        self.assertRaises(test.TestingException, self._check)

        self.take_back.assert_called_once_with()


class RefreshTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = context.get_admin_context()
        self.driver = mock.create_autospec(driver.ComputeDriver, instance=True)
        self.mock_clean = self._patch(
            'nova.objects.ConsoleAuthToken.clean_console_auths_for_instance')
        self.mock_get = self._patch('nova.objects.Instance.get_by_uuid')
        self.mock_save = self._patch('nova.objects.Instance.save')
        self.instance = self._instance()
        self.mock_get.return_value = self._instance()

    def _patch(self, name):
        patcher = mock.patch(name, autospec=True)
        self.addCleanup(patcher.stop)
        return patcher.start()

    def _instance(self, **values):
        values = {
            'uuid': uuids.instance, 'project_id': uuids.target,
            'user_id': uuids.user, 'vm_state': vm_states.ACTIVE,
            'task_state': None, **values}
        instance = fake_instance.fake_instance_obj(self.context, **values)
        instance.system_metadata = {owner.MARK: '1', 'kept': 'yes'}
        return instance

    def _refresh(self):
        owner.refresh_if_marked(self.context, self.instance, self.driver)

    def test_refresh(self):
        self._refresh()

        self.mock_clean.assert_called_once_with(self.context, uuids.instance)
        self.driver.refresh_instance_owner.assert_called_once_with(
            self.context, self.instance)
        now = self.mock_get.return_value
        self.mock_save.assert_called_once_with(expected_task_state=[None])
        self.assertEqual({'kept': 'yes'}, now.system_metadata)
        self.assertNotIn(owner.MARK, self.instance.system_metadata)

    def test_not_marked(self):
        self.instance.system_metadata.pop(owner.MARK)

        self._refresh()

        self.driver.refresh_instance_owner.assert_not_called()

    def test_hypervisor_fails(self):
        self.driver.refresh_instance_owner.side_effect = (
            exception.InstanceNotFound(instance_id=uuids.instance))

        self._refresh()

        self.mock_save.assert_not_called()
        self.assertIn(owner.MARK, self.instance.system_metadata)

    def test_suspended(self):
        """Its saved memory brings the former owner back when it resumes."""
        self.instance.vm_state = vm_states.SUSPENDED

        self._refresh()

        self.driver.refresh_instance_owner.assert_called_once_with(
            self.context, self.instance)
        self.mock_save.assert_not_called()

    def test_another_transfer_meanwhile(self):
        for values in (
            {'task_state': task_states.TRANSFERRING},
            {'project_id': uuids.third},
            {'user_id': uuids.third},
        ):
            self.mock_get.return_value = self._instance(**values)

            self._refresh()

            self.mock_save.assert_not_called()
