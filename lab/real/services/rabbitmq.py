# SPDX-License-Identifier: Apache-2.0

"""RabbitMQ, with a virtual host for each cell and one for everything else."""

import json

from lab.real.lab import Lab
from lab.real import services
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

_VIRTUAL_HOSTS = ('openstack', *topology.CELLS)

_SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server'

_PORT = 5672

wanted = services.always


def configure(lab: Lab) -> None:
    directory = lab.directory('rabbitmq')
    definitions = directory / 'definitions.json'
    lab.write_secret(definitions, json.dumps({
        'users': [{'name': 'openstack', 'password': lab.password('messages'),
                   'tags': ['administrator']}],
        'vhosts': [{'name': name} for name in _VIRTUAL_HOSTS],
        'permissions': [
            {'user': 'openstack', 'vhost': name, 'configure': '.*',
             'write': '.*', 'read': '.*'} for name in _VIRTUAL_HOSTS]}))
    (directory / 'rabbitmq.conf').write_text(
        f'listeners.tcp.default = {topology.CONTROLLER.address}:{_PORT}\n'
        f'load_definitions = {definitions}\n')
    (directory / 'enabled_plugins').write_text('[].\n')
    lab.where.service('rabbitmq').mkdir()


make_tables = services.nothing
before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    files = lab.where.service('rabbitmq')
    configuration = lab.where.conf / 'rabbitmq'
    return [supervisor.Program(
        name='rabbitmq', host=topology.CONTROLLER.name, command=(_SERVER,),
        environment={
            'HOME': str(files), 'LC_ALL': 'C.UTF-8',
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin',
            'RABBITMQ_NODENAME': 'lab@localhost',
            'RABBITMQ_MNESIA_BASE': str(files / 'mnesia'),
            'RABBITMQ_LOGS': '-',
            'RABBITMQ_PID_FILE': str(lab.where.run / 'rabbitmq.pid'),
            'RABBITMQ_CONFIG_FILE': str(configuration / 'rabbitmq.conf'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(
                configuration / 'enabled_plugins'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_DIST_PORT': '25672',
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            # Busy waiting of the schedulers helps no one on two cores.
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '+sbwt none +sbwtdcpu none +sbwtdio none '
                '-kernel inet_dist_use_interface {127,0,0,1}'},
        ready=supervisor.port_open(topology.CONTROLLER.address, _PORT))]


after_start = services.nothing
