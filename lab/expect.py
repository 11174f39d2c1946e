# SPDX-License-Identifier: Apache-2.0

"""How a scenario says what must hold."""

from collections import abc
import contextlib
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
    """The cloud did something else than the scenario says. Tells which."""


def equal(what: str, seen: object, wanted: object) -> None:
    """Check a value.

    :param what: what the value is, as the subject of a sentence
    :raises Unexpected: if it is another
    """
    if seen != wanted:
        raise Unexpected(f'{what}: expected {wanted!r}, seen {seen!r}')


def wait_for(
    what: str,
    look: abc.Callable[[], T],
    wanted: abc.Callable[[T], bool],
    failed: abc.Callable[[T], bool] = lambda seen: False,
    tell: abc.Callable[[T], str] = str,
    timeout: float = TIMEOUT,
    longest_pause: float = _LONGEST_PAUSE,
) -> T:
    """Look again and again until what is seen is what is wanted.

    :param what: what is waited for, as a noun
    :param look: fetches what is to be seen
    :param wanted: whether this is it
    :param failed: whether it will never be any more
    :param tell: what was seen, in words
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
            return seen
        if failed(seen):
            raise Unexpected(f'{what}: will not come, seen {tell(seen)}')
        if time.monotonic() > end:
            raise Unexpected(
                f'{what}: not within {timeout:.0f} s, last '
                f'seen {tell(seen)}')
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
                f'the API: expected refusal with {status}, seen '
                f'{exc.status_code}: {refusal.message}') from exc
    else:
        raise Unexpected(
            f'the API: expected refusal with {status}, but it accepted')


def mentions(message: str, *words: str) -> None:
    """Check that a message for the user has these words in it.

    :raises Unexpected: if one is missing
    """
    for word in words:
        if word not in message:
            raise Unexpected(
                f'the message: expected to tell {word!r}, seen {message!r}')
