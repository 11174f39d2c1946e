# SPDX-License-Identifier: Apache-2.0

"""./run renumber."""

import pytest

from tests.tool import conftest
from tool import build
from tool.console import Problem
from tool import git
from tool import refresh
from tool import renumber

VERSIONS = 'nova/api/openstack/api_version_request.py'
BASE = {
    **conftest.BASE,
    VERSIONS: "# 2.9 - Old.\n# Until 2.10 comes.\n_MAX_API_VERSION = '2.9'\n",
}

SAMPLE = '{\n  "a": 1,\n  "b": 2,\n  "c": 3,\n  "version": "2.10"\n}\n'


@pytest.fixture
def tree(tmp_path):
    """Two changes that take a microversion each, a companion, and texts."""
    layout = conftest.project(tmp_path / 'project', BASE)
    build.build(layout)
    tree = conftest.Tree(layout)
    tree.write(VERSIONS, tree.read(VERSIONS).replace("'2.9'", "'2.10'"))
    tree.write('doc/samples/v2.10/one.json', SAMPLE)
    tree.write('nova/virt/rescue.py', 'NEEDS = "2.10"\nTOOK = "12.10 s"\n')
    tree.commit('First\n\nSince 2.10.\n\nChange-Id: I' + '1' * 40 + '\n')
    tree.write(VERSIONS, tree.read(VERSIONS).replace("'2.10'", "'2.11'"))
    tree.write('nova/virt/rescue.py', 'NEEDS = "2.10"\nLATER = "2.12"\n')
    tree.write('nova/virt/move.py', 'def test_v211_not_2_10(): "2.9"\n')
    tree.commit('Second\n\nWhy.\n\nChange-Id: I' + '2' * 40 + '\n')
    refresh.refresh(layout)
    layout.numbers.write_text(
        '[microversion]\nfirst = "2.10"\nsecond = "2.11"\n')
    companion = conftest.add_companion(layout)
    build.build(companion)
    theirs = conftest.Tree(companion)
    theirs.write('client/server.py', 'NAME = "2.11"\n')
    theirs.commit('Theirs\n\nWhy.\n\nChange-Id: I' + '3' * 40 + '\n')
    refresh.refresh(companion)
    (layout.root / 'README.rst').write_text('With 2.11. It took 2.110 s.\n')
    (layout.root / '.gitignore').write_text('/build/\n/.cache/\n')
    repo = git.Git(layout.root)
    repo('init', '--quiet')
    repo('add', '--all')
    repo('commit', '--quiet', '--message=One')
    return tree


def _read(tree, path):
    return (tree.layout.root / path).read_text()


def test_the_series_takes_the_new_numbers(tree):
    renumber.run(tree.layout, '2.12', write=True)
    assert tree.subjects() == ['First', 'Second']
    assert 'Since 2.12.' in _read(tree, 'patches/0001-First.patch')
    assert "+_MAX_API_VERSION = '2.12'" in _read(
        tree, 'patches/0001-First.patch')
    assert _read(tree, 'doc/samples/v2.12/one.json') == (
        SAMPLE.replace('2.10', '2.12'))
    assert not (tree.layout.root / 'doc/samples/v2.10').exists()
    assert _read(tree, 'nova/virt/move.py') == (
        'def test_v213_not_2_12(): "2.9"\n')
    assert _read(tree, 'releases/34.0.0/numbers.toml') == (
        '[microversion]\nfirst = "2.12"\nsecond = "2.13"\n')


def test_what_stands_for_a_later_number_stays_later(tree):
    renumber.run(tree.layout, '2.12', write=True)
    assert _read(tree, 'nova/virt/rescue.py') == (
        'NEEDS = "2.12"\nLATER = "2.14"\n')


def test_companions_and_texts_follow(tree):
    renumber.run(tree.layout, '2.12', write=True)
    assert '+NAME = "2.13"' in _read(
        tree, f'companions/{conftest.COMPANION}/patches/0001-Theirs.patch')
    assert _read(tree, 'README.rst') == 'With 2.13. It took 2.110 s.\n'


def test_what_looks_like_one_stays(tree):
    tree.git('reset', '--quiet', '--hard', 'HEAD^')
    refresh.refresh(tree.layout)
    git.Git(tree.layout.root)('add', '--all')
    git.Git(tree.layout.root)('commit', '--quiet', '--message=Two')
    renumber.run(tree.layout, '2.12', write=True)
    assert 'TOOK = "12.10 s"' in _read(tree, 'nova/virt/rescue.py')


def test_lines_of_upstream_stay(tree):
    renumber.run(tree.layout, '2.12', write=True)
    assert tree.read(VERSIONS) == (
        "# 2.9 - Old.\n# Until 2.10 comes.\n_MAX_API_VERSION = '2.13'\n")


def test_a_build_afterwards_is_up_to_date(tree):
    renumber.run(tree.layout, '2.12', write=True)
    head = tree.git.commit('HEAD')
    assert build.build(tree.layout) == head
    assert tree.git.clean()


def test_it_shows_first_and_changes_nothing(tree, capsys):
    before = conftest.snapshot(tree.layout.root)
    head = tree.git.commit('HEAD')
    renumber.run(tree.layout, '2.12', write=False)
    assert conftest.snapshot(tree.layout.root) == before
    assert tree.git.commit('HEAD') == head
    said = capsys.readouterr().out
    assert '2.10 would become 2.12, 2.11 would become 2.13' in said
    assert f'build/nova/{VERSIONS}: 1 lines\n' in said
    assert ('build/nova/doc/samples/v2.10/one.json: 1 lines, becomes '
            'doc/samples/v2.12/one.json\n') in said
    assert 'README.rst\nreleases/34.0.0/numbers.toml\n' in said
    assert './run renumber 2.12 --write' in said


@pytest.mark.parametrize('first, said', [
    ('2.9', 'up to 2.9'), ('2.10', 'begin at 2.10'), ('3.1', 'such as 2.10'),
    ('new', 'such as 2.10')])
def test_numbers_that_cannot_be_are_refused(tree, first, said):
    with pytest.raises(Problem, match=said):
        renumber.run(tree.layout, first, write=True)


def test_a_series_without_microversions_is_refused(tree):
    tree.layout.numbers.unlink()
    with pytest.raises(Problem, match='no microversions'):
        renumber.run(tree.layout, '2.12', write=False)


def test_work_that_is_not_committed_is_refused(tree):
    tree.write('nova/virt/driver.py', 'MINE = 1\n')
    with pytest.raises(Problem, match='./run refresh'):
        renumber.run(tree.layout, '2.12', write=False)
    (tree.layout.root / 'README.rst').write_text('Mine\n')
    with pytest.raises(Problem, match='Commit them'):
        renumber.run(tree.layout, '2.12', write=True)
