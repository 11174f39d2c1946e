# SPDX-License-Identifier: Apache-2.0

"""The tree of the series, build/nova: what state it is in."""

import pathlib

BRANCH = 'series'

# The commit that the last build or refresh left: what lies beyond it in the
# tree is work that is nowhere else.
BUILT = 'refs/series/built'


def work_in(repo):
    """What work a tree holds that patches/ may not have, None if none."""
    branch = repo.branch()
    if branch != BRANCH:
        return f'is not on its branch "{BRANCH}"'
    if not repo.clean():
        return 'has changes that are not committed'
    if repo.commit('HEAD') != repo.commit(BUILT):
        return 'has commits that are not in patches/'
    return None


def move(repo, head):
    """Moves the tree, which holds no work of its own, to a commit.

    A note of it lies in the repository meanwhile: if the process dies, the
    next build moves the tree anew.
    """
    moving = pathlib.Path(repo.tree) / '.git' / 'series-moving'
    moving.touch()
    repo('checkout', '--quiet', '--force', '-B', BRANCH, head)
    repo('update-ref', BUILT, head)
    moving.unlink()


def heal(repo):
    """Ends what a build began that died while it changed the tree.

    :returns: whether there was such a one
    """
    home = pathlib.Path(repo.tree) / '.git'
    if not (home / 'series-moving').exists():
        return False
    (home / 'index.lock').unlink(missing_ok=True)
    discard(repo)
    return True


def discard(repo):
    """Makes the files of a tree those of its last commit."""
    repo('reset', '--quiet', '--hard')
    repo('clean', '--quiet', '--force', '-d')
