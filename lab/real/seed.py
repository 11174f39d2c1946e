# SPDX-License-Identifier: Apache-2.0

"""What a new lab is seeded with: accounts, and what servers need."""

import json
import pathlib

from lab import accounts
from lab.guest import image as guest_image
from lab.real.lab import Lab
from lab.real.lab import REGION
from lab.real import settings


def create_accounts(lab: Lab) -> None:
    """Create the accounts of services and users, and the catalog.

    Those of Keystone itself and of the operator exist.
    """
    identity = lab.connect().identity
    domain = identity.find_domain('Default').id
    roles = {role.name: role for role in identity.roles()}
    service_role = roles.get('service') or identity.create_role(
        name='service')
    service_project = identity.create_project(
        name='service', domain_id=domain)
    services = {name: settings.APIS[name] for name in lab.settings.ports
                if name != 'keystone'}
    for name in services:
        user = identity.create_user(
            name=name, password=lab.password(name), domain_id=domain)
        for role in (roles['admin'], service_role):
            identity.assign_project_role_to_user(
                service_project, user, role)
    for name, api in services.items():
        service = identity.create_service(name=name, type=api.type)
        for interface, url in (
                ('public', lab.public(name, api.path)),
                ('internal', lab.internal(name, api.path))):
            identity.create_endpoint(
                service_id=service.id, interface=interface, url=url,
                region_id=REGION)
    projects = [identity.create_project(name=name, domain_id=domain)
                for name in accounts.PROJECTS]
    for name, granted in settings.USERS.items():
        user = identity.create_user(
            name=name, password=lab.password(name), domain_id=domain)
        for project in projects:
            for role in granted:
                identity.assign_project_role_to_user(
                    project, user, roles[role])
    admin = identity.find_user('admin')
    for project in projects:
        identity.assign_project_role_to_user(project, admin, roles['admin'])


def write_clouds(lab: Lab) -> None:
    """Write clouds.yaml, with a cloud for each user and project."""
    clouds = {
        f'{user}-{project}': lab.cloud(user, project, public=True)
        for user in (accounts.ADMIN, *settings.USERS)
        for project in accounts.PROJECTS}
    # JSON is YAML.
    lab.write_secret(
        lab.where.clouds, json.dumps({'clouds': clouds}, indent=2) + '\n')


def provide(lab: Lab, built: guest_image.Images) -> None:
    """Create flavors, images and a network, which all projects share.

    Ports in the network answer pings.
    """
    compute = lab.admin.compute
    for name, memory, disk in (('small', 128, 1), ('large', 256, 2)):
        compute.create_flavor(
            name=name, ram=memory, vcpus=1, disk=disk)
    compute.create_flavor(
        name='disks', ram=128, vcpus=1, disk=1, ephemeral=1, swap=64)
    _upload(lab, built)
    network = lab.admin.network.create_network(
        name='servers', shared=True)
    lab.admin.network.create_subnet(
        name='servers', network_id=network.id, ip_version=4,
        cidr='10.20.0.0/24')
    for owner in accounts.OWNERS:
        own = lab.connect(owner, accounts.project(owner)).network
        own.create_security_group_rule(
            security_group_id=own.find_security_group(
                'default', ignore_missing=False).id,
            direction='ingress', ethertype='IPv4', protocol='icmp')


def _upload(lab: Lab, built: guest_image.Images) -> None:
    parts = {}
    for name, path, form in (
            ('lab-kernel', built.kernel, 'aki'),
            ('lab-ramdisk', built.ramdisk, 'ari')):
        parts[name] = _create(lab, name, path, form, form)
    _create(lab, 'kernel', built.blank, 'qcow2', 'bare',
            kernel_id=parts['lab-kernel'], ramdisk_id=parts['lab-ramdisk'],
            os_command_line='console=ttyS0 quiet')
    _create(lab, 'disk', built.disk, 'qcow2', 'bare')
    _create(lab, 'rescue', built.rescue, 'qcow2', 'bare')


def _create(
    lab: Lab, name: str, path: pathlib.Path, disk_format: str,
    container_format: str, **properties: str,
) -> str:
    glance = lab.admin.image
    created = glance.create_image(
        name=name, filename=str(path), disk_format=disk_format,
        container_format=container_format, visibility='public',
        **properties)
    return str(created.id)
