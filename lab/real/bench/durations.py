# SPDX-License-Identifier: Apache-2.0

"""The results of the bench of transfers: statistics, a table, JSON."""

from collections import abc
import statistics
from typing import Any

import rich.table

AT_ONCE = 8
"""How many servers are transferred at once."""

OTHERS = 2000
"""How many other servers each of the two projects has, in one of the cases."""

CASES = {
    'one': 'transfer, one at a time',
    'many': f'transfer, {AT_ONCE} at once',
    'crowd': f'transfer, {OTHERS} other servers in each project',
    'writes': 'the bare writes',
    'today': 'snapshot, share, boot',
}
"""What is measured, by the name it has in the JSON."""


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
    """How medians compare with that of one transfer at a time, in words."""
    if 'one' not in samples:
        return {}
    one = percentile(samples['one'], 50)
    found = {}
    if 'writes' in samples:
        found['transfer, to the bare writes'] = (
            one / percentile(samples['writes'], 50))
    if 'today' in samples:
        found['snapshot, share and boot, to transfer'] = (
            percentile(samples['today'], 50) / one)
    if 'crowd' in samples:
        found['transfer among many servers, to among few'] = (
            percentile(samples['crowd'], 50) / one)
    return found


def document(
    samples: abc.Mapping[str, abc.Sequence[float]]
) -> dict[str, Any]:
    """Everything that is known, for a JSON file.

    :param samples: seconds, by name of the case
    """
    return {
        'unit': 'seconds', 'cases': CASES, 'samples': samples,
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
        shown.add_row(CASES[case], str(found['count']), *(
            f'{found[which]:.3f} s' for which in ('p50', 'p95', 'max')))
    return shown


def words(samples: abc.Mapping[str, abc.Sequence[float]]) -> list[str]:
    """What the table does not show, in words."""
    return [f'Median of {what}: {ratio:.2f}'
            for what, ratio in ratios(samples).items()]
