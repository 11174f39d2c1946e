# SPDX-License-Identifier: Apache-2.0

"""A machine in the network of the servers, from which they can be pinged."""

from collections import abc
import contextlib
import subprocess
import time
from typing import Any

from lab.real.lab import Lab
from lab.real import namespaces
from lab.real.services import openvswitch
from lab.real import topology
from lab.words import pool as pools

_NAME = 'neighbour'
"""The name of its port, for Neutron and Open vSwitch."""

_HOST = topology.COMPUTES[0]


class Neighbour:
    """The machine, an interface on one of the hosts."""

    def answers(self, address: str, seconds: float) -> bool:
        """Ping an address until it answers.

        :param seconds: the longest that it may take
        """
        deadline = time.monotonic() + seconds
        # A ping ends when nobody has the address.
        while time.monotonic() < deadline:
            done = subprocess.run(
                [*namespaces.enter(_HOST.name), 'ping', '-n', '-q', '-c', '1',
                 '-W', '1', address],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                check=False)
            if not done.returncode:
                return True
            if done.returncode > 1:
                # It has said what is wrong.
                done.check_returncode()
        return False


def _remove(lab: Lab, database: str) -> None:
    lab.call('ovs-vsctl', database, '--if-exists', 'del-port', _NAME)
    network: Any = lab.admin.network
    for port in network.ports(name=_NAME):
        network.delete_port(port)


@contextlib.contextmanager
def plugged(lab: Lab) -> abc.Iterator[Neighbour]:
    """Plug the machine into the network, and remove it in the end."""
    database = f'--db={openvswitch.database(lab, _HOST)}'
    # One that was killed has left it.
    _remove(lab, database)
    network: Any = lab.admin.network
    try:
        port = network.create_port(
            name=_NAME, binding_host_id=_HOST.name,
            network_id=network.find_network(
                pools.NETWORK, ignore_missing=False).id)
        subnet = network.get_subnet(port.fixed_ips[0]['subnet_id'])
        length = subnet.cidr.partition('/')[2]
        lab.call(
            'ovs-vsctl', database, '--', 'add-port', 'br-int', _NAME,
            '--', 'set', 'Interface', _NAME, 'type=internal',
            f'mac="{port.mac_address}"', f'external_ids:iface-id={port.id}')
        for command in (
                ('address', 'add', f'{port.fixed_ips[0]["ip_address"]}/'
                 f'{length}', 'dev', _NAME),
                ('link', 'set', _NAME, 'up')):
            lab.call(*namespaces.enter(_HOST.name), 'ip', *command)
        yield Neighbour()
    finally:
        _remove(lab, database)
