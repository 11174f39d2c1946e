# SPDX-License-Identifier: Apache-2.0

"""Keystone."""

from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real.lab import REGION
from lab.real import oslo
from lab.real import seed
from lab.real import services
from lab.real import supervisor
from lab.real import wsgi

DATABASES = ('keystone',)

wanted = services.always


def configure(lab: Lab) -> None:
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
        'cache': lab.cache(),
    })


def _manage(
    lab: Lab, *arguments: str, **environment: str
) -> None:
    lab.call(
        executable('keystone-manage'), '--config-file',
        str(lab.where.conf / 'keystone' / 'keystone.conf'), *arguments,
        **environment)


def make_tables(lab: Lab) -> None:
    _manage(lab, 'db_sync')


def before_start(lab: Lab) -> None:
    """Make the keys and the account of the operator."""
    for keys in ('fernet', 'credential'):
        _manage(lab, f'{keys}_setup', '--keystone-user', 'root',
                '--keystone-group', 'root')
    _manage(
        lab, 'bootstrap', '--bootstrap-region-id', REGION,
        '--bootstrap-public-url', lab.public('keystone', '/v3'),
        '--bootstrap-internal-url', lab.internal('keystone', '/v3'),
        '--bootstrap-admin-url', lab.internal('keystone', '/v3'),
        OS_BOOTSTRAP_PASSWORD=lab.password('admin'))


def programs(lab: Lab) -> list[supervisor.Program]:
    return [wsgi.serve(
        lab, 'keystone',
        OS_KEYSTONE_CONFIG_DIR=str(lab.where.conf / 'keystone'),
        OS_KEYSTONE_CONFIG_FILES='keystone.conf')]


def after_start(lab: Lab) -> None:
    """Create the other accounts, and the catalog."""
    seed.create_accounts(lab)
