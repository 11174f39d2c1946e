# SPDX-License-Identifier: Apache-2.0

"""Puts what refresh has made in its place, whole or not at all.

What is to be is written to a staging directory. A file says when it is all
there; from then on it takes its place, also if the process dies meanwhile and
the next one has to end that.
"""

import dataclasses
import os
import pathlib
import shutil
import stat

from tool import git
from tool import series
from tool import tree

# Says, in the staging directory, that all is there, and by which commit.
READY = 'ready'


def _files(root, roots):
    """Paths of the files below some directories of a root."""
    return {
        str((pathlib.Path(where) / name).relative_to(root))
        for top in roots
        for where, subdirectories, names in os.walk(root / top)
        for name in names + [
            sub for sub in subdirectories
            if (pathlib.Path(where) / sub).is_symlink()
        ]
    }


def _same(one, other):
    """Whether two files are the same in kind, mode and content."""
    if not os.path.lexists(other):
        return False
    if one.is_symlink() or other.is_symlink():
        return (
            one.is_symlink() and other.is_symlink()
            and os.readlink(one) == os.readlink(other)
        )
    executable = stat.S_IXUSR
    return (
        (one.stat().st_mode ^ other.stat().st_mode) & executable == 0
        and one.read_bytes() == other.read_bytes()
    )


def _swap(layout, staged):
    """Makes patches/ and the overlay what is staged.

    Files of the overlay that no patch names stay: they are not refresh's.

    :returns: what changed, one line for each file
    """
    changed = []
    wanted = _files(staged.root, layout.refreshed)
    gone = set()
    for line in (staged.root / READY).read_text().splitlines()[1:]:
        if line not in wanted and os.path.lexists(layout.root / line):
            gone.add(line)
    for path in sorted(wanted | gone):
        ours, theirs = layout.root / path, staged.root / path
        if path in gone:
            ours.unlink()
            changed.append(f'removed  {path}')
            for above in ours.relative_to(layout.root).parents:
                try:
                    (layout.root / above).rmdir()
                except OSError:
                    break
    for path in sorted(wanted):
        ours, theirs = layout.root / path, staged.root / path
        if _same(theirs, ours):
            continue
        word = 'changed' if os.path.lexists(ours) else 'new    '
        changed.append(f'{word}  {path}')
        ours.parent.mkdir(parents=True, exist_ok=True)
        new = ours.with_name(f'.{ours.name}.new')
        new.unlink(missing_ok=True)
        shutil.copy2(theirs, new, follow_symlinks=False)
        os.replace(new, ours)
    return changed


def finish(layout):
    """Ends a refresh: what is staged, if it is whole, takes its place.

    Called by the refresh itself, and by what comes after one that died.

    :returns: what changed, one line for each file
    """
    staged = dataclasses.replace(layout, root=layout.staging)
    ready = staged.root / READY
    changed = []
    if ready.exists():
        changed = _swap(layout, staged)
        head = ready.read_text().splitlines()[0]
        if head != '-':
            repo = git.Git(layout.tree)
            if series.tree_of(repo, head) == series.tree_of(repo, 'HEAD'):
                repo('update-ref', 'HEAD', head)
            repo('update-ref', tree.BUILT, head)
        else:
            shutil.rmtree(layout.mend, ignore_errors=True)
        ready.unlink()
    shutil.rmtree(staged.root, ignore_errors=True)
    return changed
