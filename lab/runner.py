# SPDX-License-Identifier: Apache-2.0

"""Runs scenarios and tells how they go."""

from collections import abc
import contextlib
import dataclasses
import functools
import time
import traceback

from openstack import exceptions
import rich.console
import rich.markup
import rich.table

from lab import cloud as cloud_api
from lab import expect
from lab import scenarios


MakeCloud = abc.Callable[
    [], contextlib.AbstractContextManager[cloud_api.Cloud]]


@dataclasses.dataclass(frozen=True)
class Result:
    name: str
    #: None if the cloud cannot tell
    passed: bool | None
    #: how long it took, in seconds, with what the cloud needed around it
    seconds: float
    #: why the cloud cannot tell
    reason: str = ''


class _Teller:
    """Tells the steps of one scenario as they happen."""

    def __init__(self, console: rich.console.Console):
        self._console = console

    def say(self, mark: str, style: str, seconds: float, text: str) -> None:
        self._console.print(
            f'  [{style}]{mark:<7}[/]{seconds:5.1f} s  '
            f'{rich.markup.escape(text)}', highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(self, text: str) -> abc.Iterator[None]:
        """Tell how a step went.

        What the cloud cannot tell is no failure; the scenario goes on without
        it.
        """
        begun = time.monotonic()
        try:
            with self._console.status(rich.markup.escape(text)):
                yield
        except cloud_api.CannotTell as exc:
            self.say('-', 'dim', time.monotonic() - begun,
                     f'{text}: this cloud cannot tell, {exc}')
        except BaseException:
            self.say('FAILED', 'bold red', time.monotonic() - begun, text)
            raise
        else:
            self.say('ok', 'green', time.monotonic() - begun, text)


def _try(act: abc.Callable[[], None]) -> str | None:
    """Do something. Tells why, if it failed.

    :raises lab.cloud.CannotTell: if the cloud cannot do it
    """
    try:
        act()
    except expect.Unexpected as exc:
        return str(exc)
    except exceptions.HttpException as exc:
        return f'the API answered {exc.status_code}: {exc.details or exc}'
    except cloud_api.CannotTell:
        raise
    except Exception:
        return f'the scenario broke:\n{traceback.format_exc()}'
    return None


class _Clouds:
    """One cloud for scenario after scenario, another one after a failure.

    What a scenario leaves behind when it fails must not spoil the next.
    """

    def __init__(self, make_cloud: MakeCloud, teller: _Teller):
        self._make = make_cloud
        self._teller = teller
        self._stack = contextlib.ExitStack()
        self._cloud: cloud_api.Cloud | None = None

    def __enter__(self) -> '_Clouds':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def play(self, scenario: scenarios.Scenario) -> None:
        if self._cloud is None:
            with self._teller.step('start a cloud'):
                self._cloud = self._stack.enter_context(self._make())
        scenario(self._cloud, self._teller.step)

    def stop(self) -> None:
        self._cloud = None
        with self._teller.step('stop the cloud'):
            self._stack.close()


def run(
    chosen: abc.Mapping[str, scenarios.Scenario],
    make_cloud: MakeCloud,
    console: rich.console.Console,
) -> list[Result]:
    """Run scenarios, each whether or not those before it have passed.

    :param chosen: the scenarios by name, in the order to run them
    :param make_cloud: makes a cloud that runs while it is entered
    :param console: where to tell how it goes
    """
    teller = _Teller(console)
    last = list(chosen)[-1]
    results = []
    with _Clouds(make_cloud, teller) as clouds:
        for name, scenario in chosen.items():
            summary = rich.markup.escape(scenarios.summary(scenario))
            console.print(
                f'[bold]{name}[/]: {summary}', highlight=False,
                soft_wrap=True)
            begun = time.monotonic()
            reasons, untold = [], ''
            try:
                reasons.append(_try(functools.partial(clouds.play, scenario)))
            except cloud_api.CannotTell as exc:
                untold = str(exc)
                teller.say('-', 'dim', time.monotonic() - begun,
                           f'this cloud cannot tell, {untold}')
            if any(reasons) or name == last:
                reasons.append(_try(clouds.stop))
            for reason in filter(None, reasons):
                console.print(
                    f'  {rich.markup.escape(reason)}', highlight=False,
                    soft_wrap=True)
            seconds = time.monotonic() - begun
            if untold and not any(reasons):
                results.append(Result(name, None, seconds, untold))
            else:
                results.append(Result(name, not any(reasons), seconds))
    return results


def _outcome(result: Result) -> str:
    """What came of a scenario, for the table."""
    if result.passed is None:
        return f'[dim]cannot tell: {rich.markup.escape(result.reason)}[/]'
    return '[green]passed[/]' if result.passed else '[bold red]FAILED[/]'


def table(results: list[Result]) -> rich.table.Table:
    """The results, one scenario a line."""
    shown = rich.table.Table()
    # It is what the scenario can be run by.
    shown.add_column('scenario', no_wrap=True)
    shown.add_column('result')
    shown.add_column('time', justify='right')
    for result in results:
        shown.add_row(
            result.name, _outcome(result), f'{result.seconds:.1f} s')
    return shown


def play(
    chosen: abc.Mapping[str, scenarios.Scenario],
    make_cloud: MakeCloud,
    console: rich.console.Console,
) -> int:
    """Run scenarios, and tell what came of them. Returns the exit code."""
    begun = time.monotonic()
    results = run(chosen, make_cloud, console)
    console.print(table(results))
    outcomes = [result.passed for result in results]
    failed = outcomes.count(False)
    counts = [f'{outcomes.count(True)} passed', f'{failed} failed']
    if None in outcomes:
        counts.append(f'{outcomes.count(None)} this cloud cannot tell')
    console.print(
        f'{", ".join(counts)} in {time.monotonic() - begun:.0f} s',
        highlight=False)
    return 1 if failed else 0
