# SPDX-License-Identifier: Apache-2.0

"""The words of the commands that make, check and export the series."""

import argparse
import pathlib
import re

from tool.layout import NOVA
from tool.layout import PROJECT
from tool.layout import RELEASE

PROJECTS = (NOVA, *PROJECT.companions)
"""The projects that have a series here."""

PARTS = ('tool', 'unit', 'functional', *PROJECT.companions)
"""What ./run tests runs: the tests of the tool and the lab, Nova's, and
those of the companions."""


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a regular expression: {error}') from error
    return text


def _add_release(command) -> None:
    command.add_argument(
        '--release', metavar='VERSION', default=RELEASE,
        choices=PROJECT.versions,
        help=f'of Nova: {", ".join(PROJECT.versions)} (%(default)s); those '
        'before it have the bug fixes of the series alone')


def _add_projects(command) -> None:
    command.add_argument(
        'projects', nargs='*', metavar='PROJECT', type=_project,
        help=f'only these: {", ".join(PROJECTS)}')


def _project(name: str) -> str:
    if name not in PROJECTS:
        raise argparse.ArgumentTypeError(
            f'{name!r} is none of {", ".join(PROJECTS)}')
    return name


def _add_build(commands) -> None:
    command = commands.add_parser(
        'build', help='make build/nova, the patched tree, and its companions',
        description='Makes build/nova: the pinned release of Nova as a git '
        'tree with the tag "base" and one commit for each line of '
        'patches/series; and the same of each project in companions/. Work '
        'in a tree that patches/ does not hold is never overwritten unless '
        '--force is given. With --release, makes build/nova-VERSION of the '
        'patches that releases/VERSION/series lists.')
    _add_projects(command)
    _add_release(command)
    command.add_argument(
        '--force', action='store_true',
        help='discard changes and commits of these trees')
    command.set_defaults(
        call='tool.commands:build', environment='tool', parser=command)


def _add_refresh(commands) -> None:
    command = commands.add_parser(
        'refresh', help='take the commits of build/nova back into patches/',
        description='Takes the commits of build/nova, from its tag "base" '
        'on, back: edits into patches/, new files to their places in nova/, '
        'api-ref/, doc/ and releasenotes/. Then proves that a build of that '
        'gives the same tree. Does the same for the companions that have a '
        'tree; new files stay in their patches. With --release, takes the '
        'commits of build/nova-VERSION back: what differs from patches/ and '
        'the new files goes into variants of patches in releases/VERSION/.')
    _add_projects(command)
    _add_release(command)
    command.add_argument(
        '--mend', action='store_true',
        help='take those of build/mend (build/mend.PROJECT), where a patch '
        'that did not apply was mended; the patches after it stay. Without '
        'PROJECT, that of Nova')
    command.set_defaults(
        call='tool.commands:refresh', environment='tool', parser=command)


def _add_renumber(commands) -> None:
    command = commands.add_parser(
        'renumber', help='move the microversions that the series takes',
        description='Gives the series other microversions, because upstream '
        'has given out those that it takes: in its commits and the paths of '
        'their files, in the companions, the lab and the documentation. '
        'Without --write it shows what would change. Do it before the pin '
        'becomes that of a newer Nova.')
    command.add_argument(
        'first', metavar='MICROVERSION',
        help='that of the first change that takes one, such as 2.107; the '
        'others keep their distance from it')
    command.add_argument(
        '--write', action='store_true', help='change the files')
    command.set_defaults(
        call='tool.commands:renumber', environment='tool', parser=command)


def _add_check(commands) -> None:
    command = commands.add_parser(
        'check',
        help="check patches, messages, style, each commit's own tests",
        description='Checks the series as it is in patches/ and the overlay: '
        'patches apply without fuzz or offset; every addition belongs to one '
        "commit; commit messages follow Nova's rules; the numbers that the "
        'commits take (microversions, versions of services, RPC interfaces '
        'and objects) are the next ones of the release, and are in '
        'numbers.toml beside its pin; nothing changes in '
        'white space alone; release notes pass reno; constraints.txt meets '
        "Nova's requirements; each commit alone passes Nova's pep8 on the "
        'files it touches, and the unit test modules it adds or edits (of '
        'modules of more than 4000 lines, the tests that it touches). The '
        'same for the companions, by the pre-commit hooks of each. A series '
        'for an earlier release (--release) must take no number, and say why '
        'it is without each patch that it does not have.')
    _add_projects(command)
    _add_release(command)
    command.add_argument(
        '--quick', action='store_true',
        help='leave out the unit tests of each commit')
    command.set_defaults(
        call='tool.commands:check', environment='nova', parser=command)


def _add_tests(commands) -> None:
    command = commands.add_parser(
        'tests', help='run the tests of the tool, the lab and the series',
        description='Runs the tests of the tool and the lab (pytest), then, '
        'in build/nova, the unit and functional tests that the series adds '
        "or edits and Nova's own of the modules that it touches (stestr); "
        'tool/nova_tests/modules.toml lists those. Then the unit tests of '
        'the modules that the companions touch. The last line says how many '
        'passed and failed. With --release, runs those of build/nova-VERSION '
        'alone.')
    command.add_argument(
        'parts', nargs='*', metavar='PART', type=_part,
        help=f'run only these: {", ".join(PARTS)} (tool has the lab in it)')
    command.add_argument(
        '--all', action='store_true',
        help='run also those tests of the tool that take long: wheels in '
        'environments of their own, all that ./run upstream does, and builds '
        'and refreshes that are killed at each step')
    _add_release(command)
    command.set_defaults(
        call='tool.commands:tests', environment='nova', companions=True,
        parser=command)


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(
            f'{name!r} is none of {", ".join(PARTS)}')
    return name


def _add_upstream(commands) -> None:
    command = commands.add_parser(
        'upstream',
        help="run Nova's whole suites on the patched tree and on the base",
        description="Runs Nova's whole unit and functional suites on the "
        'base and with the series, and shows the difference; a regression '
        '(a test that fails with the series, twice, and not without it) '
        'makes it fail. It takes hours: it can be interrupted, and goes on '
        'where it was when started again. What is known is kept in .cache/ '
        'by the content of the tree, so the base is run once.')
    command.add_argument(
        '--unit', action='store_true', help='run the unit suite alone')
    command.add_argument(
        '--functional', action='store_true',
        help='run the functional suite alone')
    command.add_argument(
        '--only', metavar='REGEX', default='', type=_regex,
        help='run the tests whose ids match this')
    command.set_defaults(
        call='tool.commands:upstream', environment='nova', parser=command)


def _add_export(commands) -> None:
    export = commands.add_parser(
        'export', help='write the series for Gerrit, packages or a checkout',
        description='Writes the series in the form that others take it in. '
        'Commits are yours; where they are signed off, git must know your '
        'name and email address.')
    forms = export.add_subparsers(
        dest='form', metavar='FORM', title='forms')

    form = forms.add_parser(
        'checkout', help='put it on a git checkout of Nova, as a branch',
        description='Merges the series into a git checkout of Nova, on a '
        'new branch. If it conflicts, the checkout stays as it was: all '
        'conflicts are listed, with the command that applies the patches '
        'there up to the next conflict. A checkout with uncommitted changes '
        'is refused, and so is one in which the microversions and other '
        'numbers that the series takes are not the next ones; one that is '
        'not the release gets a warning.')
    form.add_argument('directory', metavar='DIR', type=pathlib.Path)
    form.add_argument(
        '--branch', metavar='NAME', default='nova-series',
        help='the name of the branch (%(default)s)')
    form.add_argument(
        '--signoff', action='store_true',
        help='end each message with your Signed-off-by')
    how = form.add_mutually_exclusive_group()
    how.add_argument(
        '--replace', action='store_true',
        help='put it in the place of what an earlier export made')
    how.add_argument(
        '--undo', action='store_true',
        help='delete the branch that an earlier export made, and check out '
        'what was there before')
    _add_release(form)
    form.set_defaults(
        call='tool.commands:export_checkout', environment='tool', parser=form)

    form = forms.add_parser(
        'gerrit', help='patches for git am and git review, and a cover letter',
        description='Writes patches for git am, signed off by you, and a '
        'cover letter.')
    form.add_argument('directory', metavar='DIR', type=pathlib.Path)
    form.add_argument(
        '--topic', metavar='NAME',
        help='only this topic of patches/series')
    form.add_argument(
        '--trailer', metavar='LINE', action='append', default=[],
        help='another trailer for each message, such as "Depends-On: …"')
    _add_release(form)
    form.set_defaults(
        call='tool.commands:export_gerrit', environment='tool', parser=form)

    form = forms.add_parser(
        'debian', help='patches for a Debian or Ubuntu source package',
        description='Puts the series into debian/patches of a source '
        "package, after the package's own patches, with the fields of DEP-3. "
        'Run again, it replaces what it wrote before.')
    form.add_argument('directory', metavar='DIR', type=pathlib.Path)
    form.add_argument(
        '--proposed', action='store_true',
        help="the changes are on OpenStack's Gerrit: link to them")
    _add_release(form)
    form.set_defaults(
        call='tool.commands:export_debian', environment='tool', parser=form)

    form = forms.add_parser(
        'rdo', help='patches for an RPM, and the lines of its spec file',
        description='Writes patches, and patches.spec with the lines that '
        'name them in a spec file.')
    form.add_argument('directory', metavar='DIR', type=pathlib.Path)
    _add_release(form)
    form.set_defaults(
        call='tool.commands:export_rdo', environment='tool', parser=form)

    form = forms.add_parser(
        'wheel', help='wheels of the patched Nova and its companions',
        description='Builds a wheel of each patched tree, build/nova and '
        'those of the companions, as it is committed. With --release, builds '
        'that of build/nova-VERSION alone.')
    form.add_argument('directory', metavar='DIR', type=pathlib.Path)
    _add_release(form)
    form.set_defaults(
        call='tool.commands:export_wheel', environment='tool', parser=form)


def add(commands) -> None:
    """Add the commands to the parser of ./run."""
    for each in (_add_tests, _add_build, _add_refresh, _add_renumber,
                 _add_check, _add_upstream, _add_export):
        each(commands)
