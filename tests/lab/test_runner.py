# SPDX-License-Identifier: Apache-2.0

"""The runner shows what happens, and no scenario spoils another."""

import contextlib

import pytest

from lab.needs import Need
from lab import runner
from lab import scenarios
from lab.words import expect
from lab.words.steps import Outcome
from tool import console


class Cloud(contextlib.nullcontext):
    """As much of a cloud as a scene needs that boots nothing."""

    def __init__(self, *has):
        super().__init__(self)
        self.has = frozenset(has)


def scenario(play, *needs):
    return scenarios.scenario(capability=2, needs=needs)(play)


def step(scene, text):
    with scene.teller.step(text):
        expect.note_done(text)


@scenario
def passing(scene):
    """It passes"""
    step(scene, 'one')
    step(scene, 'two [of two]')


@scenario
def failing(scene):
    """It fails"""
    with scene.teller.step('look', is_check=True):
        expect.equal('the sky', 'grey', 'blue')


@scenario
def broken(scene):
    """It is broken"""
    with scene.teller.step('divide'):
        1 / 0


@scenario
def empty(scene):
    """It says more than it does"""
    with scene.teller.step('its data are there', is_check=True):
        pass


@scenario
def partly(scene):
    """It has a check that cannot be made"""
    scene.teller.skip('the console shows it', [Need.GUESTS])
    with scene.teller.step('it is there', is_check=True):
        expect.equal('it', 1, 1)


def unplayable(scene):
    """It needs more than there is"""
    raise AssertionError('it was started')


beyond = scenario(unplayable, Need.GUESTS, Need.UEFI)


class CloudThatDoesNotStart(Cloud):
    def __enter__(self):
        raise RuntimeError('no power')


class CloudThatDoesNotStop(Cloud):
    def __exit__(self, *exc_info):
        raise RuntimeError('a thread is left')


@pytest.fixture
def run(capsys):
    def run(*chosen, make_cloud=Cloud):
        results = runner.run(chosen, make_cloud)
        return results, capsys.readouterr().out
    return run


def outcomes(results):
    return [result.outcome for result in results]


def test_steps_are_shown_in_plain_lines(run):
    results, shown = run(passing)
    assert outcomes(results) == [Outcome.OK]
    lines = shown.splitlines()
    assert lines[0] == 'passing: It passes'
    assert [line.split(' s  ')[1] for line in lines[1:]] == [
        'start a cloud', 'one', 'two [of two]', 'stop the cloud']
    assert all(line.startswith('  ok ') for line in lines[1:])
    assert '\x1b' not in shown


def test_reason_of_a_failure_is_shown_and_the_next_one_runs(run):
    results, shown = run(failing, passing)
    assert [(str(result), result.scenario.name) for result in results] == [
        ('FAILED', 'failing'), ('passed', 'passing')]
    assert 'FAILED' in shown
    assert "  the sky: expected 'blue', got 'grey'\n" in shown
    assert results[0].reason == "the sky: expected 'blue', got 'grey'"


def test_broken_scenario_is_shown_with_its_traceback(run):
    results, shown = run(broken, passing)
    assert outcomes(results) == [Outcome.FAILED, Outcome.OK]
    assert 'the scenario broke' in shown
    assert 'ZeroDivisionError' in shown


def test_step_in_which_nothing_is_looked_at_fails_its_scenario(run):
    results, shown = run(empty)
    assert outcomes(results) == [Outcome.FAILED]
    assert 'its data are there: nothing was compared' in shown
    (line,) = [line for line in shown.splitlines()
               if line.endswith(' s  its data are there')]
    assert line.startswith('  FAILED ')


def test_check_that_is_not_made_is_counted(run):
    results, shown = run(partly)
    assert str(results[0]) == 'passed, 1 of 2 checks skipped'
    assert 'the console shows it (needs real guests)\n' in shown


def test_scenario_whose_needs_are_not_met_is_skipped_before_it_starts(run):
    results, shown = run(beyond)
    assert outcomes(results) == [Outcome.SKIPPED]
    assert str(results[0]) == (
        'skipped: needs guests that boot by UEFI and real guests')
    # Nor is a cloud started for it.
    assert shown.splitlines()[0] == 'unplayable: It needs more than there is'
    assert shown.count('\n') == 2 and shown.splitlines()[1].endswith(
        'needs guests that boot by UEFI and real guests')


def test_cloud_goes_on_after_a_scenario_that_is_skipped(run):
    for chosen in ([passing, beyond, passing], [passing, beyond]):
        shown = run(*chosen)[1]
        assert shown.count('start a cloud') == 1
        assert shown.count('stop the cloud') == 1


def test_cloud_that_does_not_stop_fails_the_last_one(run):
    results, shown = run(passing, beyond, make_cloud=CloudThatDoesNotStop)
    assert outcomes(results) == [Outcome.OK, Outcome.FAILED]
    assert 'a thread is left' in shown


@pytest.mark.parametrize('make_cloud, reason', [
    (CloudThatDoesNotStart, 'no power'),
    (CloudThatDoesNotStop, 'a thread is left'),
])
def test_cloud_that_fails_fails_the_scenario(run, make_cloud, reason):
    results, shown = run(passing, make_cloud=make_cloud)
    assert outcomes(results) == [Outcome.FAILED]
    assert reason in shown


def test_cloud_serves_until_a_scenario_fails(run):
    seen = []

    class Watched(Cloud):
        def __exit__(self, *exc_info):
            seen.append('stopped')

    @scenario
    def looking(scene):
        """It sees the cloud"""
        seen.append(scene.cloud)

    run(looking, failing, looking, passing, make_cloud=Watched)
    first, second = seen[0], seen[2]
    assert seen == [first, 'stopped', second, 'stopped']
    assert first is not second


def test_interrupt_ends_the_run_and_the_cloud(run):
    seen = []

    class Watched(Cloud):
        def __exit__(self, *exc_info):
            seen.append('stopped')

    @scenario
    def interrupted(scene):
        """It is interrupted"""
        with scene.teller.step('wait'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, passing, make_cloud=Watched)
    assert seen == ['stopped']


@pytest.mark.parametrize('chosen, counts, code', [
    ([passing], '1 passed, 0 failed in ', 0),
    ([passing, failing], '1 passed, 1 failed in ', 1),
    ([passing, beyond], '1 passed, 0 failed, 1 skipped in ', 0),
    ([passing, partly],
     '2 passed (1 with 1 of 2 checks skipped), 0 failed in ', 0),
])
def test_play_counts(capsys, chosen, counts, code):
    assert runner.play(chosen, Cloud) == code
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1].startswith(counts)
    title = scenarios.CAPABILITIES[2]
    assert f'\n 2  {title}: {counts.removesuffix(" in ")}\n' in shown


def test_report_that_cannot_be_written_is_refused_before_the_run(
    capsys, tmp_path
):
    with pytest.raises(console.Problem, match='--report'):
        runner.play([passing], Cloud, tmp_path / 'no' / 'report.xml')
    assert capsys.readouterr().out == ''
