# SPDX-License-Identifier: Apache-2.0

"""Cinder, with its volumes in Ceph."""

import functools

from lab.real import oslo
from lab.real import programs
from lab.real.services import ceph
from lab.real.services import common
from lab.real.services import wsgi
from lab.real import topology

#: Name of the backend, which the volume service takes into its own.
_BACKEND = 'ceph'


def enabled(lab: common.Lab) -> bool:
    return 'cinder' in lab.settings.extras


def _configuration(lab: common.Lab) -> str:
    return str(lab.where.conf / 'cinder' / 'cinder.conf')


def configure(lab: common.Lab) -> None:
    if not enabled(lab):
        return
    wsgi.configure(
        lab, 'cinder', 'cinder.wsgi.api', workers=1, threads=8,
        arguments=f'--config-file {_configuration(lab)}')
    directory = lab.directory('cinder')
    lab.where.service('cinder').mkdir()
    oslo.write(directory / 'cinder.conf', lab.api('cinder'), {
        'DEFAULT': {
            'transport_url': lab.messages('openstack'),
            'host': 'controller', 'my_ip': common.CONTROLLER,
            'state_path': lab.where.service('cinder'),
            'image_conversion_dir': lab.where.service('cinder') / 'images',
            'api_paste_config': common.tool('../etc/cinder/api-paste.ini'),
            'resource_query_filters_file':
                common.tool('../etc/cinder/resource_filters.json'),
            'auth_strategy': 'keystone',
            'glance_api_servers': lab.internal('glance'),
            'enabled_backends': _BACKEND},
        'database': {'connection': lab.database('cinder')},
        'service_user': {
            **lab.login('cinder'), 'send_service_user_token': 'true'},
        'keystone_authtoken': {
            'service_token_roles': 'service',
            'service_token_roles_required': 'true'},
        'nova': {**lab.login('cinder'), 'region_name': common.REGION,
                 'interface': 'internal'},
        'cinder_sys_admin': {
            'helper_command': f'{common.tool("privsep-helper")} '
                              f'--config-file {_configuration(lab)}'},
        _BACKEND: {
            'volume_driver': 'cinder.volume.drivers.rbd.RBDDriver',
            'volume_backend_name': _BACKEND, **ceph.cinder_options()},
    })


def sync(lab: common.Lab) -> None:
    """Make the tables."""
    if enabled(lab):
        lab.call(common.tool('cinder-manage'), '--config-file',
                 _configuration(lab), 'db', 'sync')


def programs_of(lab: common.Lab) -> list[programs.Program]:
    if not enabled(lab):
        return []
    return [
        wsgi.serve(lab, 'cinder'),
        _service(lab, 'cinder-scheduler', 'controller'),
        _service(lab, 'cinder-volume', f'controller@{_BACKEND}',
                 PYTHONPATH=ceph.python_path(lab))]


def _service(
    lab: common.Lab, binary: str, reports_as: str, **environment: str
) -> programs.Program:
    return programs.Program(
        name=binary, host=topology.CONTROLLER.name,
        command=(common.tool(binary), '--config-file', _configuration(lab)),
        environment={**lab.environment(), **environment},
        ready=functools.partial(_is_up, lab, binary, reports_as))


def _is_up(lab: common.Lab, binary: str, host: str) -> bool:
    found = lab.admin.block_storage.services(binary=binary, host=host)
    return any(service.state == 'up' for service in found)
