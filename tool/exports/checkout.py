# SPDX-License-Identifier: Apache-2.0

"""Puts the series on a git checkout of Nova that someone already has.

Commits are merged in the checkout's object store alone. No branch or file
changes until all of them are there.
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
from tool import git
from tool.layout import Layout
from tool import numbers
from tool import release

# A file that every checkout of Nova has, and nothing else.
_NOVA = pathlib.Path('nova', 'compute', 'manager.py')

LEFT = 'nova-series'
"""In the git directory of a checkout: the patches that are left to apply."""


@dataclasses.dataclass(frozen=True)
class _Merge:
    """The result of merging a commit into a tree.

    :ivar tree: with conflict markers where it could not be merged
    :ivar conflicts: the files that could not be merged, each with the reason
    """

    tree: str
    conflicts: tuple[str, ...]


@dataclasses.dataclass
class _Merged:
    """The series, merged as far as it goes.

    :ivar head: the last commit before the first conflict
    :ivar left: file names of the patches from there on
    :ivar conflicts: by file name, those of all patches
    """

    head: str
    left: list[str] = dataclasses.field(default_factory=list)
    conflicts: dict[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict)


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


def _check_state(own: git.Git, directory: pathlib.Path, branch: str) -> None:
    """Refuse a checkout in which the branch cannot be made.

    :raises Problem: saying why
    """
    at = shlex.quote(str(directory))
    if own('status', '--porcelain', '--untracked-files=no'):
        raise Problem(
            f'{directory} has changes that are not committed: commit or '
            f'stash them first (git -C {at} status shows them).')
    if own.run('check-ref-format', '--branch', branch).returncode:
        raise Problem(f'"{branch}" cannot be the name of a branch.')
    if own.commit(f'refs/heads/{branch}'):
        raise Problem(
            f'{directory} has a branch "{branch}" already: delete it (git '
            f'-C {at} branch -D {branch}) or name another with --branch.')


def _check_numbers(
    layout: Layout, repo: git.Git, directory: pathlib.Path
) -> None:
    """Refuse a checkout in which the numbers of the series are not the next.

    The patches may well apply there, and yet not work.

    :raises Problem: saying which
    """
    wrong = numbers.not_next(numbers.of(repo, 'HEAD'), numbers.taken(layout))
    if wrong:
        listed = '\n'.join(f'  {text}' for text in wrong.values())
        raise Problem(
            f'{directory} does not stand where the numbers of the series are '
            f'the next ones:\n{listed}\nThe series is made for '
            f'{release.read(layout).title}: check that out, or its stable '
            'branch. If upstream has given out the microversions of the '
            'series, ./run renumber gives it others.')


def _check_absent(
    repo: git.Git, directory: pathlib.Path, last: str
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
        '--format=%h "%s"', 'HEAD')
    if there:
        raise Problem(
            f'{directory} has the series already, up to commit {there[0]}. '
            'To put it there anew, check out the commit that it stands on '
            'first.')


def _warn(
    layout: Layout, repo: git.Git, directory: pathlib.Path, base: str
) -> None:
    """Warn about a checkout that is not the release."""
    # The source archive has files of its own elsewhere.
    differ = repo.lines('diff', '--name-only', base, 'HEAD', '--', 'nova')
    if differ:
        console.line(
            f'Warning: {directory} is not '
            f'{release.read(layout).title}, which the series is made for: it '
            f'differs in {len(differ)} of the files of nova/. What merges '
            'there may still not work: run the tests of what the series '
            'touches.')


def _merge(repo: git.Git, onto: str, commit: str) -> _Merge:
    """Merge what a commit changes into another commit.

    :raises Problem: if git cannot merge at all
    """
    # git takes the merge base from the history alone.
    ours = repo('commit-tree', f'{onto}^{{tree}}', '-p', f'{commit}^',
                stdin=b'ours')
    done = repo.run('merge-tree', '--write-tree', '--name-only', '-z',
                    ours, commit)
    if done.returncode not in (0, 1):
        raise Problem(
            'git could not merge, for which it has to be 2.38 or later: '
            + done.stderr.decode(errors='replace').strip())
    tree, *rest = done.stdout.decode(errors='replace').split('\0')
    conflicts = []
    fields = iter(rest[rest.index('') + 1:] if done.returncode else ())
    for count in fields:
        if count:
            paths = [next(fields) for _ in range(int(count))]
            kind, _ = next(fields), next(fields)
            if kind.startswith('CONFLICT'):
                conflicts.append(
                    f'{paths[0]} {kind.removeprefix("CONFLICT ")}')
    return _Merge(tree, tuple(conflicts))


def _merge_all(
    repo: git.Git, built: abc.Mapping[str, str],
    owner: tuple[str, str], trailers: abc.Sequence[str],
) -> _Merged:
    """Merge the series, and find all conflicts of it.

    After a conflict the merge goes on, with conflict markers in the files. A
    later patch conflicts there only if it changes the same lines.

    :param built: the commits of the series, by the names of their patches
    """
    head = repo.commit('HEAD')
    merged = _Merged(head)
    for name, commit in built.items():
        merge = _merge(repo, head, commit)
        head = commits.again(repo, commit, merge.tree, head, owner, trailers)
        if merge.conflicts:
            merged.conflicts[name] = merge.conflicts
        if merged.conflicts:
            merged.left.append(name)
        else:
            merged.head = head
    return merged


def _keep(repo: git.Git, directory: pathlib.Path, head: str) -> None:
    """Copy the objects of a commit that its checkout borrows so far."""
    pack = repo.raw('pack-objects', '--revs', '--stdout', '--quiet',
                    stdin=f'{head}\n^HEAD\n'.encode())
    git.Git(directory)('index-pack', '--stdin', stdin=pack)


def _leave(
    repo: git.Git, directory: pathlib.Path, left: abc.Sequence[str],
    owner: tuple[str, str], trailers: abc.Sequence[str],
) -> pathlib.Path:
    """Write whole patches, and keep what git am -3 needs to merge them.

    :param left: the commits of the series to write
    :returns: the directory that holds them
    """
    below = head = repo.commit(f'{left[0]}^')
    for commit in left:
        head = commits.again(
            repo, commit, f'{commit}^{{tree}}', head, owner, trailers)
    _keep(repo, directory, head)
    where = pathlib.Path(repo(
        'rev-parse', '--path-format=absolute', '--git-path', LEFT))
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir()
    for name, data in commits.patch_files(repo, below, head).items():
        (where / name).write_bytes(data)
    return where


def _refusal(
    title: str, directory: pathlib.Path, merged: _Merged,
    where: pathlib.Path, branch: str, identity: abc.Sequence[str],
) -> Problem:
    """What to say if not all of the series could be merged.

    :param where: holds the patches that are left
    :param identity: settings of git for whoever has no identity
    """
    listed = '\n'.join(
        f'  patches/{name}: {conflict}'
        for name, found in merged.conflicts.items() for conflict in found)
    at, patches = shlex.quote(str(directory)), shlex.quote(str(where))
    am = ' '.join(['git', *identity, 'am', '-3'])
    return Problem(
        f'The series, made for {title}, conflicts with {directory}:\n'
        f'{listed}\n{directory} is as it was. To go on there, from the first '
        f'of these patches:\n  cd {at} && git switch -c {branch} '
        f'{merged.head} && {am} {patches}/*.patch\n'
        'Where it stops, resolve the conflict, git add the files, and: '
        + am.replace('-3', '--continue'))


def put(
    layout: Layout, directory: pathlib.Path, branch: str,
    signed: bool = False,
) -> None:
    """Put the series on a checkout, on a new branch.

    The commits are the user's, or nobody's if git does not know the user.

    :param directory: the top directory of the checkout
    :param branch: name of the branch to make
    :param signed: end each message with a Signed-off-by
    :raises Problem: if it cannot be put there; the checkout is as it was
    """
    own = git.Git(directory, own=True)
    _check_directory(own, directory)
    _check_state(own, directory, branch)
    built = commits.built(layout)
    *_, last = built.values()
    base = git.Git(layout.tree).commit('base')
    repo = git.Git(directory, borrowed=layout.tree / '.git' / 'objects')
    _check_absent(repo, directory, last)
    _check_numbers(layout, repo, directory)
    try:
        owner, identity = commits.identity(own), []
    except Problem:
        if signed:
            raise
        owner, identity = (git.NAME, git.EMAIL), [
            '-c', f'user.name={git.NAME}', '-c', f'user.email={git.EMAIL}']
    trailers = [commits.signed_off(owner)] if signed else []
    _warn(layout, repo, directory, base)
    with console.step(f'Putting the series on {directory}') as said:
        merged = _merge_all(repo, built, owner, trailers)
        if merged.left:
            where = _leave(
                repo, directory, [built[name] for name in merged.left],
                owner, trailers)
            raise _refusal(release.read(layout).title, directory, merged,
                           where, branch, identity)
        _keep(repo, directory, merged.head)
        try:
            own('checkout', '--quiet', '-b', branch, merged.head)
        except git.GitError as error:
            raise Problem(f'{directory} is as it was: {error}') from None
        said.append(
            f'{directory}: {len(built)} commits, on its new branch '
            f'"{branch}"')
    console.line(
        'Back to what it was: git -C '
        f'{shlex.quote(str(directory))} checkout -')
