# SPDX-License-Identifier: Apache-2.0

"""What the terminal shows, the same for every command of ./run.

Steps that tick off, each with its time, and problems, each with the exit code
that it ends the command with.
"""

from collections import abc
import contextlib
import sys
import time

import rich.console
import rich.markup

console = rich.console.Console(highlight=False, soft_wrap=True)

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended."""

_STYLES = {'ok': 'green', 'FAILED': 'bold red', 'skipped': 'yellow'}


class Problem(Exception):
    """What is wrong and what to do next, in words meant for the user.

    :ivar code: the exit code of the command: 2 if its words were wrong, 1 if
        it failed
    """

    def __init__(self, message: str, code: int = 1):
        super().__init__(message)
        self.code = code


def ended(mark: str, seconds: float, text: str) -> None:
    """Print how a step ended.

    :param mark: 'ok', 'FAILED' or 'skipped'
    """
    console.print(
        f'  [{_STYLES[mark]}]{mark:<7}[/] {seconds:5.1f} s  '
        f'{rich.markup.escape(text)}')


@contextlib.contextmanager
def step(text: str) -> abc.Iterator[list[str]]:
    """Show that work is going on, then how it ended and how long it took.

    :yields: a list; the last string put into it stands in that line for the
        text
    """
    begun = time.monotonic()
    said = [text]
    how = 'FAILED'
    try:
        with console.status(rich.markup.escape(text)):
            yield said
        how = 'ok'
    finally:
        ended(how, time.monotonic() - begun, said[-1])


def line(text: str, seconds: float | None = None) -> None:
    """Print a line, with the time that it took at its end if given."""
    took = '' if seconds is None else f'  ({seconds:.1f} s)'
    console.print(text + took, markup=False)


def problem(command: str, error: Exception) -> int:
    """Print what ended a command.

    :returns: the exit code
    """
    print(f'./run {command}: {error}', file=sys.stderr)
    return getattr(error, 'code', 1)
