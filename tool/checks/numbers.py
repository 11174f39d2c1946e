# SPDX-License-Identifier: Apache-2.0

"""The series takes the next numbers of its release, as the table has them."""

import dataclasses

from tool.checks.checked import Checked
from tool import numbers
from tool import release


def _facts(checked: Checked, standing: dict[str, str]) -> list[str]:
    """Facts of the release that its source does not bear out."""
    layout = checked.layout
    if not layout.facts.exists():
        return []
    return [
        f'{layout.shown(layout.facts)}: {numbers.title(name)} is {value}, but '
        f'the release has {standing.get(name, "none")}'
        for name, value in dataclasses.asdict(release.facts(layout)).items()
        if standing.get(name) != str(value)
    ]


def check(checked: Checked) -> list[str]:
    """Numbers that are not the next ones, or that the table does not have."""
    layout = checked.layout
    table = layout.shown(layout.numbers)
    taken = numbers.taken(layout)
    standing = numbers.of(checked.repo, 'base')
    found = _facts(checked, standing)
    for name, text in numbers.not_next(standing, taken).items():
        found.append(f'{table}: {text}')
        if name == numbers.MICROVERSION and name in standing:
            found[-1] += (
                ': move those of the series with ./run renumber '
                f'{numbers.after(standing[name])}')
    moved = numbers.moves(checked.repo, checked.made, 'base')
    for name in sorted(moved.keys() | taken.keys()):
        wanted = taken.get(name, [])
        if [value for value, _ in moved.get(name, [])] == wanted:
            continue
        done = ', '.join(
            f'{value or "nothing"} in {layout.patch(patch)}'
            for value, patch in moved.get(name, [])) or 'nothing else'
        found.append(
            f'{table}: {numbers.title(name)} is to become '
            f'{", ".join(wanted) or "nothing else"}, but the commits make it '
            f'{done}: correct the table, or the commits in '
            f'{layout.shown(layout.tree)}')
    return found
