# SPDX-License-Identifier: Apache-2.0

"""./run export checkout."""

import shutil

import pytest

from tests.tool import conftest
from tool.console import Problem
from tool.exports import checkout as exporting
from tool import git


@pytest.fixture
def checkout(two, tmp_path, monkeypatch):
    """A checkout of what the series stands on, with its owner's identity."""
    config = tmp_path / 'gitconfig'
    config.write_text('[user]\nname = Owner\nemail = owner@example.org\n')
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', str(config))
    where = tmp_path / 'stack nova'
    for path, text in conftest.BASE.items():
        (where / path).parent.mkdir(parents=True, exist_ok=True)
        (where / path).write_text(text)
    repo = git.Git(where, own=True)
    repo('-c', 'init.defaultBranch=master', 'init', '--quiet')
    repo('add', '--all')
    repo('commit', '--quiet', '--message=Theirs')
    return repo


def _state(repo):
    return (
        repo.branch(), repo('for-each-ref'),
        conftest.snapshot(repo.tree, without=('.git',)),
        repo('status', '--porcelain'), repo('ls-files', '--stage'),
    )


def test_the_series_is_put_on_a_branch_of_its_own(two, checkout):
    exporting.put(two.layout, checkout.tree, 'mine')
    assert checkout.branch() == 'mine'
    assert checkout.lines('log', '--format=%an %cn %s') == [
        'Owner Owner Second', 'Owner Owner First', 'Owner Owner Theirs'
    ]
    assert (checkout.tree / 'doc/source/rescue.rst').exists()
    assert checkout.clean()
    checkout('checkout', '--quiet', 'master')
    assert not (checkout.tree / 'doc/source/rescue.rst').exists()


def test_a_patch_may_find_its_place_elsewhere_in_a_file(two, checkout):
    file = checkout.tree / 'nova/compute/manager.py'
    file.write_text('# More.\n' * 5 + file.read_text())
    checkout('commit', '--quiet', '--all', '--message=More')
    exporting.put(two.layout, checkout.tree, 'mine')
    assert 'def step_10():\n    return 100\n' in file.read_text()


def _refused(two, checkout, said, directory=None, branch='mine'):
    before = _state(checkout)
    with pytest.raises(Problem, match=said) as caught:
        exporting.put(two.layout, directory or checkout.tree, branch)
    assert _state(checkout) == before
    return str(caught.value)


def test_a_patch_that_does_not_apply_leaves_it_as_it_was(two, checkout):
    file = checkout.tree / 'nova/virt/driver.py'
    file.write_text('NOTHING = 0\n')
    checkout('commit', '--quiet', '--all', '--message=Nothing')
    said = _refused(two, checkout, '0001-First.patch does not apply')
    assert 'nova/virt/driver.py, hunk 1' in said
    command = next(
        line for line in said.splitlines() if 'git apply --reject' in line
    )
    done = conftest.shell('/', 'bash', '-c', command)
    assert 'Rejected hunk #1' in done.stderr
    assert checkout.branch() == 'mine'


def test_an_addition_that_is_there_already_is_refused(two, checkout):
    (checkout.tree / 'nova/virt/rescue.py').write_text('Theirs\n')
    checkout('add', '--all')
    checkout('commit', '--quiet', '--message=Rescue')
    _refused(two, checkout, 'already there')


def test_a_dirty_checkout_is_refused(two, checkout):
    (checkout.tree / 'nova/virt/driver.py').write_text('MINE = 1\n')
    _refused(two, checkout, 'not committed')


def test_a_branch_that_is_there_is_refused(two, checkout):
    checkout('branch', 'mine')
    _refused(two, checkout, 'has a branch "mine" already')


def test_a_branch_that_cannot_be_is_refused(two, checkout):
    _refused(two, checkout, 'cannot be the name', branch='a..b')


def test_a_directory_inside_a_checkout_is_refused(two, checkout):
    _refused(two, checkout, 'inside a git checkout', checkout.tree / 'nova')


def test_a_checkout_of_something_else_is_refused(two, checkout):
    shutil.rmtree(checkout.tree / 'nova')
    checkout('commit', '--quiet', '--all', '--message=Gone')
    _refused(two, checkout, 'not a checkout of Nova')


def test_what_is_no_checkout_is_refused(two, checkout, tmp_path):
    plain = tmp_path / 'plain'
    plain.mkdir()
    _refused(two, checkout, 'not a git checkout', plain)
    _refused(two, checkout, 'There is no directory', tmp_path / 'none')


def test_an_unknown_owner_is_refused(two, checkout, tmp_path, monkeypatch):
    empty = tmp_path / 'empty'
    empty.write_text('[user]\nuseConfigOnly = true\n')
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', str(empty))
    monkeypatch.delenv('EMAIL', raising=False)
    for name in ('AUTHOR', 'COMMITTER'):
        for part in ('NAME', 'EMAIL'):
            monkeypatch.delenv(f'GIT_{name}_{part}', raising=False)
    _refused(two, checkout, 'who you are')
