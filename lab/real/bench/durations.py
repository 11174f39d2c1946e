# SPDX-License-Identifier: Apache-2.0

"""The results of benches that measure durations: statistics, a table, JSON."""

from collections import abc
import json
import pathlib
import statistics
from typing import Any

import rich.table

from tool import console

AT_ONCE = 8
"""How many servers are transferred at once."""

OTHERS = 2000
"""How many other servers each of the two projects has, in one of the cases."""

TRANSFER = {
    'one': 'transfer, one at a time',
    'many': f'transfer, {AT_ONCE} at once',
    'crowd': f'transfer, {OTHERS} other servers in each project',
    'writes': 'the bare writes',
    'today': 'snapshot, share, boot',
    'volume': "transfer of a volume by Cinder (where the lab has it)",
}
"""What the bench of transfers measures, by the name it has in the JSON."""

CLAIM = {
    'claim': 'claim, until the port answers',
    'boot': 'boot, until the port answers',
}
"""What the bench of claims measures, by the name it has in the JSON."""

CROSS_CELL = {
    'cell': 'within its cell',
    'cross': 'to another cell',
}
"""Where the bench of moves across cells moves a server, by the name in JSON.

It measures two things of each.
"""

_TITLES = TRANSFER | CLAIM | {
    f'{case}_{what}': f'{title} of a move {where}'
    for what, title in (('outage', 'outage'), ('wall', 'wall time'))
    for case, where in CROSS_CELL.items()}

_RATIOS = {
    'transfer, to the bare writes': ('one', 'writes'),
    'snapshot, share and boot, to transfer': ('today', 'one'),
    'transfer among many servers, to among few': ('crowd', 'one'),
    'transfer, to that of a volume by Cinder': ('one', 'volume'),
    'boot, to claim': ('boot', 'claim'),
    'outage of a move to another cell, to within its cell': (
        'cross_outage', 'cell_outage'),
    'wall time of a move to another cell, to within its cell': (
        'cross_wall', 'cell_wall'),
}
"""Which cases are compared, by the words for it."""


def percentile(values: abc.Sequence[float], percent: int) -> float:
    """The value that so many percent of values do not exceed."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method='inclusive')[percent - 1]


def summary(values: abc.Sequence[float]) -> dict[str, float]:
    """How many values there are, and how large they are."""
    return {'count': len(values), 'p50': percentile(values, 50),
            'p95': percentile(values, 95), 'max': max(values)}


def ratios(samples: abc.Mapping[str, abc.Sequence[float]]) -> dict[str, float]:
    """How the medians of cases compare, by the words for it."""
    return {
        words: percentile(samples[one], 50) / percentile(samples[other], 50)
        for words, (one, other) in _RATIOS.items()
        if one in samples and other in samples}


def document(
    samples: abc.Mapping[str, abc.Sequence[float]]
) -> dict[str, Any]:
    """Everything that is known, for a JSON file.

    :param samples: seconds, by name of the case
    """
    return {
        'unit': 'seconds',
        'cases': {case: _TITLES[case] for case in samples},
        'samples': samples,
        'summary': {case: summary(seen) for case, seen in samples.items()},
        'ratios': ratios(samples)}


def table(
    samples: abc.Mapping[str, abc.Sequence[float]]
) -> rich.table.Table:
    """What each case takes."""
    shown = rich.table.Table('')
    for title in ('times', 'p50', 'p95', 'max'):
        shown.add_column(title, justify='right', no_wrap=True)
    for case, seen in samples.items():
        found = summary(seen)
        shown.add_row(_TITLES[case], str(found['count']), *(
            f'{found[which]:.3f} s' for which in ('p50', 'p95', 'max')))
    return shown


def words(
    samples: abc.Mapping[str, abc.Sequence[float]], aim: float | None = None
) -> list[str]:
    """What the table does not show, in words.

    :param aim: what no ratio is to exceed, if there is such an aim
    """
    aimed = '' if aim is None else f' (aim: at most {aim:.2f})'
    return [f'Median of {what}: {ratio:.2f}{aimed}'
            for what, ratio in ratios(samples).items()]


def report(
    written: pathlib.Path, samples: abc.Mapping[str, abc.Sequence[float]],
    facts: abc.Mapping[str, Any], aim: float | None = None,
) -> None:
    """Print the results, and write them to a file.

    :param written: the file
    :param facts: what else it is to hold
    :param aim: what no ratio is to exceed, if there is such an aim
    """
    written.parent.mkdir(exist_ok=True)
    written.write_text(
        json.dumps({**facts, **document(samples)}, indent=1) + '\n')
    console.console.print(table(samples))
    for line in words(samples, aim):
        console.console.print(line)
    console.console.print(f'Written: {written}')
