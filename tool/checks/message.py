# SPDX-License-Identifier: Apache-2.0

"""Nova's rules for commit messages."""

import re

from tool.checks.checked import Checked

_SUBJECT = 50
_BODY = 72

_BLUEPRINT = re.compile(
    r'(Implements|Partially-Implements|Partial-Implements|Part of|Related to)'
    r':? blueprint:? [a-z0-9][a-z0-9.+-]*$',
    re.IGNORECASE,
)
_BUG = re.compile(r'(Closes|Partial|Related)-Bug: #\d+$')
_CHANGE_ID = re.compile(r'Change-Id: (I[0-9a-f]{40})$')


def change_ids(message):
    """The Change-Ids of a commit message."""
    matches = (_CHANGE_ID.match(line) for line in message.splitlines())
    return [match.group(1) for match in matches if match]


def problems(message):
    """What is wrong with a commit message, one text for each thing."""
    lines = message.rstrip('\n').split('\n')
    found = []
    if len(lines[0]) > _SUBJECT:
        found.append(
            f'the subject has {len(lines[0])} characters, {_SUBJECT} at most '
            'are good'
        )
    if lines[0].endswith('.'):
        found.append('the subject ends with a full stop')
    if len(lines) > 1 and lines[1]:
        found.append('the second line is not empty')
    for number, line in enumerate(lines[2:], 3):
        # What cannot be broken, such as an address, may be longer.
        if len(line) > _BODY and ' ' in line.strip():
            found.append(
                f'line {number} has {len(line)} characters, {_BODY} at most '
                'are good'
            )
    if not any(_BLUEPRINT.match(line) or _BUG.match(line) for line in lines):
        found.append(
            'it names no blueprint ("Implements: blueprint NAME") and no bug '
            '("Closes-Bug: #NUMBER")'
        )
    ids = change_ids(message)
    if len(ids) != 1:
        found.append(f'it has {len(ids)} lines "Change-Id: I...", not one')
    elif not change_ids(message.rstrip('\n').rpartition('\n\n')[2]):
        found.append(
            'its Change-Id is not in the last paragraph, where Gerrit looks '
            'for it')
    return found


def repeated(messages):
    """Change-Ids that more than one of some commit messages have."""
    ids = [one for message in messages for one in change_ids(message)]
    return sorted({one for one in ids if ids.count(one) > 1})


def check(checked: Checked) -> list[str]:
    """Commit messages that Nova's reviewers would not take."""
    found = [
        f'{checked.layout.patch(name)}: {text}'
        for name, it in checked.patches()
        for text in problems(it.message)
    ]
    for one in repeated(it.message for _, it in checked.patches()):
        found.append(f'Change-Id {one} is in more than one patch')
    return found
