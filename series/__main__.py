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

"""The command line: ./run build, refresh, check, tests and upstream."""

import argparse
import pathlib
import sys

from series import build
from series import git
from series import onto
from series import refresh
from series import say
from series.layout import PROJECT
from series.layout import Problem


def _build(args):
    if args.onto:
        onto.put(PROJECT, args.onto, args.branch)
    else:
        build.build(PROJECT, force=args.force)
    return 0


def _refresh(args):
    changed = refresh.refresh(PROJECT, mend=args.mend)
    for text in changed:
        say.line(text)
    if not changed:
        say.line('patches/ and the overlay are up to date.')
    if args.mend:
        say.line('Now go on with: ./run build')
    return 0


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
    return parser


def main():
    args = _parser().parse_args()
    try:
        return args.call(args)
    except Problem as problem:
        print(f'./run {args.command}: {problem}', file=sys.stderr)
    except git.GitError as error:
        print(f'./run {args.command}: git: {error}', file=sys.stderr)
    except KeyboardInterrupt:
        print(f'./run {args.command}: interrupted', file=sys.stderr)
        return 130
    return 1


sys.exit(main())
