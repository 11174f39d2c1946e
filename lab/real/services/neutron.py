# SPDX-License-Identifier: Apache-2.0

"""Neutron: ports, DHCP and security groups, by OVN."""

from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real import oslo
from lab.real import services
from lab.real.services import ovn
from lab.real import supervisor
from lab.real import topology
from lab.real import wsgi

DATABASES = ('neutron',)

_WORKERS = ('neutron-periodic-workers', 'neutron-ovn-maintenance-worker')

wanted = services.always


def configure(lab: Lab) -> None:
    wsgi.configure(lab, 'neutron', 'neutron.wsgi.api')
    directory = lab.directory('neutron')
    oslo.write(directory / 'neutron.conf', lab.api('neutron'), {
        'DEFAULT': {
            'core_plugin': 'ml2', 'service_plugins': 'ovn-router',
            'transport_url': lab.messages('openstack'),
            'notify_nova_on_port_status_changes': 'true',
            'notify_nova_on_port_data_changes': 'true',
            'state_path': lab.where.service('neutron'),
            'api_paste_config': executable('../etc/neutron/api-paste.ini'),
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
            'network_vlan_ranges': f'{ovn.PHYSICAL_NETWORK}:100:199'},
        'securitygroup': {'enable_security_group': 'true'},
        'ovn': {
            'ovn_nb_connection': ovn.NORTHBOUND,
            'ovn_sb_connection': ovn.SOUTHBOUND,
            'ovn_metadata_enabled': 'false'},
    })
    lab.where.service('neutron').mkdir()


def _files(lab: Lab) -> tuple[str, ...]:
    directory = lab.where.conf / 'neutron'
    return ('--config-file', str(directory / 'neutron.conf'),
            '--config-file', str(directory / 'ml2.ini'))


def make_tables(lab: Lab) -> None:
    lab.call(
        executable('neutron-db-manage'), *_files(lab), 'upgrade', 'heads')


before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    workers = [
        supervisor.Program(
            name=name, host=topology.CONTROLLER.name,
            command=(executable(name), *_files(lab)),
            environment=lab.environment(), ready=lambda: True)
        for name in _WORKERS]
    return [
        wsgi.serve(
            lab, 'neutron',
            OS_NEUTRON_CONFIG_DIR=str(lab.where.conf / 'neutron'),
            OS_NEUTRON_CONFIG_FILES='neutron.conf;ml2.ini'),
        *workers]


after_start = services.nothing
