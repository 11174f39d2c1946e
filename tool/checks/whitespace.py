# SPDX-License-Identifier: Apache-2.0

"""Finds what a commit changes in white space alone."""

import ast
import re

from tool.checks.checked import Checked

_HUNK = re.compile(rb'@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@')


def _without_space(lines):
    return b''.join(b''.join(lines).split())


def _meaning(data):
    """What Python makes of a module, None if it is none."""
    try:
        return ast.dump(ast.parse(data))
    except (SyntaxError, ValueError):
        return None


def groups(diff):
    """The groups of lines that a diff without context changes.

    :param diff: of one file, as git diff --unified=0 prints it
    :yields: first line and number of lines, in the old and the new file;
        lines are counted from 0
    """
    for line in diff.split(b'\n'):
        match = _HUNK.match(line)
        if not match:
            continue
        old, old_count, new, new_count = (
            1 if value is None else int(value) for value in match.groups()
        )
        # Of an empty side git names the line before it.
        yield (
            old - 1 if old_count else old, old_count,
            new - 1 if new_count else new, new_count,
        )


def groups_of(repo, path, *revisions):
    """The groups of lines of a file that differ between revisions.

    :param revisions: what git compares
    :returns: as groups() has them
    """
    return groups(repo.raw('diff', '--unified=0', *revisions, '--', path))


def only_space(old, new, diff, python):
    """Lines of a file where a commit changes nothing but white space.

    Indentation that Python needs, as below a new "if", is not counted.

    :param old: the bytes of the file before
    :param new: the bytes of the file after
    :param diff: what git diff --unified=0 prints of it
    :param python: whether it is a Python module
    :returns: line numbers in the new file, counted from 1
    """
    olds = old.splitlines(keepends=True)
    news = new.splitlines(keepends=True)
    found = []
    for at_old, count_old, at_new, count_new in groups(diff):
        before = olds[at_old:at_old + count_old]
        after = news[at_new:at_new + count_new]
        if _without_space(before) != _without_space(after):
            continue
        if python and b''.join(before).strip():
            undone = news[:at_new] + before + news[at_new + count_new:]
            if _meaning(b''.join(undone)) != _meaning(new):
                continue
        found.append(at_new + 1)
    return found


def check(checked: Checked) -> list[str]:
    """White space at line ends, and changes of nothing but white space."""
    found = []
    for one in checked.made:
        parent = f'{one.commit}^'
        done = checked.repo.run('diff', '--check', parent, one.commit)
        for line in done.stdout.decode(errors='replace').splitlines():
            if re.match(r'[^+-].*:\d+: ', line):
                found.append(f'{checked.layout.patch(one.name)}: {line}')
        changed = checked.repo.lines(
            'diff', '--name-only', '--no-renames', '--diff-filter=M', parent,
            one.commit,
        )
        for path in changed:
            lines = only_space(
                checked.repo.raw('cat-file', 'blob', f'{parent}:{path}'),
                checked.repo.raw('cat-file', 'blob', f'{one.commit}:{path}'),
                checked.repo.raw(
                    'diff', '--unified=0', '--no-renames', parent, one.commit,
                    '--', path,
                ),
                path.endswith('.py'),
            )
            for line in lines:
                found.append(
                    f'{checked.layout.patch(one.name)}: {path}:{line}: only '
                    'white space changes here'
                )
    return found
