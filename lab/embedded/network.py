# SPDX-License-Identifier: Apache-2.0

"""Ports with a guaranteed bandwidth, and the bandwidth that hosts have."""

from collections import abc
import copy
from typing import Any

from nova.tests import fixtures as nova_fixtures
from oslo_utils import uuidutils

from lab import cloud

_PORT = nova_fixtures.NeutronFixture.port_with_resource_request

BANDWIDTH: dict[str, int] = _PORT['resource_request']['resources']
"""What such a port uses, by resource class."""

_TRAITS: list[str] = _PORT['resource_request']['required']
"""What the provider of it must have."""


def provider(host: str) -> str:
    """The name of the resource provider of the bandwidth of a host."""
    return f'{host}:Open vSwitch agent:br-physnet2'


class Ports:
    """The ports, and the resource providers that Neutron's agents report.

    :param neutron: what has the ports
    :param placement: a client of Placement's
    :param hosts: the uuid of the resource provider of each host, by its name
    """

    def __init__(
        self, neutron: nova_fixtures.NeutronFixture, placement: Any,
        hosts: abc.Mapping[str, str],
    ):
        self._neutron = neutron
        self._names = {}
        for trait in _TRAITS:
            placement.put(f'/traits/{trait}', {}, version='1.6')
        for host, uuid in hosts.items():
            agent = self._nest(placement, f'{host}:Open vSwitch agent', uuid)
            bridge = self._nest(placement, provider(host), agent)
            placement.put(f'/resource_providers/{bridge}/inventories', {
                'resource_provider_generation': 0,
                'inventories': {name: {'total': 10 * amount}
                                for name, amount in BANDWIDTH.items()}})
            placement.put(f'/resource_providers/{bridge}/traits', {
                'resource_provider_generation': 1, 'traits': _TRAITS},
                version='1.6')
            self._names[bridge] = provider(host)

    @staticmethod
    def _nest(placement: Any, name: str, parent: str) -> str:
        """Create a provider in another one. Returns its uuid."""
        uuid = uuidutils.generate_uuid()
        placement.post('/resource_providers', {
            'name': name, 'uuid': uuid, 'parent_provider_uuid': parent},
            version='1.20')
        return uuid

    def create(self) -> str:
        """Create a port. Returns its id."""
        uuid = uuidutils.generate_uuid()
        self._neutron._ports[uuid] = {**copy.deepcopy(_PORT), 'id': uuid}
        return uuid

    def delete(self, port: str) -> None:
        """Delete a port."""
        self._neutron.delete_port(port)

    def show(self, port: str) -> cloud.Port:
        """A port, with what its binding has."""
        shown = self._neutron.show_port(port)['port']
        return cloud.Port(
            shown.get('binding:host_id') or '', self._names.get(
                shown['binding:profile'].get('allocation'), ''))
