# SPDX-License-Identifier: Apache-2.0

"""Nova's style checks, tried on a tree with a few defects."""

import pytest

from tool.checks import pep8
from tool import git

GOOD = {
    'tox.ini': '[flake8]\nenable-extensions = H203\n',
    'doc/dictionary.txt': 'hda\n',
    'pyproject.toml': '[tool.autopep8]\nin-place = true\n\n'
    '[tool.mypy]\nfiles = ["nova/typed.py"]\n',
    'nova/typed.py': 'def half(number: int) -> float:\n'
    '    return number / 2\n',
    'nova/tests/test_it.py': 'import os\n\nNAME = os.name\n',
    'doc/source/it.rst': 'It\n==\n\nSee ``it``.\n',
}


@pytest.fixture
def repo(tmp_path):
    repo = git.Git(tmp_path)
    repo('init', '--quiet')
    for path, text in GOOD.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    repo('add', '--all')
    repo('commit', '--quiet', '--message=Good')
    return repo


def _problems(repo, tmp_path, path=None, text=None):
    if path:
        (repo.tree / path).write_text(text)
        repo('commit', '--quiet', '--all', '--message=Edit')
    found = pep8.problems(repo, list(GOOD), tmp_path / '.git' / 'mypy')
    assert repo.clean()
    return found


def test_a_good_tree_passes(repo, tmp_path):
    assert _problems(repo, tmp_path) == []


@pytest.mark.parametrize(
    'path, text, said',
    [
        ('nova/tests/test_it.py', 'import os\n', 'flake8: '),
        ('nova/tests/test_it.py',
         'def test(self):\n    self.assertEqual(None, self)\n', 'H203'),
        ('nova/tests/test_it.py', '# This is teh end.\n', 'codespell_lib: '),
        ('nova/tests/test_it.py', 'NAME = 1\nif NAME == None:\n    NAME=2\n',
         'autopep8 would change'),
        ('nova/typed.py', 'HALF: int = "half"\n', 'mypy: '),
        ('doc/source/it.rst', 'It\n==\n\nSee `it`.\n', 'sphinxlint: '),
    ],
)
def test_each_tool_is_heard(repo, tmp_path, path, text, said):
    found = _problems(repo, tmp_path, path, text)
    assert any(said in problem for problem in found)


def test_files_that_are_gone_are_passed_over(repo, tmp_path):
    (tmp_path / 'nova/tests/test_it.py').unlink()
    repo('commit', '--quiet', '--all', '--message=Gone')
    assert _problems(repo, tmp_path) == []


@pytest.fixture
def commit(repo, monkeypatch):
    """Commits lines of a large module, by the number that each has."""
    monkeypatch.setattr(pep8, '_LARGE', 3)

    def commit(*numbers, path='nova/large.py'):
        (repo.tree / path).write_text(
            ''.join(f'LINE = {number}\n' for number in numbers))
        repo('add', '--all')
        repo('commit', '--quiet', f'--message={numbers}')
        return repo.commit('HEAD')

    commit(1, 2, 3, 4)
    return commit


def test_lines_of_a_large_file_are_left_to_the_last_that_touches_it(
        repo, commit):
    first = commit(1, 2, 5, 3, 4)
    second = commit(6, 1, 2, 5, 3, 4)
    last = commit(1, path='nova/other.py')
    files = ['nova/large.py', 'nova/other.py']
    assert pep8.to_check(repo, first, last, files) == ['nova/other.py']
    assert pep8.to_check(repo, second, last, files) == files


def test_lines_that_are_not_there_at_the_end_are_not_left_to_it(repo, commit):
    first = commit(1, 2, 5, 6, 3, 4)
    last = commit(1, 2, 5, 3, 4)
    assert pep8.to_check(repo, first, last, ['nova/large.py']) == [
        'nova/large.py']


def test_a_file_that_is_gone_at_the_end_is_not_left_to_it(repo, commit):
    first = commit(1, 2, 5, 3, 4)
    repo('rm', '--quiet', 'nova/large.py')
    repo('commit', '--quiet', '--message=Gone')
    assert pep8.to_check(
        repo, first, repo.commit('HEAD'), ['nova/large.py']) == [
        'nova/large.py']


def test_a_small_file_is_looked_at_in_each_commit(repo, commit):
    first = commit(1, path='nova/small.py')
    last = commit(1, 2, path='nova/small.py')
    assert pep8.to_check(repo, first, last, ['nova/small.py']) == [
        'nova/small.py']
