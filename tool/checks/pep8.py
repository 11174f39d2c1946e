# SPDX-License-Identifier: Apache-2.0

"""Nova's style checks on the files that a commit touches.

They are those of its tox environment pep8, which runs the hooks of
.pre-commit-config.yaml and mypy, as far as they work without a network.
"""

import pathlib
import subprocess
import sys


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
