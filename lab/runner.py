# SPDX-License-Identifier: Apache-2.0

"""./run scenarios: plays scenarios, and shows how they go."""

import argparse
from collections import abc
import contextlib
import functools
import pathlib
import sys
import time
import traceback

from openstack import exceptions
import rich.markup

from lab import cloud as cloud_api
from lab import report
from lab import scenarios
from lab.words import expect
from lab.words import scene
from lab.words import steps
from lab.words.steps import Outcome
from tool import build
from tool import console
from tool.layout import PROJECT

MakeCloud = abc.Callable[[], cloud_api.Cloud]


def reason_of(error: Exception) -> str:
    """Why a scenario failed, in words."""
    if isinstance(error, expect.Unexpected):
        return str(error)
    if isinstance(error, exceptions.HttpException):
        return (f'the API answered {error.status_code}: '
                f'{error.details or error}')
    return 'the scenario broke:\n' + ''.join(traceback.format_exception(error))


class _Clouds:
    """One cloud for scenario after scenario, another one after a failure.

    What a scenario leaves behind when it fails must not spoil the next. A
    cloud is started only if a scenario needs it.
    """

    def __init__(self, make_cloud: MakeCloud):
        self._make = make_cloud
        self._stack = contextlib.ExitStack()
        self.cloud = make_cloud()
        self._runs = False

    def __enter__(self) -> '_Clouds':
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def play(
        self, scenario: scenarios.Scenario, teller: steps.Teller
    ) -> None:
        """Play a scenario, on a cloud that is started if none runs."""
        if not self._runs:
            with console.step('start a cloud'):
                self._stack.enter_context(self.cloud)
            self._runs = True
        with scene.Scene(self.cloud, teller) as opened:
            scenario.play(opened)

    def stop(self) -> None:
        """Stop the cloud, if it runs, and make another one."""
        if self._runs:
            self._runs = False
            with console.step('stop the cloud'):
                self._stack.close()
        self.cloud = self._make()


def _play(
    clouds: _Clouds, scenario: scenarios.Scenario, is_last: bool
) -> report.Result:
    """Play a scenario, and show why it failed or was skipped."""
    console.console.print(
        f'[bold]{scenario.name}[/]: {rich.markup.escape(scenario.title)}')
    begun = time.monotonic()
    teller = steps.Teller(clouds.cloud.has)
    lacks = teller.lacks(scenario.needs)
    reasons = []
    if lacks:
        console.ended('skipped', 0.0, steps.lacking(lacks))
    else:
        try:
            clouds.play(scenario, teller)
        except Exception as exc:
            reasons.append(teller.named(reason_of(exc)))
    if reasons or is_last:
        try:
            clouds.stop()
        except Exception as exc:
            reasons.append(teller.named(reason_of(exc)))
    for reason in reasons:
        console.line(f'  {reason}')
    outcome = (Outcome.FAILED if reasons else
               Outcome.SKIPPED if lacks else Outcome.OK)
    return report.Result(
        scenario, outcome, time.monotonic() - begun,
        '\n'.join(reasons) or (steps.lacking(lacks) if lacks else ''),
        tuple(teller.steps))


def run(
    chosen: abc.Iterable[scenarios.Scenario], make_cloud: MakeCloud
) -> list[report.Result]:
    """Run scenarios, each whether or not those before it have passed.

    :param chosen: in the order to run them
    :param make_cloud: makes a cloud that runs while it is entered
    """
    those = list(chosen)
    with _Clouds(make_cloud) as clouds:
        return [_play(clouds, scenario, number == len(those))
                for number, scenario in enumerate(those, 1)]


def play(
    chosen: abc.Iterable[scenarios.Scenario], make_cloud: MakeCloud,
    report_to: pathlib.Path | None = None,
) -> int:
    """Run scenarios, and show what came of them.

    :param report_to: the file that JUnit's XML goes to, if any
    :returns: the exit code: 1 if any failed
    :raises tool.console.Problem: if the report cannot be written
    """
    if report_to:
        # To be refused before anything is played.
        report.write([], report_to)
    begun = time.monotonic()
    results = run(chosen, make_cloud)
    if report_to:
        report.write(results, report_to)
    console.console.print()
    console.console.print(report.table(results))
    console.console.print()
    for line in report.summary(results):
        console.line(line)
    console.line(
        f'{report.counts(results)} in {time.monotonic() - begun:.0f} s')
    return int(any(
        result.outcome is Outcome.FAILED for result in results))


def embedded(log: pathlib.Path) -> MakeCloud:
    """What makes embedded clouds. Builds Nova first.

    :param log: the file that Nova's log goes to
    :raises tool.console.Problem: if it cannot be written, or Nova cannot be
        imported
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text('')
    except OSError as exc:
        raise console.Problem(
            f"Nova's log cannot be written to {log}: {exc.strerror}. Name "
            'another file with --log.') from exc
    build.build(PROJECT)
    sys.path.insert(0, str(PROJECT.tree))
    try:
        from lab import embedded as nova
    except ImportError as exc:
        raise console.Problem(
            f'Nova cannot be imported ({exc}): start this as ./run, which '
            'installs what it needs.') from exc
    return functools.partial(nova.EmbeddedCloud, log)


def run_command(args: argparse.Namespace) -> int:
    """./run scenarios. Returns the exit code.

    :raises tool.console.Problem: if it cannot be run
    """
    known = scenarios.load()
    chosen = scenarios.choose(args.what, known)
    if args.list:
        print(scenarios.listing(chosen))
        return 0
    if args.on == 'lab':
        from lab.real import commands

        return commands.play(args, chosen)
    make_cloud = embedded(args.log)
    code = play(chosen.values(), make_cloud, args.report)
    if code:
        console.line(f"Nova's log is in {args.log}")
    return code
