# SPDX-License-Identifier: Apache-2.0

"""New files lie in the overlay as the series leaves them."""

import pytest

from tests.tool import conftest
from tool import build
from tool.console import Problem
from tool import git
from tool import refresh

LINES = [f'line {number}\n' for number in range(40)]


def _numbered(*changed):
    """A long file, with some of its lines changed."""
    return ''.join(
        f'changed {line}' if number in changed else line
        for number, line in enumerate(LINES))


@pytest.fixture
def commit(tree):
    """Makes a commit of what files are to hold; None deletes one."""
    def commit(**contents):
        for name, content in contents.items():
            path = f'nova/{name}.py'
            if content is None:
                (tree.path / path).unlink()
            else:
                tree.write(path, content)
        return tree.commit(f'Change {sorted(contents)}\n\nWhy.\n')
    return commit


def _rebuilt(tree, tmp_path):
    """The trees of the commits of another copy of the project."""
    refresh.refresh(tree.layout)
    other = conftest.project(tmp_path / 'other')
    for name in ('patches', 'nova'):
        source = tree.layout.root / name
        if source.exists():
            conftest.shell('/', 'cp', '-a', str(source), str(other.root))
    build.build(other)
    return git.Git(other.tree).lines('log', '--format=%T', 'base..HEAD')


def _trees(tree):
    return tree.git.lines('log', '--format=%T', 'base..HEAD')


def _overlay(tree, name):
    return (tree.layout.root / f'nova/{name}.py').read_text()


def test_a_file_that_three_later_commits_edit(tree, commit, tmp_path):
    commit(new=_numbered())
    commit(new=_numbered(1))
    commit(new=_numbered(1, 20))
    commit(new=_numbered(2, 20, 38))
    assert _rebuilt(tree, tmp_path) == _trees(tree)
    assert _overlay(tree, 'new') == _numbered(2, 20, 38)


def test_a_file_that_is_deleted_again(tree, commit, tmp_path):
    commit(new='one\n', other='other\n')
    commit(new='two\n')
    commit(new=None)
    assert _rebuilt(tree, tmp_path) == _trees(tree)
    assert not (tree.layout.root / 'nova/new.py').exists()
    assert _overlay(tree, 'other') == 'other\n'


def test_a_file_that_comes_back(tree, commit, tmp_path):
    commit(new='one\n')
    commit(new=None)
    commit(new='back\n')
    commit(new='back again\n')
    assert _rebuilt(tree, tmp_path) == _trees(tree)
    assert _overlay(tree, 'new') == 'back again\n'


def test_a_file_that_is_renamed(tree, commit, tmp_path):
    commit(new=_numbered())
    tree.git('mv', 'nova/new.py', 'nova/newer.py')
    tree.commit('Rename\n\nWhy.\n')
    commit(newer=_numbered(7))
    assert _rebuilt(tree, tmp_path) == _trees(tree)
    assert _overlay(tree, 'newer') == _numbered(7)
    assert not (tree.layout.root / 'nova/new.py').exists()


def test_a_file_of_nova_that_comes_back_is_its_last_state(
    tree, commit, tmp_path
):
    tree.git('rm', '--quiet', 'nova/virt/driver.py')
    tree.commit('Remove\n\nWhy.\n')
    tree.write('nova/virt/driver.py', 'ONE = 1\n')
    tree.commit('Add\n\nWhy.\n')
    assert _rebuilt(tree, tmp_path) == _trees(tree)


@pytest.mark.parametrize('first, second', [
    ('no line feed', 'no line feed at all'),
    ('', 'something\n'),
    ('something\n', ''),
    ('a\0b\n', 'a\0c\n'),
])
def test_files_of_every_kind(tree, commit, tmp_path, first, second):
    commit(new=first)
    commit(new=second)
    assert _rebuilt(tree, tmp_path) == _trees(tree)
    assert _overlay(tree, 'new') == second


def test_a_file_whose_mode_changes(tree, commit, tmp_path):
    commit(new='text\n')
    (tree.path / 'nova/new.py').chmod(0o755)
    tree.commit('Make it executable\n\nWhy.\n')
    assert _rebuilt(tree, tmp_path) == _trees(tree)
    assert (tree.layout.root / 'nova/new.py').stat().st_mode & 0o100


def test_a_name_with_the_signs_of_a_pattern(tree, tmp_path):
    for text in ('one\n', 'two\n'):
        tree.write('nova/a[b]*c.py', text)
        tree.write('nova/abc.py', text)
        tree.commit(f'Write {text}\nWhy.\n')
    assert _rebuilt(tree, tmp_path) == _trees(tree)


def test_an_edit_in_place_that_no_later_patch_touches(tree, commit):
    commit(new=_numbered())
    commit(new=_numbered(3))
    refresh.refresh(tree.layout)
    file = tree.layout.root / 'nova/new.py'
    file.write_text(_numbered(3, 30))
    build.build(tree.layout)
    assert tree.read('nova/new.py') == _numbered(3, 30)
    assert tree.git('show', 'HEAD^:nova/new.py') == _numbered(30).rstrip()


def test_an_edit_in_place_that_a_later_patch_touches_is_refused(tree, commit):
    commit(new=_numbered())
    commit(new=_numbered(3))
    refresh.refresh(tree.layout)
    head = tree.git.commit('HEAD')
    (tree.layout.root / 'nova/new.py').write_text(_numbered(4))
    with pytest.raises(Problem, match='make the change in build/nova'):
        build.build(tree.layout)
    assert tree.git.commit('HEAD') == head


def test_a_missing_file_is_named(tree, commit):
    commit(new='one\n')
    refresh.refresh(tree.layout)
    (tree.layout.root / 'nova/new.py').unlink()
    with pytest.raises(Problem, match='adds nova/new.py, but there is no'):
        build.build(tree.layout)


def test_a_missing_file_that_is_edited_is_named(tree, commit):
    commit(new='one\n')
    commit(new='two\n')
    refresh.refresh(tree.layout)
    (tree.layout.root / 'nova/new.py').unlink()
    with pytest.raises(Problem, match='edits nova/new.py, but there is no'):
        build.build(tree.layout)


def test_a_file_that_the_series_deletes_must_not_be_there(tree, commit):
    commit(new='one\n')
    commit(new=None)
    refresh.refresh(tree.layout)
    (tree.layout.root / 'nova').mkdir()
    (tree.layout.root / 'nova/new.py').write_text('stray\n')
    with pytest.raises(Problem, match='nova/new.py'):
        build.build(tree.layout)
