# SPDX-License-Identifier: Apache-2.0

"""./run upstream, tried on a base with a few tests of its own."""

import json

import pytest

from tests.tool import conftest
from tool import build
from tool.console import Problem
from tool.nova_tests import compare
from tool import refresh

CASES = '''import pathlib
import unittest


class Cases(unittest.TestCase):
    def test_good(self):
        self.assertTrue({good})

    def test_bad(self):
        self.assertTrue({bad})
{more}
'''

GONE = '''
    def test_gone(self):
        pass
'''
NEW = GONE.replace('gone', 'new')
FILE = 'nova/tests/unit/test_cases.py'


@pytest.fixture
def tests(tmp_path):
    files = {
        f'nova/tests/{name}__init__.py': ''
        for name in ('', 'unit/', 'functional/')
    }
    files[FILE] = CASES.format(good=True, bad=False, more=GONE)
    layout = conftest.project(
        tmp_path / 'project', {**conftest.BASE, **files}
    )
    (layout.root / 'constraints.txt').write_text('a==1\n')
    build.build(layout)
    return conftest.Tree(layout)


def _series(tree, **cases):
    """Makes the series one commit that changes the tests."""
    tree.git('reset', '--quiet', '--hard', 'base')
    tree.write(FILE, CASES.format(**cases))
    tree.commit()
    refresh.refresh(tree.layout)


@pytest.mark.whole
def test_a_series_without_regressions_passes(tests, capsys):
    _series(tests, good=True, bad=True, more=NEW)
    assert compare.run(tests.layout, ['unit']) == 0
    said = capsys.readouterr().out
    assert 'mended: nova.tests.unit.test_cases.Cases.test_bad' in said
    assert 'gone: nova.tests.unit.test_cases.Cases.test_gone' in said


def test_a_regression_is_named(tests, capsys):
    _series(tests, good=False, bad=False, more='')
    assert compare.run(tests.layout, ['unit']) == 1
    said = capsys.readouterr().out
    assert 'regressions: nova.tests.unit.test_cases.Cases.test_good' in said
    assert 'failing on both: nova.tests.unit.test_cases.Cases.test_bad' in (
        said
    )


@pytest.mark.whole
def test_a_test_that_passes_the_second_time_is_no_regression(
        tests, capsys, tmp_path):
    flag = tmp_path / 'flag'
    once = (
        f'pathlib.Path({str(flag)!r}).exists() '
        f'or pathlib.Path({str(flag)!r}).touch()'
    )
    _series(tests, good=once, bad=False, more='')
    assert compare.run(tests.layout, ['unit']) == 0
    assert 'unsteady: nova.tests.unit.test_cases.Cases.test_good' in (
        capsys.readouterr().out
    )


@pytest.mark.whole
def test_what_has_run_is_not_run_again(tests, capsys, monkeypatch):
    _series(tests, good=True, bad=False, more='')
    compare.run(tests.layout, ['unit'])

    def run(*args, **kwargs):
        raise AssertionError('it runs tests')

    monkeypatch.setattr(compare.stestr, 'run', run)
    capsys.readouterr()
    assert compare.run(tests.layout, ['unit']) == 0
    said = capsys.readouterr().out
    assert 'base: 3 have run before' in said
    assert 'patched: 2 have run before' in said


@pytest.mark.whole
def test_an_interrupted_run_goes_on_where_it_was(
        tests, capsys, monkeypatch):
    _series(tests, good=True, bad=False, more='')
    monkeypatch.setitem(compare._ROUND, 'unit', 1)
    run = compare.stestr.run
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(kwargs['only'])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(*args, **kwargs)

    monkeypatch.setattr(compare.stestr, 'run', interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare.run(tests.layout, ['unit'])
    assert not list(tests.layout.build.glob('upstream-*/'))
    capsys.readouterr()
    assert compare.run(tests.layout, ['unit']) == 0
    assert 'base: 2 have run before' in capsys.readouterr().out
    assert len(calls) == 3 + 1 + 2


@pytest.mark.whole
def test_other_packages_make_results_of_their_own(tests, capsys):
    _series(tests, good=True, bad=False, more='')
    compare.run(tests.layout, ['unit'])
    (tests.layout.root / 'constraints.txt').write_text('a==2\n')
    capsys.readouterr()
    compare.run(tests.layout, ['unit'])
    assert 'have run before' not in capsys.readouterr().out


@pytest.mark.whole
def test_tests_can_be_chosen(tests, capsys):
    _series(tests, good=False, bad=False, more='')
    assert compare.run(tests.layout, ['unit'], 'test_bad') == 0
    with pytest.raises(Problem, match='No test matches'):
        compare.run(tests.layout, ['unit'], 'nothing_like_it')


def test_a_test_without_a_result_is_lost(tests):
    results = compare._Results(tests.layout, 'tree', 'unit')
    outcome = compare.stestr.Outcome(status={'a.b(v2)': 'passed'})
    results.add(['a.b', 'a.c'], outcome)
    again = compare._Results(tests.layout, 'tree', 'unit')
    assert again.status == {'a.b(v2)': 'passed', 'a.c': 'lost'}
    assert again.done == {'a.b', 'a.c'}
    found = compare.compare({'a.c': 'passed'}, again.status)
    assert found['regressions'] == ['a.c']
    assert found['new'] == ['a.b(v2)']


def test_a_record_is_kept_whole_or_not_at_all(tests):
    results = compare._Results(tests.layout, 'tree', 'unit')
    (results.home / '0000.new').write_text('{"tests": [')
    outcome = compare.stestr.Outcome(status={'a.b': 'passed'})
    results.add(['a.b'], outcome)
    record, = results.home.glob('*.json')
    assert json.loads(record.read_text())['tests'] == ['a.b']
