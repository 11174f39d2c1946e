# SPDX-License-Identifier: Apache-2.0

"""The words of ./run demo and ./run scenarios."""

import argparse
import pathlib

from tool import environments
from tool.layout import PROJECT

_LOG = pathlib.Path('build/demo.log')


class _On(argparse.Action):
    """Takes the cloud, and with it the environment that it needs."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
        values: object, option_string: str | None = None,
    ) -> None:
        namespace.on = values
        if values == 'lab':
            namespace.environment = environments.IF_LAB
            # It has them as ./run lab up has left them.
            namespace.companions = False


def add(commands) -> None:
    """Add the commands to the parser of ./run."""
    command: argparse.ArgumentParser = commands.add_parser(
        'demo', help='see in a minute what the series does',
        description='Shows, on a Nova with fake hypervisors in this process, '
        'what an operator does without the series and with it. Exits with 1 '
        'if Nova does something else.')
    _add_log(command)
    command.set_defaults(
        call='lab.demo:run', environment='nova', companions=True,
        parser=command)

    command = commands.add_parser(
        'scenarios', help='play what the series does, and check all of it',
        description='Plays scenarios against the REST API of a cloud: by '
        'default of a Nova with fake hypervisors in this process, which '
        'skips, and says so, what needs more. Exits with 0 if all pass or '
        'are skipped, 1 if any fails, 2 if something named is not there, '
        '130 if it is interrupted.')
    command.add_argument(
        'what', nargs='*', metavar='WHAT',
        help='a scenario, a group of them (rescue), the number of a '
        'capability of README.rst (2), or a glob for names ("refuse-*"); '
        'all scenarios if none is named')
    command.add_argument(
        '--on', action=_On, choices=('embedded', 'lab'), default='embedded',
        help='the cloud: embedded, or the lab that ./run lab up has started '
        '(default: %(default)s)')
    command.add_argument(
        '--list', action='store_true',
        help='list the scenarios by capability, each with what it needs in '
        'brackets, and exit')
    command.add_argument(
        '--report', type=pathlib.Path, metavar='FILE',
        help="write a report there, as JUnit's XML")
    _add_log(command)
    command.set_defaults(
        call='lab.runner:run_command', environment='nova', parser=command,
        companions=True, root=PROJECT.root / '.lab')


def _add_log(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        '--log', type=pathlib.Path, default=_LOG, metavar='FILE',
        help="where Nova's log goes, but for the lab's (default: "
        '%(default)s)')
