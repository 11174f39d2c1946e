# SPDX-License-Identifier: Apache-2.0

"""The commands of ./run lab."""

import argparse
from collections import abc
import contextlib
import fcntl
import importlib.metadata
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

import rich.table

from lab.guest import image as guest_image
from lab.real import bench as benches
from lab.real import bringup
from lab.real.lab import Lab
from lab.real import layout
from lab.real import namespaces
from lab.real import preflight
from lab.real import settings as lab_settings
from lab.real import supervisor
from lab.real import tempest
from lab.real import topology
from tool import build
from tool import console
from tool.layout import PROJECT

_LOG_LINES = 100


def _where(args: argparse.Namespace) -> layout.Layout:
    """The places of the lab that a command is about."""
    return layout.Layout(args.root)


@contextlib.contextmanager
def _locked(where: layout.Layout) -> abc.Iterator[None]:
    """Keep other commands from starting or ending the lab meanwhile.

    :raises tool.console.Problem: if one does so now
    """
    where.root.mkdir(exist_ok=True)
    with where.lock.open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise console.Problem(
                'another ./run lab is starting or ending the lab of this '
                'checkout: wait until it is done.') from None
        yield


def _bypass_proxy() -> None:
    """Keep a proxy that pip and apt need from between the services."""
    for name in ('no_proxy', 'NO_PROXY'):
        os.environ[name] = ','.join(filter(None, (
            os.environ.get(name), '127.0.0.1', 'localhost',
            *(host.address for host in topology.HOSTS))))


def _need_lab(args: argparse.Namespace) -> Lab:
    """The lab that is up.

    :raises tool.console.Problem: if none is
    """
    preflight.need_root()
    where = _where(args)
    if namespaces.pid(where) is None:
        raise console.Problem('the lab is not up: start it with ./run lab up')
    _bypass_proxy()
    return Lab.load(where)


def _need_whole_lab(args: argparse.Namespace) -> Lab:
    """The lab, if it has come up whole.

    :raises tool.console.Problem: if it has not
    """
    lab = _need_lab(args)
    if not lab.where.clouds.exists():
        raise console.Problem(
            'the lab did not come up whole: end it with ./run lab down, and '
            'start another one with ./run lab up')
    return lab


def _end(where: layout.Layout) -> None:
    namespaces.stop(where)
    namespaces.clear(where)
    where.clouds.unlink(missing_ok=True)


def up(args: argparse.Namespace) -> int:
    """Start a lab.

    :raises tool.console.Problem: if that cannot work
    """
    preflight.need_root()
    begun = time.monotonic()
    where = _where(args)
    with _locked(where):
        if namespaces.pid(where) is not None:
            raise console.Problem(
                'the lab is up already: see ./run lab status, or end it with '
                './run lab down')
        preflight.check_machine(where)
        # A lab that was killed has left its files.
        _end(where)
        done = False
        try:
            done = _start(where, args)
        finally:
            if not done and not args.keep:
                with console.step('end what was started'):
                    _end(where)
    if not done:
        console.line(
            'The lab did not come up; ./run lab logs lists its logs.\n'
            'Start it again with ./run lab up, or with --keep to look into '
            'what runs.')
        return 1
    console.line(
        f'The lab is up after {time.monotonic() - begun:.0f} s. Next:\n'
        '  ./run scenarios --on lab    run the scenarios on it\n'
        '  eval "$(./run lab env)" and then: openstack server list\n'
        '  ./run lab down              end it')
    return 0


def _start(where: layout.Layout, args: argparse.Namespace) -> bool:
    """Start a lab. Returns whether it has come up."""
    _bypass_proxy()
    where.cache.mkdir(exist_ok=True)
    where.lab.mkdir(mode=0o700)
    shutil.rmtree(where.logs, ignore_errors=True)
    where.logs.mkdir()
    nova = None
    if not args.stock:
        build.build(PROJECT)
        nova = str(PROJECT.tree)
    settings = lab_settings.draw(nova, args.shared, args.extras)
    settings.save(where)
    with console.step('make guest images'):
        guest_image.build(where.cache)
    with console.step('draw passwords and write configuration'):
        bringup.prepare(Lab(where, settings))
    with console.step('make hosts and networks'):
        namespaces.start(where)
    return namespaces.run_inside(where, 'up') == 0


def down(args: argparse.Namespace) -> int:
    """End the lab, or remove what one has left.

    :raises tool.console.Problem: if that fails
    """
    preflight.need_root()
    where = _where(args)
    with _locked(where):
        ran = namespaces.pid(where) is not None
        with console.step('end the lab' if ran else 'remove what a lab left'):
            _end(where)
        if args.purge:
            shutil.rmtree(where.root)
    return 0


def status(args: argparse.Namespace) -> int:
    """Show hosts, versions and services.

    :returns: 1 if one of the services is not running
    :raises tool.console.Problem: if the lab is not up
    """
    lab = _need_lab(args)
    nova = 'the series applied' if lab.settings.nova else 'as released'
    versions = ', '.join(
        f'{name} {importlib.metadata.version(name)}'
        for name in ('keystone', 'glance', 'openstack-placement', 'neutron'))
    console.line(f'nova {importlib.metadata.version("nova")}, {nova}; '
                 f'{versions}')
    console.line(f'{topology.CONTROLLER.name}: {topology.CONTROLLER.address}')
    for compute in topology.COMPUTES:
        console.line(f'{compute.name}: {compute.address}, in {compute.cell}')
    shown = rich.table.Table('service', 'host', 'state', 'since')
    programs = lab.supervisor.states()
    for program in programs:
        shown.add_row(
            program.name, program.host or 'this machine',
            program.state.lower(),
            f'{program.seconds} s' if program.runs else '')
    console.console.print(shown)
    return 0 if all(program.runs for program in programs) else 1


def env(args: argparse.Namespace) -> int:
    """Print what points the openstack command at the lab.

    :raises tool.console.Problem: if the lab is not up
    """
    lab = _need_whole_lab(args)
    clouds = shlex.quote(str(lab.where.clouds))
    programs = shlex.quote(str(pathlib.Path(sys.executable).parent))
    print(f'export OS_CLIENT_CONFIG_FILE={clouds}')
    print(f'export OS_CLOUD={args.cloud}')
    print(f'export PATH={programs}:"$PATH"')
    return 0


def logs(args: argparse.Namespace) -> int:
    """Show a log, or the names of all.

    :raises tool.console.Problem: if there is no such log
    """
    where = _where(args)
    names = sorted(path.stem for path in where.logs.glob('*.log'))
    if not names:
        raise console.Problem(
            'there are no logs: ./run lab up starts a lab, which writes '
            'them.')
    if args.name is None:
        print('\n'.join(names))
        return 0
    if args.name not in names:
        raise console.Problem(
            f'there is no log of {args.name!r}: ./run lab logs lists all.')
    os.execvp('tail', [
        'tail', *(['--follow'] if args.follow else []),
        f'--lines={_LOG_LINES}', str(supervisor.log(where, args.name))])


def shell(args: argparse.Namespace) -> int:
    """Open a shell on a host, or run a command there. Returns its exit code.

    :raises tool.console.Problem: if the lab is not up
    """
    lab = _need_lab(args)
    return subprocess.call(
        [*namespaces.enter_from_outside(lab.where, args.host),
         *(args.argument or ['bash'])],
        env={**os.environ, 'VIRSH_DEFAULT_CONNECT_URI': 'qemu:///system'})


def play(args: argparse.Namespace, what: abc.Iterable[str]) -> int:
    """Play scenarios on the lab. Returns the exit code.

    :param args: those of ./run scenarios
    :param what: the names of the scenarios
    :raises tool.console.Problem: if there is no whole lab
    """
    report = str(args.report.absolute()) if args.report else ''
    return namespaces.run_inside(
        _need_whole_lab(args).where, 'scenarios', report, *what)


def tests(args: argparse.Namespace) -> int:
    """Run OpenStack's own tests on the lab. Returns Tempest's exit code.

    :raises tool.console.Problem: if the lab is not up
    """
    return tempest.run(_need_whole_lab(args), args.regex)


def bench(args: argparse.Namespace) -> int:
    """Measure what the series is faster at.

    :returns: 1 if a round does not do what it should
    :raises tool.console.Problem: if the bench has no case of a name, or the
        lab is not up
    """
    for case in args.cases:
        if case not in benches.CASES[args.what]:
            raise console.Problem(
                f'the bench {args.what!r} has no case {case!r}. It has '
                + ', '.join(benches.CASES[args.what]), 2)
    rounds = args.rounds or benches.ROUNDS[args.what]
    return namespaces.run_inside(
        _need_whole_lab(args).where, 'bench', args.what, str(rounds),
        *args.cases)


def smoke(args: argparse.Namespace) -> int:
    """Start a lab, move a rescued server, end the lab.

    :raises tool.console.Problem: if a step fails, or something is left
    """
    preflight.need_root()
    subprocess.run(
        [sys.executable, '-m', 'pytest', '--quiet', 'tests/machine'],
        cwd=PROJECT.root, check=True)
    args.keep = False
    where = _where(args)
    interfaces = preflight.interfaces()
    code = up(args)
    if code:
        return code
    try:
        code = namespaces.run_inside(
            where, 'scenarios', '', 'live-migrate-rescued')
    finally:
        with _locked(where), console.step('end the lab'):
            _end(where)
    with console.step('check that nothing is left'):
        preflight.check_nothing_left(where, interfaces)
    return code
