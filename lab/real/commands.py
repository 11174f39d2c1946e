# SPDX-License-Identifier: Apache-2.0

"""What the commands of ./run lab do."""

import argparse
from collections import abc
import contextlib
import fcntl
import importlib.metadata
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import rich.table

from lab.real import bringup
from lab.real import images
from lab.real import layout
from lab.real import machine
from lab.real import programs
from lab.real.services import common
from lab.real import settings as lab_settings
from lab.real import tempest
from lab.real import topology
from tool import build
from tool import console
from tool.layout import PROJECT

WHERE = layout.PROJECT

#: Bytes that must be free for services and four small guests.
_MEMORY = 6 * 2**30
_DISK = 4 * 2**30

#: The longest path that a Unix socket may have.
_SOCKET_PATH = 107


@contextlib.contextmanager
def _locked() -> abc.Iterator[None]:
    """Keep other commands from changing the lab.

    :raises tool.console.Problem: if one does that now
    """
    WHERE.root.mkdir(exist_ok=True)
    with WHERE.lock.open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise console.Problem(
                'another ./run lab is starting or ending the lab of this '
                'checkout: wait until it is done.') from None
        yield


def _check_machine() -> None:
    """Refuse what cannot work, before anything is begun."""
    # What oslo.privsep makes in the directory for temporary files.
    socket = WHERE.lab / 'tmp' / 'tmp12345678' / 'privsep.sock'
    if any(character.isspace() for character in str(socket)):
        raise console.Problem(
            f'{WHERE.root} has a blank in its path: move this checkout.')
    if len(str(socket)) > _SOCKET_PATH:
        raise console.Problem(
            f'{WHERE.root} is too long a path for sockets in it: move this '
            'checkout to a shorter one.')
    lines = pathlib.Path('/proc/meminfo').read_text().splitlines()
    memory = {line.split(':')[0]: int(line.split()[1]) * 1024
              for line in lines}['MemAvailable']
    if memory < _MEMORY:
        raise console.Problem(
            f'the lab needs {_MEMORY // 2**30} GiB of free memory, and there '
            f'are {memory / 2**30:.1f}: end something else first.')
    disk = shutil.disk_usage(WHERE.root).free
    if disk < _DISK:
        raise console.Problem(
            f'the lab needs {_DISK // 2**30} GiB of free disk space in '
            f'{WHERE.root}, and there are {disk / 2**30:.1f}: make room.')


def _need_root() -> None:
    if os.geteuid():
        raise console.Problem(
            'namespaces and bridges need root: run this with sudo.')


def _need_lab() -> common.Lab:
    """The lab that runs.

    :raises tool.console.Problem: if there is none
    """
    _need_root()
    if machine.pid(WHERE) is None:
        raise console.Problem('the lab is not up: start it with ./run lab up')
    return common.Lab(WHERE, lab_settings.Settings.load(WHERE))


def _need_whole_lab() -> None:
    """Make sure that a lab runs, and came up to its end.

    :raises tool.console.Problem: if there is none
    """
    _need_lab()
    if not WHERE.clouds.exists():
        raise console.Problem(
            'the lab did not come up whole: end it with ./run lab down, and '
            'start another one with ./run lab up')


def _inside(*arguments: str) -> int:
    """Run a command on the controller. Returns its exit code."""
    return subprocess.call([
        *machine.enter_from_outside(WHERE, topology.CONTROLLER.name),
        sys.executable, '-m', 'lab.real.inside', *arguments])


def _end() -> None:
    machine.stop(WHERE)
    machine.clear(WHERE)
    WHERE.clouds.unlink(missing_ok=True)


def _exit(number: int, frame: object) -> None:
    """End on a signal, but not before what was started."""
    sys.exit(128 + number)


def _up(args: argparse.Namespace) -> int:
    _need_root()
    begun = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    with _locked():
        if machine.pid(WHERE) is not None:
            raise console.Problem(
                'the lab is up already: see ./run lab status, or end it with '
                './run lab down')
        _check_machine()
        # What a lab left that was killed.
        _end()
        done = False
        try:
            done = _start(args)
        finally:
            if not done and not args.keep:
                with console.step('end what had been started'):
                    _end()
    if not done:
        console.console.print(
            'The lab did not come up; its logs are there: ./run lab logs\n'
            'Start it again with ./run lab up, or with --keep to look into '
            'what runs.')
        return 1
    console.console.print(
        f'The lab is up, {time.monotonic() - begun:.0f} s after it was asked '
        'for. Next:\n'
        '  ./run scenarios --on lab     the scenarios, on it\n'
        '  eval "$(./run lab env)" and then: openstack server list\n'
        '  ./run lab down          its end')
    return 0


def _start(args: argparse.Namespace) -> bool:
    WHERE.cache.mkdir(exist_ok=True)
    WHERE.lab.mkdir(mode=0o700)
    shutil.rmtree(WHERE.logs, ignore_errors=True)
    WHERE.logs.mkdir()
    nova = None
    if not args.stock:
        build.build(PROJECT)
        nova = str(layout.ROOT / 'build' / 'nova')
    settings = lab_settings.draw(nova, args.shared, args.extras)
    settings.save(WHERE)
    lab = common.Lab(WHERE, settings)
    with console.step('make guest images'):
        images.build(WHERE.cache)
    with console.step('draw passwords and write configuration'):
        bringup.prepare(lab)
    with console.step('make hosts and networks'):
        machine.start(WHERE)
    return _inside('up') == 0


def _down(args: argparse.Namespace) -> int:
    _need_root()
    with _locked():
        ran = machine.pid(WHERE) is not None
        with console.step('end the lab' if ran else 'remove what a lab left'):
            _end()
        if args.purge:
            shutil.rmtree(WHERE.root)
    return 0


def _status(args: argparse.Namespace) -> int:
    lab = _need_lab()
    nova = 'the series applied' if lab.settings.nova else 'as released'
    packages = ('keystone', 'glance', 'openstack-placement', 'neutron')
    versions = ', '.join(
        f'{name} {importlib.metadata.version(name)}' for name in packages)
    console.console.print(
        f'nova {importlib.metadata.version("nova")}, {nova}; {versions}\n'
        f'{topology.CONTROLLER.name}: {topology.CONTROLLER.address}')
    for compute in topology.COMPUTES:
        console.console.print(
            f'{compute.name}: {compute.address}, in {compute.cell}')
    shown = rich.table.Table('service', 'host', 'state', 'since')
    states = programs.Supervisor(WHERE).states()
    good = True
    for program in bringup.all_programs(lab):
        state = states[program.name]
        runs = state['statename'] == 'RUNNING'
        good = good and runs
        shown.add_row(
            program.name, program.host or 'this machine',
            state['statename'].lower(),
            f'{state["now"] - state["start"]} s' if runs else '')
    console.console.print(shown)
    return 0 if good else 1


def _env(args: argparse.Namespace) -> int:
    _need_whole_lab()
    print(f'export OS_CLIENT_CONFIG_FILE={shlex.quote(str(WHERE.clouds))}')
    print(f'export OS_CLOUD={args.cloud}')
    print(f'export PATH={pathlib.Path(sys.executable).parent}:"$PATH"')
    return 0


def _logs(args: argparse.Namespace) -> int:
    names = sorted(path.stem for path in WHERE.logs.glob('*.log'))
    if not names:
        raise console.Problem(
            'there are no logs: ./run lab up starts a lab, which writes '
            'them.')
    if args.name is None:
        print('\n'.join(names))
        return 0
    if args.name not in names:
        raise console.Problem(
            f'there is no log of {args.name!r}: ./run lab logs names all.')
    path = programs.log(WHERE, args.name)
    os.execvp('tail', ['tail', *(['--follow'] if args.follow else []),
                       '--lines=100', str(path)])


def _shell(args: argparse.Namespace) -> int:
    _need_lab()
    command = args.argument or ['bash']
    os.environ['VIRSH_DEFAULT_CONNECT_URI'] = 'qemu:///system'
    return subprocess.call(
        [*machine.enter_from_outside(WHERE, args.host), *command])


def _bypass_proxy() -> None:
    """Keep a proxy that pip and apt need from between the services."""
    for name in ('no_proxy', 'NO_PROXY'):
        os.environ[name] = ','.join(filter(None, (
            os.environ.get(name), '127.0.0.1', 'localhost',
            *(host.address for host in topology.HOSTS))))


def play(what: abc.Iterable[str], report: pathlib.Path | None) -> int:
    """Play scenarios on the lab. Returns the exit code.

    :param what: their names
    :param report: the file that JUnit's XML goes to, if any
    :raises tool.console.Problem: if there is no whole lab
    """
    _bypass_proxy()
    _need_whole_lab()
    return _inside('scenarios', str(report.absolute() if report else ''),
                   *what)


def _tempest(args: argparse.Namespace) -> int:
    _need_whole_lab()
    return tempest.run(_need_lab(), args.regex)


def _bench(args: argparse.Namespace) -> int:
    _need_whole_lab()
    return _inside('bench', str(args.rounds), *args.cases)


def _smoke(args: argparse.Namespace) -> int:
    _need_root()
    subprocess.run(
        [sys.executable, '-m', 'pytest', '--quiet', 'tests/machine'],
        cwd=layout.ROOT, check=True)
    args.keep = False
    interfaces = set(os.listdir('/sys/class/net'))
    code = _up(args)
    if code:
        return code
    try:
        code = _inside('scenarios', '', 'live-migrate-rescued')
    finally:
        with _locked(), console.step('end the lab'):
            _end()
    with console.step('nothing of it is left'):
        _check_nothing_left(interfaces)
    return code


def _check_nothing_left(interfaces: set[str]) -> None:
    """Make sure that a lab has left nothing but what it may.

    :param interfaces: names of the machine's interfaces before the lab
    :raises tool.console.Problem: if something is left
    """
    left = [
        f'interface {name}'
        for name in set(os.listdir('/sys/class/net')) - interfaces]
    left += [
        f'mount {line.split()[1]}'
        for line in pathlib.Path('/proc/mounts').read_text().splitlines()
        if str(WHERE.root) in line]
    left += [
        f'process {path.parent.name}'
        for path in pathlib.Path('/proc').glob('[0-9]*/cmdline')
        if f'{WHERE.lab}/' in _read(path)]
    if left or WHERE.lab.exists():
        raise console.Problem(
            'the lab has left behind: ' + ', '.join(left or [str(WHERE.lab)]))


def _read(path: pathlib.Path) -> str:
    """The content of a file; nothing if it is gone."""
    try:
        return path.read_text(errors='replace')
    except OSError:
        return ''


_COMMANDS = {
    'up': _up,
    'down': _down,
    'status': _status,
    'env': _env,
    'logs': _logs,
    'shell': _shell,
    'tempest': _tempest,
    'bench': _bench,
    'smoke': _smoke,
}


def run(args: argparse.Namespace) -> int:
    """Run a command of ./run lab. Returns the exit code.

    :raises tool.console.Problem: if it cannot be run
    """
    _bypass_proxy()
    return _COMMANDS[args.lab_command](args)
