# SPDX-License-Identifier: Apache-2.0

"""Tempest, OpenStack's own tests, on the lab."""

import pathlib
import subprocess

from openstack import config
from openstack import connection

from lab import accounts
from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real.lab import REGION
from lab.real import oslo
from lab.real import topology


def configure(lab: Lab, workspace: pathlib.Path) -> None:
    """Create a workspace of Tempest that is configured for the lab.

    Tempest creates projects and users of its own, as the operator.

    :raises lab.real.services.Failed: if Tempest fails to
    """
    lab.call(executable('tempest'), 'init', '--workspace-path',
             str(workspace.with_suffix('.yaml')), str(workspace))
    account = config.OpenStackConfig(
        config_files=[str(lab.where.clouds)], load_envvars=False,
    ).get_one(f'admin-{accounts.PROJECTS[0]}')
    cloud = connection.Connection(config=account)
    image = {each.name: each.id for each in cloud.image.images()}
    flavor = {each.name: each.id for each in cloud.compute.flavors()}
    network = cloud.network.find_network('servers')
    oslo.write(workspace / 'etc' / 'tempest.conf', {
        'DEFAULT': {'log_file': 'tempest.log', 'log_dir': workspace},
        'oslo_concurrency': {'lock_path': workspace / 'locks'},
        'auth': {
            'use_dynamic_credentials': 'true', 'admin_username': 'admin',
            'admin_password': lab.password('admin'),
            'admin_project_name': 'admin', 'admin_domain_name': 'Default',
            'create_isolated_networks': 'false'},
        'identity': {
            'uri_v3': lab.public('keystone', '/v3'),
            'region': REGION},
        'compute': {
            'image_ref': image['disk'], 'image_ref_alt': image['rescue'],
            'flavor_ref': flavor['small'], 'flavor_ref_alt': flavor['large'],
            'fixed_network_name': network.name,
            'min_compute_nodes': len(topology.COMPUTES),
            'max_microversion': 'latest'},
        'compute-feature-enabled': {
            'live_migration': 'true', 'cold_migration': 'true',
            'resize': 'true', 'rescue': 'true', 'stable_rescue': 'true',
            'live_migrate_rescued': str(bool(lab.settings.nova)).lower(),
            'console_output': 'true',
            'block_migration_for_live_migration': str(
                not lab.settings.shared).lower(),
            'can_migrate_between_any_hosts': 'false',
            'vnc_console': 'false', 'attach_encrypted_volume': 'false'},
        'network': {'project_network_cidr': '10.21.0.0/24'},
        'network-feature-enabled': {'floating_ips': 'false'},
        'validation': {'run_validation': 'false'},
        'service_available': {
            'cinder': 'false', 'swift': 'false', 'neutron': 'true',
            'glance': 'true', 'nova': 'true'},
    })


def run(lab: Lab, regex: str) -> int:
    """Run the tests whose names match an expression.

    :returns: the exit code of Tempest
    """
    workspace = lab.where.lab / 'tempest'
    if not workspace.exists():
        configure(lab, workspace)
    return subprocess.call(
        [executable('tempest'), 'run', '--serial', '--regex', regex],
        cwd=workspace)
