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

"""Resize and cold migration across cells of servers with host devices."""

import fixtures
from lxml import etree
from oslo_serialization import jsonutils

from nova import context as nova_context
from nova import objects
from nova.policies import base as base_policies
from nova.policies import servers as servers_policies
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import guest as libvirt_guest

_VF = {'vendor_id': fakelibvirt.PCI_VEND_ID,
       'product_id': fakelibvirt.VF_PROD_ID}
_PCI = {'vendor_id': fakelibvirt.PCI_VEND_ID,
        'product_id': fakelibvirt.PCI_PROD_ID}


class CrossCellDevicesTest(base.ServersTestBase):
    """Host a is in one cell and host b in another.

    What the server uses on host a is taken by a neighbour on host b, or has
    another address there.
    """

    ADMIN_API = True
    ADDITIONAL_FILTERS = ['NUMATopologyFilter', 'PciPassthroughFilter']
    NUMBER_OF_CELLS = 2
    CELLS = {'a': 'cell1', 'b': 'cell2'}
    microversion = 'latest'

    def setUp(self):
        self.flags(
            device_spec=[
                jsonutils.dumps(dict(_VF, physical_network='physnet4')),
                jsonutils.dumps(_PCI)],
            alias=[jsonutils.dumps(dict(_PCI, name='gpu'))], group='pci')
        self.flags(
            cpu_dedicated_set='2-7', cpu_shared_set='0-1', group='compute')
        super().setUp()
        self.neutron = self.useFixture(base.LibvirtNeutronFixture(self))
        self.policy.set_rules(
            {servers_policies.CROSS_CELL_RESIZE: base_policies.RULE_ADMIN_API},
            overwrite=False)
        # The root disk goes through the image service.
        self.useFixture(fixtures.MockPatch(
            'nova.virt.libvirt.LibvirtDriver.snapshot', autospec=True))
        # The XML of guests, by host
        self.created = {host: [] for host in self.CELLS}
        create = libvirt_guest.Guest.create

        def record(xml, host):
            for name, compute in self.computes.items():
                if compute.driver._host is host:
                    self.created[name].append(etree.fromstring(xml))
            return create(xml, host)

        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.guest.Guest.create', staticmethod(record)))
        for host, vfs in (('a', 1), ('b', 3)):
            self.start_compute(
                host, cell_name=self.CELLS[host],
                host_info=fakelibvirt.HostInfo(
                    cpu_nodes=1, cpu_sockets=1, cpu_cores=4, cpu_threads=2),
                pci_info=fakelibvirt.HostPCIDevicesInfo(
                    num_pfs=1, num_vfs=vfs, num_pci=2))

    def _cell_context(self, host):
        ctxt = nova_context.get_admin_context()
        nova_context.set_target_cell(
            ctxt, self.cell_mappings[self.CELLS[host]])
        return ctxt

    def _get_record(self, host, server):
        return objects.Instance.get_by_uuid(
            self._cell_context(host), server['id'],
            expected_attrs=['numa_topology', 'pci_devices', 'pci_requests'])

    def _devices(self, host, product_id=None, server=None):
        """Addresses of the devices of a host that servers use.

        :param product_id: of the devices; None for any
        :param server: the server that uses them; None for any
        """
        ctxt = self._cell_context(host)
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            ctxt, host)
        devices = objects.PciDeviceList.get_by_compute_node(ctxt, node.id)
        return {
            device.address for device in devices
            if product_id in (None, device.product_id) and
            device.instance_uuid in
            ([server['id']] if server else
             [it for it in (device.instance_uuid,) if it])}

    def _pinned_cpus(self, host):
        """CPUs of a host that its tracker counts as pinned."""
        ctxt = self._cell_context(host)
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            ctxt, host)
        topology = objects.NUMATopology.obj_from_db_obj(node.numa_topology)
        return set().union(*(cell.pinned_cpus for cell in topology.cells))

    def _guest_cpus(self, host):
        """CPUs that the last guest created on a host is pinned to."""
        return {int(pin.get('cpuset')) for pin in
                self.created[host][-1].iterfind('./cputune/vcpupin')}

    def _guest_addresses(self, host):
        """Addresses of devices that the last guest on a host was given."""
        return {
            '%04x:%02x:%02x.%x' % tuple(
                int(address.get(field), 16)
                for field in ('domain', 'bus', 'slot', 'function'))
            for path in ('hostdev', 'interface')
            for address in self.created[host][-1].iterfind(
                './devices/%s/source/address' % path)}

    def _slot(self, port_id):
        port = self.neutron.show_port(port_id)['port']
        return port['binding:host_id'], port['binding:profile']['pci_slot']

    def _run_periodics(self):
        for compute in self.computes.values():
            ctxt = self._cell_context(compute.host)
            compute.manager.update_available_resource(ctxt)

    def test_pinned_server_with_sriov_port(self):
        flavor = self._create_flavor(
            vcpu=2, extra_spec={'hw:cpu_policy': 'dedicated'})
        ports = [
            self.neutron.create_port({'port': port})['port']['id']
            for port in (self.neutron.network_4_port_1,
                         self.neutron.network_4_port_2)]
        server = self._create_server(
            flavor_id=flavor, networks=[{'port': ports[0]}], host='a')
        self._create_server(
            flavor_id=flavor, networks=[{'port': ports[1]}], host='b')
        slot_of_a = self._slot(ports[0])
        cpus_of_a = self._guest_cpus('a')
        neighbour = self._slot(ports[1])[1]
        neighbour_cpus = self._guest_cpus('b')
        self.assertEqual('a', slot_of_a[0])
        self.assertEqual(neighbour_cpus, cpus_of_a)

        def assert_on_b():
            host, slot = self._slot(ports[0])
            self.assertEqual('b', host)
            self.assertEqual(
                {slot}, self._devices('b', fakelibvirt.VF_PROD_ID, server))
            self.assertNotIn(slot, (neighbour, slot_of_a[1]))
            self.assertEqual({slot}, self._guest_addresses('b'))
            cpus = self._guest_cpus('b')
            self.assertEqual(2, len(cpus))
            self.assertEqual(set(), cpus & neighbour_cpus)
            self.assertEqual(cpus | neighbour_cpus, self._pinned_cpus('b'))

        self._migrate_server(server, host='b')
        self._run_periodics()
        assert_on_b()
        # The source keeps its own.
        self.assertEqual({slot_of_a[1]}, self._devices('a', server=server))
        self.assertEqual(cpus_of_a, self._pinned_cpus('a'))

        self._revert_resize(server)
        self._run_periodics()
        self.assertEqual(slot_of_a, self._slot(ports[0]))
        self.assertEqual({slot_of_a[1]}, self._guest_addresses('a'))
        self.assertEqual(cpus_of_a, self._guest_cpus('a'))
        self.assertEqual({slot_of_a[1]}, self._devices('a', server=server))
        self.assertEqual(set(), self._devices('b', server=server))
        self.assertEqual(neighbour_cpus, self._pinned_cpus('b'))

        self._migrate_server(server, host='b')
        self._confirm_resize(server, cross_cell=True)
        self._run_periodics()
        assert_on_b()
        self.assertEqual(set(), self._devices('a'))
        self.assertEqual(set(), self._pinned_cpus('a'))

    def test_resize_to_and_from_flavor_with_device(self):
        plain = self._create_flavor()
        with_device = self._create_flavor(
            extra_spec={'pci_passthrough:alias': 'gpu:1'})
        server = self._create_server(
            flavor_id=plain, networks='none', host='a')
        # Move what could stay in its cell to the other.
        self.flags(cross_cell_move_weight_multiplier=-1.0,
                   group='filter_scheduler')
        self._create_server(
            flavor_id=with_device, networks='none', host='b')
        neighbour = self._devices('b')

        self._resize_server(server, with_device)
        device = self._devices('b', server=server)
        self.assertEqual(1, len(device))
        self.assertEqual(device, self._guest_addresses('b'))

        self._revert_resize(server)
        self.assertEqual(set(), self._guest_addresses('a'))
        self.assertEqual(neighbour, self._devices('b'))
        spec = objects.RequestSpec.get_by_instance_uuid(
            nova_context.get_admin_context(), server['id'])
        self.assertEqual([], spec.pci_requests.requests)

        self._resize_server(server, with_device)
        self._confirm_resize(server, cross_cell=True)
        device = self._devices('b', server=server)
        self.assertEqual(1, len(device))

        # Back to host a, with its device while this waits to be confirmed.
        self._resize_server(server, plain)
        self.assertEqual(set(), self._guest_addresses('a'))
        self.assertEqual(device, self._devices('b', server=server))
        self._confirm_resize(server, cross_cell=True)
        self._run_periodics()
        self.assertEqual(neighbour, self._devices('b'))
        self.assertEqual(set(), self._devices('a'))
