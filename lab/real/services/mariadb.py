# SPDX-License-Identifier: Apache-2.0

"""MariaDB, with the databases of all services."""

import pathlib
import shutil
import subprocess

from lab.real.lab import Lab
from lab.real import services
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

_TIMEOUT = 300
"""Seconds that a statement may take."""

wanted = services.always


def _socket(lab: Lab) -> pathlib.Path:
    return lab.where.run / 'database'


def _client(lab: Lab) -> pathlib.Path:
    """The file of options of the client."""
    return lab.where.conf / 'database-client.cnf'


def _accounts(lab: Lab) -> pathlib.Path:
    """The statements that the server executes when it starts."""
    return lab.where.conf / 'database-accounts.sql'


def configure(lab: Lab) -> None:
    lab.call(
        'mariadb-install-db', '--no-defaults', '--user=root',
        f'--datadir={lab.where.service("mariadb")}', '--skip-test-db',
        '--skip-name-resolve', '--auth-root-authentication-method=normal')
    password = lab.password('database')
    lab.write_secret(_accounts(lab), (
        f"ALTER USER root@localhost IDENTIFIED BY '{password}';\n"
        "CREATE USER IF NOT EXISTS openstack@'%' "
        f"IDENTIFIED BY '{password}';\n"
        "GRANT ALL ON *.* TO openstack@'%';\n"))
    lab.write_secret(_client(lab), (
        f'[client]\nuser = root\npassword = {password}\n'
        f'socket = {_socket(lab)}\n'))


make_tables = services.nothing
before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    address = topology.CONTROLLER.address
    return [supervisor.Program(
        name='mariadb', host=topology.CONTROLLER.name,
        command=(
            shutil.which('mariadbd') or '/usr/sbin/mariadbd',
            '--no-defaults', '--user=root',
            f'--datadir={lab.where.service("mariadb")}',
            f'--socket={_socket(lab)}', f'--bind-address={address}',
            f'--init-file={_accounts(lab)}',
            '--skip-name-resolve', '--max-connections=500',
            # The lab ends with its databases: nothing to flush for.
            '--innodb-flush-log-at-trx-commit=0',
            '--skip-innodb-doublewrite', '--skip-log-bin'),
        ready=supervisor.port_open(address, 3306))]


after_start = services.nothing


def client_options(lab: Lab) -> str:
    """The option by which a command of the database logs in.

    It has to be the first one.
    """
    return f'--defaults-file={_client(lab)}'


def query(lab: Lab, database: str, statement: str) -> str:
    """Execute a statement in a database, on the controller.

    :param database: its name; none is needed to create one
    :returns: what was selected, a row a line, columns separated by tabs
    :raises subprocess.SubprocessError: if it fails or takes too long
    """
    return subprocess.run(
        ['mariadb', client_options(lab), '--batch', '--skip-column-names',
         *([database] if database else []), '--execute', statement],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        check=True, timeout=_TIMEOUT).stdout
