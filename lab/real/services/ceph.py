# SPDX-License-Identifier: Apache-2.0

"""Ceph: a monitor, a manager and one OSD, for the disks of servers.

The hosts of one cell have no disks of their guests: those are images in RBD.
"""

from collections import abc
import functools
import importlib.machinery
import json
import pathlib
import subprocess

from lab.real import oslo
from lab.real import programs
from lab.real.services import common
from lab.real import topology
from tool import console

#: The cell whose hosts have the disks of their guests in it.
CELL = topology.CELLS[0]

#: The pool with the disks of servers.
POOL = 'vms'

#: The pool with the volumes of Cinder.
VOLUMES = 'volumes'

#: Of the cluster, and of the secret that libvirt on each host has for it.
_UUID = '6c616221-0000-4000-8000-0000000000ce'

_OSD_UUID = '6c616221-0000-4000-8000-00000000005d'

_MONITOR_PORT = 3300

#: Bytes of the file that the OSD keeps its data in, of which it takes no more
#: than it uses.
_SIZE = 16 * 2**30

#: Bytes that the OSD uses if it can: Ceph takes no lower number.
_MEMORY = 896 * 2**20

#: What each account may do, by kind of daemon.
_ACCOUNTS = {
    'mon.': {'mon': 'allow *'},
    'mgr.lab': {'mon': 'allow profile mgr', 'osd': 'allow *'},
    'osd.0': {
        'mon': 'allow profile osd', 'mgr': 'allow profile osd',
        'osd': 'allow *'},
    'client.admin': {'mon': 'allow *', 'mgr': 'allow *', 'osd': 'allow *'},
    'client.nova': {
        'mon': 'profile rbd', **{
            daemon: f'profile rbd pool={POOL}, profile rbd pool={VOLUMES}'
            for daemon in ('mgr', 'osd')}},
}

#: Where Debian has the Python modules of Ceph, which no index of packages has.
_MODULES = pathlib.Path('/usr/lib/python3/dist-packages')


def enabled(lab: common.Lab) -> bool:
    return 'ceph' in lab.settings.extras


def _data(lab: common.Lab, name: str) -> pathlib.Path:
    return lab.where.service('ceph') / name


def _keyring(lab: common.Lab) -> pathlib.Path:
    """The keys of all accounts, for the monitor to begin with."""
    return _data(lab, 'keyring')


def _key(lab: common.Lab) -> pathlib.Path:
    """The key of Nova, for libvirt."""
    return lab.where.ceph / 'nova.key'


def _secret(lab: common.Lab) -> pathlib.Path:
    """What libvirt is told of that key."""
    return lab.where.ceph / 'nova.xml'


def configure(lab: common.Lab) -> None:
    if not enabled(lab):
        return
    lab.where.ceph.mkdir()
    for name in ('', 'mon', 'mgr', 'osd', 'python', 'mgr-modules'):
        _data(lab, name).mkdir()
    link_modules(lab)
    oslo.write(lab.where.ceph / 'ceph.conf', {
        'global': {
            'fsid': _UUID,
            'mon_host': f'[v2:{common.CONTROLLER}:{_MONITOR_PORT},'
                        f'v1:{common.CONTROLLER}:6789]',
            'run_dir': lab.where.run,
            'log_file': '', 'log_to_stderr': 'true',
            'mon_cluster_log_to_file': 'false',
            'auth_allow_insecure_global_id_reclaim': 'false',
            'mon_allow_pool_size_one': 'true',
            'mon_warn_on_pool_no_redundancy': 'false',
            'osd_pool_default_size': 1, 'osd_pool_default_min_size': 1,
            'osd_pool_default_pg_autoscale_mode': 'off'},
        'mon': {'mon_data': _data(lab, 'mon')},
        'mgr': {
            'mgr_data': _data(lab, 'mgr'),
            'public_addr': common.CONTROLLER,
            # It is there for the statistics that Nova asks for, which are
            # none of its modules' work.
            'mgr_module_path': _data(lab, 'mgr-modules')},
        'osd': {
            'osd_data': _data(lab, 'osd'),
            'public_addr': common.CONTROLLER,
            'osd_memory_target': _MEMORY, 'bluestore_block_size': _SIZE},
    })
    sections = {account: _section(account) for account in _ACCOUNTS}
    oslo.write(_keyring(lab), sections)
    for path, account in (
            (_data(lab, 'mgr') / 'keyring', 'mgr.lab'),
            (_data(lab, 'osd') / 'keyring', 'osd.0'),
            *((lab.where.ceph / f'ceph.{client}.keyring', client)
              for client in ('client.admin', 'client.nova'))):
        oslo.write(path, {account: sections[account]})
    _key(lab).touch(mode=0o600)
    _key(lab).write_text(str(sections['client.nova']['key']))
    _secret(lab).write_text(
        f'<secret ephemeral="no" private="yes"><uuid>{_UUID}</uuid>'
        '<usage type="ceph"><name>client.nova</name></usage></secret>')


def _section(account: str) -> dict[str, object]:
    """The section of a keyring for an account, with a new key."""
    # Not with lab.call: a log outlives the lab.
    key = subprocess.run(
        ['ceph-authtool', '--gen-print-key'], capture_output=True, text=True,
        check=True).stdout.strip()
    return {'key': key, **{
        f'caps {kind}': f'"{granted}"'
        for kind, granted in _ACCOUNTS[account].items()}}


def link_modules(lab: common.Lab) -> None:
    """Let Python see Ceph's modules of the system, and no others.

    :raises tool.console.Problem: if they are for another Python
    """
    for name in ('rados', 'rbd'):
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            module = _MODULES / f'{name}{suffix}'
            if module.exists():
                _data(lab, 'python').joinpath(module.name).symlink_to(module)
                break
        else:
            raise console.Problem(
                f"the lab's Python cannot use the module {name} of the "
                'system, which is for Debian\'s own: see that it is the '
                'first python3.11 in PATH, then remove .tox/ and run this '
                'again.')


def python_path(lab: common.Lab) -> str:
    """Where Python finds Ceph's modules; empty if it needs none."""
    return str(_data(lab, 'python')) if enabled(lab) else ''


def programs_of(lab: common.Lab) -> list[programs.Program]:
    return [_monitor(lab), *_daemons(lab)] if enabled(lab) else []


def _monitor(lab: common.Lab) -> programs.Program:
    return _daemon(
        lab, 'mon', 'lab',
        programs.port_open(common.CONTROLLER, _MONITOR_PORT))


def _daemons(lab: common.Lab) -> list[programs.Program]:
    # The manager tells of the pool what the OSD has told it.
    has_room = functools.partial(_has_room, lab)
    return [_daemon(lab, 'mgr', 'lab', has_room),
            _daemon(lab, 'osd', '0', has_room)]


def _daemon(
    lab: common.Lab, kind: str, name: str, ready: abc.Callable[[], bool]
) -> programs.Program:
    return programs.Program(
        name=f'ceph-{kind}', host=topology.CONTROLLER.name,
        command=(f'ceph-{kind}', '--foreground', '--id', name),
        environment=lab.environment(), ready=ready)


def _has_room(lab: common.Lab) -> bool:
    """Whether Ceph tells, as Nova asks it, that the pool has room."""
    done = subprocess.run(
        ['ceph', '--connect-timeout', '10', 'df', '--format', 'json'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode == 0 and any(
        pool['name'] == POOL and pool['stats']['max_avail']
        for pool in json.loads(done.stdout)['pools'])


def start(lab: common.Lab, supervisor: programs.Supervisor) -> None:
    """Start Ceph, make the pools, and give libvirt the key to them.

    :raises tool.console.Problem: if it does not come up
    """
    if not enabled(lab):
        return
    lab.call('ceph-mon', '--mkfs', '--id', 'lab',
             '--keyring', str(_keyring(lab)))
    supervisor.start(_monitor(lab))
    lab.call('ceph', 'osd', 'new', _OSD_UUID, '0')
    lab.call('ceph-osd', '--mkfs', '--id', '0', '--osd-uuid', _OSD_UUID)
    for pool in (POOL, VOLUMES):
        lab.call('ceph', 'osd', 'pool', 'create', pool, '8')
    supervisor.start(*_daemons(lab))
    for pool in (POOL, VOLUMES):
        lab.call('rbd', 'pool', 'init', pool)
    for compute in topology.COMPUTES:
        _tell_libvirt(lab, compute)


def _tell_libvirt(lab: common.Lab, compute: topology.Compute) -> None:
    """Give the key of Nova to libvirt on a host, for QEMU."""
    virsh = 'virsh', '--connect', f'qemu+tcp://{compute.address}/system'
    lab.call(*virsh, 'secret-define', str(_secret(lab)))
    lab.call(*virsh, 'secret-set-value', _UUID, '--file', str(_key(lab)))


def nova_options(lab: common.Lab, compute: topology.Compute) -> oslo.Options:
    """Options by which Nova on a host keeps the disks of its guests there."""
    if not enabled(lab) or compute.cell != CELL:
        return {}
    return {'libvirt': {
        'images_type': 'rbd', 'images_rbd_pool': POOL,
        'images_rbd_ceph_conf': '/etc/ceph/ceph.conf',
        'rbd_user': 'nova', 'rbd_secret_uuid': _UUID}}


def cinder_options() -> dict[str, object]:
    """Options by which Cinder keeps its volumes there."""
    return {
        'rbd_pool': VOLUMES, 'rbd_ceph_conf': '/etc/ceph/ceph.conf',
        'rbd_user': 'nova', 'rbd_secret_uuid': _UUID}


def images() -> list[str]:
    """Names of all images in the pool, from on the controller."""
    return json.loads(subprocess.run(
        ['rbd', 'ls', '--format', 'json', POOL], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, check=True).stdout)
