# SPDX-License-Identifier: Apache-2.0

"""The OSD of Ceph, the manager that reports on it, and the pools."""

import functools
import subprocess

from lab.real.lab import Lab
from lab.real import services
from lab.real.services import ceph
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

_UUID = '6c616221-0000-4000-8000-00000000005d'

_POOLS = (ceph.POOL, ceph.VOLUMES)

wanted = ceph.wanted
configure = services.nothing
make_tables = services.nothing


def before_start(lab: Lab) -> None:
    lab.call('ceph', 'osd', 'new', _UUID, '0')
    lab.call('ceph-osd', '--mkfs', '--id', '0', '--osd-uuid', _UUID)
    for pool in _POOLS:
        lab.call('ceph', 'osd', 'pool', 'create', pool, '8')


def programs(lab: Lab) -> list[supervisor.Program]:
    # The manager reports on the pool what it has heard from the OSD.
    return [ceph.daemon(lab, 'mgr', 'lab', _has_room),
            ceph.daemon(lab, 'osd', '0', _has_room)]


def _has_room() -> bool:
    """Whether Ceph reports, as Nova asks it, that the pool has room."""
    try:
        pools = ceph.ask('ceph', '--connect-timeout', '10', 'df')['pools']
    except subprocess.SubprocessError:
        return False
    return any(pool['name'] == ceph.POOL and pool['stats']['max_avail']
               for pool in pools)


def after_start(lab: Lab) -> None:
    """Prepare the pools, and give the key of Nova to libvirt, for QEMU."""
    for pool in _POOLS:
        lab.call('rbd', 'pool', 'init', pool)
    for compute in topology.COMPUTES:
        virsh = functools.partial(
            lab.call, 'virsh', '--connect',
            f'qemu+tcp://{compute.address}/system')
        virsh('secret-define', str(ceph.secret(lab)))
        virsh('secret-set-value', ceph.UUID, '--file', str(ceph.key(lab)))
