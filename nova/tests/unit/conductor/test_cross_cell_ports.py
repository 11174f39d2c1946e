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

from nova.conductor import cross_cell_ports
from nova import context as nova_context
from nova import exception
from nova.network import model as network_model
from nova.network import neutron
from nova import objects
from nova.scheduler.client import report
from nova import test


class CrossCellPortsTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.network_api = mock.create_autospec(neutron.API, instance=True)
        self.report_client = mock.create_autospec(
            report.SchedulerReportClient, instance=True)
        self.request_spec = objects.RequestSpec(requested_resources=[
            objects.RequestGroup(
                requester_id=uuids.port, provider_uuids=[uuids.provider])])
        self.mapping = {uuids.port: [uuids.provider]}
        self.profile = {'pci_slot': '0000:81:00.1',
                        'allocation': uuids.source_provider}
        network_info = network_model.NetworkInfo([
            network_model.VIF(uuids.port, profile=self.profile),
            network_model.VIF(uuids.plain_port, profile=None)])
        self.pci_request = objects.InstancePCIRequest(
            request_id=uuids.request, requester_id=uuids.port, count=1,
            spec=[{'parent_ifname': 'source-ens2'}])
        self.instance = objects.Instance(
            self.context, uuid=uuids.instance,
            info_cache=objects.InstanceInfoCache(network_info=network_info),
            pci_requests=objects.InstancePCIRequests(
                requests=[self.pci_request]))

    def _get_port_profiles(self):
        return cross_cell_ports.get_port_profiles(
            self.context, self.instance, self.request_spec, self.network_api)

    def _set_requested_devices(self):
        cross_cell_ports.set_requested_devices(
            self.context, self.instance, self.request_spec,
            self.report_client)

    def test_get_port_profiles(self):
        for allocation in (uuids.provider, {uuids.group: uuids.provider}):
            get = self.network_api.get_binding_profile_allocation
            get.reset_mock()
            get.side_effect = [allocation, None]
            self.assertEqual(
                {uuids.port: {'pci_slot': '0000:81:00.1',
                              'allocation': allocation}},
                self._get_port_profiles())
            self.assertEqual(
                [mock.call(self.context, port, self.mapping)
                 for port in (uuids.port, uuids.plain_port)], get.mock_calls)
        # That of the source is kept.
        self.assertEqual(uuids.source_provider, self.profile['allocation'])

    def test_nothing_requested(self):
        for requested in (None, []):
            self.request_spec.requested_resources = requested
            self.assertEqual({}, self._get_port_profiles())
            self._set_requested_devices()
        self.network_api.get_binding_profile_allocation.assert_not_called()
        self.report_client.get_resource_provider_name.assert_not_called()

    def test_set_requested_devices(self):
        self.report_client.get_resource_provider_name.return_value = (
            'destination:NIC Switch agent:ens3')
        self._set_requested_devices()
        self.assertEqual('ens3', self.pci_request.spec[0]['parent_ifname'])
        self.report_client.get_resource_provider_name.assert_called_once_with(
            self.context, uuids.provider)

    def test_set_requested_devices_fails(self):
        """Another host may do."""
        self.report_client.get_resource_provider_name.return_value = 'ens3'
        self.assertRaises(
            exception.MigrationPreCheckError, self._set_requested_devices)
        self.request_spec.requested_resources[0].provider_uuids = [
            uuids.provider, uuids.another]
        self.assertRaises(
            exception.MigrationPreCheckError, self._set_requested_devices)
