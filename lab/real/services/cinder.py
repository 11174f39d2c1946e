# SPDX-License-Identifier: Apache-2.0

"""Cinder, with its volumes in Ceph."""

import functools

from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real.lab import REGION
from lab.real import oslo
from lab.real import services
from lab.real.services import ceph
from lab.real import supervisor
from lab.real import topology
from lab.real import wsgi

DATABASES = ('cinder',)

_BACKEND = 'ceph'
"""Name of the backend, which becomes a part of the volume service's host."""


def wanted(lab: Lab) -> bool:
    return 'cinder' in lab.settings.extras


def _configuration(lab: Lab) -> str:
    return str(lab.where.conf / 'cinder' / 'cinder.conf')


def configure(lab: Lab) -> None:
    wsgi.configure(
        lab, 'cinder', 'cinder.wsgi.api', workers=1, threads=8,
        arguments=f'--config-file {_configuration(lab)}')
    directory = lab.directory('cinder')
    lab.where.service('cinder').mkdir()
    oslo.write(directory / 'cinder.conf', lab.api('cinder'), {
        'DEFAULT': {
            'transport_url': lab.messages('openstack'),
            'host': 'controller', 'my_ip': topology.CONTROLLER.address,
            'state_path': lab.where.service('cinder'),
            'image_conversion_dir': lab.where.service('cinder') / 'images',
            'api_paste_config': executable('../etc/cinder/api-paste.ini'),
            'resource_query_filters_file':
                executable('../etc/cinder/resource_filters.json'),
            'auth_strategy': 'keystone',
            'glance_api_servers': lab.internal('glance'),
            'enabled_backends': _BACKEND},
        'database': {'connection': lab.database('cinder')},
        'service_user': {
            **lab.login('cinder'), 'send_service_user_token': 'true'},
        'keystone_authtoken': {
            'service_token_roles': 'service',
            'service_token_roles_required': 'true'},
        'nova': {**lab.login('cinder'), 'region_name': REGION,
                 'interface': 'internal'},
        'cinder_sys_admin': {
            'helper_command': f'{executable("privsep-helper")} '
                              f'--config-file {_configuration(lab)}'},
        _BACKEND: {
            'volume_driver': 'cinder.volume.drivers.rbd.RBDDriver',
            'volume_backend_name': _BACKEND, **ceph.cinder_options()},
    })


def make_tables(lab: Lab) -> None:
    lab.call(executable('cinder-manage'), '--config-file',
             _configuration(lab), 'db', 'sync')


before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [
        wsgi.serve(lab, 'cinder'),
        _service(lab, 'cinder-scheduler', 'controller'),
        _service(lab, 'cinder-volume', f'controller@{_BACKEND}',
                 PYTHONPATH=ceph.python_path(lab))]


def _service(
    lab: Lab, binary: str, reports_as: str, **environment: str
) -> supervisor.Program:
    return supervisor.Program(
        name=binary, host=topology.CONTROLLER.name,
        command=(executable(binary), '--config-file', _configuration(lab)),
        environment={**lab.environment(), **environment},
        ready=functools.partial(_is_up, lab, binary, reports_as))


def _is_up(lab: Lab, binary: str, host: str) -> bool:
    found = lab.admin.block_storage.services(binary=binary, host=host)
    return any(service.state == 'up' for service in found)


after_start = services.nothing
