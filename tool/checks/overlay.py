# SPDX-License-Identifier: Apache-2.0

"""Patches and overlay fit each other, and the release they stand on."""

from collections import abc
import os
import pathlib

from tool.checks.checked import Checked
from tool.layout import Layout
from tool import series


def applies(checked: Checked) -> list[str]:
    """Patches that do not stand exactly where they say.

    Those that a backport shares with the series stand where they do there.
    """
    layout = checked.layout
    return [
        f'{layout.patch(one.name)}: {text}: bring it up to date with '
        f'{layout.command("refresh")}'
        for one in checked.made
        if not layout.whole
        or layout.patch_file(one.name).is_relative_to(layout.release)
        for text in one.offsets
    ]


def strays(
    layout: Layout, home: pathlib.Path, besides: abc.Collection[str] = ()
) -> list[str]:
    """Files beside patches that are not patches of the series.

    :param home: what holds the patches
    :param besides: names of files that may be there
    """
    known = {*series.names(layout), series.SERIES, *besides}
    return [
        f'{layout.shown(file)} is not in {layout.shown(layout.series)}'
        for file in sorted(home.glob('*')) if file.name not in known
    ]


def belongs(checked: Checked) -> list[str]:
    """Files of the overlay that not exactly one patch adds."""
    owners: dict[str, str] = {}
    found = []
    for name, it in checked.patches():
        for path in it.adds:
            if path in owners:
                found.append(f'{path} is added by {owners[path]} and {name}')
            owners[path] = name
    for top in checked.layout.overlay:
        for where, directories, names in os.walk(checked.layout.root / top):
            if '__pycache__' in directories:
                directories.remove('__pycache__')
            for name in names:
                file = pathlib.Path(where) / name
                path = str(file.relative_to(checked.layout.root))
                if path not in owners:
                    found.append(f'{path} is added by no patch')
    return found + strays(checked.layout, checked.layout.patches)
