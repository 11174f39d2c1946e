# SPDX-License-Identifier: Apache-2.0

"""The hosts of the lab, and their addresses in its management network."""

import dataclasses

PREFIX = 24
"""Length of the prefix of the management network."""


@dataclasses.dataclass(frozen=True)
class Host:
    """A host of the lab."""

    name: str
    #: address that its services listen on
    address: str


@dataclasses.dataclass(frozen=True)
class Compute(Host):
    """A compute host."""

    #: name of the cell that it belongs to
    cell: str
    #: UUID of the machine, as libvirt reports it
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
    """The host with a name.

    :raises KeyError: if there is none
    """
    return {host.name: host for host in HOSTS}[name]


def compute(name: str) -> Compute:
    """The compute host with a name.

    :raises KeyError: if there is none
    """
    return {compute.name: compute for compute in COMPUTES}[name]
