# SPDX-License-Identifier: Apache-2.0

"""The command line of ./run.

A command is parsed twice: by the Python of .tox/tox, which knows only what
`run` installs, and again in the environment that the command needs. So what
declares commands must not import what only the latter has.
"""

import argparse
from collections import abc
import importlib
import signal
import subprocess
import sys

from lab import arguments as lab_arguments
from lab.real import arguments as real_arguments
from tool import arguments
from tool import console
from tool import environments
from tool import git
from tool.layout import PROJECT


def parser() -> tuple[
    argparse.ArgumentParser,
    'argparse._SubParsersAction[argparse.ArgumentParser]',
]:
    """All commands, with what each is to call and where it runs."""
    top = argparse.ArgumentParser(
        prog='./run',
        description='Build, check and try a patch series on Nova.',
        epilog='The first call of a command installs what it needs in '
        '.tox/, which takes a few minutes and needs a package index.')
    commands = top.add_subparsers(
        dest='command', metavar='COMMAND', title='commands')
    lab_arguments.add(commands)
    arguments.add(commands)
    real_arguments.add(commands)
    command = commands.add_parser(
        'help', help='show the help of a command',
        description='Shows the help of a command.')
    command.add_argument('words', nargs='*', metavar='COMMAND')
    return top, commands


def _parse(argv: abc.Sequence[str]) -> argparse.Namespace:
    """What is asked for. Ends the process if that is only help.

    What a command does not know is reported with the usage of that command.
    """
    top, commands = parser()
    args, unknown = top.parse_known_args(argv)
    asked = commands.choices.get(args.command, top)
    if unknown:
        getattr(args, 'parser', asked).error(
            f'unrecognized arguments: {" ".join(unknown)}')
    if args.command == 'help':
        top.parse_args([*args.words, '--help'])
    if not getattr(args, 'call', None):
        asked.print_help()
        sys.exit(0)
    return args


def _ended(number: int, frame: object) -> None:
    """End the process so that what it started is ended and cleaned up."""
    sys.exit(128 + number)


def main(argv: abc.Sequence[str]) -> int:
    """Run a command. Returns the exit code."""
    args = _parse(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    try:
        environments.enter(PROJECT, args, argv)
        if getattr(args, 'companions', False) and not getattr(
                args, 'list', False):
            # Before a module of the command imports what they bring.
            importlib.import_module('tool.clients').install(
                PROJECT, released=getattr(args, 'stock', False))
        module, _, name = args.call.partition(':')
        return getattr(importlib.import_module(module), name)(args)
    except console.Problem as problem:
        return console.problem(args.command, problem)
    except git.GitError as error:
        print(f'./run {args.command}: git: {error}', file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        # It has said itself what was wrong.
        return error.returncode
    except KeyboardInterrupt:
        print(
            f'./run {args.command}: interrupted; nothing is half done, run '
            'it again to go on', file=sys.stderr)
        return console.INTERRUPTED


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
