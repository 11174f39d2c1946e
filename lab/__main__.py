# SPDX-License-Identifier: Apache-2.0

"""`python -m lab`, which `./run demo` and `./run lab` call."""

import argparse
from collections import abc
import functools
import pathlib
import sys

import rich.console

LOG = pathlib.Path('build/demo.log')


def _fail(message: str, code: int) -> int:
    print(f'demo: {message}', file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='./run', description='The lab: clouds, and scenarios on them.')
    commands = parser.add_subparsers(
        dest='command', required=True, metavar='COMMAND')
    demo = commands.add_parser(
        'demo', help='run the scenarios on a cloud in one process',
        description='Start a Nova with the series applied, in this process '
        'and with fake hypervisors, and run scenarios against its REST API. '
        'Exits with 0 if all pass, 1 if any fails, 2 if there is no such '
        'scenario.')
    demo.add_argument(
        'names', nargs='*', metavar='NAME',
        help='a scenario; all of them if none is named')
    demo.add_argument(
        '--list', action='store_true', help='list the scenarios and exit')
    demo.add_argument(
        '--log', type=pathlib.Path, default=LOG, metavar='FILE',
        help='where Nova\'s log goes (default: %(default)s)')
    return parser


def main(argv: abc.Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ['lab']:
        # Only the lab's own environment has what it needs.
        from lab.real import commands
        return commands.main(argv[1:])
    args = _parser().parse_args(argv)
    if not args.list:
        # Nova has to come before anything else it might patch.
        try:
            from lab.embedded import EmbeddedCloud
        except ImportError as exc:
            return _fail(
                f'Nova is not to be had ({exc}): start this as ./run demo, '
                'which builds it and installs what it needs.', 1)

    from lab import runner
    from lab import scenarios
    known = scenarios.load()
    if args.list:
        print(scenarios.listing(known))
        return 0
    try:
        chosen = scenarios.choose(args.names, known, './run demo')
    except scenarios.Unknown as exc:
        return _fail(str(exc), 2)

    console = rich.console.Console()
    try:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        args.log.write_text('')
    except OSError as exc:
        return _fail(
            f'Nova\'s log cannot be written to {args.log}: {exc.strerror}. '
            'Name another file with --log.', 1)
    code = runner.play(
        chosen, functools.partial(EmbeddedCloud, args.log), console)
    if code:
        console.print(
            f'Nova\'s log is in {args.log}', highlight=False, soft_wrap=True)
    return code


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(_fail('interrupted', 130))
