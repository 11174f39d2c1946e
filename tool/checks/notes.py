# SPDX-License-Identifier: Apache-2.0

"""The release notes of the series."""

import pathlib
import subprocess
import sys
import tempfile

from tool.checks.checked import Checked
from tool import git

NOTES = 'releasenotes/notes'


def check(checked: Checked) -> list[str]:
    """What reno says of the release notes of the series.

    Nova's own notes are left out: reno takes them, as they come in one
    commit without their history, for notes that share their ids.
    """
    head = checked.made[-1].commit
    notes = checked.repo.lines(
        'diff', '--name-only', '--no-renames', '--diff-filter=AM', 'base',
        head, '--', NOTES,
    )
    if not notes:
        return []
    taken = {
        pathlib.PurePath(path).stem.rpartition('-')[2]
        for path in checked.repo.lines(
            'ls-tree', '--name-only', 'base', f'{NOTES}/'
        )
    }
    found = [
        f'{path}: a note of Nova has this id already'
        for path in notes
        if pathlib.PurePath(path).stem.rpartition('-')[2] in taken
        and not checked.repo.lines('ls-tree', 'base', path)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        repo = git.Git(scratch)
        repo('init', '--quiet')
        repo('commit', '--quiet', '--allow-empty', '--message=base')
        repo('tag', 'base')
        for path in notes:
            file = pathlib.Path(scratch) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(
                checked.repo.raw('cat-file', 'blob', f'{head}:{path}'))
        repo('add', '--all')
        repo('commit', '--quiet', '--message=notes')
        done = subprocess.run(
            [pathlib.Path(sys.executable).with_name('reno'), 'lint'],
            cwd=scratch,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )
    if done.returncode:
        found.append(f'reno: {done.stdout.strip()}')
    return found
