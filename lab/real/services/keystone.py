# SPDX-License-Identifier: Apache-2.0

"""Keystone, and the accounts of the lab."""

from lab.real import oslo
from lab.real import programs
from lab.real.services import common
from lab.real.services import wsgi


def configure(lab: common.Lab) -> None:
    wsgi.configure(lab, 'keystone', 'keystone.wsgi.api')
    directory = lab.directory('keystone')
    for keys in ('fernet', 'credential'):
        (directory / keys).mkdir(mode=0o700)
    oslo.write(directory / 'keystone.conf', {
        'DEFAULT': lab.logging(),
        'database': {'connection': lab.database('keystone')},
        'token': {'provider': 'fernet'},
        'fernet_tokens': {'key_repository': directory / 'fernet'},
        'credential': {'key_repository': directory / 'credential'},
        # The passwords of a lab are random: no need to make guessing slow.
        'identity': {'password_hash_rounds': 4},
        'cache': {
            'enabled': 'true', 'backend': 'dogpile.cache.memcached',
            'memcache_servers': f'{common.CONTROLLER}:11211'},
    })


def _manage(
    lab: common.Lab, *arguments: str, **environment: str
) -> None:
    lab.call(
        common.tool('keystone-manage'), '--config-file',
        str(lab.where.conf / 'keystone' / 'keystone.conf'), *arguments,
        **environment)


def sync(lab: common.Lab) -> None:
    """Make the tables."""
    _manage(lab, 'db_sync')


def bootstrap(lab: common.Lab) -> None:
    """Make the keys and the first account."""
    for keys in ('fernet', 'credential'):
        _manage(lab, f'{keys}_setup', '--keystone-user', 'root',
                '--keystone-group', 'root')
    _manage(
        lab, 'bootstrap', '--bootstrap-region-id', common.REGION,
        '--bootstrap-public-url', lab.public('keystone', '/v3'),
        '--bootstrap-internal-url', lab.internal('keystone', '/v3'),
        '--bootstrap-admin-url', lab.internal('keystone', '/v3'),
        OS_BOOTSTRAP_PASSWORD=lab.password('admin'))


def programs_of(lab: common.Lab) -> list[programs.Program]:
    return [wsgi.serve(
        lab, 'keystone',
        OS_KEYSTONE_CONFIG_DIR=str(lab.where.conf / 'keystone'),
        OS_KEYSTONE_CONFIG_FILES='keystone.conf')]
