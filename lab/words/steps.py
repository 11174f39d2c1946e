# SPDX-License-Identifier: Apache-2.0

"""The steps of a scenario: announced, timed, and true.

An action is ok if something was done in it, a check if something was
compared. A check that needs what the cloud lacks is not made, and shown as
skipped.
"""

from collections import abc
import contextlib
import dataclasses
import enum
import functools
import inspect
import re
import time
from typing import Concatenate
from typing import ParamSpec
from typing import Protocol
from typing import TypeVar

import rich.markup

from lab.needs import Need
from lab.words import expect
from tool import console

P = ParamSpec('P')
R = TypeVar('R')

_UUID = re.compile(r'\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b')


class Outcome(enum.Enum):
    """How a step ended, as the terminal shows it."""

    OK = 'ok'
    FAILED = 'FAILED'
    SKIPPED = 'skipped'


@dataclasses.dataclass(frozen=True)
class Step:
    """A step that has ended."""

    text: str
    outcome: Outcome
    seconds: float
    #: whether it was to compare something, rather than to do something
    is_check: bool = False
    #: what was done in it
    done: tuple[str, ...] = ()
    #: what was compared in it
    compared: tuple[str, ...] = ()
    #: what the cloud lacks, if it was skipped
    needs: tuple[Need, ...] = ()


def lacking(needs: abc.Iterable[Need]) -> str:
    """Why something was skipped.

    :param needs: what the cloud lacks
    """
    return 'needs ' + ' and '.join(sorted(need.value for need in needs))


class Teller:
    """Shows the steps of a scenario as they happen, and keeps them.

    :param has: what the cloud has that they run on
    :param quiet: whether to keep them alone
    """

    def __init__(self, has: abc.Set[Need], quiet: bool = False):
        self._has = has
        self._quiet = quiet
        self._running = ''
        self._names: dict[str, str] = {}
        self.steps: list[Step] = []

    def call(self, uuid: str, name: str) -> None:
        """Show a name in the place of a UUID."""
        self._names[uuid] = name

    def named(self, text: str) -> str:
        """A text with names in the place of the UUIDs that have some."""
        return _UUID.sub(
            lambda found: self._names.get(found.group(), found.group()), text)

    @contextlib.contextmanager
    def step(
        self, text: str, is_check: bool = False
    ) -> abc.Iterator[list[str]]:
        """Announce a step, run it as the block, and show how it ended.

        :yields: a list; the last string put into it stands in the place of
            the text at the end
        :raises lab.words.expect.Unexpected: if nothing was done in it or, if
            it is a check, nothing compared
        """
        if self._running:
            raise RuntimeError(f'{text!r} is a step in {self._running!r}')
        self._running = said = self.named(text)
        texts = [said]
        outcome = Outcome.FAILED
        begun = time.monotonic()
        with expect.noting() as notes:
            try:
                with self._status(said):
                    yield texts
                if not (notes.compared or notes.done and not is_check):
                    raise expect.Unexpected(
                        f'{said}: nothing was '
                        f'{"compared" if is_check else "done"}')
                outcome = Outcome.OK
            finally:
                self._running = ''
                self._end(Step(
                    self.named(texts[-1]), outcome, time.monotonic() - begun,
                    is_check, tuple(dict.fromkeys(notes.done)),
                    tuple(dict.fromkeys(notes.compared))))

    def skip(self, text: str, needs: abc.Iterable[Need]) -> None:
        """Show a check that is not made.

        :param needs: what the cloud lacks
        """
        self._end(Step(
            self.named(text), Outcome.SKIPPED, 0.0, True,
            needs=tuple(needs)))

    def lacks(self, needs: abc.Iterable[Need]) -> set[Need]:
        """Those of some needs that the cloud does not meet."""
        return set(needs) - self._has

    def _status(self, text: str) -> contextlib.AbstractContextManager[object]:
        if self._quiet:
            return contextlib.nullcontext()
        return console.console.status(rich.markup.escape(text))

    def _end(self, step: Step) -> None:
        self.steps.append(step)
        if not self._quiet:
            why = f' ({lacking(step.needs)})' if step.needs else ''
            console.ended(step.outcome.value, step.seconds, step.text + why)


class _Told(Protocol):
    """What has verbs."""

    @property
    def teller(self) -> Teller: ...


T = TypeVar('T', bound=_Told)


def _say(text: str, bound: inspect.BoundArguments) -> str:
    """The text of a verb with its arguments in their places."""
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    if 'host' in arguments and arguments['host'] is None:
        arguments['host'] = 'the host that the scheduler picks'
    return text.format_map(arguments)


def action(text: str) -> abc.Callable[
    [abc.Callable[Concatenate[T, P], R]], abc.Callable[Concatenate[T, P], R]
]:
    """A method that is a step in which something is done.

    :param text: how it is announced, with the names of its parameters in
        braces
    """
    def decorate(
        method: abc.Callable[Concatenate[T, P], R]
    ) -> abc.Callable[Concatenate[T, P], R]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def step(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
            said = _say(text, signature.bind(self, *args, **kwargs))
            with self.teller.step(said):
                return method(self, *args, **kwargs)

        return step

    return decorate


def check(text: str, *needs: Need) -> abc.Callable[
    [abc.Callable[Concatenate[T, P], None]],
    abc.Callable[Concatenate[T, P], None]
]:
    """A method that is a step in which something is compared.

    :param text: how it is announced, with the names of its parameters in
        braces
    :param needs: what it needs of the cloud; without them it is skipped
    """
    def decorate(
        method: abc.Callable[Concatenate[T, P], None]
    ) -> abc.Callable[Concatenate[T, P], None]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def step(self: T, /, *args: P.args, **kwargs: P.kwargs) -> None:
            said = _say(text, signature.bind(self, *args, **kwargs))
            if lacks := self.teller.lacks(needs):
                self.teller.skip(said, lacks)
                return
            with self.teller.step(said, is_check=True):
                method(self, *args, **kwargs)

        return step

    return decorate
