# SPDX-License-Identifier: Apache-2.0

"""Puts the series on a git checkout of Nova that someone already has.

No branch or file of it changes until all commits are merged.
"""

from collections import abc
import dataclasses
import pathlib
import re
import shlex
import shutil

from tool import console
from tool.console import Problem
from tool.exports import commits
from tool.exports import merge
from tool import git
from tool.layout import Layout
from tool import numbers
from tool import release

# A file that every checkout of Nova has, and nothing else.
_NOVA = pathlib.Path('nova', 'compute', 'manager.py')

LEFT = 'nova-series'
"""In the git directory of a checkout: the patches that are left to apply."""

# What an export has made of a checkout: the last commit, the one that the
# first stands on, and the branch that was checked out, if one was.
_HEAD = 'refs/nova-series/head'
_ONTO = 'refs/nova-series/onto'
_FROM = 'refs/nova-series/from'


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the series is put.

    :ivar onto: the commit that it is to stand on
    :ivar came_from: the branch that has that commit checked out, if one has
    """

    onto: str
    came_from: str | None


def _check_directory(own: git.Git, directory: pathlib.Path) -> None:
    """Refuse a directory that is not a checkout of Nova.

    :raises Problem: saying why
    """
    if not directory.is_dir():
        raise Problem(f'There is no directory {directory}.')
    done = own.run('rev-parse', '--show-toplevel')
    if done.returncode:
        said = done.stderr.decode(errors='replace').strip()
        if 'dubious ownership' in said:
            raise Problem(f'git refuses {directory}: {said}')
        raise Problem(f'{directory} is not a git checkout.')
    top = pathlib.Path(done.stdout.decode().rstrip('\n'))
    if top.resolve() != directory.resolve():
        raise Problem(f'{directory} is inside a git checkout: give {top}.')
    if not (directory / _NOVA).is_file() or not own.commit('HEAD'):
        raise Problem(f'{directory} is not a checkout of Nova.')


def _check_clean(own: git.Git, directory: pathlib.Path) -> None:
    """Refuse a checkout that has work in it.

    :raises Problem: saying how to look at it
    """
    at = shlex.quote(str(directory))
    if own('status', '--porcelain', '--untracked-files=no'):
        raise Problem(
            f'{directory} has changes that are not committed: commit or '
            f'stash them first (git -C {at} status shows them).')


def _is_ours(own: git.Git, directory: pathlib.Path, branch: str) -> bool:
    """Whether a branch is as an export left it; False if there is none.

    :raises Problem: if it is another's, or has more commits
    """
    head = own.commit(f'refs/heads/{branch}')
    if head and head != own.commit(_HEAD):
        raise Problem(
            f'The branch "{branch}" of {directory} is not, or no longer, what '
            './run export checkout made: rename it (git -C '
            f'{shlex.quote(str(directory))} branch -m {branch} NAME) to keep '
            'what it has.')
    return bool(head)


def _place(
    own: git.Git, directory: pathlib.Path, branch: str, replace: bool
) -> _Place:
    """Find where the series is to be put.

    :param replace: put it in the place of what an earlier export made
    :raises Problem: if the branch cannot be made
    """
    at = shlex.quote(str(directory))
    if own.run('check-ref-format', '--branch', branch).returncode:
        raise Problem(f'"{branch}" cannot be the name of a branch.')
    if own.commit(f'refs/heads/{branch}') and not replace:
        raise Problem(
            f'{directory} has a branch "{branch}" already: delete it (git '
            f'-C {at} branch -D {branch}), name another with --branch, or '
            'replace what an earlier export made with --replace.')
    if _is_ours(own, directory, branch) and own.branch() == branch:
        return _Place(own.commit(_ONTO), _came_from(own))
    return _Place(own.commit('HEAD'), own.branch())


def _came_from(own: git.Git) -> str | None:
    """The branch on which the last export found the checkout, if any."""
    done = own.run('symbolic-ref', '--quiet', _FROM)
    return done.stdout.decode().strip().removeprefix('refs/heads/') or None


def _check_numbers(
    layout: Layout, repo: git.Git, directory: pathlib.Path, onto: str
) -> None:
    """Refuse a checkout in which the numbers of the series are not the next.

    The patches may well apply there, and yet not work. A backport, which takes
    none, goes where those of its release are the last.

    :raises Problem: saying which
    """
    standing = numbers.of(repo, onto)
    wrong = numbers.not_next(standing, numbers.taken(layout))
    if layout.whole:
        wrong = {
            name: f'{numbers.title(name)} is {standing.get(name, "missing")}, '
            f'not {value}'
            for name, value in dataclasses.asdict(
                release.facts(layout)).items()
            if standing.get(name) != str(value)}
    if wrong:
        listed = '\n'.join(f'  {text}' for text in wrong.values())
        raise Problem(
            f'{directory} does not stand where the numbers of the series are '
            f'the next ones:\n{listed}\nThe series is made for '
            f'{release.read(layout).title}: check that out, or its stable '
            'branch. If upstream has given out the microversions of the '
            'series, ./run renumber gives it others.')


def _check_absent(
    repo: git.Git, directory: pathlib.Path, onto: str, last: str
) -> None:
    """Refuse a checkout that has the series.

    :param last: the last commit of the series
    :raises Problem: naming the commit
    """
    change = re.search(
        r'^Change-Id: I[0-9a-f]{40}$', repo('log', '-1', '--format=%B', last),
        re.MULTILINE)
    there = change and repo.lines(
        'log', '-1', '--fixed-strings', f'--grep={change[0]}',
        '--format=%h "%s"', onto)
    if there:
        raise Problem(
            f'{directory} has the series already, up to commit {there[0]}. '
            'To put it there anew, check out the commit that it stands on '
            'first.')


def _warn(
    layout: Layout, repo: git.Git, directory: pathlib.Path, onto: str
) -> None:
    """Warn about a checkout that is not the release."""
    # The source archive has files of its own elsewhere.
    base = git.Git(layout.tree).commit('base')
    differ = repo.lines('diff', '--name-only', base, onto, '--', 'nova')
    if differ:
        console.line(
            f'Warning: {directory} is not '
            f'{release.read(layout).title}, which the series is made for: it '
            f'differs in {len(differ)} of the files of nova/. What merges '
            'there may still not work: run the tests of what the series '
            'touches.')


def _keep(
    repo: git.Git, directory: pathlib.Path, onto: str, head: str
) -> None:
    """Copy the objects of a commit that its checkout borrows so far."""
    pack = repo.raw('pack-objects', '--revs', '--stdout', '--quiet',
                    stdin=f'{head}\n^{onto}\n'.encode())
    git.Git(directory)('index-pack', '--stdin', stdin=pack)


def _leave(
    repo: git.Git, directory: pathlib.Path, onto: str,
    left: abc.Sequence[str], owner: tuple[str, str],
    trailers: abc.Sequence[str],
) -> pathlib.Path:
    """Write whole patches, and keep what git am -3 needs to merge them.

    :param left: the commits of the series to write
    :returns: the directory that holds them
    """
    below = head = repo.commit(f'{left[0]}^')
    for commit in left:
        head = commits.again(
            repo, commit, f'{commit}^{{tree}}', head, owner, trailers)
    _keep(repo, directory, onto, head)
    where = pathlib.Path(repo(
        'rev-parse', '--path-format=absolute', '--git-path', LEFT))
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    for name, data in commits.patch_files(repo, below, head).items():
        (where / name).write_bytes(data)
    return where


def _refusal(
    layout: Layout, directory: pathlib.Path, merged: merge.Merged,
    where: pathlib.Path, switch: str, identity: abc.Sequence[str],
) -> Problem:
    """What to say if not all of the series could be merged.

    :param where: holds the patches that are left
    :param switch: the command that makes the branch at a commit
    :param identity: settings of git for whoever has no identity
    """
    listed = '\n'.join(
        f'  {layout.patch(name)}: {conflict}'
        for name, found in merged.conflicts.items() for conflict in found)
    at, patches = shlex.quote(str(directory)), shlex.quote(str(where))
    am = ' '.join(['git', *identity, 'am', '-3'])
    return Problem(
        f'The series, made for {release.read(layout).title}, conflicts with '
        f'{directory}:\n'
        f'{listed}\n{directory} is as it was. To go on there, from the first '
        f'of these patches:\n  cd {at} && {switch} '
        f'{merged.head} && {am} {patches}/*.patch\n'
        'Where it stops, resolve the conflict, git add the files, and: '
        + am.replace('-3', '--continue'))


def put(
    layout: Layout, directory: pathlib.Path, branch: str,
    signed: bool = False, replace: bool = False,
) -> None:
    """Put the series on a checkout, on a new branch.

    The commits are the user's, or nobody's if git does not know the user.

    :param directory: the top directory of the checkout
    :param branch: name of the branch to make
    :param signed: end each message with a Signed-off-by
    :param replace: put it in the place of what an earlier export made
    :raises Problem: if it cannot be put there; the checkout is as it was
    """
    own = git.Git(directory, own=True)
    _check_directory(own, directory)
    _check_clean(own, directory)
    place = _place(own, directory, branch, replace)
    built = commits.built(layout)
    *_, last = built.values()
    repo = git.Git(directory, borrowed=layout.tree / '.git' / 'objects')
    _check_absent(repo, directory, place.onto, last)
    _check_numbers(layout, repo, directory, place.onto)
    try:
        owner, identity = commits.identity(own), []
    except Problem:
        if signed:
            raise
        owner, identity = (git.NAME, git.EMAIL), [
            '-c', f'user.name={git.NAME}', '-c', f'user.email={git.EMAIL}']
    trailers = [commits.signed_off(owner)] if signed else []
    _warn(layout, repo, directory, place.onto)
    with console.step(f'Putting the series on {directory}') as said:
        merged = merge.all_of(repo, place.onto, built, owner, trailers)
        if merged.left:
            where = _leave(
                repo, directory, place.onto,
                [built[name] for name in merged.left], owner, trailers)
            raise _refusal(
                layout, directory, merged, where,
                f'git switch -{"C" if replace else "c"} {branch}', identity)
        _keep(repo, directory, place.onto, merged.head)
        try:
            own('checkout', '--quiet', '-B', branch, merged.head)
        except git.GitError as error:
            raise Problem(f'{directory} is as it was: {error}') from None
        own('update-ref', _HEAD, merged.head)
        own('update-ref', _ONTO, place.onto)
        if place.came_from:
            own('symbolic-ref', _FROM, f'refs/heads/{place.came_from}')
        else:
            own.run('symbolic-ref', '--delete', _FROM)
        said.append(
            f'{directory}: {len(built)} commits, on its new branch '
            f'"{branch}"')
    console.line(
        f'Back to what it was: ./run export checkout --undo --branch {branch} '
        f'{shlex.quote(str(directory))}')


def take_back(directory: pathlib.Path, branch: str) -> None:
    """Bring a checkout back to where the series was put on it.

    :param directory: the top directory of the checkout
    :param branch: the branch that was made, which is deleted
    :raises Problem: if that would lose work; the checkout is as it was
    """
    own = git.Git(directory, own=True)
    _check_directory(own, directory)
    if not _is_ours(own, directory, branch):
        console.line(
            f'{directory} has no branch "{branch}": there is nothing to '
            'undo.')
        return
    if own.branch() == branch:
        _check_clean(own, directory)
        back = _came_from(own)
        if back and own.commit(f'refs/heads/{back}'):
            own('checkout', '--quiet', back)
        else:
            own('checkout', '--quiet', '--detach', _ONTO)
    own('branch', '--quiet', '-D', branch)
    for ref in (_HEAD, _ONTO):
        own('update-ref', '-d', ref)
    own.run('symbolic-ref', '--delete', _FROM)
    console.line(f'{directory} is as it was, without the series.')
