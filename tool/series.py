# SPDX-License-Identifier: Apache-2.0

"""The series as it lies in patches/ and the overlay, and its commits.

Commits are made in git's object store alone, with an index of their own: no
branch, index or file of the tree changes until they are all there.
"""

import dataclasses
import pathlib
import re
import tempfile

from tool import additions
from tool.console import Problem
from tool import patch

SERIES = 'series'


class DoesNotApply(Exception):
    """A patch does not apply.

    :ivar name: the file name of the patch
    :ivar patch: what it says
    :ivar added: the files that it adds, a tool.additions.State each
    :ivar parent: id of the commit that it should have stood on
    :ivar where: what does not apply, one text for each file
    """

    def __init__(self, name, patch, added, parent, where):
        super().__init__(f'{name}: {"; ".join(where)}')
        self.name = name
        self.patch = patch
        self.added = added
        self.parent = parent
        self.where = where


@dataclasses.dataclass(frozen=True)
class Made:
    """A commit that was made of a patch.

    :ivar name: the file name of the patch
    :ivar commit: the id of the commit
    :ivar offsets: what git said of hunks that did not stand where the
        patch says, one text for each
    """

    name: str
    commit: str
    offsets: tuple[str, ...]


def names(layout):
    """File names of the patches in their order; none if there is no series.

    :raises Problem: if the series names one twice, or one that is not there
    """
    try:
        lines = layout.series.read_text().splitlines()
    except FileNotFoundError:
        return []
    found = [line.strip() for line in lines]
    found = [line for line in found if line and not line.startswith('#')]
    for name in found:
        if not layout.patch_file(name).is_file():
            raise Problem(
                f'{layout.shown(layout.series)} names {name}, which is not '
                'there.'
            )
        if found.count(name) > 1:
            raise Problem(
                f'{layout.shown(layout.series)} names {name} twice.')
    return found


def load(layout, name):
    """The patch of that file name.

    :raises Problem: if the file is not a patch
    """
    return patch.read(
        layout.patch_file(name).read_bytes(), layout.patch(name))


def load_all(layout):
    """All patches with their file names, in their order.

    :raises Problem: if the series is not one
    """
    return [(name, load(layout, name)) for name in names(layout)]


def whole_of(layout):
    """The places and the patches of the series that has the new files.

    :returns: those of the series itself, unless it is a backport
    """
    whole = layout.whole or layout
    return whole, load_all(whole)


def _hunk(edits, path, line):
    """Number and header of the hunk that starts at a line of a file."""
    number = 0
    inside = False
    for text in edits.decode(errors='replace').split('\n'):
        if text.startswith('diff --git '):
            inside = text.startswith(f'diff --git a/{path} ')
            number = 0
        elif inside and text.startswith('@@ '):
            number += 1
            if re.match(rf'@@ -{line}[ ,]', text):
                return f'hunk {number} ({text.split(" @@")[0]} @@)'
    return f'the hunk at line {line}'


def _where(stderr, edits):
    """What git apply said, in terms of files and hunks."""
    found = []
    for path, line in re.findall(r'error: patch failed: (.*):(\d+)', stderr):
        found.append(f'{path}, {_hunk(edits, path, line)}')
    failed = {entry.split(',')[0] for entry in found}
    for path, why in re.findall(r'error: (.+?): (.*)', stderr):
        if path not in failed and path != 'patch failed':
            found.append(f'{path}: {why}')
    return found or [stderr.strip()]


def _make(repo, name, it, added, parent):
    """Makes the commit of one patch; the index holds its parent's tree.

    :param added: the files that it adds
    """
    known = additions.in_index(repo, it.adds)
    for path in known:
        raise Problem(
            f'patches/{name} adds {path}, which is already there before '
            'that commit.'
        )
    if added:
        repo(
            'update-index', '-z', '--add', '--index-info',
            stdin=b''.join(state.entry for state in added),
        )
    offsets = ()
    if it.edits.strip():
        done = repo.run(
            'apply', '--cached', '--verbose', '--whitespace=nowarn', '-',
            stdin=it.edits,
        )
        said = done.stderr.decode(errors='replace')
        if done.returncode:
            raise DoesNotApply(name, it, added, parent, _where(said, it.edits))
        offsets = tuple(re.findall(r'Hunk #\d+ succeeded at .*offset.*', said))
    when = f'@{it.date} +0000'
    commit = repo(
        'commit-tree', repo('write-tree'), '-p', parent,
        stdin=it.message.encode(),
        env={'GIT_AUTHOR_DATE': when, 'GIT_COMMITTER_DATE': when},
    )
    return Made(name, commit, offsets)


def make_commits(repo, layout, base, limit=None):
    """Makes the commits of the series in the repository's object store.

    :param repo: the repository, whose files and branches stay as they are
    :param base: the commit that the first one is to stand on
    :param limit: how many to make, all if None
    :returns: the commits made, in order
    :raises DoesNotApply: at the first patch that does not apply
    :raises Problem: if the series is not one
    """
    made = []
    patches = load_all(layout)
    states = additions.Additions(repo, *whole_of(layout))
    with tempfile.TemporaryDirectory() as scratch:
        repo = repo.with_index(pathlib.Path(scratch) / 'index')
        repo('read-tree', base)
        parent = base
        for name, it in patches[:limit]:
            made.append(_make(repo, name, it, states.of(name, it), parent))
            parent = made[-1].commit
        if len(made) == len(patches) and not layout.whole:
            states.check(repo)
    return made


def tree_of(repo, commit):
    """The id of the tree of a commit."""
    return repo('rev-parse', f'{commit}^{{tree}}')
