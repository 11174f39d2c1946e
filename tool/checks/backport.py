# SPDX-License-Identifier: Apache-2.0

"""A backport has each patch of the series, or says why it has not."""

import re

from tool.checks.checked import Checked
from tool.checks import overlay
from tool.exports import commits
from tool.layout import Layout
from tool import series

_WITHOUT = re.compile(r'^# Without (\S+): \S', re.MULTILINE)


def _topics(layout: Layout) -> dict[str, tuple[str, ...]]:
    return {topic.name: topic.patches for topic in commits.topics(layout)}


def unexplained(layout: Layout) -> list[str]:
    """Patches of the series that are neither there nor left out with reason.

    A line "# Without NAME: why" of the backport's series leaves a patch out,
    or all of a topic.

    :param layout: that of the backport
    """
    topics, names = _topics(layout.whole), series.names(layout.whole)
    without = _WITHOUT.findall(layout.series.read_text())
    left_out = {
        name for each in without for name in topics.get(each, (each,))}
    there = set(series.names(layout))
    shown = layout.shown(layout.series)
    return [
        f'{layout.whole.patch(name)} is not in {shown}: add it, or say why '
        f'not (# Without {name}: ...)'
        for name in names if name not in left_out | there
    ] + [
        f'{shown} has {name}, and says that it is without it'
        for name in sorted(left_out & there)
    ] + [
        f'{shown} says that it is without {name}, which is not in '
        f'{layout.whole.shown(layout.whole.series)}'
        for name in sorted(left_out.difference(names))
    ]


def check(checked: Checked) -> list[str]:
    """Patches that the backport does not explain, and stray files."""
    layout = checked.layout
    return unexplained(layout) + overlay.strays(
        layout, layout.release, (layout.base.name, layout.facts.name))
