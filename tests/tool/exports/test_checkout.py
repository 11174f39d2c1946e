# SPDX-License-Identifier: Apache-2.0

"""./run export checkout."""

import shutil

import pytest

from tests.tool import conftest
from tool.console import Problem
from tool.exports import checkout as exporting


def _state(repo):
    return (
        repo.branch(), repo('for-each-ref'),
        conftest.snapshot(repo.tree, without=('.git',)),
        repo('status', '--porcelain'), repo('ls-files', '--stage'),
    )


def test_the_series_is_put_on_a_branch_of_its_own(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    assert nova.branch() == 'mine'
    assert nova.lines('log', '--format=%an %cn %s') == [
        'Ann Ann Second', 'Ann Ann First', 'Ann Ann Theirs'
    ]
    assert (nova.tree / 'doc/source/rescue.rst').exists()
    assert nova.clean()
    nova('checkout', '--quiet', 'master')
    assert not (nova.tree / 'doc/source/rescue.rst').exists()


def test_a_patch_may_find_its_place_elsewhere_in_a_file(two, nova):
    file = nova.tree / 'nova/compute/manager.py'
    file.write_text('# More.\n' * 5 + file.read_text())
    nova('commit', '--quiet', '--all', '--message=More')
    exporting.put(two.layout, nova.tree, 'mine')
    assert 'def step_10():\n    return 100\n' in file.read_text()


def _refused(two, nova, said, directory=None, branch='mine'):
    before = _state(nova)
    with pytest.raises(Problem, match=said) as caught:
        exporting.put(two.layout, directory or nova.tree, branch)
    assert _state(nova) == before
    return str(caught.value)


def test_a_patch_that_does_not_apply_leaves_it_as_it_was(two, nova):
    file = nova.tree / 'nova/virt/driver.py'
    file.write_text('NOTHING = 0\n')
    nova('commit', '--quiet', '--all', '--message=Nothing')
    said = _refused(two, nova, '0001-First.patch does not apply')
    assert 'nova/virt/driver.py, hunk 1' in said
    command = next(
        line for line in said.splitlines() if 'git apply --reject' in line
    )
    done = conftest.shell('/', 'bash', '-c', command)
    assert 'Rejected hunk #1' in done.stderr
    assert nova.branch() == 'mine'


def test_an_addition_that_is_there_already_is_refused(two, nova):
    (nova.tree / 'nova/virt/rescue.py').write_text('Theirs\n')
    nova('add', '--all')
    nova('commit', '--quiet', '--message=Rescue')
    _refused(two, nova, 'already there')


def test_a_dirty_checkout_is_refused(two, nova):
    (nova.tree / 'nova/virt/driver.py').write_text('MINE = 1\n')
    _refused(two, nova, 'not committed')


def test_a_branch_that_is_there_is_refused(two, nova):
    nova('branch', 'mine')
    _refused(two, nova, 'has a branch "mine" already')


def test_a_branch_that_cannot_be_is_refused(two, nova):
    _refused(two, nova, 'cannot be the name', branch='a..b')


def test_a_directory_inside_a_checkout_is_refused(two, nova):
    _refused(two, nova, 'inside a git checkout', nova.tree / 'nova')


def test_a_checkout_of_something_else_is_refused(two, nova):
    shutil.rmtree(nova.tree / 'nova')
    nova('commit', '--quiet', '--all', '--message=Gone')
    _refused(two, nova, 'not a checkout of Nova')


def test_what_is_no_checkout_is_refused(two, nova, tmp_path):
    plain = tmp_path / 'plain'
    plain.mkdir()
    _refused(two, nova, 'not a git checkout', plain)
    _refused(two, nova, 'There is no directory', tmp_path / 'none')


def test_an_unknown_owner_is_refused(two, nova, tmp_path, monkeypatch):
    empty = tmp_path / 'empty'
    empty.write_text('[user]\nuseConfigOnly = true\n')
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', str(empty))
    monkeypatch.delenv('EMAIL', raising=False)
    for name in ('AUTHOR', 'COMMITTER'):
        for part in ('NAME', 'EMAIL'):
            monkeypatch.delenv(f'GIT_{name}_{part}', raising=False)
    _refused(two, nova, 'who you are')
