# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Runs scenarios and tells how they go."""

from collections import abc
import contextlib
import dataclasses
import time
import traceback

from openstack import exceptions
import rich.console
import rich.markup
import rich.table

from lab import cloud as cloud_api
from lab import expect
from lab import scenarios


@dataclasses.dataclass(frozen=True)
class Result:
    name: str
    passed: bool
    #: how long the scenario took with its cloud, in seconds
    seconds: float


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


def _run_one(
    scenario: scenarios.Scenario,
    make_cloud: abc.Callable[
        [], contextlib.AbstractContextManager[cloud_api.Cloud]],
    teller: _Teller,
) -> str | None:
    """Run a scenario on a cloud of its own. Tells why, if it failed."""
    try:
        with contextlib.ExitStack() as stack:
            with teller.step('start a cloud'):
                cloud = stack.enter_context(make_cloud())
            scenario(cloud, teller.step)
    except expect.Unexpected as exc:
        return str(exc)
    except exceptions.HttpException as exc:
        return f'the API answered {exc.status_code}: {exc.details or exc}'
    except Exception:
        return f'the scenario broke:\n{traceback.format_exc()}'
    return None


def run(
    chosen: abc.Mapping[str, scenarios.Scenario],
    make_cloud: abc.Callable[
        [], contextlib.AbstractContextManager[cloud_api.Cloud]],
    console: rich.console.Console,
) -> list[Result]:
    """Run each scenario on a cloud of its own.

    :param chosen: the scenarios by name, in the order to run them
    :param make_cloud: makes a cloud that runs while it is entered
    :param console: where to tell how it goes
    """
    teller = _Teller(console)
    results = []
    for name, scenario in chosen.items():
        console.print(
            f'[bold]{name}[/]: '
            f'{rich.markup.escape(scenarios.summary(scenario))}',
            highlight=False, soft_wrap=True)
        begun = time.monotonic()
        reason = _run_one(scenario, make_cloud, teller)
        seconds = time.monotonic() - begun
        if reason is not None:
            console.print(
                f'  {rich.markup.escape(reason)}', highlight=False,
                soft_wrap=True)
        results.append(Result(name, reason is None, seconds))
    return results


def table(results: list[Result]) -> rich.table.Table:
    """The results, one scenario a line."""
    shown = rich.table.Table('scenario', 'result')
    shown.add_column('time', justify='right')
    for result in results:
        shown.add_row(
            result.name,
            '[green]passed[/]' if result.passed else '[bold red]FAILED[/]',
            f'{result.seconds:.1f} s')
    return shown
