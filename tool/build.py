# SPDX-License-Identifier: Apache-2.0

"""Builds the patched tree: the base, and one commit for each patch."""

import contextlib
import os
import shutil
import subprocess

from tool import console
from tool.console import Problem
from tool import git
from tool import made
from tool import release
from tool import series
from tool import staging
from tool import tree

# Dates of the base commit, so that its id is always the same.
_BASE_DATE = '1262304000 +0000'

# What test runs leave in the tree, where it is no one's work.
_EXCLUDED = '__pycache__/\n*.pyc\n/.stestr/\n/.coverage*\n/instances/\n'


def _base_message(base):
    return f'{base.title}\n\nsha256: {base.sha256}\n'


def _unpack(layout, base, into):
    """Makes a repository of one commit from the source archive."""
    archive = release.archive(layout, base)
    into.mkdir()
    subprocess.run(
        ['tar', '--extract', '--gzip', '--no-same-owner', '--file',
         str(archive), '--strip-components=1', '--directory', str(into)],
        check=True,
    )
    repo = git.Git(into)
    repo('-c', f'init.defaultBranch={tree.BRANCH}', 'init', '--quiet')
    (into / '.git' / 'info').mkdir(exist_ok=True)
    (into / '.git' / 'info' / 'exclude').write_text(_EXCLUDED)
    for name, value in (
        ('core.autocrlf', 'false'),
        ('commit.gpgSign', 'false'),
        ('gc.auto', '0'),
    ):
        repo('config', name, value)
    repo('add', '--all', '--force')
    repo(
        'commit', '--quiet', '--cleanup=verbatim', '--file=-',
        stdin=_base_message(base).encode(),
        env={'GIT_AUTHOR_DATE': _BASE_DATE, 'GIT_COMMITTER_DATE': _BASE_DATE},
    )
    repo('tag', 'base')
    return repo


def _is_of(repo, base):
    """Whether a tree stands on that release."""
    done = repo.run('log', '-1', '--format=%B', 'refs/tags/base')
    return done.stdout.decode().strip() == _base_message(base).strip()


def _leave_to_mend(layout, repo, failure):
    """Makes the tree in which the patch that does not apply is mended.

    If it is already there it stays as it is, with what was mended so far.

    :returns: the Problem to raise
    """
    mend = git.Git(layout.mend)
    if not layout.mend.exists():
        _make_mend(layout, repo, failure)
    elif mend.commit(tree.BUILT) != failure.parent:
        return Problem(
            f'{layout.patch(failure.name)} does not apply, and '
            f'{layout.shown(layout.mend)} is there from mending another '
            'patch: delete that directory and run this again.'
        )
    where = '\n'.join(f'  {text}' for text in failure.where)
    patch = os.path.relpath(layout.patch_file(failure.name), layout.mend)
    return Problem(
        f'{layout.patch(failure.name)} does not apply:\n{where}\n'
        'The tree before it, to mend it in (its additions are there):\n'
        f'  cd {layout.shown(layout.mend)} && git apply --reject {patch}\n'
        'Then work in what the .rej files hold, delete them, git add -A, '
        'git commit, and in this directory: '
        f'{layout.command("refresh --mend")}'
    )


def _make_mend(layout, repo, failure):
    """Makes the tree before a patch, with the additions of the patch."""
    new = layout.beside('mend.new')
    shutil.rmtree(new, ignore_errors=True)
    # A clone of its own: the repository it comes from may be gone soon.
    repo('clone', '--quiet', '--no-checkout', str(repo.tree), str(new))
    mend = git.Git(new)
    mend('checkout', '--quiet', '-B', tree.BRANCH, failure.parent)
    mend('update-ref', tree.BUILT, failure.parent)
    (new / '.git' / 'info' / 'exclude').write_text(_EXCLUDED)
    (new / '.git' / 'MERGE_MSG').write_text(failure.patch.message)
    for state in failure.added:
        state.write(repo, new)
    os.rename(new, layout.mend)


def build(layout, force=False, quiet=False):
    """Makes the patched tree, or brings it up to what patches/ says.

    :param force: discard what the tree holds that patches/ has not
    :param quiet: do not show it
    :returns: the id of the last commit
    :raises Problem: if it cannot be built; the tree is then as it was
    """
    with layout.locked():
        base = release.read(layout)
        if not (layout.tree / '.git').exists():
            release.archive(layout, base)
        shown = f'Building {layout.shown(layout.tree)}'
        with (
            contextlib.nullcontext([]) if quiet else console.step(shown)
        ) as said:
            said.append(_build(layout, base, force))
    return git.Git(layout.tree).commit('HEAD')


def _build(layout, base, force):
    """See build.

    :returns: what was done, in one line
    """
    staging.finish(layout)
    fresh = layout.tree.with_name(f'{layout.tree.name}.new')
    old = layout.tree.with_name(f'{layout.tree.name}.old')
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    repo = git.Git(layout.tree)
    work, usable = None, False
    if (layout.tree / '.git').exists():
        work = None if tree.heal(repo) else tree.work_in(repo)
        usable = _is_of(repo, base)
    elif layout.tree.exists():
        work = 'is not a git tree'
    if not usable:
        if work and not force:
            raise _refusal(layout, work)
        repo = _unpack(layout, base, fresh)
    try:
        head, count = _series(layout, repo)
        text = f'{layout.shown(layout.tree)}: {base.title}, {count} commits'
        if usable:
            if repo.commit(tree.BUILT) == head and not (work and force):
                return f'{text}; it {work}' if work else f'{text}, up to date'
            if work and not force:
                raise _refusal(layout, work)
            if work:
                text += f' (was at {repo.commit("HEAD")[:12]})'
                tree.discard(repo)
        tree.move(repo, head)
        if not usable:
            with contextlib.suppress(FileNotFoundError):
                os.rename(layout.tree, old)
            os.rename(fresh, layout.tree)
        return text
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)


def _refusal(layout, work):
    return Problem(
        f'{layout.shown(layout.tree)} {work}, and a build would destroy '
        'that: take it back into patches/ with '
        f'{layout.command("refresh")}, or discard it with '
        f'{layout.command("build --force")}.'
    )


def _series(layout, repo):
    """Id of the last commit of the series, and how many they are."""
    base = repo.commit('refs/tags/base')
    key = made.key(layout, base)
    if known := made.remembered(repo, key):
        return known
    try:
        commits = series.make_commits(repo, layout, base)
    except series.DoesNotApply as failure:
        raise _leave_to_mend(layout, repo, failure) from None
    head = commits[-1].commit if commits else base
    made.remember(repo, key, head, len(commits))
    return head, len(commits)
