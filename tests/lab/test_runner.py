# SPDX-License-Identifier: Apache-2.0

"""The runner tells what happens, and no scenario spoils another."""

import contextlib
import io

import pytest
import rich.console

from lab import cloud as cloud_api
from lab import expect
from lab import runner


def passing(cloud, step):
    """It passes"""
    with step('one'):
        pass
    with step('two [of two]'):
        pass


def failing(cloud, step):
    """It fails"""
    with step('look'):
        raise expect.Unexpected('the sky: expected blue, seen grey')


def broken(cloud, step):
    """It is broken"""
    with step('divide'):
        1 / 0


def asking(cloud, step):
    """It asks for more than can be told"""
    with step('the console'):
        raise cloud_api.CannotTell('it has none')
    with step('go on'):
        pass


def beyond(cloud, step):
    """It asks for what the cloud has not"""
    raise cloud_api.CannotTell('it has no [hosts]')


@contextlib.contextmanager
def cloud_that_does_not_start():
    raise RuntimeError('no power')
    yield


@contextlib.contextmanager
def cloud_that_does_not_stop():
    yield
    raise RuntimeError('a thread is left')


@pytest.fixture
def run():
    def run(*chosen, make_cloud=contextlib.nullcontext):
        told = io.StringIO()
        results = runner.run(
            {scenario.__name__: scenario for scenario in chosen}, make_cloud,
            rich.console.Console(file=told, width=60))
        return results, told.getvalue()
    return run


def test_steps_are_told_in_plain_lines(run):
    results, told = run(passing)
    assert [result.passed for result in results] == [True]
    lines = told.splitlines()
    assert lines[0] == 'passing: It passes'
    assert [line.split(' s  ')[1] for line in lines[1:]] == [
        'start a cloud', 'one', 'two [of two]', 'stop the cloud']
    assert all(line.startswith('  ok ') for line in lines[1:])
    assert '\x1b' not in told


def test_reason_of_a_failure_is_told_and_the_next_one_runs(run):
    results, told = run(failing, passing)
    assert [(result.name, result.passed) for result in results] == [
        ('failing', False), ('passing', True)]
    assert 'FAILED' in told
    assert '  the sky: expected blue, seen grey\n' in told


def test_broken_scenario_is_told_with_its_traceback(run):
    results, told = run(broken, passing)
    assert [result.passed for result in results] == [False, True]
    assert 'the scenario broke' in told
    assert 'ZeroDivisionError' in told


def test_what_the_cloud_cannot_tell_is_no_failure(run):
    results, told = run(asking)
    assert [result.passed for result in results] == [True]
    assert 'the console: this cloud cannot tell, it has none' in told
    assert 'go on' in told


def test_scenario_that_the_cloud_cannot_tell_neither_passes_nor_fails(run):
    results, told = run(beyond, passing)
    assert [(result.passed, result.reason) for result in results] == [
        (None, 'it has no [hosts]'), (True, '')]
    assert '  this cloud cannot tell, it has no [hosts]\n' in told
    assert 'broke' not in told and 'FAILED' not in told


def test_cloud_goes_on_after_a_scenario_that_it_cannot_tell(run):
    for chosen in ([passing, beyond, passing], [passing, beyond]):
        told = run(
            *chosen, make_cloud=lambda: contextlib.nullcontext('cloud'))[1]
        assert told.count('start a cloud') == 1
        assert told.count('stop the cloud') == 1


def test_cloud_that_does_not_stop_fails_what_it_cannot_tell(run):
    results, told = run(beyond, make_cloud=cloud_that_does_not_stop)
    assert [result.passed for result in results] == [False]
    assert 'a thread is left' in told


@pytest.mark.parametrize('make_cloud, reason', [
    (cloud_that_does_not_start, 'no power'),
    (cloud_that_does_not_stop, 'a thread is left'),
])
def test_cloud_that_fails_fails_the_scenario(run, make_cloud, reason):
    results, told = run(passing, make_cloud=make_cloud)
    assert [result.passed for result in results] == [False]
    assert reason in told


def test_cloud_serves_until_a_scenario_fails(run):
    clouds = []

    @contextlib.contextmanager
    def make_cloud():
        cloud = object()
        clouds.append(cloud)
        yield cloud
        clouds.append('stopped')

    def before(cloud, step):
        """It sees the cloud"""
        clouds.append(cloud)

    def after(cloud, step):
        """It sees the cloud too"""
        clouds.append(cloud)

    run(before, failing, after, passing, make_cloud=make_cloud)
    first, second = clouds[0], clouds[3]
    assert clouds == [first, first, 'stopped', second, second, 'stopped']
    assert first is not second


def test_interrupt_ends_the_run_and_the_cloud(run):
    stopped = []

    @contextlib.contextmanager
    def make_cloud():
        try:
            yield
        finally:
            stopped.append(True)

    def interrupted(cloud, step):
        """It is interrupted"""
        with step('wait'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, passing, make_cloud=make_cloud)
    assert stopped


def test_table_has_a_line_for_each_result():
    told = io.StringIO()
    rich.console.Console(file=told, width=60).print(runner.table([
        runner.Result('first', True, 1.25), runner.Result('other', False, 2)]))
    rows = [line for line in told.getvalue().splitlines() if ' s ' in line]
    assert len(rows) == 2
    assert 'first' in rows[0] and 'passed' in rows[0] and '1.2 s' in rows[0]
    assert 'other' in rows[1] and 'FAILED' in rows[1] and '2.0 s' in rows[1]


def test_table_shows_a_long_name_whole():
    told = io.StringIO()
    name = 'destination-compute-dead-at-the-end'
    rich.console.Console(file=told, width=80).print(runner.table([
        runner.Result(name, None, 0.0, 'its services are one process')]))
    assert f' {name} ' in told.getvalue()


def test_table_shows_why_the_cloud_cannot_tell():
    told = io.StringIO()
    rich.console.Console(file=told, width=80).print(runner.table([
        runner.Result('third', None, 0, 'it has no [hosts]')]))
    (row,) = [line for line in told.getvalue().splitlines() if ' s ' in line]
    assert 'third' in row and 'cannot tell: it has no [hosts]' in row


@pytest.mark.parametrize('chosen, counts, code', [
    ([passing], '1 passed, 0 failed in ', 0),
    ([passing, failing], '1 passed, 1 failed in ', 1),
    ([passing, beyond], '1 passed, 0 failed, 1 this cloud cannot tell in ', 0),
])
def test_play_counts(chosen, counts, code):
    told = io.StringIO()
    assert runner.play(
        {scenario.__name__: scenario for scenario in chosen},
        contextlib.nullcontext,
        rich.console.Console(file=told, width=80)) == code
    assert f'\n{counts}' in told.getvalue()
