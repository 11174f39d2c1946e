# SPDX-License-Identifier: Apache-2.0

"""./run export checkout."""

import shutil

import pytest

from tests.tool import conftest
from tool.console import Problem
from tool.exports import checkout as exporting
from tool import refresh

DRIVER = 'nova/virt/driver.py'
MANAGER = 'nova/compute/manager.py'


@pytest.fixture
def stranger(exporter, tmp_path, monkeypatch):
    """Someone whom git does not know."""
    config = tmp_path / 'gitconfig'
    config.write_text('[user]\nuseConfigOnly = true\n')
    monkeypatch.delenv('EMAIL', raising=False)


def _state(repo):
    return (
        repo.branch(), repo('for-each-ref'),
        conftest.snapshot(repo.tree, without=('.git',)),
        repo('status', '--porcelain'), repo('ls-files', '--stage'),
    )


def _change(nova, path, text):
    """Someone else changes a file of the checkout."""
    (nova.tree / path).write_text(text)
    nova('add', '--all')
    nova('-c', 'user.name=Bob', '-c', 'user.email=bob@example.org', 'commit',
         '--quiet', f'--message=Change {path}')


def test_the_series_is_put_on_a_branch_of_its_own(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    assert nova.branch() == 'mine'
    assert nova.lines('log', '--format=%an %cn %s') == [
        'Ann Ann Second', 'Ann Ann First', 'Ann Ann Theirs'
    ]
    assert nova('rev-parse', 'HEAD:nova') == two.git('rev-parse', 'HEAD:nova')
    assert nova.clean()
    nova('fsck', '--strict')
    nova('checkout', '--quiet', 'master')
    assert not (nova.tree / 'doc/source/rescue.rst').exists()


def test_the_release_gets_no_warning(two, nova, capsys):
    exporting.put(two.layout, nova.tree, 'mine')
    assert 'Warning' not in capsys.readouterr().out


def test_what_is_not_the_release_gets_a_warning(two, nova, capsys):
    _change(nova, 'nova/more.py', 'MORE = 1\n')
    exporting.put(two.layout, nova.tree, 'mine')
    said = capsys.readouterr().out
    assert 'is not nova 34.0.0' in said
    assert 'differs in 1 of the files of nova/' in said


def test_it_is_merged_with_what_others_changed(two, nova):
    manager = (nova.tree / MANAGER).read_text()
    # Too near for a patch, which needs its context as it was.
    _change(nova, MANAGER, '# More.\n' * 5 + manager.replace(
        'def step_11():', 'def step_eleven():'))
    exporting.put(two.layout, nova.tree, 'mine')
    assert ('def step_10():\n    return 100\n\n\ndef step_eleven():\n') in (
        nova.tree / MANAGER).read_text()


def test_it_follows_a_file_that_was_renamed(two, nova):
    nova('mv', DRIVER, 'nova/virt/other.py')
    nova('commit', '--quiet', '--message=Rename')
    exporting.put(two.layout, nova.tree, 'mine')
    assert 'TWO = 22\n' in (nova.tree / 'nova/virt/other.py').read_text()


def _refused(two, nova, said, directory=None, branch='mine', **words):
    before = _state(nova)
    with pytest.raises(Problem, match=said) as caught:
        exporting.put(two.layout, directory or nova.tree, branch, **words)
    assert _state(nova) == before
    return str(caught.value)


@pytest.fixture
def five(two):
    """A series of five patches, three of which edit the same two files."""
    manager = two.read(MANAGER)
    for number, (path, text) in enumerate((
        (DRIVER, 'ONE = 1\nTWO = 22\nTHREE = 33\n'),
        (MANAGER, manager.replace('return 0\n', 'return 5\n')),
        ('nova/virt/rescue.py', 'NAME = "rescue.disk"\nMORE = 1\n'),
    ), 3):
        two.write(path, text)
        two.write(f'nova/virt/new_{number}.py', f'NUMBER = {number}\n')
        two.commit(f'Number {number}\n\nWhy.\n\nChange-Id: I{number:040}\n')
    refresh.refresh(two.layout)
    return two


@pytest.fixture
def theirs(nova):
    """A checkout that conflicts with three of the five patches."""
    _change(nova, 'doc/source/rescue.rst', 'Theirs\n')
    _change(nova, DRIVER, 'ONE = 1\nTWO = 2\nTHREE = 0\n')
    return nova


def test_all_conflicts_are_listed_and_nothing_changes(five, theirs):
    said = _refused(five, theirs, 'conflicts with')
    assert [line for line in said.splitlines() if 'patches/' in line][:3] == [
        '  patches/0001-First.patch: nova/virt/driver.py (contents)',
        '  patches/0002-Second.patch: doc/source/rescue.rst (contents)',
        '  patches/0003-Number-3.patch: nova/virt/driver.py (contents)']
    assert '0004' not in said
    assert '0005' not in said


def _go_on(said):
    """Types the command that a refusal names."""
    (command,) = [
        line for line in said.splitlines() if line.startswith('  cd ')]
    return conftest.shell('/', 'bash', '-c', command)


def _resolve(nova, path, text, *options):
    (nova.tree / path).write_text(text)
    nova('add', path)
    return nova.run(
        *options, 'am', '--continue', env={'GIT_EDITOR': 'true'})


def test_one_command_goes_on_with_whole_patches(five, theirs):
    said = _refused(five, theirs, 'conflicts with', signed=True)
    done = _go_on(said)
    assert 'CONFLICT (content): Merge conflict in nova/virt/driver.py' in (
        done.stdout)
    assert theirs.branch() == 'mine'
    assert (theirs.tree / 'nova/virt/rescue.py').exists()
    _resolve(theirs, DRIVER, 'ONE = 1\nTWO = 22\nTHREE = 0\n')
    _resolve(theirs, 'doc/source/rescue.rst', 'Rescue\n')
    done = _resolve(theirs, DRIVER, 'ONE = 1\nTWO = 22\nTHREE = 33\n')
    assert done.returncode == 0, done.stderr
    assert theirs('rev-parse', 'HEAD:nova') == (
        five.git('rev-parse', 'HEAD:nova'))
    assert theirs.lines('log', '--format=%an %s', '-5') == [
        'Ann Number 5', 'Ann Number 4', 'Ann Number 3', 'Ann Second',
        'Ann First']
    assert theirs('log', '-1', '--format=%B').strip().endswith(
        'Signed-off-by: Ann <ann@example.org>')
    assert theirs.clean()


def test_what_merges_before_the_first_conflict_is_kept(five, nova):
    _change(nova, 'doc/source/rescue.rst', 'Theirs\n')
    said = _refused(five, nova, 'conflicts with')
    assert '0001' not in said
    _go_on(said)
    assert _resolve(nova, 'doc/source/rescue.rst', 'Rescue\n').returncode == 0
    assert len(nova.lines('log', '--format=%s', 'master..mine')) == 5


def test_the_command_goes_on_without_an_identity(five, theirs, stranger):
    said = _refused(five, theirs, 'conflicts with')
    _go_on(said)
    nobody = ('-c', 'user.name=nova-series',
              '-c', 'user.email=nova-series@localhost')
    assert f'git {" ".join(nobody)} am --continue' in said
    _resolve(theirs, DRIVER, 'ONE = 1\nTWO = 22\nTHREE = 0\n', *nobody)
    assert theirs('log', '-1', '--format=%an %s') == 'nova-series First'


def test_an_earlier_attempt_leaves_no_patches(five, theirs):
    _refused(five, theirs, 'conflicts with')
    left = theirs.tree / '.git' / exporting.LEFT
    (left / '0009-Old.patch').write_text('')
    _refused(five, theirs, 'conflicts with')
    assert len([*left.iterdir()]) == 5


def test_untracked_files_stay(two, nova):
    (nova.tree / 'notes.txt').write_text('Mine\n')
    exporting.put(two.layout, nova.tree, 'mine')
    assert (nova.tree / 'notes.txt').read_text() == 'Mine\n'


def test_an_untracked_file_is_not_overwritten(two, nova):
    (nova.tree / 'nova/virt/rescue.py').write_text('Mine\n')
    said = _refused(two, nova, 'is as it was')
    assert 'nova/virt/rescue.py' in said


def test_a_dirty_checkout_is_refused(two, nova):
    (nova.tree / DRIVER).write_text('MINE = 1\n')
    _refused(two, nova, 'not committed')


def test_a_checkout_that_has_the_series_is_refused(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    _change(nova, 'nova/more.py', 'MORE = 1\n')
    said = _refused(two, nova, 'has the series already', branch='again')
    assert '"Second"' in said


def test_numbers_that_are_not_the_next_are_refused(two, nova):
    two.layout.numbers.write_text('[microversion]\nfirst = "2.105"\n')
    versions = 'nova/api/openstack/api_version_request.py'
    (nova.tree / versions).parent.mkdir(parents=True)
    _change(nova, versions, "_MAX_API_VERSION = '2.105'\n")
    said = _refused(two, nova, 'does not stand where')
    assert 'the microversion is 2.105, but the series takes 2.105\n' in said
    _change(nova, versions, "_MAX_API_VERSION = '2.104'\n")
    exporting.put(two.layout, nova.tree, 'mine')


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


def test_work_in_the_built_tree_is_not_left_out(two, nova):
    two.write(DRIVER, 'MINE = 1\n')
    _refused(two, nova, './run refresh')


def test_commits_are_nobodys_without_an_identity(two, nova, stranger):
    exporting.put(two.layout, nova.tree, 'mine')
    assert nova('log', '-1', '--format=%an <%ae>') == (
        'nova-series <nova-series@localhost>')


def test_commits_are_signed_off(two, nova):
    exporting.put(two.layout, nova.tree, 'mine', signed=True)
    assert nova('log', '-1', '--format=%B').strip().endswith(
        '\nSigned-off-by: Ann <ann@example.org>')


def test_nobody_can_sign_off(two, nova, stranger):
    _refused(two, nova, 'who you are', signed=True)


def _extend(tree):
    """The series gets another patch."""
    tree.write('nova/virt/new.py', 'NEW = 1\n')
    tree.commit(f'Third\n\nWhy.\n\nChange-Id: I{3:040}\n')
    refresh.refresh(tree.layout)


def test_what_an_export_made_can_be_replaced(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    first = nova.commit('HEAD')
    _refused(two, nova, 'with --replace')
    exporting.put(two.layout, nova.tree, 'mine', replace=True)
    assert nova.commit('HEAD') == first
    _extend(two)
    exporting.put(two.layout, nova.tree, 'mine', replace=True)
    assert nova.branch() == 'mine'
    assert nova.lines('log', '--format=%s', 'master..') == [
        'Third', 'Second', 'First']


def test_it_is_replaced_on_the_commit_that_is_checked_out_now(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    nova('checkout', '--quiet', 'master')
    _change(nova, 'nova/more.py', 'MORE = 1\n')
    exporting.put(two.layout, nova.tree, 'mine', replace=True)
    assert nova.lines('log', '--format=%s', '-3') == [
        'Second', 'First', 'Change nova/more.py']


def test_the_first_may_replace_nothing(two, nova):
    exporting.put(two.layout, nova.tree, 'mine', replace=True)
    assert nova.branch() == 'mine'


def test_commits_of_the_user_are_not_replaced(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    _change(nova, 'nova/more.py', 'MORE = 1\n')
    said = _refused(two, nova, 'no longer', replace=True)
    assert 'branch -m mine NAME' in said
    nova('branch', 'theirs', 'master')
    _refused(two, nova, 'is not', branch='theirs', replace=True)


def test_a_conflict_replaces_nothing(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    nova('checkout', '--quiet', 'master')
    _change(nova, DRIVER, 'ONE = 1\nTWO = 0\nTHREE = 3\n')
    said = _refused(two, nova, 'conflicts with', replace=True)
    _go_on(said)
    _resolve(nova, DRIVER, 'ONE = 1\nTWO = 22\nTHREE = 3\n')
    assert nova.branch() == 'mine'
    assert len(nova.lines('log', '--format=%s', 'master..mine')) == 2


@pytest.mark.parametrize('detached', [False, True])
def test_it_can_be_undone(two, nova, detached):
    if detached:
        nova('checkout', '--quiet', '--detach')
    before = _state(nova)
    exporting.put(two.layout, nova.tree, 'mine')
    exporting.put(two.layout, nova.tree, 'mine', replace=True)
    exporting.take_back(nova.tree, 'mine')
    assert _state(nova) == before


def test_nothing_is_undone_where_there_is_no_series(two, nova, capsys):
    before = _state(nova)
    exporting.take_back(nova.tree, 'mine')
    assert _state(nova) == before
    assert 'nothing to undo' in capsys.readouterr().out


def test_only_the_branch_goes_if_another_is_checked_out(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    nova('checkout', '--quiet', '-b', 'theirs', 'master')
    exporting.take_back(nova.tree, 'mine')
    assert nova.branch() == 'theirs'
    assert not nova.commit('refs/heads/mine')


def test_work_is_not_undone(two, nova):
    exporting.put(two.layout, nova.tree, 'mine')
    (nova.tree / DRIVER).write_text('MINE = 1\n')
    with pytest.raises(Problem, match='not committed'):
        exporting.take_back(nova.tree, 'mine')
    nova('commit', '--quiet', '--all', '--message=Mine')
    with pytest.raises(Problem, match='no longer'):
        exporting.take_back(nova.tree, 'mine')
    assert nova('log', '-1', '--format=%s') == 'Mine'
