# SPDX-License-Identifier: Apache-2.0

"""memcached, the cache of Keystone, of its middleware and of Nova."""

from lab.real.lab import Lab
from lab.real import services
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

wanted = services.always
configure = services.nothing
make_tables = services.nothing
before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [supervisor.Program(
        name='memcached', host=topology.CONTROLLER.name,
        command=('memcached', '-u', 'root', '-m', '64', '-l',
                 topology.CONTROLLER.address),
        ready=supervisor.port_open(topology.CONTROLLER.address, 11211))]


after_start = services.nothing
