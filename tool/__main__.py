# SPDX-License-Identifier: Apache-2.0

"""The command line: ./run build, refresh, check, tests and upstream."""

import argparse
import pathlib
import re
import signal
import sys

from tool import build
from tool import console
from tool.console import Problem
from tool import git
from tool.layout import PROJECT
from tool import onto
from tool import refresh

_PARTS = ('tool', 'unit', 'functional')


def _build(args):
    if args.onto:
        onto.put(PROJECT, args.onto, args.branch)
    else:
        build.build(PROJECT, force=args.force)
    return 0


def _refresh(args):
    changed = refresh.refresh(PROJECT, mend=args.mend)
    for text in changed:
        console.line(text)
    if not changed:
        console.line('patches/ and the overlay are up to date.')
    if args.mend:
        console.line('Now go on with: ./run build')
    return 0


def _check(args):
    # Imported here as the light environment of build has not what it needs.
    from tool import check

    return check.run(PROJECT, quick=args.quick)


def _tests(args):
    from tool import testing

    return testing.run(PROJECT, args.parts or _PARTS)


def _upstream(args):
    from tool import upstream

    suites = [suite for suite in _PARTS[1:] if getattr(args, suite)]
    try:
        re.compile(args.only)
    except re.error as error:
        raise Problem(f'--only {args.only!r} is no expression: {error}.')
    return upstream.run(PROJECT, suites or _PARTS[1:], args.only)


def _part(name):
    if name not in _PARTS:
        raise argparse.ArgumentTypeError(
            f'{name!r} is none of {", ".join(_PARTS)}'
        )
    return name


def _parser():
    parser = argparse.ArgumentParser(prog='./run')
    commands = parser.add_subparsers(
        dest='command', metavar='COMMAND', required=True
    )

    command = commands.add_parser(
        'build',
        help='make build/nova, the patched tree',
        description='Makes build/nova: the pinned release of Nova as a git '
        'tree with the tag "base" and one commit for each line of '
        'patches/series. Work in it that patches/ does not hold is never '
        'overwritten unless --force is given.',
    )
    command.add_argument(
        '--force', action='store_true',
        help='discard changes and commits of build/nova',
    )
    command.add_argument(
        '--onto', metavar='DIR', type=pathlib.Path,
        help='put the series on this git checkout of Nova instead, on a new '
        'branch, as your own commits',
    )
    command.add_argument(
        '--branch', metavar='NAME', default='nova-series',
        help='with --onto, the name of the branch (%(default)s)',
    )
    command.set_defaults(call=_build)

    command = commands.add_parser(
        'refresh',
        help='take the commits of build/nova back into patches/',
        description='Takes the commits of build/nova, from its tag "base" '
        'on, back: edits into patches/, new files to their places in '
        'nova/, api-ref/, doc/ and releasenotes/. Then proves that a build '
        'of that gives the same tree.',
    )
    command.add_argument(
        '--mend', action='store_true',
        help='take those of build/mend, where a patch that did not apply '
        'was mended; the patches after it stay',
    )
    command.set_defaults(call=_refresh)

    command = commands.add_parser(
        'check',
        help="check patches, messages, style, each commit's own tests",
        description='Checks the series as it is in patches/ and the overlay: '
        "patches apply without fuzz or offset; every addition belongs to one "
        "commit; commit messages follow Nova's rules; nothing changes in "
        'white space alone; release notes pass reno; constraints.txt meets '
        "Nova's requirements; each commit alone passes Nova's pep8 on the "
        'files it touches, and the unit test modules it adds or edits (of '
        'modules of more than 4000 lines, the tests that it touches).',
    )
    command.add_argument(
        '--quick', action='store_true',
        help='leave out the unit tests of each commit',
    )
    command.set_defaults(call=_check)

    command = commands.add_parser(
        'tests',
        help='run the tests of the tool, the lab and the series',
        description='Runs the tests of the tool and the lab (pytest), then, '
        'in build/nova, the unit and functional tests that the series adds '
        "or edits and Nova's own of the modules that it touches (stestr); "
        'tool/nova_tests.toml tells which those are. The last line says '
        'how many passed and failed.',
    )
    command.add_argument(
        'parts', nargs='*', metavar='PART', type=_part,
        help='run these alone: tool (and lab), unit, functional',
    )
    command.set_defaults(call=_tests)

    command = commands.add_parser(
        'upstream',
        help="run Nova's whole suites on the patched tree and on the base",
        description="Runs Nova's whole unit and functional suites on the "
        'base and with the series, and shows the difference; a regression '
        '(a test that fails with the series, twice, and not without it) '
        'makes it fail. It takes hours: it can be interrupted, and goes on '
        'where it was when started again. What is known is kept in .cache/ '
        'by the content of the tree, so the base is run once.',
    )
    command.add_argument(
        '--unit', action='store_true', help='run the unit suite alone'
    )
    command.add_argument(
        '--functional', action='store_true',
        help='run the functional suite alone',
    )
    command.add_argument(
        '--only', metavar='REGEX', default='',
        help='run the tests whose ids this matches',
    )
    command.set_defaults(call=_upstream)
    return parser


def _ended(number, frame):
    """Ends the process so that what it started is ended and cleaned up."""
    sys.exit(128 + number)


def main():
    args = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    try:
        return args.call(args)
    except Problem as problem:
        print(f'./run {args.command}: {problem}', file=sys.stderr)
    except git.GitError as error:
        print(f'./run {args.command}: git: {error}', file=sys.stderr)
    except KeyboardInterrupt:
        print(
            f'./run {args.command}: interrupted; nothing is half done, run '
            'it again to go on', file=sys.stderr,
        )
        return 130
    return 1


sys.exit(main())
