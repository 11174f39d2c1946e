# SPDX-License-Identifier: Apache-2.0

"""The tables of all databases, kept for the next lab of the same code."""

from collections import abc
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import subprocess

from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real.services import mariadb
from lab.real.services import Service

Step = abc.Callable[[str], contextlib.AbstractContextManager[object]]

_KEPT = 4
"""Number of sets of empty tables that are kept.

A change to Nova's database code, or to a package, needs new ones.
"""

_TIMEOUT = 600
"""Seconds that dumping or loading the tables may take."""


def make(lab: Lab, services: abc.Sequence[Service], step: Step) -> None:
    """Create the tables, or load those that were kept.

    :param services: all that the lab has
    :raises lab.real.lab.Failed: if they cannot be created
    """
    names = [name for service in services for name in service.DATABASES]
    kept = lab.where.cache / f'tables-{_fingerprint(lab, names)}.sql'
    if kept.exists():
        with step('load the tables of all services'):
            kept.touch()
            _load(lab, kept)
        return
    with step('create the tables of all services'):
        for name in names:
            mariadb.query(
                lab, '', f'CREATE DATABASE {name} CHARACTER SET utf8mb4')
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for done in [pool.submit(service.make_tables, lab)
                         for service in services]:
                done.result()
        new = kept.with_suffix('.new')
        _dump(lab, names, new)
        new.replace(kept)
        _prune(lab.where.cache)


def _load(lab: Lab, path: pathlib.Path) -> None:
    with path.open() as statements:
        subprocess.run(
            ['mariadb', mariadb.client_options(lab)], stdin=statements,
            check=True, timeout=_TIMEOUT)


def _dump(lab: Lab, names: abc.Sequence[str], path: pathlib.Path) -> None:
    with path.open('w') as statements:
        subprocess.run(
            ['mariadb-dump', mariadb.client_options(lab), '--databases',
             *names], stdout=statements, check=True, timeout=_TIMEOUT)


def _prune(cache: pathlib.Path) -> None:
    """Remove the tables that have not been used for longest."""
    made = sorted(cache.glob('tables-*'), reverse=True,
                  key=lambda path: path.stat().st_mtime)
    for path in made[_KEPT:]:
        path.unlink()


def _fingerprint(lab: Lab, names: abc.Sequence[str]) -> str:
    """A digest of the code that creates the tables.

    :param names: of the databases
    """
    seen = hashlib.sha256(' '.join(names).encode())
    for line in subprocess.run(
            [executable('pip'), 'freeze'], capture_output=True, text=True,
            check=True, timeout=_TIMEOUT).stdout.splitlines():
        seen.update(line.encode())
    if lab.settings.nova:
        tree = pathlib.Path(lab.settings.nova, 'nova', 'db')
        for path in sorted(tree.rglob('*.py')):
            seen.update(str(path.relative_to(tree)).encode())
            seen.update(path.read_bytes())
    return seen.hexdigest()[:16]
