# SPDX-License-Identifier: Apache-2.0

"""The results of the bench: statistics, a table, JSON, a plot."""

from collections import abc
import dataclasses
import pathlib
import statistics
from typing import Any

import rich.table

VARIANTS = {
    'again': 'unrescue, move, rescue',
    'series': 'move in rescue',
    'ephemeral': 'move with ephemeral',
    'floor': 'libvirt alone',
    'active': 'move not in rescue',
}
"""What is measured, by the name it has in the JSON."""

CASES = tuple(name for name in VARIANTS if name != 'active')
"""What can be asked for; `active` is measured together with `again`."""

_MEASURES = {
    'outage': 'longest time without a tick',
    'pause': 'longest time that its clock stood still',
    'wall': 'from the request to its end',
}

_RATIOS = {
    'outage_series_to_floor': (
        'outage', 'series', 'floor', 'Outage in rescue, to libvirt alone'),
    'outage_again_to_floor': (
        'outage', 'again', 'floor',
        'Outage by rescuing again, to libvirt alone'),
    'outage_again_to_series': (
        'outage', 'again', 'series', 'Outage by rescuing again, to in rescue'),
    'pause_ephemeral_to_series': (
        'pause', 'ephemeral', 'series',
        'Pause with an ephemeral disk, to without'),
    'wall_series_to_active': (
        'wall', 'series', 'active', 'Wall time in rescue, to not in rescue'),
    'wall_ephemeral_to_series': (
        'wall', 'ephemeral', 'series',
        'Wall time with an ephemeral disk, to without'),
}
"""The ratios of medians, by their names in the JSON.

Each is a measure, the variant above, the variant below, and the same in words.
"""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What one round of a variant has shown."""

    variant: str
    #: number of the round, from 1 on
    round: int
    #: seconds that the guest showed no sign of life
    outage: float
    #: seconds that its clock stood still; unlike the outage, a busy machine
    #: does not lengthen it
    pause: float
    #: seconds from the request to its completion
    wall: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """The statistics of a measure, in seconds."""

    median: float
    min: float
    max: float


def summarize(samples: abc.Iterable[Sample]) -> (
        dict[str, dict[str, Summary]]):
    """The statistics of each measure of each variant."""
    values: dict[str, dict[str, list[float]]] = {}
    for sample in samples:
        of_variant = values.setdefault(
            sample.variant, {measure: [] for measure in _MEASURES})
        for measure, seen in of_variant.items():
            seen.append(getattr(sample, measure))
    return {
        variant: {
            measure: Summary(statistics.median(seen), min(seen), max(seen))
            for measure, seen in values[variant].items()}
        for variant in VARIANTS if variant in values}


def _ratio(one: float, other: float) -> float | None:
    return one / other if other else None


def ratios(
    summaries: dict[str, dict[str, Summary]]
) -> dict[str, float | None]:
    """The ratios of medians.

    None where the divisor is zero, or one of the two was not measured.
    """
    return {
        name: _ratio(summaries[one][measure].median,
                     summaries[other][measure].median)
        if {one, other} <= summaries.keys() else None
        for name, (measure, one, other, _) in _RATIOS.items()}


def document(
    samples: abc.Sequence[Sample], facts: abc.Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that is known, for a JSON file.

    :param facts: what describes the lab and the run
    """
    summaries = summarize(samples)
    return {
        **facts,
        'unit': 'seconds',
        'variants': VARIANTS,
        'measures': _MEASURES,
        'samples': [dataclasses.asdict(sample) for sample in samples],
        'summary': {
            variant: {measure: dataclasses.asdict(summary)
                      for measure, summary in of_variant.items()}
            for variant, of_variant in summaries.items()},
        'ratios': ratios(summaries)}


def table(samples: abc.Iterable[Sample]) -> rich.table.Table:
    """The median, the least and the most of each variant."""
    shown = rich.table.Table('')
    for title in _MEASURES:
        shown.add_column(title, justify='right', no_wrap=True)
    for variant, measures in summarize(samples).items():
        shown.add_row(VARIANTS[variant], *(
            f'{summary.median:.2f} s ({summary.min:.2f}-{summary.max:.2f})'
            for summary in measures.values()))
    return shown


def words(found: abc.Mapping[str, Any]) -> list[str]:
    """What the table does not show, in words.

    :param found: what `document` returned
    """
    shown = []
    for name, (*_, words) in _RATIOS.items():
        ratio = found['ratios'][name]
        if ratio is not None:
            shown.append(f'{words}: {ratio:.2f}')
    begin, end = (found['load_average'][when][0] for when in ('begin', 'end'))
    return [
        *shown,
        'Longest time without a tick while nothing was done: '
        f'{max(found["rest"]):.2f} s',
        f'Load average {begin:.1f} at the beginning, {end:.1f} at the end, on '
        f'{found["processors"]} processors']


def plot(
    samples: abc.Sequence[Sample], title: str, path: pathlib.Path
) -> None:
    """Draw each sample as a dot, and the medians, in an SVG file."""
    # Imported here as nothing else needs them.
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    summaries = summarize(samples)
    figure, axes = pyplot.subplots(
        len(_MEASURES), sharex=True, figsize=(9, 5), layout='constrained')
    names = list(reversed(summaries))
    for axis, (measure, meaning) in zip(axes, _MEASURES.items(), strict=True):
        for place, name in enumerate(names):
            seen = [getattr(sample, measure) for sample in samples
                    if sample.variant == name]
            axis.plot(seen, [place] * len(seen), 'o', alpha=0.5, color='C0')
            axis.plot(
                summaries[name][measure].median, place, '|', color='C3',
                markersize=20)
        axis.set_yticks(range(len(names)), [VARIANTS[name] for name in names])
        axis.set_ylim(-0.5, len(names) - 0.5)
        axis.set_title(f'{measure}: {meaning}', fontsize='medium')
        axis.grid(axis='x', alpha=0.3)
    # From a tenth of a second to a minute, and zero.
    axes[-1].set_xscale('symlog', linthresh=0.01)
    axes[-1].set_xlim(left=0)
    axes[-1].xaxis.set_major_formatter('{x:g}')
    axes[-1].set_xlabel('seconds; dots are rounds, lines are medians')
    figure.suptitle(title)
    figure.savefig(path)
    pyplot.close(figure)
