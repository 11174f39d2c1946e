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

from nova.api.openstack import common
from nova.api.openstack.compute import server_transfer
from nova.compute import transfer
from nova.policies import server_transfer as policies
from nova.tests.unit.api.openstack import fakes
from nova.tests.unit import fake_instance
from nova.tests.unit.policies import base


class ServerTransferPolicyTest(base.BasePolicyTest):
    """Who may transfer a server, with every kind of context."""

    def setUp(self):
        super().setUp()
        self.controller = server_transfer.ServerTransferController()
        self.req = fakes.HTTPRequest.blank('', version='2.106')
        self.instance = fake_instance.fake_instance_obj(
            self.project_member_context, uuid=uuids.server,
            project_id=self.project_id,
            user_id=self.project_member_context.user_id)
        patcher = mock.patch.object(
            common, 'get_instance', autospec=True, return_value=self.instance)
        patcher.start()
        self.addCleanup(patcher.stop)
        patcher = mock.patch.object(
            transfer, 'transfer', autospec=True,
            return_value=transfer.Owner(uuids.project, uuids.user))
        patcher.start()
        self.addCleanup(patcher.stop)
        self.authorized_contexts = [
            self.legacy_admin_context, self.project_admin_context]

    def _check(self):
        self.common_policy_auth(
            self.authorized_contexts, policies.BASE_POLICY_NAME,
            self.controller._transfer, self.req, self.instance.uuid,
            body={'transfer': {'project_id': uuids.project}})

    def test_transfer_policy(self):
        self._check()

    def test_transfer_policy_given_to_the_service_role(self):
        """The project of the caller does not matter."""
        self.policy.set_rules(
            {policies.BASE_POLICY_NAME: 'role:service'}, overwrite=False)
        self.authorized_contexts = [self.service_context]
        self._check()

    def test_transfer_policy_target_is_the_owner_of_the_server(self):
        self.policy.set_rules(
            {policies.BASE_POLICY_NAME:
             'role:member and project_id:%(project_id)s'}, overwrite=False)
        self.authorized_contexts = [
            self.project_admin_context, self.project_manager_context,
            self.project_member_context]
        self._check()
