# SPDX-License-Identifier: Apache-2.0

"""The words of ./run demo."""

import argparse
import pathlib

LOG = pathlib.Path('build/demo.log')


def add(commands) -> None:
    """Add the commands to the parser of ./run."""
    command: argparse.ArgumentParser = commands.add_parser(
        'demo', help='run the scenarios on a cloud in one process',
        description='Starts a Nova with the series applied, in this process '
        'and with fake hypervisors, and runs scenarios against its REST API. '
        'Exits with 0 if all pass, 1 if any fails, 2 if there is no such '
        'scenario.')
    command.add_argument(
        'names', nargs='*', metavar='NAME',
        help='a scenario; all of them if none is named')
    command.add_argument(
        '--list', action='store_true', help='list the scenarios and exit')
    command.add_argument(
        '--log', type=pathlib.Path, default=LOG, metavar='FILE',
        help="where Nova's log goes (default: %(default)s)")
    command.set_defaults(
        call='lab.demo:run', environment='nova', parser=command)
