# SPDX-License-Identifier: Apache-2.0

"""./run export gerrit: patch files for git am and git review."""

from collections import abc
import pathlib
import shlex

from tool import console
from tool.exports import commits
from tool import git
from tool.layout import Layout

COVER = 'cover-letter.txt'
"""Not *.patch, so that `git am DIR/*.patch` takes the changes alone."""


def _why(repo: git.Git, commit: str) -> str:
    """The first paragraph of a commit message's body."""
    body = repo('log', '-1', '--format=%b', commit)
    return body.split('\n\n')[0].strip()


def _cover(repo: git.Git, title: str, below: str, head: str) -> str:
    """What the changes are about, taken from their messages."""
    ids = repo.lines('rev-list', '--reverse', f'{below}..{head}')
    parts = [f'{title}\n{"=" * len(title)}', (
        f'{len(ids)} changes, in the order in which they depend on each '
        'other.')]
    for number, commit in enumerate(ids, 1):
        subject = repo('log', '-1', '--format=%s', commit)
        parts.append(f'{number}. {subject}\n\n{_why(repo, commit)}')
    parts.append(repo('diff', '--stat', below, head))
    return '\n\n'.join(parts) + '\n'


def export(
    layout: Layout, directory: pathlib.Path, topic: str | None,
    trailers: abc.Sequence[str],
) -> None:
    """Write the series, or one topic of it, as the user's own commits.

    :param directory: new or empty
    :param topic: name of a topic of patches/series; all if None
    :param trailers: further trailers of each message
    :raises tool.console.Problem: if it cannot be done; nothing is written
    """
    with console.step(f'Writing patches to {directory}') as said:
        names = commits.choose(layout, topic)
        repo, below, head = commits.rewrite(layout, names, trailers)
        title = next((
            f'{each.name}: {each.title}' if each.title else each.name
            for each in commits.topics(layout) if each.name == topic
        ), 'The series')
        files = commits.patch_files(repo, below, head)
        cover = _cover(repo, title, below, head)
        commits.written(directory, {**files, COVER: cover.encode()})
        said.append(f'{directory}: {len(files)} patches and {COVER}')
    at = shlex.quote(str(directory))
    console.line(
        f'In a clone of Nova: git am {at}/*.patch (git am -3 on a tree that '
        'has moved on)' + (f', then git review -t {topic}' if topic else ''))
