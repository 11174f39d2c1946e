# SPDX-License-Identifier: Apache-2.0

"""Merges the commits of the series into another tree than they stand on.

In the object store alone: no branch, index or file changes.
"""

from collections import abc
import dataclasses

from tool.console import Problem
from tool.exports import commits
from tool import git


@dataclasses.dataclass(frozen=True)
class _Merge:
    """The result of merging a commit into a tree.

    :ivar tree: with conflict markers where it could not be merged
    :ivar conflicts: the files that could not be merged, each with the reason
    """

    tree: str
    conflicts: tuple[str, ...]


@dataclasses.dataclass
class Merged:
    """The series, merged as far as it goes.

    :ivar head: the last commit before the first conflict
    :ivar left: file names of the patches from there on
    :ivar conflicts: by file name, those of all patches
    """

    head: str
    left: list[str] = dataclasses.field(default_factory=list)
    conflicts: dict[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict)


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


def all_of(
    repo: git.Git, onto: str, built: abc.Mapping[str, str],
    owner: tuple[str, str], trailers: abc.Sequence[str],
) -> Merged:
    """Merge commits, and find all conflicts that they have.

    After a conflict the merge goes on, with conflict markers in the files. A
    later patch conflicts there only if it changes the same lines.

    :param onto: the commit that the first is to stand on
    :param built: the commits, by the file names of their patches
    :param owner: name and email address of their new author and committer
    :param trailers: more lines for their messages
    :raises Problem: if git cannot merge at all
    """
    merged = Merged(onto)
    head = onto
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
