# SPDX-License-Identifier: Apache-2.0

"""The environments in .tox/ that commands run in, and how they are made.

A command declares, beside what it calls:

`environment`
    the name of a tox environment, or IF_LAB;
`packages`
    whether it may install the packages of the system that the lab needs;
`companions`
    whether it needs the companions, patched, in that environment.

Only what a command needs is made, and nothing is made for words that are
wrong, because they are parsed before.
"""

import argparse
from collections import abc
import contextlib
import fcntl
import os
import pathlib
import subprocess
import sys
import threading

from tool import console
from tool.layout import Layout

IF_LAB = 'lab, if it has been made'
"""The environment of commands that only look at a lab, if there is one.

Without that environment there is no lab, and nova is enough to say so.
"""

_QUIET = 2.0
"""Seconds after which an installation is announced."""

_POLICY = pathlib.Path('/usr/sbin/policy-rc.d')
_PRESET = pathlib.Path('/run/systemd/system-preset/00-lab.preset')
_MARK = '# ./run lab'


def _python(layout: Layout, name: str) -> pathlib.Path:
    return layout.root / '.tox' / name / 'bin' / 'python'


@contextlib.contextmanager
def _locked(layout: Layout) -> abc.Iterator[None]:
    """Keep other commands from installing meanwhile."""
    with open(layout.root / '.tox' / 'lock', 'a') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('Waiting for another ./run to finish its installation',
                  file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _announced(text: str) -> abc.Iterator[None]:
    """Say what is going on if it takes a while."""
    notice = threading.Timer(
        _QUIET, lambda: print(text, file=sys.stderr, flush=True))
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


def _run_tox(layout: Layout, name: str) -> None:
    """Make an environment, or bring it up to date.

    :raises tool.console.Problem: if it cannot be made
    """
    with _announced(f'Installing packages in .tox/{name}'):
        done = subprocess.run(
            [str(_python(layout, 'tox')), '-m', 'tox', 'run', '-qq',
             '--notest', '-e', name], cwd=layout.root, check=False)
    if done.returncode:
        raise console.Problem(
            f'the environment .tox/{name} could not be made: see above, '
            'check the network, and run this again.')


def _add_cinder(layout: Layout) -> None:
    """Install Cinder in the environment of the lab.

    :raises tool.console.Problem: if it cannot be installed
    """
    with _announced('Installing Cinder in .tox/lab'):
        done = subprocess.run(
            [str(_python(layout, 'lab')), '-m', 'pip', 'install', '-qq',
             '--disable-pip-version-check',
             '--constraint', 'constraints.txt',
             '--constraint', 'lab/constraints.txt',
             '--requirement', 'lab/constraints-cinder.txt'],
            cwd=layout.root, stdout=sys.stderr, check=False)
    if done.returncode:
        raise console.Problem(
            'Cinder could not be installed: see what pip says above, check '
            'the network, and run this again.')


def _missing(layout: Layout, profiles: abc.Sequence[str]) -> list[str]:
    """Packages of the system that are missing, by the names of bindep.txt.

    :raises tool.console.Problem: if bindep does not know this system
    """
    done = subprocess.run(
        [str(_python(layout, 'tox').with_name('bindep')), '--brief',
         '--file', 'bindep.txt', *profiles],
        cwd=layout.root, stdout=subprocess.PIPE, text=True, check=False)
    names = done.stdout.split()
    if done.returncode and not names:
        raise console.Problem(
            'the system packages that the lab needs are known only for '
            'Debian 12.')
    return names


@contextlib.contextmanager
def _services_off() -> abc.Iterator[None]:
    """Keep new packages from starting or enabling their services.

    A policy that names ./run lab was left by one that was killed.
    """
    with contextlib.ExitStack() as stack:
        if not _POLICY.exists() or _MARK in _POLICY.read_text(
                errors='replace').splitlines():
            stack.callback(_POLICY.unlink, missing_ok=True)
            _POLICY.write_text(f'#!/bin/sh\n{_MARK}\nexit 101\n')
            _POLICY.chmod(0o755)
        _PRESET.parent.mkdir(parents=True, exist_ok=True)
        stack.callback(_PRESET.unlink, missing_ok=True)
        _PRESET.write_text('disable *\n')
        yield


def _install_packages(layout: Layout, profiles: abc.Sequence[str]) -> None:
    """Install the packages of the system that the lab needs and lacks.

    :param profiles: of bindep.txt
    :raises tool.console.Problem: if they cannot be installed
    """
    missing = _missing(layout, profiles)
    if not missing:
        return
    if os.geteuid():
        raise console.Problem(
            'the lab needs system packages: run this as root, or: apt-get '
            f'install {" ".join(missing)}')
    print(f'Installing system packages: {" ".join(missing)}', file=sys.stderr)
    apt = ['apt-get', '-qq', '-o', 'DPkg::Lock::Timeout=300']
    log = layout.root / '.tox' / 'packages.log'
    with log.open('w') as output, _services_off():
        for command in (['update'], [
                'install', '--yes', '--no-install-recommends', *missing]):
            done = subprocess.run(
                apt + command, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, check=False,
                env={**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'})
            if done.returncode:
                break
    if done.returncode:
        said = log.read_text(errors='replace').splitlines()
        print('\n'.join(said[-10:]), file=sys.stderr)
        raise console.Problem(
            'system packages could not be installed: see above, and all of '
            f'it in {layout.shown(log)}.')


def _make(layout: Layout, name: str, args: argparse.Namespace) -> None:
    extras = getattr(args, 'extras', [])
    if getattr(args, 'packages', False):
        _install_packages(
            layout, ['lab', *(['ceph'] if extras else [])])
    _run_tox(layout, name)
    if 'cinder' in extras:
        _add_cinder(layout)


def enter(
    layout: Layout, args: argparse.Namespace, argv: abc.Sequence[str]
) -> None:
    """Go on in the environment that a command needs.

    Returns if this process is in it; else makes it, and starts the command
    anew in there in the place of this process.

    :param args: what was parsed of argv
    :raises tool.console.Problem: if it cannot be made
    """
    name = args.environment
    if name == IF_LAB:
        name = 'lab' if _python(layout, 'lab').exists() else 'nova'
    python = _python(layout, name)
    if pathlib.Path(sys.prefix) == python.parent.parent:
        return
    with _locked(layout):
        _make(layout, name, args)
    os.environ['PYTHONPATH'] = str(layout.root)
    os.execv(python, [str(python), '-m', 'tool', *argv])
