# SPDX-License-Identifier: Apache-2.0

"""The companions of Nova: their style checks and unit tests.

A companion is checked by what its own tree configures, with the packages of
constraints.txt.
"""

import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
from typing import Any

import subunit
import testtools
import yaml

from tool import git
from tool.layout import Layout
from tool.nova_tests import stestr

# The hooks of .pre-commit-config.yaml that can be run without a network, and
# what they call: the module with its arguments, and the files they look at.
# The others look at white space and at files that merge conflicts or editors
# leave, which ./run check does of every commit.
_HOOKS = {
    'ruff-check': (('ruff', 'check', '--quiet'), r'\.pyi?$'),
    'ruff-format': (('ruff', 'format', '--diff', '--quiet'), r'\.pyi?$'),
    'hacking': (('flake8',), r'\.py$'),
    'doc8': (('doc8', '--quiet'), r'\.(rst|txt)$'),
}


def others(layout: Layout) -> list[pathlib.Path]:
    """The trees of the other companions, which one may import."""
    return [
        layout.of(name).tree for name in layout.companions
        if name != layout.project]


def _joined(trees: list[pathlib.Path]) -> str:
    return os.pathsep.join(map(str, trees))


def style(layout: Layout, repo: git.Git, paths: list[str]) -> list[str]:
    """What a project's own style checks say of some files of its tree.

    :param repo: the repository, with the commit in question checked out
    :param paths: files to check, relative to the tree
    :returns: what is wrong, one text for each thing
    """
    def run(*command: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, '-m', *command], cwd=tree,
            env={**os.environ, 'MYPYPATH': _joined(others(layout))},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout.strip()

    tree = pathlib.Path(repo.tree)
    paths = [path for path in paths if (tree / path).is_file()]
    found = []
    for hook in _hooks(tree):
        command, files = _HOOKS.get(hook['id'], ((), ''))
        chosen = [
            path for path in paths
            if command and re.search(files, path)
            and not re.search(hook.get('exclude', '^$'), path)]
        if chosen:
            # As flake8 calls them where it is told none: Tempest goes by that.
            code, said = run(*command, *(f'./{path}' for path in chosen))
            if code:
                found.append(f'{hook["id"]}: {said}')
    settings = tomllib.loads((tree / 'pyproject.toml').read_text())
    if 'mypy' in settings.get('tool', {}) and any(
            path.endswith('.py') for path in paths):
        # Of the whole package, as the project's pep8 does; what it says of
        # other files is for want of what they import.
        cache = layout.cache / 'mypy' / layout.project / tree.name
        code, said = run(
            'mypy', '--cache-dir', str(cache), '-p', _package(tree))
        found += [
            f'mypy: {line}' for line in said.splitlines()
            if code == 1 and line.split(':')[0] in paths
            and ': error: ' in line]
        if code not in (0, 1):
            found.append(f'mypy: {said}')
    return found


def _hooks(tree: pathlib.Path) -> list[dict[str, Any]]:
    """The pre-commit hooks of a project; flake8 alone if it has none."""
    try:
        text = (tree / '.pre-commit-config.yaml').read_text()
    except FileNotFoundError:
        return [{'id': 'hacking'}]
    return [hook for one in yaml.safe_load(text)['repos']
            for hook in one['hooks']]


def _package(tree: pathlib.Path) -> str:
    """The package that has the tree's unit tests."""
    (tests,) = tree.glob('*/tests')
    return tests.parts[-2]


def unit_tests(tree: pathlib.Path, paths: list[str]) -> set[str]:
    """Unit test modules among some files, and those of the modules in them.

    PACKAGE/a/b.py has PACKAGE/tests/unit/a/test_b.py, or the same without
    unit/ in a project that has no other tests there.

    :param paths: relative to the tree
    :returns: dotted names
    """
    package = _package(tree)
    unit = pathlib.PurePosixPath(package, 'tests', 'unit')
    if not (tree / unit).is_dir():
        unit = unit.parent
    found = set()
    for path in map(pathlib.PurePosixPath, paths):
        if path.suffix != '.py' or not path.is_relative_to(package):
            continue
        if not path.is_relative_to(unit):
            path = unit / path.relative_to(package).with_name(
                f'test_{path.name}')
        if path.name.startswith('test_') and (tree / path).is_file():
            found.add('.'.join(path.with_suffix('').parts))
    return found


def run_tests(
    layout: Layout, tree: pathlib.Path, modules: set[str]
) -> stestr.Outcome:
    """Run unit test modules of a companion, with the other companions.

    :param tree: the tree that they are in
    """
    outcome = stestr.Outcome()
    if not modules:
        return outcome
    env = {
        name: value for name, value in os.environ.items()
        if not name.startswith(('OS_', 'GIT_', 'PYTHON'))
    } | {
        'LANGUAGE': 'en_US:en',
        'LC_ALL': 'C.UTF-8',
        'OS_STDOUT_CAPTURE': '1',
        'OS_STDERR_CAPTURE': '1',
        'OS_LOG_CAPTURE': '1',
        'OS_TEST_TIMEOUT': '60',
        'PYTHONPATH': _joined([tree, *others(layout)]),
    }
    # To list all unit tests takes longer than to run these.
    below = os.path.commonpath(
        [name.replace('.', '/').rpartition('/')[0] for name in modules])
    with tempfile.TemporaryDirectory() as scratch:
        chosen = pathlib.Path(scratch) / 'tests'
        chosen.write_text(''.join(
            f'^{re.escape(name)}[.]\n' for name in sorted(modules)))
        done = subprocess.run(
            [sys.executable, '-m', 'stestr', '--repo-url', scratch,
             '--test-path', f'./{below}', '--top-dir', './', 'run',
             '--subunit', '--include-list', str(chosen)],
            cwd=tree, env=env, stdin=subprocess.DEVNULL, capture_output=True,
            check=False)
    summary = testtools.StreamToDict(outcome.add)
    summary.startTestRun()
    subunit.ByteStreamToStreamResult(
        io.BytesIO(done.stdout), non_subunit_name='stdout').run(summary)
    summary.stopTestRun()
    if not outcome.status or done.returncode not in (0, 1):
        outcome.died = (
            f'stestr ended with {done.returncode} after '
            f'{len(outcome.status)} tests:\n'
            f'{done.stderr.decode(errors="replace")[-4000:]}')
    return outcome
