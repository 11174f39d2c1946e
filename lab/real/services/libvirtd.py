# SPDX-License-Identifier: Apache-2.0

"""libvirt with QEMU, on each compute host."""

from lab.real.lab import Lab
from lab.real import services
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

wanted = services.always


def configure(lab: Lab) -> None:
    for compute in topology.COMPUTES:
        own = lab.where.host(compute.name)
        (own / 'libvirtd.conf').write_text(
            'listen_tls = 0\nlisten_tcp = 1\nauth_tcp = "none"\n'
            f'listen_addr = "{compute.address}"\n'
            'auth_unix_ro = "none"\nauth_unix_rw = "none"\n'
            f'host_uuid = "{compute.uuid}"\n')
        (own / 'etc-libvirt').mkdir()
        # libvirt's own limits and labels need what a namespace lacks.
        (own / 'etc-libvirt' / 'qemu.conf').write_text(
            'user = "root"\ngroup = "root"\ndynamic_ownership = 0\n'
            'remember_owner = 0\nsecurity_driver = "none"\nnamespaces = []\n'
            'cgroup_controllers = []\nstdio_handler = "file"\n'
            f'migration_address = "{compute.address}"\n'
            f'migration_host = "{compute.address}"\n')


make_tables = services.nothing
before_start = services.nothing


def of_host(lab: Lab, compute: topology.Compute) -> supervisor.Program:
    """The libvirtd of a host."""
    configuration = lab.where.host(compute.name) / 'libvirtd.conf'
    return supervisor.Program(
        name=f'libvirtd-{compute.name}', host=compute.name,
        command=('libvirtd', '--listen', '--config', str(configuration)),
        ready=supervisor.port_open(compute.address, 16509),
        # It takes half a minute to finish what it is doing.
        patience=60)


def programs(lab: Lab) -> list[supervisor.Program]:
    return [of_host(lab, compute) for compute in topology.COMPUTES]


after_start = services.nothing
