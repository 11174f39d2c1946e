# SPDX-License-Identifier: Apache-2.0

"""OVN: its databases, its daemon, and its controller on each host.

The networks of servers are VLANs on the fabric: they need no tunnel between
the hosts.
"""

import functools

from lab.real.lab import Lab
from lab.real import services
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

PHYSICAL_NETWORK = 'fabric'
"""The network that carries the VLANs, as OVN and Neutron name it."""

_PORTS = {'nb': 6641, 'sb': 6642}

NORTHBOUND, SOUTHBOUND = (
    f'tcp:{topology.CONTROLLER.address}:{port}' for port in _PORTS.values())
"""Where its databases listen."""

wanted = services.always


def configure(lab: Lab) -> None:
    lab.where.service('ovn').mkdir()
    for name in _PORTS:
        lab.call('ovsdb-tool', 'create',
                 str(lab.where.service('ovn') / f'{name}.db'),
                 f'/usr/share/ovn/ovn-{name}.ovsschema')


make_tables = services.nothing
before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [*_databases(lab), _northd(lab), *_controllers(lab)]


def _databases(lab: Lab) -> list[supervisor.Program]:
    address = topology.CONTROLLER.address
    return [
        supervisor.Program(
            name=f'ovn-{name}', host=topology.CONTROLLER.name,
            command=(
                'ovsdb-server', str(lab.where.service('ovn') / f'{name}.db'),
                f'--remote=ptcp:{port}:{address}',
                f'--unixctl={lab.where.run / f"ovn-{name}.ctl"}'),
            ready=supervisor.port_open(address, port))
        for name, port in _PORTS.items()]


def _northd(lab: Lab) -> supervisor.Program:
    control = lab.where.run / 'ovn-northd.ctl'
    return supervisor.Program(
        name='ovn-northd', host=topology.CONTROLLER.name,
        command=('ovn-northd', f'--ovnnb-db={NORTHBOUND}',
                 f'--ovnsb-db={SOUTHBOUND}', f'--unixctl={control}'),
        ready=supervisor.socket_open(control))


def _controllers(lab: Lab) -> list[supervisor.Program]:
    return [
        supervisor.Program(
            name=f'ovn-controller-{compute.name}', host=compute.name,
            command=('ovn-controller', 'unix:/run/openvswitch/db.sock'),
            ready=functools.partial(_is_chassis, lab, compute))
        for compute in topology.COMPUTES]


def _is_chassis(lab: Lab, compute: topology.Compute) -> bool:
    """Whether a host has registered with OVN."""
    return compute.name in lab.call(
        'ovn-sbctl', f'--db={SOUTHBOUND}', '--bare', '--columns=name',
        'list', 'Chassis').split()


after_start = services.nothing
