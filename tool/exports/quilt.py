# SPDX-License-Identifier: Apache-2.0

"""./run export debian and rdo: patches for the packages of distributions."""

import pathlib
import re

from tool import console
from tool.console import Problem
from tool.exports import commits
from tool.layout import Layout
from tool import release

SUBDIRECTORY = 'nova-series'
"""Below debian/patches, so that the package's own patches stay apart."""

_BUG = re.compile(r'^(?:Closes|Related|Partial)-Bug: #?(\d+)', re.MULTILINE)
_CHANGE = re.compile(r'^Change-Id: (I[0-9a-f]{40})$', re.MULTILINE)


def _dep3(data: bytes, proposed: bool) -> bytes:
    """A patch with the fields of DEP-3 that git format-patch leaves out.

    From, Subject and Date stand for Author, Description and Last-Update.

    :param proposed: whether the changes are on OpenStack's Gerrit
    """
    head, _, rest = data.decode().partition('\n\n')
    message = rest.partition('\n---\n')[0]
    fields = ['Origin: other']
    fields += [
        f'Bug: https://bugs.launchpad.net/nova/+bug/{number}'
        for number in _BUG.findall(message)
    ]
    change = _CHANGE.search(message)
    fields.append(
        f'Forwarded: https://review.opendev.org/q/{change[1]}'
        if proposed and change else 'Forwarded: no')
    return '\n'.join([head, *fields, '', rest]).encode()


def _patches(layout: Layout) -> dict[str, bytes]:
    names = commits.choose(layout, None)
    return commits.patch_files(*commits.rewrite(layout, names))


def debian(layout: Layout, directory: pathlib.Path, proposed: bool) -> None:
    """Put the series into a Debian source package, after its own patches.

    Exported again, it takes the place of what was exported before.

    :param directory: of the source package; what has no debian/ gets one
    :param proposed: whether the changes are on OpenStack's Gerrit
    :raises Problem: if it cannot be done; the package is as it was
    """
    with console.step(f'Writing patches to {directory}') as said:
        patches = {
            name: _dep3(data, proposed)
            for name, data in _patches(layout).items()
        }
        home = directory / 'debian' / 'patches'
        series = home / 'series'
        try:
            home.mkdir(parents=True, exist_ok=True)
            theirs = series.read_text() if series.exists() else ''
            kept = [
                line for line in theirs.splitlines()
                if not line.startswith(f'{SUBDIRECTORY}/')
            ]
            ours = home / SUBDIRECTORY
            ours.mkdir(exist_ok=True)
            for name, data in patches.items():
                (ours / name).write_bytes(data)
            lines = [*kept, *(f'{SUBDIRECTORY}/{name}' for name in patches)]
            staged = series.with_name('series.new')
            staged.write_text('\n'.join(lines) + '\n')
            # From here on the package has the new ones; what the series no
            # longer has can go.
            staged.replace(series)
            for file in ours.iterdir():
                if file.name not in patches:
                    file.unlink()
        except OSError as error:
            raise Problem(
                f'{error.filename} could not be written: {error.strerror}.'
            ) from error
        said.append(
            f'{home / SUBDIRECTORY}: {len(patches)} patches, after '
            f'{len(kept)} of the package')
    console.line('Try them: quilt push -a, or dpkg-source --before-build .')


def rdo(layout: Layout, directory: pathlib.Path) -> None:
    """Write patches, and the lines of a spec file that names them.

    :param directory: new or empty
    :raises Problem: if it cannot be done; nothing is written
    """
    with console.step(f'Writing patches to {directory}') as said:
        patches = _patches(layout)
        version = release.read(layout).version
        lines = [f'# patches_base={version}', *(
            f'Patch{number:04}:      {name}'
            for number, name in enumerate(patches, 1))]
        commits.written(directory, {
            **patches, 'patches.spec': ('\n'.join(lines) + '\n').encode()})
        said.append(
            f'{directory}: {len(patches)} patches, and patches.spec')
    console.line(
        'Put the lines of patches.spec after Source0 of the spec file, whose '
        '%prep applies them with %autosetup -S git.')
