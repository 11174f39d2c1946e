# SPDX-License-Identifier: Apache-2.0

"""./run check: what must hold for the series as it is in patches/."""

import dataclasses
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import packaging.requirements
import packaging.utils

from tool import blank
from tool import build
from tool import console
from tool.console import Problem
from tool import git
from tool.layout import Layout
from tool.layout import OVERLAY_ROOTS
from tool import message
from tool import owntests
from tool import stack
from tool import style
from tool import worktree

NOTES = 'releasenotes/notes'


@dataclasses.dataclass(frozen=True)
class Series:
    """What is checked.

    :ivar repo: the repository of the tree
    :ivar made: the commits made of the patches, in order
    """

    layout: Layout
    repo: git.Git
    made: list[stack.Made]

    def patches(self):
        """Each patch's file name with the patch."""
        return [
            (one.name, stack.load(self.layout, one.name)) for one in self.made
        ]

    def paths(self, commit):
        """Files that a commit touches."""
        return self.repo.lines(
            'diff', '--name-only', '--no-renames', f'{commit}^', commit
        )


def _apply(series):
    """Patches that do not stand exactly where they say."""
    return [
        f'patches/{one.name}: {text}: bring it up to date with ./run refresh'
        for one in series.made for text in one.offsets
    ]


def _additions(series):
    """Files of the overlay that not exactly one patch adds."""
    owners = {}
    found = []
    for name, it in series.patches():
        for path in it.adds:
            if path in owners:
                found.append(f'{path} is added by {owners[path]} and {name}')
            owners[path] = name
    for top in OVERLAY_ROOTS:
        for where, directories, names in os.walk(series.layout.root / top):
            if '__pycache__' in directories:
                directories.remove('__pycache__')
            for name in names:
                file = pathlib.Path(where) / name
                path = str(file.relative_to(series.layout.root))
                if path not in owners:
                    found.append(f'{path} is added by no patch')
    named = {name for name, _ in series.patches()}
    for file in sorted(series.layout.patches.glob('*')):
        if file.name not in named | {stack.SERIES}:
            found.append(f'patches/{file.name} is not in patches/series')
    return found


def _messages(series):
    """Commit messages that Nova's reviewers would not take."""
    found = [
        f'patches/{name}: {text}'
        for name, it in series.patches()
        for text in message.problems(it.message)
    ]
    for one in message.repeated(it.message for _, it in series.patches()):
        found.append(f'Change-Id {one} is in more than one patch')
    return found


def _white_space(series):
    """White space at line ends, and changes of nothing but white space."""
    found = []
    for one in series.made:
        parent = f'{one.commit}^'
        done = series.repo.run('diff', '--check', parent, one.commit)
        for line in done.stdout.decode(errors='replace').splitlines():
            if re.match(r'[^+-].*:\d+: ', line):
                found.append(f'patches/{one.name}: {line}')
        changed = series.repo.lines(
            'diff', '--name-only', '--no-renames', '--diff-filter=M', parent,
            one.commit,
        )
        for path in changed:
            lines = blank.only_space(
                series.repo.raw('cat-file', 'blob', f'{parent}:{path}'),
                series.repo.raw('cat-file', 'blob', f'{one.commit}:{path}'),
                series.repo.raw(
                    'diff', '--unified=0', '--no-renames', parent, one.commit,
                    '--', path,
                ),
                path.endswith('.py'),
            )
            for line in lines:
                found.append(
                    f'patches/{one.name}: {path}:{line}: only white space '
                    'changes here'
                )
    return found


def _notes(series):
    """What reno says of the release notes of the series.

    Nova's own notes are left out: reno takes them, as they come in one
    commit without their history, for notes that share their ids.
    """
    head = series.made[-1].commit
    notes = series.repo.lines(
        'diff', '--name-only', '--no-renames', '--diff-filter=AM', 'base',
        head, '--', NOTES,
    )
    if not notes:
        return []
    taken = {
        pathlib.PurePath(path).stem.rpartition('-')[2]
        for path in series.repo.lines(
            'ls-tree', '--name-only', 'base', f'{NOTES}/'
        )
    }
    found = [
        f'{path}: a note of Nova has this id already'
        for path in notes
        if pathlib.PurePath(path).stem.rpartition('-')[2] in taken
        and not series.repo.lines('ls-tree', 'base', path)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        repo = git.Git(scratch)
        repo('init', '--quiet')
        repo('commit', '--quiet', '--allow-empty', '--message=base')
        repo('tag', 'base')
        for path in notes:
            file = pathlib.Path(scratch) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(series.repo.raw('cat-file', 'blob',
                                             f'{head}:{path}'))
        repo('add', '--all')
        repo('commit', '--quiet', '--message=notes')
        done = subprocess.run(
            [pathlib.Path(sys.executable).with_name('reno'), 'lint'],
            cwd=scratch,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )
    if done.returncode:
        found.append(f'reno: {done.stdout.strip()}')
    return found


def _requirements(series):
    """Requirements of Nova that the installed packages do not meet."""
    found = []
    head = series.made[-1].commit
    for name in ('requirements.txt', 'test-requirements.txt'):
        for line in series.repo.lines('show', f'{head}:{name}'):
            line = line.partition('#')[0].strip()
            if not line:
                continue
            wanted = packaging.requirements.Requirement(line)
            if wanted.marker and not wanted.marker.evaluate():
                continue
            try:
                version = importlib.metadata.version(wanted.name)
            except importlib.metadata.PackageNotFoundError:
                found.append(f'{name}: {wanted.name} is not in '
                             'constraints.txt')
                continue
            if not wanted.specifier.contains(version, prereleases=True):
                found.append(
                    f'{name}: {wanted} is not met by {version} of '
                    'constraints.txt'
                )
    return found


def _style(series):
    """What Nova's style checks say of each commit."""
    cache = series.layout.cache / 'mypy'
    found = []
    with worktree.at(series.layout, series.repo, 'check', 'base') as repo:
        for one in series.made:
            repo('checkout', '--quiet', '--detach', one.commit)
            texts = style.problems(repo, series.paths(one.commit), cache)
            found += [f'patches/{one.name}: {text}' for text in texts]
    return found


def _own_tests(series):
    """Unit tests of each commit that fail at that commit."""
    found = []
    with worktree.at(series.layout, series.repo, 'check', 'base') as repo:
        for one in series.made:
            repo('checkout', '--quiet', '--detach', one.commit)
            start = time.monotonic()
            passed, texts = owntests.problems(
                repo, one.commit, series.paths(one.commit), one.name
            )
            found += [f'patches/{one.name}: {text}' for text in texts]
            console.line(
                f'       {one.name}: {passed} passed',
                time.monotonic() - start,
            )
    return found


_CHECKS = (
    ('patches apply without fuzz or offset', _apply),
    ('every addition belongs to one commit', _additions),
    ("commit messages follow Nova's rules", _messages),
    ('no change of white space alone', _white_space),
    ('release notes (reno)', _notes),
    ("constraints.txt meets Nova's requirements", _requirements),
    ("each commit passes Nova's pep8", _style),
)
_SLOW = (('each commit passes its own unit tests', _own_tests),)


def _prepare(layout):
    """Builds what is checked.

    :raises Problem: if the series cannot even be built
    """
    build.build(layout)
    repo = git.Git(layout.tree)
    made = stack.make_commits(repo, layout, repo.commit('base'))
    if not made:
        raise Problem('There are no patches yet: nothing to check.')
    return Series(layout, repo, made)


def run(layout, quick=False):
    """Runs the checks, and prints each with its time and result.

    :param quick: leave out the tests of each commit
    :returns: the exit code
    """
    series = _prepare(layout)
    failed = 0
    for title, check in _CHECKS + (() if quick else _SLOW):
        start = time.monotonic()
        with console.console.status(title):
            found = check(series)
        failed += bool(found)
        console.line(
            f'{"FAILED" if found else "ok    "} {title}',
            time.monotonic() - start,
        )
        for text in found:
            console.line('       ' + text.replace('\n', '\n         '))
    total = len(_CHECKS) + (0 if quick else len(_SLOW))
    if failed:
        console.line(f'{failed} of {total} checks failed.')
    else:
        console.line(f'All {total} checks are fine.')
    return 1 if failed else 0
