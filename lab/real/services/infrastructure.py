# SPDX-License-Identifier: Apache-2.0

"""Database, message queue, cache, and the gateway to the machine."""

import json
import pathlib
import shutil
import subprocess

from lab.real import programs
from lab.real.services import common
from lab.real import topology

#: One database each; those of the cells have the cell's name.
_DATABASES = (
    'keystone', 'glance', 'placement', 'neutron', 'nova_api', 'nova_cell0',
    *(f'nova_{cell}' for cell in topology.CELLS))

#: A database that is there if the extra of that name is.
_OF_EXTRAS = ('cinder',)

#: One for all that is not in a cell, and one for each cell.
VIRTUAL_HOSTS = ('openstack', *topology.CELLS)

#: The file of options of the database's client.
_CLIENT = 'database-client.cnf'

_RABBITMQ = '/usr/lib/rabbitmq/bin/rabbitmq-server'


def databases(lab: common.Lab) -> list[str]:
    """Names of the databases of the lab."""
    return [*_DATABASES, *(
        name for name in _OF_EXTRAS if name in lab.settings.extras)]


def database_socket(lab: common.Lab) -> pathlib.Path:
    return lab.where.run / 'database'


def configure(lab: common.Lab) -> None:
    _configure_database(lab)
    _configure_messages(lab)
    _configure_gateway(lab)


def _configure_database(lab: common.Lab) -> None:
    data = lab.where.service('mariadb')
    lab.call(
        'mariadb-install-db', '--no-defaults', '--user=root',
        f'--datadir={data}', '--skip-test-db', '--skip-name-resolve',
        '--auth-root-authentication-method=normal')
    password = lab.password('database')
    statements = [
        f"ALTER USER root@localhost IDENTIFIED BY '{password}';",
        f"CREATE USER openstack@'%' IDENTIFIED BY '{password}';"]
    for name in databases(lab):
        statements += [
            f'CREATE DATABASE {name} CHARACTER SET utf8mb4;',
            f"GRANT ALL ON {name}.* TO openstack@'%';"]
    script = lab.where.conf / 'databases.sql'
    script.touch(mode=0o600)
    script.write_text('\n'.join(statements))
    client = lab.where.conf / _CLIENT
    client.touch(mode=0o600)
    client.write_text(
        f'[client]\nuser = root\npassword = {password}\n'
        f'socket = {database_socket(lab)}\n')


def _configure_messages(lab: common.Lab) -> None:
    directory = lab.directory('rabbitmq')
    (directory / 'definitions.json').write_text(json.dumps({
        'users': [{'name': 'openstack', 'password': lab.password('messages'),
                   'tags': ['administrator']}],
        'vhosts': [{'name': name} for name in VIRTUAL_HOSTS],
        'permissions': [
            {'user': 'openstack', 'vhost': name, 'configure': '.*',
             'write': '.*', 'read': '.*'} for name in VIRTUAL_HOSTS]}))
    (directory / 'rabbitmq.conf').write_text(
        f'listeners.tcp.default = {common.CONTROLLER}:5672\n'
        f'load_definitions = {directory / "definitions.json"}\n')
    (directory / 'enabled_plugins').write_text('[].\n')
    lab.where.service('rabbitmq').mkdir()


def _gateway_control(lab: common.Lab) -> pathlib.Path:
    return lab.where.run / 'gateway'


def _configure_gateway(lab: common.Lab) -> None:
    lines = [
        'global', '  maxconn 200',
        f'  stats socket {_gateway_control(lab)} mode 600',
        'defaults', '  mode tcp',
        '  timeout connect 5s', '  timeout client 10m',
        '  timeout server 10m']
    for api, port in lab.settings.ports.items():
        lines += [
            f'listen {api}', f'  bind 127.0.0.1:{port}',
            f'  server {api} unix@{lab.where.run / api}']
    (lab.where.conf / 'haproxy.cfg').write_text('\n'.join(lines) + '\n')


def client_options(lab: common.Lab) -> str:
    """The option that lets a command of the database in.

    It has to be the first one.
    """
    return f'--defaults-file={lab.where.conf / _CLIENT}'


def query(lab: common.Lab, database: str, statement: str) -> str:
    """Execute a statement in a database. Returns what it selects."""
    return subprocess.run(
        ['mariadb', client_options(lab), '--batch', '--skip-column-names',
         database, '--execute', statement],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        check=True).stdout


def stores(lab: common.Lab) -> list[programs.Program]:
    """What all the other services need."""
    controller = topology.CONTROLLER.name
    return [
        programs.Program(
            name='mariadb', host=controller,
            command=(
                shutil.which('mariadbd') or '/usr/sbin/mariadbd',
                '--no-defaults', '--user=root',
                f'--datadir={lab.where.service("mariadb")}',
                f'--socket={database_socket(lab)}',
                f'--bind-address={common.CONTROLLER}',
                f'--init-file={lab.where.conf / "databases.sql"}',
                '--skip-name-resolve', '--max-connections=500',
                # The lab ends with its databases: nothing to flush for.
                '--innodb-flush-log-at-trx-commit=0',
                '--skip-innodb-doublewrite', '--skip-log-bin'),
            ready=programs.port_open(common.CONTROLLER, 3306)),
        messages(lab),
        programs.Program(
            name='memcached', host=controller,
            command=('memcached', '-u', 'root', '-m', '64', '-l',
                     common.CONTROLLER),
            ready=programs.port_open(common.CONTROLLER, 11211)),
    ]


def messages(lab: common.Lab) -> programs.Program:
    """The message queue."""
    rabbitmq = lab.where.service('rabbitmq')
    return programs.Program(
        name='rabbitmq', host=topology.CONTROLLER.name, command=(_RABBITMQ,),
        environment={
            'HOME': str(rabbitmq), 'LC_ALL': 'C.UTF-8',
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin',
            'RABBITMQ_NODENAME': 'lab@localhost',
            'RABBITMQ_MNESIA_BASE': str(rabbitmq / 'mnesia'),
            'RABBITMQ_LOGS': '-',
            'RABBITMQ_PID_FILE': str(lab.where.run / 'rabbitmq.pid'),
            'RABBITMQ_CONFIG_FILE': str(
                lab.where.conf / 'rabbitmq' / 'rabbitmq.conf'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(
                lab.where.conf / 'rabbitmq' / 'enabled_plugins'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_DIST_PORT': '25672',
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            # Busy waiting of the schedulers helps no one on two cores.
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '+sbwt none +sbwtdcpu none +sbwtdio none '
                '-kernel inet_dist_use_interface {127,0,0,1}'},
        ready=programs.port_open(common.CONTROLLER, 5672))


def gateway(lab: common.Lab) -> programs.Program:
    """Brings the machine's loopback to the APIs."""
    return programs.Program(
        name='gateway', host='',
        command=('haproxy', '-db', '-f',
                 str(lab.where.conf / 'haproxy.cfg')),
        ready=programs.socket_open(_gateway_control(lab)))
