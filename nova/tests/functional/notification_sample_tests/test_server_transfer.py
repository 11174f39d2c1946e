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

from nova import context
from nova import objects
from nova.scheduler.client import report
from nova.tests import fixtures
from nova.tests.functional.notification_sample_tests \
    import notification_sample_base


class TestServerTransferNotificationSample(
        notification_sample_base.NotificationSampleTestBase):

    PROJECT_ID = '4e9b6e46b85745f2b8ace5bce4717350'
    USER_ID = '0ca8f6b1e3ac4f4cb3bba9d7c7ae7c69'

    def setUp(self):
        self.flags(bdms_in_notifications='True', group='notifications')
        self.flags(include_share_mapping='True', group='notifications')
        super().setUp()
        self.neutron = self.useFixture(fixtures.NeutronFixture(self))
        self.useFixture(fixtures.CinderFixture(self))
        self.useFixture(fixtures.ManilaFixture())
        self.useFixture(fixtures.KeystoneFixture(
            projects=[self.PROJECT_ID], users=[self.USER_ID]))
        port = self.neutron.port_1['id']
        self.server = self._boot_a_server(
            extra_params={'networks': [{'port': port}]})
        # A port of the old project would block the transfer.
        self.neutron._ports[port].update(
            project_id=self.PROJECT_ID, tenant_id=self.PROJECT_ID)
        self.notifier.reset()

    def _transfer(self, status):
        self.admin_api.api_post(
            '/servers/%s/action' % self.server['id'],
            {'transfer': {
                'project_id': self.PROJECT_ID, 'user_id': self.USER_ID}},
            check_response_status=[status])

    def _verify(self, phase, **replacements):
        notification, = self._get_notifications('instance.transfer.' + phase)
        self._verify_notification(
            'instance-transfer-' + phase,
            replacements={
                'reservation_id': self.server['reservation_id'],
                'uuid': self.server['id'], 'block_devices': [],
                **replacements},
            actual=notification)

    def test_transfer(self):
        self._transfer(200)

        self._verify('start')
        self._verify('end')
        self.assertEqual([], self._get_notifications(
            'instance.transfer.error'))

    def test_transfer_over_quota(self):
        put = report.SchedulerReportClient.put

        def fill(*args, **kwargs):
            with context.target_cell(
                    context.get_admin_context(),
                    self.cell_mappings['cell1']) as cell:
                objects.Instance(
                    cell, project_id=self.PROJECT_ID, user_id=self.USER_ID,
                    vcpus=1, memory_mb=512).create()
            return put(*args, **kwargs)

        self.admin_api.update_quota(
            {'instances': 1}, project_id=self.PROJECT_ID)
        # The quota is checked before this and after.
        with mock.patch.object(report.SchedulerReportClient, 'put', fill):
            self._transfer(403)

        self._verify('start')
        self._verify('error', **{'fault.traceback': self.ANY})
        self.assertEqual([], self._get_notifications('instance.transfer.end'))
