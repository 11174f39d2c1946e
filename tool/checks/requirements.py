# SPDX-License-Identifier: Apache-2.0

"""constraints.txt meets what Nova requires."""

import importlib.metadata

import packaging.requirements

from tool.checks.checked import Checked


def check(checked: Checked) -> list[str]:
    """Requirements of Nova that the installed packages do not meet.

    The packages are those of the release that the series stands on. A backport
    is checked by the same tools as the series, whatever its own release wants.
    """
    found = []
    head = checked.made[-1].commit
    names = ['requirements.txt']
    if not checked.layout.whole:
        names.append('test-requirements.txt')
    for name in names:
        for line in checked.repo.lines('show', f'{head}:{name}'):
            line = line.partition('#')[0].strip()
            if not line:
                continue
            wanted = packaging.requirements.Requirement(line)
            if wanted.marker and not wanted.marker.evaluate():
                continue
            try:
                version = importlib.metadata.version(wanted.name)
            except importlib.metadata.PackageNotFoundError:
                found.append(f'{name}: {wanted.name} is not in '
                             'constraints.txt')
                continue
            if not wanted.specifier.contains(version, prereleases=True):
                found.append(
                    f'{name}: {wanted} is not met by {version} of '
                    'constraints.txt'
                )
    return found
