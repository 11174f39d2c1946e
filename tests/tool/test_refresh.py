# SPDX-License-Identifier: Apache-2.0

"""./run refresh, and the way there and back."""

import os
import pathlib
import shutil
import tempfile

import hypothesis
from hypothesis import strategies as st
import pytest

from tests.tool import conftest
from tool import build
from tool.console import Problem
from tool import git
from tool import refresh
from tool import series
from tool import tree as tool_tree


def test_edits_go_to_patches_and_new_files_to_the_overlay(two):
    root = two.layout.root
    first = (root / 'patches/0001-First.patch').read_text()
    assert 'Adds: nova/virt/rescue.py\n' in first
    assert '+TWO = 22' in first
    assert '+NAME' not in first
    assert (root / 'nova/virt/rescue.py').read_text() == (
        'NAME = "disk.rescue"\n')
    second = (root / 'patches/0002-Second.patch').read_text()
    assert '+NAME = "disk.rescue"' in second
    assert 'Adds: doc/source/rescue.rst\n' in second
    assert (root / 'patches/series').read_text().endswith(
        '0001-First.patch\n0002-Second.patch\n'
    )


def test_patches_name_nobody(two):
    for file in two.layout.patches.glob('*.patch'):
        line = file.read_text().splitlines()[1]
        assert line == 'From: nova-series <nova-series@localhost>'


def test_a_second_refresh_changes_nothing(two):
    before = conftest.snapshot(two.layout.root)
    assert refresh.refresh(two.layout) == []
    assert conftest.snapshot(two.layout.root) == before


def test_a_refresh_leaves_nothing_to_build(two, capsys):
    two.write('nova/virt/driver.py', 'ONE = 1\nTWO = 3\nTHREE = 3\n')
    two.commit('Third\n\nWhy.\n')
    assert refresh.refresh(two.layout) == [
        'new      patches/0003-Third.patch', 'changed  patches/series'
    ]
    capsys.readouterr()
    head = two.git.commit('HEAD')
    assert build.build(two.layout) == head
    assert 'up to date' in capsys.readouterr().out


def test_git_am_takes_the_edits_of_a_patch(two):
    patch = two.layout.patches / '0001-First.patch'
    two.git('checkout', '--quiet', '--detach', 'base')
    two.git('am', '--quiet', str(patch))
    assert two.git('log', '-1', '--format=%s%n%n%b') == (
        'First\n\nWhy.\n\nChange-Id: I' + '1' * 40
    )
    assert 'TWO = 22' in two.read('nova/virt/driver.py')


def test_what_left_the_series_leaves_the_overlay(two):
    two.git('reset', '--quiet', '--hard', 'HEAD^')
    changed = refresh.refresh(two.layout)
    assert 'removed  doc/source/rescue.rst' in changed
    assert 'removed  patches/0002-Second.patch' in changed
    root = two.layout.root
    assert not (root / 'doc').exists()
    assert (root / 'nova/virt/rescue.py').exists()


def test_files_of_the_overlay_that_no_patch_adds_stay(two):
    mine = two.layout.root / 'nova/virt/mine.py'
    mine.write_text('mine\n')
    two.git('reset', '--quiet', '--hard', 'base')
    refresh.refresh(two.layout)
    assert mine.read_text() == 'mine\n'
    assert not (two.layout.root / 'nova/virt/rescue.py').exists()


def test_comments_of_the_series_stay(two):
    series = two.layout.patches / 'series'
    series.write_text('# Mine.\n' + series.read_text())
    two.write('doc/source/index.rst', 'Title\n')
    two.commit('Empty\n\nWhy.\n')
    refresh.refresh(two.layout)
    assert series.read_text().startswith('# Mine.\n# The order')


def test_comments_of_a_patch_go_with_it(two):
    series = two.layout.patches / 'series'
    series.write_text(
        '# The order.\n\n# Topic fixes\n0001-First.patch\n\n'
        '# Topic feature\n0002-Second.patch\n')
    two.write('doc/source/index.rst', 'Title\n')
    two.commit('Zeroth\n\nWhy.\n')
    two.git('rebase', '--quiet', '--onto', 'base', 'HEAD^')
    two.git('cherry-pick', two.git('rev-parse', tool_tree.BUILT + '^'))
    two.git('cherry-pick', two.git('rev-parse', tool_tree.BUILT))
    refresh.refresh(two.layout)
    assert series.read_text() == (
        '# The order.\n\n0001-Zeroth.patch\n# Topic fixes\n'
        '0002-First.patch\n\n# Topic feature\n0003-Second.patch\n')
    before = series.read_text()
    assert refresh.refresh(two.layout) == []
    assert series.read_text() == before


def test_comments_of_a_patch_that_is_gone_go_to_the_next(two):
    series = two.layout.patches / 'series'
    series.write_text(
        '# The order.\n\n# Topic fixes\n0001-First.patch\n'
        '# Topic feature\n0002-Second.patch\n')
    two.git('reset', '--quiet', '--soft', 'base')
    two.commit('Second\n\nWhy.\n\nChange-Id: I' + '2' * 40 + '\n')
    refresh.refresh(two.layout)
    assert series.read_text() == (
        '# The order.\n\n# Topic fixes\n# Topic feature\n'
        '0001-Second.patch\n')


def _refused(tree, said):
    """Asserts that a refresh is refused, and changes nothing."""
    before = conftest.snapshot(tree.layout.root, without=('.cache',))
    head = tree.git.commit('HEAD')
    with pytest.raises(Problem, match=said):
        refresh.refresh(tree.layout)
    assert tree.git.commit('HEAD') == head
    after = conftest.snapshot(tree.layout.root, without=('.cache',))
    unstored = {
        path: content for path, content in after.items()
        if not path.startswith('build/nova/.git/objects/')
    }
    assert unstored == {path: before[path] for path in unstored}


def test_a_dirty_tree_is_refused(two):
    two.write('nova/virt/driver.py', 'MINE = 1\n')
    _refused(two, 'changes that are not committed')


def test_a_file_that_git_does_not_know_is_refused(two):
    two.write('nova/virt/mine.py', 'MINE = 1\n')
    _refused(two, 'changes that are not committed')


@pytest.mark.parametrize(
    'message, said',
    [
        ('', 'no message'),
        ('Subject\nof two lines\n', 'second line'),
        ('Subject\n\nBody\n---\nmore\n', 'git am'),
        ('Subject\n\ndiff --git a/x b/x\n', 'git am'),
    ],
)
def test_a_message_that_no_patch_can_hold_is_refused(two, message, said):
    two.write('nova/virt/driver.py', 'ONE = 1\n')
    two.commit(message)
    _refused(two, said)


@pytest.mark.parametrize('path', ['mine.py', 'tools/mine.sh', 'lab/mine.py'])
def test_a_new_file_outside_the_overlay_is_refused(two, path):
    two.write(path, 'mine\n')
    two.commit()
    _refused(two, f'adds {path}, which is outside')


def test_a_merge_is_refused(two):
    two.git('checkout', '--quiet', '-b', 'other', 'base')
    two.write('doc/source/other.rst', 'Other\n')
    two.commit()
    two.git('checkout', '--quiet', 'series')
    two.git('merge', '--quiet', '--no-edit', 'other')
    _refused(two, 'is a merge')


def test_another_branch_is_refused(two):
    two.git('checkout', '--quiet', '--detach', 'HEAD')
    _refused(two, 'not on its branch')


def test_edits_of_the_overlay_are_not_overwritten(two):
    two.write('nova/virt/driver.py', 'ONE = 1\n')
    two.commit()
    (two.layout.root / 'doc/source/rescue.rst').write_text('Mine\n')
    _refused(two, 'changed since the tree was built')


def test_a_missing_tree_is_said_so(layout):
    with pytest.raises(Problem, match='make it with ./run build'):
        refresh.refresh(layout)


def test_mending_without_a_commit_is_said_so(stuck):
    with pytest.raises(Problem, match='does not apply'):
        build.build(stuck.layout)
    mend = git.Git(stuck.layout.mend)
    mend('reset', '--quiet', '--hard')
    mend('clean', '--quiet', '--force', '-d')
    with pytest.raises(Problem, match='has no commit yet'):
        refresh.refresh(stuck.layout, mend=True)


# A step of a commit: what to do with which path.
_PATHS = st.sampled_from([
    'nova/virt/driver.py',
    'nova/compute/manager.py',
    'tools/run.sh',
    'PKG-INFO',
    'nova/virt/rescue.py',
    'nova/rescue/api.py',
    'doc/source/rescue.rst',
    'doc/source/index.rst',
    'releasenotes/notes/a name with spaces-1.yaml',
    'api-ref/source/größe.inc',
])
_CONTENT = st.one_of(
    st.text(st.sampled_from('ab \t\n\r-+@'), max_size=40).map(str.encode),
    st.sampled_from([
        b'', b'-- \n', b'--- a\n+++ b\n@@ -1 +1 @@\n', b'\0\1\2\xff',
        b'From nobody\n', b'diff --git a/x b/x\n', b'Adds: x\n',
    ]),
    st.binary(max_size=20),
)
_STEP = st.one_of(
    st.tuples(st.just('write'), _PATHS, _CONTENT),
    st.tuples(st.just('append'), _PATHS, _CONTENT),
    st.tuples(st.just('delete'), _PATHS, st.none()),
    st.tuples(st.just('chmod'), _PATHS, st.booleans()),
    st.tuples(st.just('link'), _PATHS, st.sampled_from(['a', '../b c'])),
)
_LINE = st.text(
    st.characters(
        codec='utf-8', exclude_categories=['C', 'Z'], include_characters=' '
    ),
    min_size=1, max_size=30,
).filter(lambda text: text.strip(' ') == text)
_COMMIT = st.tuples(
    _LINE,
    st.lists(_LINE, max_size=2),
    st.lists(_STEP, max_size=4),
    st.integers(min_value=0, max_value=2**31),
)
_NEW = (
    'nova/virt/rescue.py', 'nova/rescue/api.py', 'doc/source/rescue.rst',
    'releasenotes/', 'api-ref/',
)


def _do(root, step):
    """Does one step in a tree, if it can be done there."""
    what, path, with_ = step
    file = pathlib.Path(root) / path
    if what in ('write', 'append'):
        if what == 'append' and file.is_file() and not file.is_symlink():
            with_ = file.read_bytes() + with_
        file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(with_)
    elif what == 'link' and path.startswith(_NEW):
        file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(with_)
    elif what == 'delete' and path.startswith(_NEW):
        file.unlink(missing_ok=True)
    elif what == 'chmod' and file.is_file() and not file.is_symlink():
        file.chmod(0o755 if with_ else 0o644)


@hypothesis.settings(
    max_examples=25, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(st.lists(_COMMIT, min_size=1, max_size=4))
def test_build_after_refresh_gives_the_same_tree(commits):
    with tempfile.TemporaryDirectory() as scratch:
        layout = conftest.project(pathlib.Path(scratch) / 'one')
        build.build(layout)
        repo = git.Git(layout.tree)
        for subject, body, steps, date in commits:
            for step in steps:
                _do(layout.tree, step)
            message = '\n'.join([subject, '', *body]) + '\n'
            repo('add', '--all', '--force')
            repo(
                'commit', '--quiet', '--allow-empty', '--cleanup=verbatim',
                '--file=-', stdin=message.encode(),
                env={'GIT_AUTHOR_DATE': f'@{date} +0530',
                     'GIT_AUTHOR_NAME': 'Someone'},
            )
        theirs = repo.lines('log', '--format=%T', 'base..HEAD')
        try:
            refresh.refresh(layout)
        except Problem as problem:
            # What git am would cut, such as a line "---".
            assert 'git am' in str(problem)
            return
        assert repo.lines('log', '--format=%T', 'base..HEAD') == theirs
        assert repo.clean()
        before = conftest.snapshot(layout.root)
        assert refresh.refresh(layout) == []
        assert conftest.snapshot(layout.root) == before

        other = conftest.project(pathlib.Path(scratch) / 'two')
        for name in os.listdir(layout.root):
            if name not in ('build', '.cache', 'releases'):
                shutil.copytree(
                    layout.root / name, other.root / name, symlinks=True
                )
        assert build.build(other) == repo.commit('HEAD')
        assert git.Git(other.tree).clean()
        assert len(series.names(other)) == len(commits)
