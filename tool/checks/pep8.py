# SPDX-License-Identifier: Apache-2.0

"""Nova's style checks on the files that a commit touches.

They are those of its tox environment pep8, which runs the hooks of
.pre-commit-config.yaml and mypy, as far as they work without a network.
"""

import pathlib
import subprocess
import sys

from tool.checks import whitespace
from tool import git

# Lines from which on a file takes minutes.
_LARGE = 4000


def _run(tree, module, *arguments):
    """Runs a module's command line in a tree.

    :returns: the exit code and what it printed
    """
    done = subprocess.run(
        [sys.executable, '-m', module, *arguments], cwd=tree,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )
    return done.returncode, done.stdout.strip()


def _seen_later(repo, commit, last, path):
    """Whether all lines that a commit brings to a file are there at the end.

    The check of the last commit that touches the file looks at them then.

    :param last: the last commit of the series
    """
    if not repo.lines('rev-list', '-1', f'{commit}..{last}', '--', path):
        return False
    try:
        shown = repo.lines(
            'blame', '-l', '-s', f'{commit}^..{last}', '--', path)
    except git.GitError:
        # It is gone by then.
        return False
    brought = sum(count for *_, count in whitespace.groups_of(
        repo, path, f'{commit}^', commit))
    return brought == sum(line.startswith(commit) for line in shown)


def to_check(repo, commit, last, paths):
    """The files of a commit to look at when it is checked.

    The rest are large files, whose lines the check of a later commit sees.

    :param last: the last commit of the series
    :param paths: the files that it touches
    """
    return [
        path for path in paths
        if not path.endswith('.py')
        or repo.run('show', f'{commit}:{path}').stdout.count(b'\n') < _LARGE
        or not _seen_later(repo, commit, last, path)]


def problems(repo, paths, cache):
    """What Nova's style checks say of some files of a tree.

    :param repo: the repository, with the commit in question checked out
    :param paths: files to check, relative to the tree
    :param cache: a directory that mypy may keep its findings in
    :returns: what is wrong, one text for each thing
    """
    tree = pathlib.Path(repo.tree)
    paths = [path for path in paths if (tree / path).is_file()]
    modules = [path for path in paths if path.endswith('.py')]
    hacked = [
        path for path in modules
        if not path.startswith(('doc/', 'releasenotes/', 'tools/'))
    ]
    texts = [
        path for path in paths
        if path.endswith('.rst')
        and path.startswith(('doc/', 'releasenotes/', 'api-guide/'))
    ]
    commands = []
    if hacked:
        commands.append(('flake8', *hacked))
    if paths:
        commands.append(
            ('codespell_lib', '--ignore-words=doc/dictionary.txt', *paths)
        )
    if texts:
        commands.append(('sphinxlint', '--enable=default-role', *texts))
    if modules:
        commands.append(('mypy', '--cache-dir', str(cache)))
    found = []
    for module, *arguments in commands:
        code, said = _run(tree, module, *arguments)
        if code:
            found.append(f'{module}: {said}')
    if modules:
        # It mends what it finds, as it does for a developer of Nova.
        code, said = _run(tree, 'autopep8', *modules)
        changed = repo('diff')
        repo('checkout', '--quiet', '--', '.')
        if code or changed:
            found.append(f'autopep8 would change:\n{said}{changed}')
    return found
