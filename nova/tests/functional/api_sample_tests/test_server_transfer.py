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

from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.api import client as api_client
from nova.tests.functional.api_sample_tests import test_servers


class ServerTransferSamplesJsonTest(test_servers.ServersSampleBase):
    # The 'os_compute_api:os-server-transfer' policy is admin-only.
    ADMIN_API = True
    sample_dir = 'os-server-transfer'
    microversion = '2.106'
    scenarios = [('v2_106', {'api_major_version': 'v2.1'})]

    PROJECT_ID = '4e9b6e46b85745f2b8ace5bce4717350'
    USER_ID = '0ca8f6b1e3ac4f4cb3bba9d7c7ae7c69'

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.KeystoneFixture(
            projects=[self.PROJECT_ID], users=[self.USER_ID]))

    def test_transfer_server(self):
        # A port would block the transfer.
        server = self._create_server(networks='none')

        response = self._do_post(
            'servers/%s/action' % server['id'], 'transfer-server-req',
            {'project_id': self.PROJECT_ID, 'user_id': self.USER_ID,
             'from_project_id': server['tenant_id'],
             'transfer_id': '7a4b5c1e-8f0d-4a3c-9d38-0d0f2a7b5a11'})

        self._verify_response(
            'transfer-server-resp',
            {'project_id': self.PROJECT_ID, 'user_id': self.USER_ID},
            response, 200)

    def test_no_such_action_before_2_106(self):
        server = self._create_server(networks='none')
        self.api.microversion = '2.105'

        ex = self.assertRaises(
            api_client.OpenStackApiException, self.api.post_server_action,
            server['id'], {'transfer': {'project_id': self.PROJECT_ID}})

        self.assertEqual(400, ex.response.status_code)
        self.assertIn('There is no such action: transfer', str(ex))
