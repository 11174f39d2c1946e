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

import fixtures
from oslo_utils.fixture import uuidsentinel as uuids

from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.libvirt import base


class AcceleratorsTest(base.ServersTestBase):
    """A server with an accelerator of Cyborg's, as a PCI device"""

    ADMIN_API = True

    def setUp(self):
        super().setUp()
        self.cyborg = self.useFixture(nova_fixtures.CyborgFixture())
        # The driver attaches no accelerator of a type that it does not know.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.tests.fixtures.cyborg.CyborgFixture.bound_arq_list',
            [dict(arq, attach_handle_type='PCI')
             for arq in self.cyborg.bound_arq_list]))
        self.start_compute('host')
        self._create_device('host')
        self.server = self._create_server(
            flavor_id=self._create_flavor(extra_spec={
                'accel:device_profile': self.cyborg.dp_name}),
            networks='none', host='host')

    def _create_device(self, host):
        """Create the resource provider that Cyborg has of a device"""
        device = uuids.device
        self.placement.post('/resource_providers', version='1.20', body={
            'name': 'device', 'uuid': device,
            'parent_provider_uuid': self.compute_rp_uuids[host]})
        self._update_inventory(device, {
            'resource_provider_generation': 0,
            'inventories': {'FPGA': {'total': 1}}})
        self._create_trait(self.cyborg.trait)
        self._set_provider_traits(device, [self.cyborg.trait])

    def _guest(self):
        connection = self.computes['host'].driver._host.get_connection()
        return connection.lookupByUUIDString(self.server['id'])

    def _assert_has_accelerator(self):
        (arq,) = self.cyborg.fake_get_arqs_for_instance(self.server['id'])
        handle = arq['attach_handle_info']
        (device,) = self._guest()._def['devices']['hostdevs']
        self.assertEqual(
            [int(handle[part], 16) for part in
             ('domain', 'bus', 'device', 'function')],
            [int(device[part], 16) for part in
             ('domain', 'bus', 'slot', 'function')])

    def test_resume_guests_state_on_host_boot(self):
        """A reboot of its host takes no accelerator from a server"""
        self.flags(resume_guests_state_on_host_boot=True)
        self._assert_has_accelerator()
        guest = self._guest()
        guest.destroy()

        self.restart_compute_service('host')

        self.assertTrue(self._guest().isActive())
        self._assert_has_accelerator()
