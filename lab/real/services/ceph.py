# SPDX-License-Identifier: Apache-2.0

"""Ceph: its configuration and accounts, its clients, and its monitor.

The disks of the guests of one cell are images in RBD. What stores them is
ceph_osd.
"""

from collections import abc
import importlib.machinery
import json
import pathlib
import subprocess
from typing import Any

from lab.real.lab import Lab
from lab.real import oslo
from lab.real import services
from lab.real import supervisor
from lab.real import topology
from tool import console

DATABASES = ()

CELL = topology.CELLS[0]
"""The cell whose guests have their disks in Ceph."""

POOL = 'vms'
"""The pool with the disks of servers."""

VOLUMES = 'volumes'
"""The pool with the volumes of Cinder."""

UUID = '6c616221-0000-4000-8000-0000000000ce'
"""That of the cluster, and of the secret with its key in libvirt."""

_MONITOR_PORT = 3300

_TIMEOUT = 60
"""Seconds in which a command of Ceph has to answer."""

_SIZE = 16 * 2**30
"""Bytes of the sparse file in which the OSD keeps its data."""

_MEMORY = 896 * 2**20
"""Bytes of memory that the OSD aims at: the least that Ceph accepts."""

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
"""What each account may do, by kind of daemon."""

_MODULES = pathlib.Path('/usr/lib/python3/dist-packages')
"""Debian's Python modules of Ceph, which are not in the package index."""


def wanted(lab: Lab) -> bool:
    return 'ceph' in lab.settings.extras


def _data(lab: Lab, name: str) -> pathlib.Path:
    return lab.where.service('ceph') / name


def _keyring(lab: Lab) -> pathlib.Path:
    """The keys of all accounts, which the monitor starts with."""
    return _data(lab, 'keyring')


def key(lab: Lab) -> pathlib.Path:
    """The file with the key of Nova, for libvirt."""
    return lab.where.ceph / 'nova.key'


def secret(lab: Lab) -> pathlib.Path:
    """The file in which libvirt finds the definition of that secret."""
    return lab.where.ceph / 'nova.xml'


def configure(lab: Lab) -> None:
    lab.where.ceph.mkdir()
    for name in ('', 'mon', 'mgr', 'osd', 'python', 'mgr-modules'):
        _data(lab, name).mkdir()
    link_modules(lab)
    oslo.write(lab.where.ceph / 'ceph.conf', {
        'global': {
            'fsid': UUID,
            'mon_host': f'[v2:{topology.CONTROLLER.address}:{_MONITOR_PORT},'
                        f'v1:{topology.CONTROLLER.address}:6789]',
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
            'public_addr': topology.CONTROLLER.address,
            # The statistics that Nova asks for are none of its modules'.
            'mgr_module_path': _data(lab, 'mgr-modules')},
        'osd': {
            'osd_data': _data(lab, 'osd'),
            'public_addr': topology.CONTROLLER.address,
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
    lab.write_secret(key(lab), str(sections['client.nova']['key']))
    secret(lab).write_text(
        f'<secret ephemeral="no" private="yes"><uuid>{UUID}</uuid>'
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


def link_modules(lab: Lab) -> None:
    """Make Ceph's modules of the system importable, and no others.

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


def python_path(lab: Lab) -> str:
    """The directory of Ceph's modules; empty in a lab without Ceph."""
    return str(_data(lab, 'python')) if wanted(lab) else ''


make_tables = services.nothing


def before_start(lab: Lab) -> None:
    lab.call('ceph-mon', '--mkfs', '--id', 'lab',
             '--keyring', str(_keyring(lab)))


def programs(lab: Lab) -> list[supervisor.Program]:
    return [daemon(lab, 'mon', 'lab', supervisor.port_open(
        topology.CONTROLLER.address, _MONITOR_PORT))]


after_start = services.nothing


def daemon(
    lab: Lab, kind: str, name: str, ready: abc.Callable[[], bool]
) -> supervisor.Program:
    """A daemon of the cluster.

    :param kind: mon, mgr or osd
    :param name: its id
    """
    return supervisor.Program(
        name=f'ceph-{kind}', host=topology.CONTROLLER.name,
        command=(f'ceph-{kind}', '--foreground', '--id', name),
        environment=lab.environment(), ready=ready)


def nova_options(lab: Lab, compute: topology.Compute) -> oslo.Options:
    """Options with which Nova on a host keeps the disks of guests in RBD."""
    if not wanted(lab) or compute.cell != CELL:
        return {}
    return {'libvirt': {
        'images_type': 'rbd', 'images_rbd_pool': POOL,
        'images_rbd_ceph_conf': '/etc/ceph/ceph.conf',
        'rbd_user': 'nova', 'rbd_secret_uuid': UUID}}


def cinder_options() -> dict[str, object]:
    """Options with which Cinder keeps its volumes in RBD."""
    return {
        'rbd_pool': VOLUMES, 'rbd_ceph_conf': '/etc/ceph/ceph.conf',
        'rbd_user': 'nova', 'rbd_secret_uuid': UUID}


def ask(*command: str) -> Any:
    """Run a command of Ceph on the controller.

    :returns: its answer, read from JSON
    :raises subprocess.SubprocessError: if it fails or takes too long
    """
    return json.loads(subprocess.run(
        [*command, '--format', 'json'], stdin=subprocess.DEVNULL,
        capture_output=True, check=True, timeout=_TIMEOUT).stdout)


def images() -> list[str]:
    """The names of all images in the pool of servers."""
    return ask('rbd', 'ls', POOL)
