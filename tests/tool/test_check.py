# SPDX-License-Identifier: Apache-2.0

"""./run check: what is run, and what is remembered.

The checks that need Nova itself are stand-ins here.
"""

import dataclasses

import pytest

from tool import check
from tool.console import Problem


@pytest.fixture
def checks(monkeypatch):
    """Makes two checks of it: of the series, and of each commit.

    What it returns notes the commits that were looked at, and holds what is
    wrong with those of some patches.
    """
    class Checks:
        looked = []
        wrong = {}

    def each(repo, checked, one, paths):
        assert repo.commit('HEAD') == one.commit
        assert set(paths) <= set(checked.paths(one.commit))
        Checks.looked.append(one.name)
        return 'looked', Checks.wrong.get(one.name, [])

    Checks.looked, Checks.wrong = [], {}
    monkeypatch.setattr(check, '_CHECKS', (
        check._Check('the series is good', lambda checked: []),))
    monkeypatch.setattr(check, '_SLOW', (
        check._CheckEach('each is good', 'each', each),))
    return Checks


def _run(two, capsys, **options):
    """Runs the checks. Returns the exit code and what was printed."""
    capsys.readouterr()
    code = check.run(two.layout, **options)
    return code, capsys.readouterr().out


def _constraints(two):
    (two.layout.root / 'constraints.txt').write_text('one==1\n')


def test_all_checks_pass(two, checks, capsys):
    _constraints(two)
    code, told = _run(two, capsys)
    assert code == 0
    assert 'All 2 checks passed.' in told
    assert sorted(checks.looked) == [
        '0001-First.patch', '0002-Second.patch']
    assert '0002-Second.patch: looked' in told


def test_quick_leaves_out_what_is_slow(two, checks, capsys):
    _constraints(two)
    code, told = _run(two, capsys, quick=True)
    assert (code, checks.looked) == (0, [])
    assert 'All 1 checks passed.' in told


def test_what_is_wrong_is_named_with_its_patch(two, checks, capsys):
    _constraints(two)
    checks.wrong['0002-Second.patch'] = ['this\nand that']
    code, told = _run(two, capsys)
    assert code == 1
    assert 'patches/0002-Second.patch: this\n' in told
    assert '1 of 2 checks failed.' in told


def test_what_was_not_looked_at_is_looked_at_when_it_must_be(
        two, checks, capsys, monkeypatch):
    _constraints(two)
    every = check._SLOW[0]
    monkeypatch.setattr(check, '_SLOW', (
        dataclasses.replace(every, paths=lambda checked, one: []),))
    _run(two, capsys)
    monkeypatch.setattr(check, '_SLOW', (every,))
    checks.looked.clear()
    _run(two, capsys)
    assert sorted(checks.looked) == ['0001-First.patch', '0002-Second.patch']


def test_what_has_passed_is_not_checked_again(two, checks, capsys):
    _constraints(two)
    _run(two, capsys)
    checks.looked.clear()
    code, told = _run(two, capsys)
    assert (code, checks.looked) == (0, [])
    assert 'each is good (2 of 2 are unchanged since they passed)' in told


def test_what_has_failed_is_checked_again(two, checks, capsys):
    _constraints(two)
    checks.wrong['0002-Second.patch'] = ['this']
    _run(two, capsys)
    checks.looked.clear()
    assert _run(two, capsys)[0] == 1
    assert checks.looked == ['0002-Second.patch']


def test_a_commit_that_holds_something_else_is_checked(two, checks, capsys):
    _constraints(two)
    _run(two, capsys)
    checks.looked.clear()
    (two.layout.root / 'doc/source/rescue.rst').write_text('Other\n')
    _run(two, capsys)
    assert checks.looked == ['0002-Second.patch']


def test_other_packages_forget_what_has_passed(two, checks, capsys):
    _constraints(two)
    _run(two, capsys)
    checks.looked.clear()
    (two.layout.root / 'constraints.txt').write_text('one==2\n')
    _run(two, capsys)
    assert len(checks.looked) == 2


def test_no_patches_are_nothing_to_check(tree):
    with pytest.raises(Problem, match='no patches yet'):
        check.run(tree.layout)
