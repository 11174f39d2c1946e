# SPDX-License-Identifier: Apache-2.0

"""./run export wheel."""

import zipfile

import pytest

from tests.tool import conftest
from tool.console import Problem
from tool.exports import wheel
from tool import git


@pytest.fixture
def repository(two):
    """The series' own repository, of one commit."""
    repo = git.Git(two.layout.root)
    (two.layout.root / '.gitignore').write_text('/build/\n/.cache/\n')
    repo('init', '--quiet')
    repo('add', '--all')
    repo('commit', '--quiet', '--message=One')
    return repo


def test_a_wheel_holds_what_is_committed(two, repository, tmp_path):
    two.write('setup.py', (
        'import os\nfrom setuptools import find_packages, setup\n'
        "setup(name='nova', version=os.environ['PBR_VERSION'],\n"
        "      packages=['nova', 'nova.virt'])\n"))
    two.commit('Third\n\nWhy.\n')
    two.write('nova/virt/driver.py', 'not committed')
    wheel.export(two.layout, tmp_path / 'out')
    (found,) = (tmp_path / 'out').iterdir()
    assert found.name == 'nova-34.0.0+series1-py3-none-any.whl'
    with zipfile.ZipFile(found) as held:
        assert held.read('nova/virt/driver.py') == (
            b'ONE = 1\nTWO = 22\nTHREE = 3\n')
        assert held.read('nova/virt/rescue.py') == b'NAME = "disk.rescue"\n'
    assert len(two.git.lines('worktree', 'list')) == 1


def test_each_commit_of_the_repository_is_a_later_version(two, repository):
    assert wheel.version(two.layout) == '34.0.0+series1'
    repository('commit', '--quiet', '--allow-empty', '--message=Two')
    assert wheel.version(two.layout) == '34.0.0+series2'


def test_what_cannot_be_built_leaves_nothing(two, repository, tmp_path):
    two.write('setup.py', 'raise SystemExit("no such thing")\n')
    two.commit('Third\n\nWhy.\n')
    with pytest.raises(Problem, match='no such thing'):
        wheel.export(two.layout, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_without_a_repository_there_is_no_version(two, tmp_path):
    conftest.shell(two.layout.root, 'rm', '-rf', '.git')
    with pytest.raises(Problem, match='not a whole clone'):
        wheel.version(two.layout)
