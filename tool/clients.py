# SPDX-License-Identifier: Apache-2.0

"""The companions in the environment of this process.

The scenarios and the users of the lab type what an operator types, through the
SDK and the command line as the companions' series make them.
"""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tempfile

from tool import build
from tool import console
from tool.console import Problem
from tool.exports import wheel
from tool import git
from tool.layout import Layout
from tool import release

_RELEASED = 'released'


def _installed() -> pathlib.Path:
    """The file that says what this environment has."""
    return pathlib.Path(sys.prefix) / 'companions'


def _has(name: str) -> bool:
    """Whether this environment has a project at all."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _pip(*arguments: str) -> None:
    """Install in this environment.

    :raises Problem: if it fails
    """
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps',
         '--force-reinstall', '--disable-pip-version-check', *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Problem(
            'The SDK and the command line could not be installed:\n'
            f'{done.stdout[-2000:]}')


def _tree(repo: git.Git) -> str:
    """The id of what is in a tree now, uncommitted work included."""
    with tempfile.TemporaryDirectory() as scratch:
        index = repo.with_index(pathlib.Path(scratch) / 'index')
        index('read-tree', 'HEAD')
        index('add', '--all')
        return index('write-tree')


def _wheel(layout: Layout, tree: str, scratch: pathlib.Path) -> str:
    """Build a wheel of a tree. Returns its path."""
    source = scratch / layout.project
    source.mkdir()
    archive = git.Git(layout.tree).raw('archive', tree)
    subprocess.run(
        ['tar', '--extract', '--directory', str(source)], input=archive,
        check=True)
    version = f'{release.read(layout).version}+series'
    return str(wheel.build(source, version, scratch / 'wheels'))


def install(layout: Layout, released: bool = False) -> None:
    """Install the companions, and say so, unless they are there already.

    :param released: as they are released, without their series
    :raises Problem: if they cannot be built or installed
    """
    companions = [
        layout.of(name) for name in layout.companions if _has(name)]
    if not released:
        for one in companions:
            build.build(one, quiet=True)
    with layout.locked('clients'):
        trees = {
            one.project: _RELEASED if released else _tree(git.Git(one.tree))
            for one in companions}
        wanted = ''.join(f'{name} {tree}\n' for name, tree in trees.items())
        try:
            has = _installed().read_text()
        except FileNotFoundError:
            # As tox has made it.
            has = ''.join(f'{name} {_RELEASED}\n' for name in trees)
        if has == wanted:
            return
        titles = ', '.join(release.read(one).title for one in companions)
        with (
            console.step(f'Installing {titles}, '
                         f'{"as released" if released else "patched"}'),
            tempfile.TemporaryDirectory() as scratch,
        ):
            _installed().write_text('being installed\n')
            if released:
                _pip(*(
                    f'{base.name}=={base.version}'
                    for base in map(release.read, companions)))
            else:
                _pip(*(
                    _wheel(one, trees[one.project], pathlib.Path(scratch))
                    for one in companions))
            new = _installed().with_suffix('.new')
            new.write_text(wanted)
            os.replace(new, _installed())
