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

from unittest import mock

import ddt
from keystoneauth1 import exceptions as ks_exc
import os_traits
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import rescue
from nova.compute import vm_states
from nova import context
from nova import exception
from nova import objects
from nova.scheduler.client import report
from nova import test
from nova.tests.unit import fake_instance


@ddt.ddt
class CheckLiveMigrateTest(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = context.get_admin_context()
        self.instance = fake_instance.fake_instance_obj(
            self.context, vm_state=vm_states.RESCUED, host='host0')
        self.reportclient = mock.create_autospec(
            report.SchedulerReportClient, instance=True)
        self._traits(rescue.LIVE_MIGRATE_TRAIT)
        node = objects.ComputeNode(
            host='host1', hypervisor_hostname='node1', uuid=uuids.node1)
        self.get_node = mock.patch.object(
            objects.ComputeNode, 'get_first_node_by_host_for_old_compat',
            return_value=node).start()
        self.get_own_node = mock.patch.object(
            objects.ComputeNode, 'get_by_host_and_nodename',
            return_value=node).start()
        self.service = mock.Mock(
            spec=objects.Service, version=rescue.MIN_COMPUTE_LIVE_MIGRATE)
        self.get_service = mock.patch.object(
            objects.Service, 'get_by_compute_host',
            return_value=self.service).start()
        self.addCleanup(mock.patch.stopall)

    def _traits(self, *traits):
        self.reportclient.get_provider_traits.return_value = report.TraitInfo(
            traits={os_traits.COMPUTE_RESCUE_BFV, *traits}, generation=1)

    def _check(self, role='source'):
        rescue.check_live_migrate(
            self.context, self.reportclient, self.instance, 'host1', role)

    def _assert_refused(self, role, message):
        exc = self.assertRaises(
            exception.LiveMigrateRescuedNotSupported, self._check, role)
        self.assertEqual(message, exc.format_message())

    def test_capable(self):
        self._check()
        self.get_node.assert_called_once_with(self.context, 'host1')
        self.get_service.assert_called_once_with(self.context, 'host1')
        self.reportclient.get_provider_traits.assert_called_once_with(
            self.context, uuids.node1)

    def test_the_node_of_the_instance(self):
        """Its host may have several."""
        self.instance.host = 'host1'
        self.instance.node = 'node1'
        self._check()
        self.get_own_node.assert_called_once_with(
            self.context, 'host1', 'node1')
        self.get_node.assert_not_called()

    @ddt.data(
        exception.ResourceProviderTraitRetrievalFailed(uuid=uuids.node1),
        ks_exc.ConnectFailure())
    def test_placement_does_not_tell(self, error):
        self.reportclient.get_provider_traits.side_effect = error
        self._assert_refused(
            'source',
            'The source node node1 does not support the live migration of '
            'rescued servers: placement does not tell its traits, try again '
            'later.')

    def test_not_rescued(self):
        self._traits()
        self.instance.vm_state = vm_states.ACTIVE
        self._check()

    def test_source_without_the_trait(self):
        self._traits()
        self._assert_refused(
            'source',
            'The source node node1 does not support the live migration of '
            'rescued servers: its virt driver does not have the capability.')

    def test_destination_without_the_trait(self):
        self._traits()
        self._assert_refused(
            'destination',
            'The destination node node1 does not support the live migration '
            'of rescued servers: its virt driver does not have the '
            'capability.')

    def test_trait_left_behind_by_a_downgrade(self):
        self.service.version -= 1
        self._assert_refused(
            'destination',
            'The destination node node1 does not support the live migration '
            'of rescued servers: its nova-compute service is not upgraded '
            'yet.')
