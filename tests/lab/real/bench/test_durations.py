# SPDX-License-Identifier: Apache-2.0

import io
import json

import pytest
import rich.console

from lab.real.bench import durations

SAMPLES = {
    'one': [0.1, 0.2, 0.3], 'writes': [0.1], 'today': [20.0, 10.0],
    'crowd': [0.2, 0.3, 0.4]}

MOVES = {
    'cell_outage': [10.0, 30.0, 20.0], 'cross_outage': [30.0],
    'cell_wall': [5.0], 'cross_wall': [6.0]}


@pytest.mark.parametrize('percent, value', [(50, 50.5), (95, 95.05)])
def test_percentile(percent, value):
    assert durations.percentile(
        list(range(1, 101)), percent) == pytest.approx(value)


def test_percentile_of_one():
    assert durations.percentile([3.0], 95) == 3.0


def test_ratios_are_of_medians():
    assert durations.ratios(SAMPLES) == pytest.approx({
        'transfer, to the bare writes': 2,
        'snapshot, share and boot, to transfer': 75,
        'transfer among many servers, to among few': 1.5})
    assert durations.ratios({'claim': [2.0], 'boot': [30.0]}) == {
        'boot, to claim': 15}
    assert list(durations.ratios(MOVES).values()) == pytest.approx([1.5, 1.2])


@pytest.mark.parametrize('missing, left', [
    ('one', 0), ('writes', 2), ('today', 2), ('crowd', 2)])
def test_what_was_not_measured_has_no_ratio(missing, left):
    samples = {case: seen for case, seen in SAMPLES.items()
               if case != missing}
    assert len(durations.words(samples)) == left


def test_aim_is_beside_each_ratio():
    assert durations.words(MOVES, 1.3) == [
        'Median of outage of a move to another cell, to within its cell: '
        '1.50 (aim: at most 1.30)',
        'Median of wall time of a move to another cell, to within its cell: '
        '1.20 (aim: at most 1.30)']
    assert 'aim' not in ''.join(durations.words(MOVES))


def test_document_is_whole():
    found = json.loads(json.dumps(durations.document(SAMPLES)))
    assert found['samples'] == SAMPLES
    assert found['summary']['one'] == {
        'count': 3, 'p50': 0.2, 'p95': pytest.approx(0.29), 'max': 0.3}


def test_table_has_each_case():
    shown = io.StringIO()
    rich.console.Console(file=shown, width=100).print(
        durations.table(SAMPLES | MOVES))
    for case in SAMPLES:
        assert durations.TRANSFER[case] in shown.getvalue()
    assert 'wall time of a move to another cell' in shown.getvalue()
