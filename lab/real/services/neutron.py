# SPDX-License-Identifier: Apache-2.0

"""Neutron with OVN: ports, DHCP and security groups, no kernel module.

Open vSwitch forwards in its own process (datapath_type netdev). The networks
of servers are VLANs on the fabric: they need no tunnel between the hosts.
"""

import functools
import pathlib

from lab.real import oslo
from lab.real import programs
from lab.real.services import common
from lab.real.services import wsgi
from lab.real import topology

PHYSICAL_NETWORK = 'fabric'
_NORTHBOUND = 6641
_SOUTHBOUND = 6642
_SCHEMAS = pathlib.Path('/usr/share/ovn')
_BRIDGE = 'br-fabric'


def _database(port: int) -> str:
    return f'tcp:{common.CONTROLLER}:{port}'


def configure(lab: common.Lab) -> None:
    wsgi.configure(lab, 'neutron', 'neutron.wsgi.api')
    directory = lab.directory('neutron')
    oslo.write(directory / 'neutron.conf', lab.api('neutron'), {
        'DEFAULT': {
            'core_plugin': 'ml2', 'service_plugins': 'ovn-router',
            'transport_url': lab.messages('openstack'),
            'notify_nova_on_port_status_changes': 'true',
            'notify_nova_on_port_data_changes': 'true',
            'state_path': lab.where.service('neutron'),
            'api_paste_config': common.tool('../etc/neutron/api-paste.ini'),
            'rpc_workers': 0},
        'database': {'connection': lab.database('neutron')},
        'nova': {**lab.client('nova'), 'endpoint_type': 'internal'},
        'placement': lab.client('placement'),
    })
    oslo.write(directory / 'ml2.ini', {
        'ml2': {
            'mechanism_drivers': 'ovn', 'type_drivers': 'vlan',
            'tenant_network_types': 'vlan',
            'extension_drivers': 'port_security'},
        'ml2_type_vlan': {
            'network_vlan_ranges': f'{PHYSICAL_NETWORK}:100:199'},
        'securitygroup': {'enable_security_group': 'true'},
        'ovn': {
            'ovn_nb_connection': _database(_NORTHBOUND),
            'ovn_sb_connection': _database(_SOUTHBOUND),
            'ovn_metadata_enabled': 'false'},
    })
    lab.where.service('neutron').mkdir()
    lab.where.service('ovn').mkdir()


def _files(lab: common.Lab) -> tuple[str, ...]:
    directory = lab.where.conf / 'neutron'
    return ('--config-file', str(directory / 'neutron.conf'),
            '--config-file', str(directory / 'ml2.ini'))


def sync(lab: common.Lab) -> None:
    """Make the tables."""
    lab.call(common.tool('neutron-db-manage'), *_files(lab), 'upgrade',
             'heads')


def create_databases(lab: common.Lab) -> None:
    """Make the databases of OVN and of each Open vSwitch."""
    for name in ('nb', 'sb'):
        lab.call('ovsdb-tool', 'create',
                 str(lab.where.service('ovn') / f'{name}.db'),
                 str(_SCHEMAS / f'ovn-{name}.ovsschema'))
    for compute in topology.COMPUTES:
        lab.call('ovsdb-tool', 'create',
                 str(lab.where.host(compute.name) / 'openvswitch.db'),
                 '/usr/share/openvswitch/vswitch.ovsschema')


def network(lab: common.Lab) -> list[programs.Program]:
    """OVN's databases."""
    controller = topology.CONTROLLER.name
    return [
        programs.Program(
            name=f'ovn-{name}', host=controller,
            command=(
                'ovsdb-server', str(lab.where.service('ovn') / f'{name}.db'),
                f'--remote=ptcp:{port}:{common.CONTROLLER}',
                f'--unixctl={lab.where.run / f"ovn-{name}.ctl"}'),
            ready=programs.port_open(common.CONTROLLER, port))
        for name, port in (('nb', _NORTHBOUND), ('sb', _SOUTHBOUND))]


def northd(lab: common.Lab) -> programs.Program:
    control = lab.where.run / 'ovn-northd.ctl'
    return programs.Program(
        name='ovn-northd', host=topology.CONTROLLER.name,
        command=('ovn-northd', f'--ovnnb-db={_database(_NORTHBOUND)}',
                 f'--ovnsb-db={_database(_SOUTHBOUND)}',
                 f'--unixctl={control}'),
        ready=programs.socket_open(control))


def switches(lab: common.Lab, compute: topology.Compute) -> (
        list[programs.Program]):
    """Open vSwitch on a host."""
    own = lab.where.host(compute.name)
    # os-vif and libvirt look for the database at its usual places.
    return [
        programs.Program(
            name=f'ovsdb-{compute.name}', host=compute.name,
            command=(
                'ovsdb-server', str(own / 'openvswitch.db'),
                '--remote=punix:/run/openvswitch/db.sock',
                '--remote=ptcp:6640:127.0.0.1',
                f'--remote=punix:{own / "ovsdb"}',
                f'--unixctl={own / "ovsdb.ctl"}'),
            ready=programs.socket_open(own / 'ovsdb')),
        programs.Program(
            name=f'vswitchd-{compute.name}', host=compute.name,
            command=('ovs-vswitchd', 'unix:/run/openvswitch/db.sock',
                     f'--unixctl={own / "vswitchd.ctl"}'),
            ready=programs.socket_open(own / 'vswitchd.ctl')),
    ]


def wire(lab: common.Lab, compute: topology.Compute) -> None:
    """Make the bridges of a host and tell OVN of them."""
    database = f'unix:{lab.where.host(compute.name) / "ovsdb"}'
    settings = {
        'system-id': compute.name, 'hostname': compute.name,
        'ovn-remote': _database(_SOUTHBOUND), 'ovn-encap-type': 'geneve',
        'ovn-encap-ip': compute.address, 'ovn-bridge': 'br-int',
        'ovn-bridge-datapath-type': 'netdev',
        'ovn-bridge-mappings': f'{PHYSICAL_NETWORK}:{_BRIDGE}'}
    lab.call(
        'ovs-vsctl', f'--db={database}', '--no-wait',
        '--', 'set', 'Open_vSwitch', '.', 'datapath_types=netdev',
        *(f'external_ids:{name}="{value}"'
          for name, value in settings.items()),
        '--', '--may-exist', 'add-br', 'br-int',
        '--', 'set', 'Bridge', 'br-int', 'datapath_type=netdev',
        'fail_mode=secure',
        '--', '--may-exist', 'add-br', _BRIDGE,
        '--', 'set', 'Bridge', _BRIDGE, 'datapath_type=netdev',
        '--', '--may-exist', 'add-port', _BRIDGE, 'fabric')


def controllers(lab: common.Lab) -> list[programs.Program]:
    """OVN's part on each host."""
    return [
        programs.Program(
            name=f'ovn-controller-{compute.name}', host=compute.name,
            command=('ovn-controller', 'unix:/run/openvswitch/db.sock'),
            ready=functools.partial(_is_chassis, lab, compute))
        for compute in topology.COMPUTES]


def _is_chassis(lab: common.Lab, compute: topology.Compute) -> bool:
    """Whether OVN knows of a host."""
    return compute.name in lab.call(
        'ovn-sbctl', f'--db={_database(_SOUTHBOUND)}', '--bare',
        '--columns=name', 'list', 'Chassis').split()


def programs_of(lab: common.Lab) -> list[programs.Program]:
    """Neutron itself."""
    workers = [
        programs.Program(
            name=name, host=topology.CONTROLLER.name,
            command=(common.tool(name), *_files(lab)),
            environment=lab.environment(), ready=lambda: True)
        for name in ('neutron-periodic-workers',
                     'neutron-ovn-maintenance-worker')]
    return [
        wsgi.serve(
            lab, 'neutron',
            OS_NEUTRON_CONFIG_DIR=str(lab.where.conf / 'neutron'),
            OS_NEUTRON_CONFIG_FILES='neutron.conf;ml2.ini'),
        *workers]
