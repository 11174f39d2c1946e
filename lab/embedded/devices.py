# SPDX-License-Identifier: Apache-2.0

"""The devices of the hosts: two types of vGPUs, and Cyborg's accelerators."""

from collections import abc
import copy
from typing import Any

import fixtures
from lxml import etree
import nova.conf
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import utils as libvirt_utils
from oslo_utils import uuidutils
from oslo_utils import versionutils

from lab import cloud

VGPU_TYPES = {
    fakelibvirt.NVIDIA_11_VGPU_TYPE: fakelibvirt.MDEVCAP_DEV1_PCI_ADDR,
    fakelibvirt.NVIDIA_12_VGPU_TYPE: fakelibvirt.MDEVCAP_DEV2_PCI_ADDR}
"""The physical GPU that each type of vGPU is made on, as libvirt names it."""

LIBVIRT, QEMU = (
    versionutils.convert_version_to_int(version) for version in (
        libvirt_driver.MIN_MDEV_LIVEMIG_LIBVIRT_VERSION,
        libvirt_driver.MIN_MDEV_LIVEMIG_QEMU_VERSION))
"""The first versions that live-migrate vGPUs."""

PROFILE: str = nova_fixtures.CyborgFixture.dp_name
"""The device profile of a server with an accelerator."""


def trait(vgpu_type: str) -> str:
    """The trait of the physical GPU that has vGPUs of a type."""
    return 'CUSTOM_' + vgpu_type.upper().replace('-', '_')


def pci_info() -> fakelibvirt.HostPCIDevicesInfo:
    """The PCI devices of a host: two GPUs, each capable of both types."""
    return fakelibvirt.HostPCIDevicesInfo(
        num_pci=0, num_pfs=0, num_vfs=0, num_mdevcap=len(VGPU_TYPES),
        multiple_gpu_types=True)


def _create_mdev(
    driver: Any, parent: str, mdev_type: str, uuid: str | None = None
) -> str:
    """Create a mediated device on the host of a driver. Returns its uuid."""
    uuid = uuid or uuidutils.generate_uuid()
    name = libvirt_utils.mdev_uuid2name(uuid)
    driver._host.get_connection().mdev_info.devices[name] = (
        fakelibvirt.FakeMdevDevice(name, mdev_type, parent))
    return uuid


def of_guest(domain: fakelibvirt.Domain) -> cloud.Devices:
    """The devices that a guest has."""
    definition = etree.fromstring(domain.XMLDesc(0))
    host = domain._connection
    vgpus = [
        etree.fromstring(host.nodeDeviceLookupByName(
            libvirt_utils.mdev_uuid2name(address.get('uuid'))).XMLDesc(0))
        .find('capability/type').get('id')
        for address in definition.findall(
            'devices/hostdev[@type="mdev"]/source/address')]
    addresses = [
        [int(address.get(part), 16)
         for part in ('domain', 'bus', 'slot', 'function')]
        for address in definition.findall(
            'devices/hostdev[@type="pci"]/source/address')]
    return cloud.Devices(
        tuple(sorted(vgpus)), tuple(sorted(map(_name, addresses))))


def _name(address: abc.Sequence[int]) -> str:
    return '{:04x}:{:02x}:{:02x}.{:x}'.format(*address)


class Devices(fixtures.Fixture):
    """Makes hosts have GPUs, and accelerators that Cyborg has for them.

    To be used before the first host starts; each is prepared after it has.

    :param services: what has the services
    """

    def __init__(self, services: Any):
        super().__init__()
        self._services = services

    def _setUp(self) -> None:
        self._services.flags(
            enabled_mdev_types=list(VGPU_TYPES), group='devices')
        nova.conf.devices.register_dynamic_opts(nova.conf.CONF)
        for vgpu_type, address in VGPU_TYPES.items():
            domain, bus, slot, function = address.split('_')[1:]
            self._services.flags(
                device_addresses=[f'{domain}:{bus}:{slot}.{function}'],
                group=f'mdev_{vgpu_type}')
        self.useFixture(fixtures.MonkeyPatch(
            'nova.virt.libvirt.LibvirtDriver._create_mdev', _create_mdev))
        # The fixture keeps what is bound in the class. It has accelerators of
        # a type that no driver knows.
        for name in ('arq_list', 'bound_arq_list'):
            known = copy.deepcopy(getattr(nova_fixtures.CyborgFixture, name))
            for request in known:
                if request['attach_handle_type']:
                    request['attach_handle_type'] = 'PCI'
            self.useFixture(fixtures.MonkeyPatch(
                f'nova.tests.fixtures.cyborg.CyborgFixture.{name}', known))
        self._cyborg = self.useFixture(nova_fixtures.CyborgFixture())

    def prepare(self, host: str) -> None:
        """Give the providers of a host's devices what operators give them."""
        placement = self._services.placement
        for vgpu_type, address in VGPU_TYPES.items():
            self._set_trait(
                self._services._get_provider_uuid_by_name(f'{host}_{address}'),
                trait(vgpu_type))
        uuid = uuidutils.generate_uuid()
        placement.post('/resource_providers', {
            'name': f'{host}_accelerator', 'uuid': uuid,
            'parent_provider_uuid': self._services.compute_rp_uuids[host]},
            version='1.20')
        self._services._update_inventory(uuid, {
            'resource_provider_generation': 0,
            'inventories': {'FPGA': {'total': 1}}})
        self._set_trait(uuid, self._cyborg.trait)

    def _set_trait(self, provider: str, name: str) -> None:
        self._services._create_trait(name)
        self._services._set_provider_traits(provider, [name])

    def bound(self, server_id: str) -> dict[str, str]:
        """The hosts that a server has accelerators on, by their address."""
        return {
            _name([int(request['attach_handle_info'][part], 16)
                   for part in ('domain', 'bus', 'device', 'function')]):
            request['hostname']
            for request in self._cyborg.fake_get_arqs_for_instance(server_id)}
