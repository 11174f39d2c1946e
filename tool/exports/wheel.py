# SPDX-License-Identifier: Apache-2.0

"""./run export wheel: the patched Nova and its companions as wheels."""

from collections import abc
import os
import pathlib
import shlex
import subprocess
import sys
import tempfile

from tool import console
from tool.console import Problem
from tool import git
from tool.layout import Layout
from tool import release


def version(layout: Layout) -> str:
    """The version of a wheel: that of the release, and of this repository.

    The number of this repository's commits grows with each, so that pip takes
    a later export for an upgrade.

    :raises Problem: if this is not a whole clone of the repository
    """
    repo = git.Git(layout.root)
    done = repo.run('rev-list', '--count', 'HEAD')
    shallow = repo.run('rev-parse', '--is-shallow-repository')
    if done.returncode or shallow.stdout.strip() != b'false':
        raise Problem(
            'The number of a wheel is that of the commits of the series\' '
            'repository, and this is not a whole clone of it.')
    return f'{release.read(layout).version}+series{int(done.stdout)}'


def build(
    source: pathlib.Path, title: str, out: pathlib.Path
) -> pathlib.Path:
    """Build a wheel.

    :param source: holds nothing but what is to be in it
    :param title: its version
    :param out: a directory for it
    :raises Problem: if it cannot be built
    """
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--no-deps',
         '--no-build-isolation', '--disable-pip-version-check',
         '--wheel-dir', str(out / source.name), str(source)],
        env={**os.environ, 'PBR_VERSION': title},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Problem(f'The wheel could not be built:\n{done.stdout[-2000:]}')
    (wheel,) = (out / source.name).glob('*.whl')
    return wheel


def _build(layout: Layout, title: str, scratch: pathlib.Path) -> pathlib.Path:
    """Build a wheel of what is committed in the tree of a project.

    :param title: its version
    """
    source = scratch / layout.project
    repo = git.Git(layout.tree)
    # Nothing that a test run has left in the tree.
    repo('worktree', 'add', '--quiet', '--detach', str(source), 'HEAD')
    try:
        return build(source, title, scratch / 'wheels')
    finally:
        repo('worktree', 'remove', '--force', str(source))


def export(layouts: abc.Sequence[Layout], directory: pathlib.Path) -> None:
    """Build a wheel of each of some projects.

    :param layouts: the series of the projects, whose trees are built
    :param directory: made if it is not there; wheels of the same version in
        it are replaced
    :raises Problem: if one cannot be built; nothing is written
    """
    with tempfile.TemporaryDirectory() as scratch:
        wheels = []
        for layout in layouts:
            title = version(layout)
            name = f'{layout.project} {title}'
            with console.step(f'Building a wheel of {name}') as said:
                wheels.append(_build(layout, title, pathlib.Path(scratch)))
                said.append(f'wheel of {name}')
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for wheel in wheels:
                staged = directory / f'.{wheel.name}'
                staged.write_bytes(wheel.read_bytes())
                staged.replace(directory / wheel.name)
        except OSError as error:
            raise Problem(
                f'{directory} could not be written: {error.strerror}.'
            ) from error
    console.line(
        'Install them with: pip install --constraint constraints.txt '
        f'{shlex.quote(str(directory))}/*.whl')
