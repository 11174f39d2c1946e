# SPDX-License-Identifier: Apache-2.0

"""What the bench makes of its samples."""

import json
import xml.etree.ElementTree

import pytest
import rich.console

from lab.real.bench import figures


def samples(floor=0.1):
    return [
        figures.Sample(
            variant, number + 1, outage + number / 100,
            outage + number / 100, wall)
        for variant, outage, wall in (
            ('floor', floor, 1), ('again', 20, 30), ('series', 0.2, 6),
            ('active', 0.2, 4), ('ephemeral', 0.23, 15))
        for number in range(3)]


FACTS = {
    'rest': [0.01, 0.02], 'processors': 2, 'rounds': 3, 'shared': False,
    'load_average': {'begin': [1.0], 'end': [2.5]}}


def test_statistics():
    found = figures.summarize(samples())
    assert list(found) == list(figures.VARIANTS)
    assert found['series']['outage'] == figures.Summary(
        pytest.approx(0.21), pytest.approx(0.2), pytest.approx(0.22))
    ratios = figures.ratios(found)
    assert ratios['outage_again_to_series'] == pytest.approx(20.01 / 0.21)
    assert ratios['outage_series_to_floor'] == pytest.approx(0.21 / 0.11)
    assert ratios['pause_ephemeral_to_series'] == pytest.approx(0.24 / 0.21)
    assert ratios['wall_series_to_active'] == pytest.approx(1.5)
    assert ratios['wall_ephemeral_to_series'] == pytest.approx(2.5)


def test_json_has_samples_and_facts():
    found = json.loads(json.dumps(figures.document(samples(), FACTS)))
    assert len(found['samples']) == 15
    assert found['rounds'] == 3
    assert found['summary']['active']['wall']['max'] == 4


@pytest.mark.parametrize('floor', [0.1, -0.01])
def test_table_and_words(floor):
    console = rich.console.Console(width=100)
    with console.capture() as capture:
        console.print(figures.table(samples(floor)))
    shown = capture.get()
    series = next(each for each in shown.splitlines()
                  if figures.VARIANTS['series'] in each)
    assert '0.21 s (0.20-0.22)' in series
    told = '\n'.join(figures.words(figures.document(samples(floor), FACTS)))
    assert 'not in rescue: 1.50' in told
    assert ('in rescue, to libvirt alone: 1.91' in told) == (floor > 0)
    assert 'with an ephemeral disk, to without: 1.14' in told
    assert '0.02 s' in told and '2.5 at the end' in told


@pytest.mark.parametrize('cases', [
    {'again', 'active'}, {'series'}, {'series', 'ephemeral'}, {'floor'}])
def test_only_some_cases(cases, tmp_path):
    some = [sample for sample in samples() if sample.variant in cases]
    found = figures.document(some, FACTS)
    assert {name for name, ratio in found['ratios'].items()
            if ratio is not None} == (
        {'pause_ephemeral_to_series', 'wall_ephemeral_to_series'}
        if 'ephemeral' in cases else set())
    assert 'None' not in '\n'.join(figures.words(found))
    assert figures.table(some).row_count == len(cases)
    path = tmp_path / 'plot.svg'
    figures.plot(some, 'A title', path)
    text = path.read_text()
    for variant, words in figures.VARIANTS.items():
        assert (f'<!-- {words} -->' in text) == (variant in cases)


def test_plot_is_svg(tmp_path):
    path = tmp_path / 'plot.svg'
    figures.plot(samples(), 'A title', path)
    root = xml.etree.ElementTree.parse(path).getroot()
    assert root.tag == '{http://www.w3.org/2000/svg}svg'
