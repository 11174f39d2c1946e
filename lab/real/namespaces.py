# SPDX-License-Identifier: Apache-2.0

"""The namespaces that the lab lives in, and how to get into them.

`start` makes a process namespace whose first process makes the hosts and then
becomes the supervisor. Nothing outlives that process.
"""

from collections import abc
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import psutil

from lab.real import layout
from lab.real import topology
from tool import console
from tool.layout import PROJECT

_NAMESPACES = pathlib.Path('/run/lab')
"""Links to the namespaces of the hosts, in the lab's own mount namespace."""

_TIMEOUT = 60.0
"""Seconds in which the namespaces must be there, or gone."""

_PAUSE = 0.05
"""Seconds between two looks."""


def _namespace(host: str, kind: str) -> str:
    return str(_NAMESPACES / f'{host}.{kind}')


def enter(host: str) -> list[str]:
    """The start of a command line that runs on a host, from in the lab."""
    return [
        'nsenter', f'--net={_namespace(host, "net")}',
        f'--uts={_namespace(host, "uts")}',
        f'--mount={_namespace(host, "mnt")}', '--']


def pid(where: layout.Layout) -> int | None:
    """The first process of the lab, seen from outside; None if none.

    It is searched for among all processes, so that no file needs to be right.
    Only those of root count: anyone can make a process namespace and name it
    like this.
    """
    names = {f'{where.lab}/', str(where.conf / 'supervisord.conf')}
    for process in psutil.process_iter(['cmdline', 'uids']):
        if (names & set(process.info['cmdline'] or ())
                and process.info['uids'].effective == 0
                and _is_first(process.pid)):
            return process.pid
    return None


def _is_first(process: int) -> bool:
    """Whether a process is the first one of a process namespace in ours."""
    try:
        status = pathlib.Path(f'/proc/{process}/status').read_text()
    except OSError:
        return False
    return bool(re.search(r'^NSpid:\s+\d+\s+1$', status, re.MULTILINE))


def enter_from_outside(where: layout.Layout, host: str) -> list[str]:
    """The start of a command line that runs on a host, from outside."""
    return ['nsenter', '--target', str(pid(where)), '--mount', '--pid',
            '--', *enter(host)]


def run_inside(where: layout.Layout, *arguments: str) -> int:
    """Run a command of lab.real.inside on the controller.

    :returns: its exit code
    """
    return subprocess.call([
        *enter_from_outside(where, topology.CONTROLLER.name),
        sys.executable, '-m', 'lab.real.inside', str(where.root), *arguments],
        cwd=PROJECT.root)


def files(host: str) -> pathlib.Path:
    """The root directory of a host, from in the lab."""
    namespace = pathlib.Path(os.readlink(_namespace(host, 'mnt')))
    return namespace.parents[1] / 'root'


def processes(host: str) -> abc.Iterator[psutil.Process]:
    """The processes on a host, from in the lab. Any may end meanwhile."""
    network = os.stat(_namespace(host, 'net')).st_ino
    for process in psutil.process_iter():
        try:
            if os.stat(f'/proc/{process.pid}/ns/net').st_ino == network:
                yield process
        except OSError:
            continue


def start(where: layout.Layout) -> None:
    """Make the namespaces and start the supervisor in them.

    :raises tool.console.Problem: if the machine does not allow it
    """
    log = where.logs / 'machine.log'
    ready = where.run / 'ready'
    with log.open('w') as output:
        outer = subprocess.Popen(
            ['unshare', '--mount', '--pid', '--ipc', '--fork',
             '--kill-child', '--mount-proc', '--propagation', 'private',
             '--', sys.executable, '-m', 'lab.real.first', f'{where.lab}/',
             str(where.root)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd=PROJECT.root, start_new_session=True)
    # While it becomes the supervisor it cannot be found.
    end = time.monotonic() + _TIMEOUT
    while not ready.exists() or pid(where) is None:
        if outer.poll() is not None:
            raise console.Problem(
                'the namespaces of the lab could not be made: '
                f'{_last_line(log)}. They need root and a kernel with '
                'namespaces, veth and bridges.')
        if time.monotonic() > end:
            outer.kill()
            raise console.Problem(
                'the namespaces of the lab were not there after '
                f'{_TIMEOUT:.0f} s: see {log}')
        time.sleep(_PAUSE)


def _last_line(log: pathlib.Path) -> str:
    lines = log.read_text(errors='replace').strip().splitlines()
    return lines[-1].rstrip('.') if lines else 'it ended without a message'


def stop(where: layout.Layout) -> None:
    """End the lab with all that runs in it, if it runs.

    :raises tool.console.Problem: if it does not end
    """
    first = pid(where)
    if first is None:
        return
    try:
        process = psutil.Process(first)
        process.kill()
        process.wait(_TIMEOUT)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired as exc:
        raise console.Problem(
            f'the lab has not ended {_TIMEOUT:.0f} s after its first '
            f'process, {first}, was killed: run this again.') from exc


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _bind(source: pathlib.Path, target: str) -> None:
    _run('mount', '--bind', str(source), target)


def _make_namespaces(host: str) -> None:
    """Make the namespaces of a host, and a process that keeps them.

    A mounted file cannot keep them: Linux refuses to mount a mount namespace
    that it considers older than the one it is mounted in, and from 6.18 on it
    numbers them by processor.
    """
    keeper = subprocess.Popen(
        ['unshare', '--net', '--uts', '--mount', '--propagation', 'private',
         '--', 'sh', '-c', 'echo made; exec sleep infinity'],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    keeper.stdout.readline()
    for kind in ('net', 'uts', 'mnt'):
        os.symlink(f'/proc/{keeper.pid}/ns/{kind}', _namespace(host, kind))


def _wire(host: str, *command: str) -> None:
    """Run a command in the network of a host, with the lab's own files."""
    _run('nsenter', f'--net={_namespace(host, "net")}', '--', *command)


def _make_networks() -> None:
    """Two networks, each a bridge on the controller with a leg to each host.

    `management` carries everything between hosts; `fabric` carries the
    frames of the servers' networks, with their VLAN tags.
    """
    controller = topology.CONTROLLER
    for bridge in ('management', 'fabric'):
        _wire(controller.name, 'ip', 'link', 'add', bridge, 'type', 'bridge')
        _wire(controller.name, 'ip', 'link', 'set', bridge, 'up')
        for compute in topology.COMPUTES:
            leg = f'{bridge[:6]}-{compute.name}'
            _wire(
                controller.name, 'ip', 'link', 'add', leg, 'type', 'veth',
                'peer', 'name', bridge, 'netns',
                _namespace(compute.name, 'net'))
            _wire(
                controller.name, 'ip', 'link', 'set', leg, 'master', bridge,
                'up')
            _wire(compute.name, 'ip', 'link', 'set', bridge, 'up')
    for host in topology.HOSTS:
        _wire(
            host.name, 'ip', 'address', 'add',
            f'{host.address}/{topology.PREFIX}', 'dev', 'management')


_PRIVATE = (
    '/etc/libvirt', '/var/cache/libvirt', '/var/lib/libvirt',
    '/var/log/libvirt')
"""The directories that each compute host has for itself."""


def configure(where: layout.Layout, shared: bool) -> None:
    """Write the files that hosts are made with.

    :param shared: whether they share the directory with the disks of guests
    """
    where.here.mkdir()
    if shared:
        where.shared.mkdir()
    (where.conf / 'hosts').write_text(
        '127.0.0.1 localhost\n' + ''.join(
            f'{host.address} {host.name}\n' for host in topology.HOSTS))
    for compute in topology.COMPUTES:
        for name in ('instances', 'nova', 'locks'):
            (where.host(compute.name) / name).mkdir(parents=True)


def furnish(where: layout.Layout, name: str) -> None:
    """Give this host a name, interfaces and files of its own."""
    own = where.host(name)
    _run('hostname', name)
    _run('ip', 'link', 'set', 'lo', 'up')
    _run('mount', '-t', 'sysfs', 'sysfs', '/sys')
    _bind(where.conf / 'hosts', '/etc/hosts')
    if where.ceph.is_dir():
        _bind(where.ceph, '/etc/ceph')
    if name == topology.CONTROLLER.name:
        return
    _run('mount', '-t', 'tmpfs', 'tmpfs', '/run')
    for path in _PRIVATE:
        private = own / path[1:].replace('/', '-')
        private.mkdir(exist_ok=True)
        _bind(private, path)
    _bind(where.conf / 'ssh_config', '/etc/ssh/ssh_config')
    _bind(own, str(where.here))
    if where.shared.is_dir():
        _bind(where.shared, str(where.instances))
    for directory in ('sshd', 'openvswitch', 'ovn', 'lock'):
        os.mkdir(f'/run/{directory}')


def make_hosts(where: layout.Layout) -> None:
    """Make the hosts, in the first process of the lab."""
    if where.shared.is_dir():
        # libvirt knows by the type of their file system that files are shared.
        _run('bindfs', '-o', 'subtype=glusterfs,nonempty', str(where.shared),
             str(where.shared))
    # This file system, and the links in it, are visible in the lab only.
    _run('mount', '-t', 'tmpfs', 'tmpfs', '/run')
    _NAMESPACES.mkdir()
    for host in topology.HOSTS:
        _make_namespaces(host.name)
    _make_networks()
    for host in topology.HOSTS:
        _run(
            *enter(host.name), sys.executable, '-c',
            'import pathlib, sys; from lab.real import layout, namespaces; '
            'namespaces.furnish(layout.Layout(pathlib.Path(sys.argv[1])), '
            'sys.argv[2])', str(where.root), host.name)


def clear(where: layout.Layout) -> None:
    """Remove the files of a lab that has ended."""
    if where.lab.exists():
        shutil.rmtree(where.lab)
