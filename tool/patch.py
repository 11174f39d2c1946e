# SPDX-License-Identifier: Apache-2.0

"""One commit of the series as a file, in the form of git format-patch.

A patch holds the commit's message, the names of the files that the commit
adds (they are in the overlay) and the diff of everything else.
"""

import dataclasses
import datetime
import email.utils
import re

from tool.console import Problem
from tool import git

_FIRST_LINE = f'From {"0" * 40} Mon Sep 17 00:00:00 2001'
_SIGNATURE = b'-- \nnova-series\n'
_ADDS = 'Adds: '

# Where git am takes a message to be over: such a line cannot be in one.
_END_OF_MESSAGE = re.compile(r'(---(\s|$)|diff -|Index: )')


@dataclasses.dataclass(frozen=True)
class Patch:
    """A commit of the series.

    :ivar message: subject, empty line, body; ends with a line feed
    :ivar date: when it was written, in seconds since 1970, UTC
    :ivar adds: paths of the files in the overlay that it adds
    :ivar edits: diff of all else that it changes; may be empty
    """

    message: str
    date: int
    adds: tuple[str, ...]
    edits: bytes

    @property
    def subject(self):
        return self.message.split('\n', 1)[0]


def message_problem(message):
    """Why a commit message cannot be kept in a patch; None if it can.

    :param message: as git keeps it, without empty lines around it
    """
    lines = message.splitlines()
    if not lines:
        return 'it has no message'
    if len(lines) > 1 and lines[1]:
        return 'the second line of its message is not empty'
    for line in lines[1:]:
        if _END_OF_MESSAGE.match(line):
            return f'its message has a line {line!r}, where git am would end'
    return None


def tidy(message):
    """A commit message without trailing white space and outer blank lines."""
    lines = [line.rstrip() for line in message.split('\n')]
    return '\n'.join(lines).strip('\n') + '\n'


def file_name(number, subject):
    """What git format-patch would call the patch of that number."""
    slug = re.sub(r'[^A-Za-z0-9._]+', '-', subject)
    slug = re.sub(r'\.+', '.', slug)[:52].strip('-.')
    return f'{number:04}-{slug}.patch' if slug else f'{number:04}.patch'


def write(patch):
    """The bytes of a patch file."""
    subject, _, body = patch.message.partition('\n')
    when = datetime.datetime.fromtimestamp(patch.date, datetime.timezone.utc)
    head = [
        _FIRST_LINE,
        f'From: {git.NAME} <{git.EMAIL}>',
        f'Date: {email.utils.format_datetime(when)}',
        f'Subject: {subject}',
        '',
    ]
    body = body.strip('\n')
    if body:
        head += [body]
    head += ['---']
    head += [_ADDS + path for path in patch.adds]
    head += ['', '']
    return '\n'.join(head).encode() + patch.edits + _SIGNATURE


def read(data, name):
    """The patch that a patch file holds.

    :param data: the bytes of the file
    :param name: the file's name, for what is said if it is not a patch
    :raises Problem: if it is not a patch of this series' form
    """
    head, separator, rest = data.partition(b'\n---\n')
    if not separator:
        raise Problem(
            f'{name} is not a patch: no line "---" ends its message.'
        )
    try:
        fields, _, body = head.decode().partition('\n\n')
    except UnicodeDecodeError:
        raise Problem(f'{name} is not a patch: its message is not UTF-8.')
    values = dict(
        line.split(': ', 1) for line in fields.split('\n') if ': ' in line
    )
    for field in ('Date', 'Subject'):
        if not values.get(field):
            raise Problem(f'{name} is not a patch: it has no {field} line.')
    try:
        date = email.utils.parsedate_to_datetime(values['Date'])
    except ValueError:
        raise Problem(f'{name} has a Date that is none: {values["Date"]}.')
    trailer, _, edits = rest.partition(b'\n')
    adds = []
    while trailer:
        line = trailer.decode(errors='replace')
        if not line.startswith(_ADDS):
            raise Problem(
                f'{name} has a line {line!r} below "---" where only '
                f'"{_ADDS.strip()}" lines may be.'
            )
        adds.append(line.removeprefix(_ADDS))
        trailer, _, edits = edits.partition(b'\n')
    body = body.strip('\n')
    message = values['Subject'] + '\n' + (f'\n{body}\n' if body else '')
    return Patch(
        message=message,
        date=int(date.timestamp()),
        adds=tuple(adds),
        edits=edits.removesuffix(_SIGNATURE),
    )
