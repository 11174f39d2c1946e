# SPDX-License-Identifier: Apache-2.0

"""Patches and overlay fit each other, and the release they stand on."""

import os
import pathlib

from tool.checks.checked import Checked
from tool import series


def applies(checked: Checked) -> list[str]:
    """Patches that do not stand exactly where they say."""
    return [
        f'{checked.layout.patch(one.name)}: {text}: bring it up to date with '
        f'{checked.layout.command("refresh")}'
        for one in checked.made for text in one.offsets
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
    named = {name for name, _ in checked.patches()}
    for file in sorted(checked.layout.patches.glob('*')):
        if file.name not in named | {series.SERIES}:
            found.append(
                f'{checked.layout.patch(file.name)} is not in '
                f'{checked.layout.patch(series.SERIES)}')
    return found
