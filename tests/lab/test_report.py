# SPDX-License-Identifier: Apache-2.0

"""What a run has shown is said as it was, to people and to machines."""

from xml.etree import ElementTree

import pytest
import rich.console

from lab.needs import Need
from lab import report
from lab import scenarios
from lab.words import steps
from lab.words.steps import Outcome
from tool import console


def result(name, outcome, *taken, capability=2, reason=''):
    return report.Result(
        scenarios.Scenario(
            name, 'It does', print, capability, groups=('doors', 'wooden')),
        outcome, 1.25, reason, taken)


def step(text, outcome=Outcome.OK, is_check=True):
    compared = ('the key', 'the lock') if outcome is Outcome.OK else ()
    needs = (Need.GUESTS,) if outcome is Outcome.SKIPPED else ()
    return steps.Step(
        text, outcome, 0.5, is_check, () if is_check else ('turn',),
        compared, needs)


WHOLE = result('whole', Outcome.OK, step('open', is_check=False), step('is'))
PARTLY = result(
    'partly', Outcome.OK, step('open', is_check=False), step('is'),
    step('squeaks', Outcome.SKIPPED))
SKIPPED = result(
    'beyond', Outcome.SKIPPED, reason='needs real [guests]', capability=7)
FAILED = result(
    'failing', Outcome.FAILED, step('is', Outcome.FAILED),
    reason='the door: expected 1, got \x1b2')


def shown(*results):
    lines = []
    with (recording := rich.console.Console(width=80)).capture() as capture:
        recording.print(report.table(results))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    return [line for line in lines if line]


def test_table_is_by_capability():
    lines = shown(SKIPPED, WHOLE, PARTLY, FAILED)
    assert [line.split()[0] for line in lines] == [
        'scenario', 'capability', 'whole', 'partly', 'failing', 'capability',
        'beyond']
    assert lines[2].endswith(' 1.2 s') and ' passed ' in lines[2]
    assert ' passed, 1 of 2 checks skipped ' in lines[3]
    assert ' FAILED ' in lines[4]
    assert ' skipped: needs real [guests] ' in lines[6]


def test_table_shows_a_long_name_whole():
    name = 'destination-compute-dead-at-the-end'
    assert any(f' {name} ' in line for line in shown(
        result(name, Outcome.SKIPPED, reason='needs ' + 'much ' * 20)))


def test_summary_has_a_line_for_each_capability():
    assert report.summary([SKIPPED, WHOLE, PARTLY]) == [
        f' 2  {scenarios.CAPABILITIES[2]}: '
        '2 passed (1 with 1 of 2 checks skipped), 0 failed',
        f' 7  {scenarios.CAPABILITIES[7]}: 0 passed, 0 failed, 1 skipped']


def test_report_for_machines(tmp_path):
    path = tmp_path / 'report.xml'
    report.write([WHOLE, PARTLY, SKIPPED, FAILED], path)
    suite = ElementTree.parse(path).getroot()
    assert (suite.tag, suite.get('tests'), suite.get('failures'),
            suite.get('skipped')) == ('testsuite', '4', '1', '1')
    cases = {case.get('name'): case for case in suite}
    assert {case.get('classname') for case in suite} == {
        'scenarios.doors.wooden'}
    assert cases['beyond'].find('skipped').get('message') == (
        'needs real [guests]')
    assert cases['failing'].find('failure').get('message') == (
        'the door: expected 1, got 2')
    assert cases['partly'].find('skipped') is None
    assert cases['partly'].find('system-out').text.splitlines() == [
        'passed, 1 of 2 checks skipped',
        'ok action: open [did turn; compared the key, the lock]',
        'ok check: is [compared the key, the lock]',
        'skipped check: squeaks [needs real guests]']


def test_report_that_cannot_be_written(tmp_path):
    with pytest.raises(console.Problem, match='--report'):
        report.write([], tmp_path)
