# SPDX-License-Identifier: Apache-2.0

"""How a scenario says what must hold.

What is compared here, and what is done through lab.words.server, is noted for
the step that runs: a step in which nothing is noted is not ok.
"""

from collections import abc
import contextlib
import contextvars
import dataclasses
import time
from typing import TypeVar

from openstack import exceptions

T = TypeVar('T')

TIMEOUT = 120.0
"""Seconds that a scenario waits for anything, unless it says otherwise."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


class Unexpected(Exception):
    """The cloud did something else than the scenario says. Says which."""


@dataclasses.dataclass
class Notes:
    """What happened in a step, in the order in which it did."""

    done: list[str] = dataclasses.field(default_factory=list)
    compared: list[str] = dataclasses.field(default_factory=list)


_notes: contextvars.ContextVar[Notes] = contextvars.ContextVar('notes')


@contextlib.contextmanager
def noting() -> abc.Iterator[Notes]:
    """Note what is done and compared while the block runs."""
    notes = Notes()
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def note_done(what: str) -> None:
    """Note that something was done to the cloud, and that it took it."""
    if notes := _notes.get(None):
        notes.done.append(what)


def note_compared(what: str) -> None:
    """Note that something was compared with what it must be, and is that."""
    if notes := _notes.get(None):
        notes.compared.append(what)


def equal(what: str, seen: object, wanted: object) -> None:
    """Check a value.

    :param what: what the value is, as the subject of a sentence
    :raises Unexpected: if it is another
    """
    if seen != wanted:
        raise Unexpected(f'{what}: expected {wanted!r}, got {seen!r}')
    note_compared(what)


def wait_for(
    what: str,
    look: abc.Callable[[], T],
    wanted: abc.Callable[[T], bool],
    failed: abc.Callable[[T], bool] = lambda seen: False,
    show: abc.Callable[[T], str] = str,
    timeout: float = TIMEOUT,
    longest_pause: float = _LONGEST_PAUSE,
) -> T:
    """Look again and again until what is seen is what is wanted.

    :param what: what is waited for, as a noun
    :param look: fetches what is to be seen
    :param wanted: whether this is it
    :param failed: whether it will never be any more
    :param show: puts what was seen into words
    :param timeout: seconds
    :param longest_pause: seconds between two looks, at most
    :returns: what was seen last
    :raises Unexpected: if it does not come in time, or has failed
    """
    end = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        seen = look()
        if wanted(seen):
            note_compared(what)
            return seen
        if failed(seen):
            raise Unexpected(f'{what}: will not come, got {show(seen)}')
        if time.monotonic() > end:
            raise Unexpected(
                f'{what}: not within {timeout:.0f} s, last got {show(seen)}')
        time.sleep(pause)
        # What takes long must not be slowed down by looking at it.
        pause = min(pause * 1.2, longest_pause)


@dataclasses.dataclass
class Refusal:
    """An answer of the API that was refused."""

    message: str = ''


@contextlib.contextmanager
def refused(status: int) -> abc.Iterator[Refusal]:
    """Check that the API refuses what is asked of it in the block.

    :param status: the HTTP status it must answer with
    :returns: the refusal, with its message after the block
    :raises Unexpected: if it answers otherwise
    """
    refusal = Refusal()
    try:
        yield refusal
    except exceptions.HttpException as exc:
        refusal.message = exc.details or str(exc)
        if exc.status_code != status:
            raise Unexpected(
                f'the API: expected refusal with {status}, got '
                f'{exc.status_code}: {refusal.message}') from exc
    else:
        raise Unexpected(
            f'the API: expected refusal with {status}, but it accepted')
    note_compared(f'refusal with {status}')


def mentions(message: str, *words: str) -> None:
    """Check that a message for the user has these words in it.

    :raises Unexpected: if one is missing
    """
    for word in words:
        if word not in message:
            raise Unexpected(
                f'the message: expected to say {word!r}, got {message!r}')
        note_compared(f'the word {word!r}')
