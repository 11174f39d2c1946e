# SPDX-License-Identifier: Apache-2.0

"""Remembers which commits were made of a series.

Each patch takes several git commands, but the commits depend on nothing but
files: what was made of the same files by the same code is not made again.
"""

import hashlib
import os
import pathlib

from tool import git
from tool.layout import Layout
from tool import series

# Beside the commits that it tells of, so that it goes when they go.
_NOTE = pathlib.PurePosixPath('.git/nova-series-made')


def _files(layout: Layout) -> list[pathlib.Path]:
    """The files that the commits depend on, and the code that makes them."""
    whole = layout.whole or layout
    return [
        *sorted(pathlib.Path(__file__).parent.glob('*.py')),
        *(each.series for each in (layout, whole)),
        *(each.patch_file(name)
          for each in (layout, whole) for name in series.names(each)),
        *(file for name in layout.overlay
          for file in sorted((layout.root / name).rglob('*'))
          if file.is_symlink() or file.is_file()),
    ]


def key(layout: Layout, base: str) -> str:
    """What stands for all that the commits depend on.

    :param base: the commit that the first one stands on
    :raises tool.console.Problem: if the series is not one
    """
    digest = hashlib.sha256(base.encode())
    for file in _files(layout):
        if file.is_symlink():
            data = os.fsencode(os.readlink(file))
        else:
            data = file.read_bytes() if file.exists() else b''
        mode = file.lstat().st_mode if file.exists() else 0
        digest.update(f'\0{file}\0{mode:o}\0{len(data)}\0'.encode())
        digest.update(data)
    return digest.hexdigest()


def remembered(repo: git.Git, made_of: str) -> tuple[str, int] | None:
    """The last commit that was made, and how many there are.

    :param made_of: the key
    :returns: None if it is not known, or not there
    """
    try:
        known, head, count = (
            pathlib.Path(repo.tree) / _NOTE).read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    if known != made_of or repo.commit(head) != head:
        return None
    return head, int(count)


def remember(repo: git.Git, made_of: str, head: str, count: int) -> None:
    """Note what was made.

    :param made_of: the key
    """
    (pathlib.Path(repo.tree) / _NOTE).write_text(f'{made_of} {head} {count}\n')
