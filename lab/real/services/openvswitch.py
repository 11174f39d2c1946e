# SPDX-License-Identifier: Apache-2.0

"""Open vSwitch on each compute host.

It forwards in its own process (datapath_type netdev) and needs no kernel
module.
"""

from lab.real.lab import Lab
from lab.real import services
from lab.real.services import ovn
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

_BRIDGE = 'br-fabric'

_SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'

wanted = services.always


def configure(lab: Lab) -> None:
    for compute in topology.COMPUTES:
        lab.call(
            'ovsdb-tool', 'create',
            str(lab.where.host(compute.name) / 'openvswitch.db'), _SCHEMA)


make_tables = services.nothing
before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [program for compute in topology.COMPUTES
            for program in _of_host(lab, compute)]


def _of_host(
    lab: Lab, compute: topology.Compute
) -> list[supervisor.Program]:
    own = lab.where.host(compute.name)
    # os-vif and libvirt look for the database in its usual places.
    return [
        supervisor.Program(
            name=f'ovsdb-{compute.name}', host=compute.name,
            command=(
                'ovsdb-server', str(own / 'openvswitch.db'),
                '--remote=punix:/run/openvswitch/db.sock',
                '--remote=ptcp:6640:127.0.0.1',
                f'--remote=punix:{own / "ovsdb"}',
                f'--unixctl={own / "ovsdb.ctl"}'),
            ready=supervisor.socket_open(own / 'ovsdb')),
        supervisor.Program(
            name=f'vswitchd-{compute.name}', host=compute.name,
            command=('ovs-vswitchd', 'unix:/run/openvswitch/db.sock',
                     f'--unixctl={own / "vswitchd.ctl"}'),
            ready=supervisor.socket_open(own / 'vswitchd.ctl')),
    ]


def after_start(lab: Lab) -> None:
    """Make the bridges of each host, and register the host with OVN."""
    for compute in topology.COMPUTES:
        _wire(lab, compute)


def database(lab: Lab, compute: topology.Compute) -> str:
    """Where the database of a host listens, for ovs-vsctl."""
    return f'unix:{lab.where.host(compute.name) / "ovsdb"}'


def _wire(lab: Lab, compute: topology.Compute) -> None:
    settings = {
        'system-id': compute.name, 'hostname': compute.name,
        'ovn-remote': ovn.SOUTHBOUND, 'ovn-encap-type': 'geneve',
        'ovn-encap-ip': compute.address, 'ovn-bridge': 'br-int',
        'ovn-bridge-datapath-type': 'netdev',
        'ovn-bridge-mappings': f'{ovn.PHYSICAL_NETWORK}:{_BRIDGE}'}
    lab.call(
        'ovs-vsctl', f'--db={database(lab, compute)}', '--no-wait',
        '--', 'set', 'Open_vSwitch', '.', 'datapath_types=netdev',
        *(f'external_ids:{name}="{value}"'
          for name, value in settings.items()),
        '--', '--may-exist', 'add-br', 'br-int',
        '--', 'set', 'Bridge', 'br-int', 'datapath_type=netdev',
        'fail_mode=secure',
        '--', '--may-exist', 'add-br', _BRIDGE,
        '--', 'set', 'Bridge', _BRIDGE, 'datapath_type=netdev',
        '--', '--may-exist', 'add-port', _BRIDGE, 'fabric')
