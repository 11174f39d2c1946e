# SPDX-License-Identifier: Apache-2.0

"""A tree of its own to look at commits in, apart from build/nova."""

import contextlib
import shutil

from tool import git


@contextlib.contextmanager
def at(layout, repo, name, commit):
    """Checks a commit out, and takes it away in the end.

    :param repo: the repository of the tree
    :param name: of the directory, below build/; it is also that of the lock
        that keeps two processes from using it at once
    :yields: the repository as seen from there
    """
    where = layout.build / name
    with layout.locked(name):
        shutil.rmtree(where, ignore_errors=True)
        repo('worktree', 'prune')
        repo('worktree', 'add', '--quiet', '--detach', str(where), commit)
        try:
            yield git.Git(where)
        finally:
            shutil.rmtree(where, ignore_errors=True)
            repo('worktree', 'prune')
