# SPDX-License-Identifier: Apache-2.0

"""The namespaces that the lab lives in, and how to get into them.

`start` makes a process namespace whose first process makes the hosts and then
becomes the supervisor. Nothing of it outlives that process.
"""

from collections import abc
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from lab.real import layout
from lab.real import topology
from tool import console

#: In the lab's own mount namespace: the namespaces of its hosts.
_NAMESPACES = pathlib.Path('/run/lab')


def _namespace(host: str, kind: str) -> str:
    return str(_NAMESPACES / f'{host}.{kind}')


def enter(host: str) -> list[str]:
    """The command line that runs another one on a host, from in the lab."""
    return [
        'nsenter', f'--net={_namespace(host, "net")}',
        f'--uts={_namespace(host, "uts")}',
        f'--mount={_namespace(host, "mnt")}', '--']


def pid(where: layout.Layout) -> int | None:
    """The first process of the lab, as seen from outside; None if none.

    Looked for among all processes, so that no file needs to be right. Only
    root's count: anyone may make a process namespace and name it like this.
    """
    names = {f'{where.lab}/'.encode(),
             bytes(where.conf / 'supervisord.conf')}
    for directory in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            command = (directory / 'cmdline').read_bytes()
            if directory.stat().st_uid or not (
                    names & set(command.split(b'\0'))):
                continue
            status = (directory / 'status').read_text()
        except OSError:
            continue
        numbers = re.search(r'^NSpid:\s+\d+\s+1$', status, re.MULTILINE)
        if numbers:
            return int(directory.name)
    return None


def enter_from_outside(where: layout.Layout, host: str) -> list[str]:
    """The command line that runs another one on a host of a running lab."""
    return ['nsenter', '--target', str(pid(where)), '--mount', '--pid',
            '--', *enter(host)]


def files(host: str) -> pathlib.Path:
    """The root directory as a host has it mounted, from in the lab."""
    namespace = pathlib.Path(os.readlink(_namespace(host, 'mnt')))
    return namespace.parents[1] / 'root'


def processes(host: str) -> abc.Iterator[pathlib.Path]:
    """The directories in /proc of the processes on a host, from in the lab."""
    network = os.stat(_namespace(host, 'net')).st_ino
    for directory in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            if os.stat(directory / 'ns/net').st_ino == network:
                yield directory
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
            cwd=layout.ROOT, start_new_session=True)
    # While it becomes the supervisor it is not to be found.
    while not ready.exists() or pid(where) is None:
        if outer.poll() is not None:
            raise console.Problem(
                'the namespaces of the lab could not be made: '
                f'{_last_line(log)}. They need root and a kernel with '
                'namespaces, veth and bridges.')
        time.sleep(0.05)


def _last_line(log: pathlib.Path) -> str:
    lines = log.read_text(errors='replace').strip().splitlines()
    return lines[-1].rstrip('.') if lines else 'it ended without a word'


def stop(where: layout.Layout) -> None:
    """End the lab with all that runs in it, if it runs."""
    first = pid(where)
    if first is None:
        return
    handle = os.pidfd_open(first)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    while pathlib.Path(f'/proc/{first}').exists():
        time.sleep(0.05)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _bind(source: pathlib.Path, target: str) -> None:
    _run('mount', '--bind', str(source), target)


def _make_namespaces(host: str) -> None:
    """Make the namespaces of a host, for as long as a process is in them.

    A file cannot keep them: Linux refuses to mount a mount namespace that
    it takes for older than the one it is mounted in, and from 6.18 on it
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
    """Run a command in the network of a host, but with the lab's files."""
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


#: The directories that a host has for itself.
_PRIVATE = (
    '/etc/libvirt', '/var/cache/libvirt', '/var/lib/libvirt',
    '/var/log/libvirt')


def furnish(where: layout.Layout, name: str) -> None:
    """Give a host a name, an interface and files of its own, from on it."""
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
        _bind(where.shared, str(where.here / 'instances'))
    for directory in ('sshd', 'openvswitch', 'ovn', 'lock'):
        os.mkdir(f'/run/{directory}')


def make_hosts(where: layout.Layout) -> None:
    """Make the hosts, from the first process of the lab."""
    if where.shared.is_dir():
        # libvirt takes files for shared by the type of their file system.
        _run('bindfs', '-o', 'subtype=glusterfs,nonempty', str(where.shared),
             str(where.shared))
    # Only the lab sees this file system, and the names of its hosts there.
    _run('mount', '-t', 'tmpfs', 'tmpfs', '/run')
    _NAMESPACES.mkdir()
    for host in topology.HOSTS:
        _make_namespaces(host.name)
    _make_networks()
    for host in topology.HOSTS:
        _run(
            *enter(host.name), sys.executable, '-c',
            'import pathlib, sys; from lab.real import layout, machine; '
            'machine.furnish(layout.Layout(pathlib.Path(sys.argv[1])), '
            'sys.argv[2])', str(where.root), host.name)


def clear(where: layout.Layout) -> None:
    """Remove the files of a lab that has ended."""
    if where.lab.exists():
        shutil.rmtree(where.lab)
