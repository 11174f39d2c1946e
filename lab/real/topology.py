# SPDX-License-Identifier: Apache-2.0

"""The hosts of the lab and the addresses that they know each other by."""

import dataclasses

#: Length of the prefix of the management network.
PREFIX = 24


@dataclasses.dataclass(frozen=True)
class Host:
    name: str
    #: its address in the management network, which all services listen on
    address: str


@dataclasses.dataclass(frozen=True)
class Compute(Host):
    #: name of the cell that it belongs to
    cell: str
    #: what libvirt on it reports as the UUID of the machine
    uuid: str


CONTROLLER = Host('controller', '172.31.99.1')

COMPUTES = (
    Compute('node1', '172.31.99.11', 'cell1',
            '6c616221-0000-4000-8000-000000000001'),
    Compute('node2', '172.31.99.12', 'cell1',
            '6c616221-0000-4000-8000-000000000002'),
    Compute('node3', '172.31.99.13', 'cell2',
            '6c616221-0000-4000-8000-000000000003'),
)

HOSTS: tuple[Host, ...] = (CONTROLLER, *COMPUTES)

CELLS = tuple(dict.fromkeys(compute.cell for compute in COMPUTES))


def host(name: str) -> Host:
    """The host of a name.

    :raises KeyError: if there is none
    """
    return {host.name: host for host in HOSTS}[name]


def compute(name: str) -> Compute:
    """The compute host of a name.

    :raises KeyError: if there is none
    """
    return {compute.name: compute for compute in COMPUTES}[name]
