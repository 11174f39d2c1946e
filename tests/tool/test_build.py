# SPDX-License-Identifier: Apache-2.0

"""./run build."""

import os
import re
import shutil

import pytest

from tests.tool import conftest
from tool import build
from tool.console import Problem
from tool import git
from tool.layout import PROJECT
from tool import refresh
from tool import release


def test_the_tree_is_the_base_and_a_commit_for_each_patch(two):
    shutil.rmtree(two.path)
    build.build(two.layout)
    assert two.subjects() == ['First', 'Second']
    assert two.git('log', '-1', '--format=%s', 'base') == 'nova 34.0.0'
    assert two.read('nova/virt/driver.py') == 'ONE = 1\nTWO = 22\nTHREE = 3\n'
    assert two.read('nova/virt/rescue.py') == 'NAME = "disk.rescue"\n'
    assert two.git('show', 'HEAD^:nova/virt/rescue.py') == 'NAME = "rescue"'
    assert os.access(two.path / 'tools/run.sh', os.X_OK)
    assert two.git.clean()


def test_two_builds_give_the_same_commits(two, tmp_path, monkeypatch):
    monkeypatch.setenv('GIT_AUTHOR_NAME', 'Someone')
    monkeypatch.setenv('TZ', 'Asia/Tokyo')
    other = conftest.project(tmp_path / 'other')
    for name in ('patches', 'nova', 'doc'):
        shutil.copytree(two.layout.root / name, other.root / name)
    assert build.build(other) == two.git.commit('HEAD')


def test_what_was_built_is_left_alone(two, capsys):
    before = (two.path / 'nova/virt/rescue.py').stat().st_mtime_ns
    build.build(two.layout)
    assert 'up to date' in capsys.readouterr().out
    assert (two.path / 'nova/virt/rescue.py').stat().st_mtime_ns == before


def test_an_edit_of_the_overlay_is_built(two):
    (two.layout.root / 'doc/source/rescue.rst').write_text('Rescue!\n')
    build.build(two.layout)
    assert two.read('doc/source/rescue.rst') == 'Rescue!\n'


def test_work_is_kept_while_there_is_nothing_to_build(two):
    two.write('nova/virt/driver.py', 'MINE = 1\n')
    build.build(two.layout)
    two.commit()
    build.build(two.layout)
    assert two.read('nova/virt/driver.py') == 'MINE = 1\n'


@pytest.mark.parametrize('committed', [False, True])
def test_work_is_not_overwritten_unless_forced(two, committed):
    two.write('nova/virt/driver.py', 'MINE = 1\n')
    two.write('mine.txt', 'mine\n')
    if committed:
        two.commit()
    head = two.git.commit('HEAD')
    (two.layout.root / 'doc/source/rescue.rst').write_text('Rescue!\n')
    with pytest.raises(Problem, match='./run build --force'):
        build.build(two.layout)
    assert two.read('nova/virt/driver.py') == 'MINE = 1\n'
    assert two.git.commit('HEAD') == head
    build.build(two.layout, force=True)
    assert two.subjects() == ['First', 'Second']
    assert two.git.clean()
    assert not (two.path / 'mine.txt').exists()


def test_force_discards_work_though_nothing_is_to_build(two):
    two.write('nova/virt/driver.py', 'MINE = 1\n')
    build.build(two.layout, force=True)
    assert two.git.clean()


def test_a_tree_of_another_base_is_made_anew(two, tmp_path):
    old = two.git.commit('HEAD')
    newer = conftest.project(
        tmp_path / 'newer', {**conftest.BASE, 'README': 'new\n'}
    )
    shutil.copy(newer.base, two.layout.base)
    shutil.copytree(newer.cache, two.layout.cache, dirs_exist_ok=True)
    build.build(two.layout)
    assert two.read('README') == 'new\n'
    assert two.subjects() == ['First', 'Second']
    assert two.git.commit('HEAD') != old


def test_a_directory_that_is_no_tree_is_not_destroyed(layout):
    layout.tree.mkdir(parents=True)
    (layout.tree / 'mine.txt').write_text('mine\n')
    with pytest.raises(Problem, match='not a git tree'):
        build.build(layout)
    assert (layout.tree / 'mine.txt').exists()


def test_a_patch_that_does_not_apply_is_named_and_can_be_mended(stuck):
    head = stuck.git.commit('HEAD')
    layout = stuck.layout
    with pytest.raises(Problem) as caught:
        build.build(layout)
    said = str(caught.value)
    assert 'patches/0003-Third.patch does not apply' in said
    assert 'nova/virt/driver.py, hunk 1 (@@ -1,3 +1,3 @@)' in said
    assert stuck.git.commit('HEAD') == head
    command = next(
        line for line in said.splitlines() if 'git apply --reject' in line
    )
    done = conftest.shell(layout.root, 'bash', '-c', command)
    mend = layout.mend
    assert 'Rejected hunk #1' in done.stderr
    # As that commit leaves it, not as the one after it does.
    assert (mend / 'doc/source/third.rst').read_text().endswith('\nEnd\n')

    # A second build keeps what was mended so far.
    (mend / 'nova/virt/driver.py').write_text('ONE = 1\nTWO = 24\n')
    with pytest.raises(Problem, match='0003-Third.patch does not apply'):
        build.build(layout)
    (mend / 'nova/virt/driver.py.rej').unlink()
    with pytest.raises(Problem, match='not committed'):
        refresh.refresh(layout, mend=True)
    repo = git.Git(mend)
    repo('add', '--all')
    repo('commit', '--no-edit', '--quiet')
    refresh.refresh(layout, mend=True)
    assert not mend.exists()
    build.build(layout)
    assert stuck.subjects() == ['First', 'Second', 'Third', 'Fourth']
    assert stuck.read('nova/virt/driver.py') == 'ONE = 1\nTWO = 24\n'
    assert stuck.read('doc/source/third.rst').endswith('\nThe end\n')


def test_a_new_file_may_change_while_a_patch_is_mended(stuck):
    with pytest.raises(Problem, match='does not apply'):
        build.build(stuck.layout)
    mend = stuck.layout.mend
    text = (mend / 'doc/source/third.rst').read_text()
    (mend / 'doc/source/third.rst').write_text(f'Mended\n{text}')
    repo = git.Git(mend)
    repo('add', '--all')
    repo('commit', '--no-edit', '--quiet')
    refresh.refresh(stuck.layout, mend=True)
    build.build(stuck.layout)
    assert stuck.git('show', 'HEAD^:doc/source/third.rst') == (
        'Mended\n' + text.rstrip())
    assert stuck.read('doc/source/third.rst').endswith('\nThe end\n')


def test_a_mended_file_that_a_later_patch_changes_there_is_refused(stuck):
    with pytest.raises(Problem, match='does not apply'):
        build.build(stuck.layout)
    before = conftest.snapshot(stuck.layout.root)
    mend = stuck.layout.mend
    (mend / 'doc/source/third.rst').write_text('All new\n')
    repo = git.Git(mend)
    repo('add', '--all')
    repo('commit', '--no-edit', '--quiet')
    with pytest.raises(Problem, match='0004-Fourth.patch'):
        refresh.refresh(stuck.layout, mend=True)
    assert conftest.snapshot(stuck.layout.root) == before


def test_each_file_that_does_not_apply_is_named_with_its_hunk(tree):
    manager = tree.read('nova/compute/manager.py')
    tree.write(
        'nova/compute/manager.py',
        manager.replace('return 2\n', 'return 0\n')
        .replace('return 17\n', 'return 0\n'),
    )
    tree.write('nova/virt/driver.py', 'ONE = 11\nTWO = 2\nTHREE = 3\n')
    tree.commit()
    refresh.refresh(tree.layout)
    files = {
        **conftest.BASE,
        'nova/compute/manager.py': manager.replace('17', '170'),
        'nova/virt/driver.py': 'NOTHING = 0\n',
    }
    newer = conftest.project(tree.layout.root / 'newer', files)
    shutil.copytree(tree.layout.patches, newer.patches)
    with pytest.raises(Problem) as caught:
        build.build(newer)
    assert 'nova/compute/manager.py, hunk 2' in str(caught.value)
    assert 'nova/virt/driver.py, hunk 1' in str(caught.value)
    assert not newer.tree.exists()


@pytest.mark.parametrize(
    'edit, said',
    [
        (lambda text: text.replace('---\n', '', 1), 'no line "---"'),
        (lambda text: text.replace('Subject: ', 'S: ', 1), 'no Subject line'),
        (lambda text: re.sub('Date: .*', 'Date: never', text), 'Date that'),
        (lambda text: text.replace('Adds: ', 'Add: ', 1), 'only "Adds:"'),
        (lambda text: text.replace('Adds: nova/', 'Adds: x/', 1),
         'outside the directories'),
        (lambda text: text.replace('Adds: nova/', 'Adds: nova/../x/', 1),
         'outside the directories'),
        (lambda text: text.replace('rescue.py', 'none.py', 1),
         'there is no such file'),
    ],
)
def test_what_is_no_patch_is_refused(two, edit, said):
    file = next(two.layout.patches.glob('0001*'))
    file.write_text(edit(file.read_text()))
    with pytest.raises(Problem, match=said):
        build.build(two.layout)


def test_a_series_that_names_a_missing_patch_is_refused(two):
    (two.layout.patches / 'series').write_text('0009-none.patch\n')
    with pytest.raises(Problem, match='names 0009-none.patch'):
        build.build(two.layout)


def _index(tmp_path, monkeypatch, data=None):
    """Makes pip see a directory, with that archive, as the whole world."""
    links = tmp_path / 'links'
    links.mkdir()
    if data:
        (links / 'nova-34.0.0.tar.gz').write_bytes(data)
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(links))


def test_the_archive_is_downloaded_and_kept(layout, tmp_path, monkeypatch):
    kept = layout.cache / 'nova-34.0.0.tar.gz'
    _index(tmp_path, monkeypatch, kept.read_bytes())
    kept.write_bytes(b'damaged')
    build.build(layout)
    assert release.archive(layout, release.read(layout)) == kept
    assert (layout.tree / 'nova/virt/driver.py').exists()


def test_an_archive_that_is_not_the_pinned_one_is_refused(
        layout, tmp_path, monkeypatch):
    files = {**conftest.BASE, 'README': 'other\n'}
    _index(tmp_path, monkeypatch, conftest.archive(files))
    shutil.rmtree(layout.cache)
    with pytest.raises(Problem, match='is not the pinned one'):
        build.build(layout)
    assert not layout.tree.exists()
    assert not (layout.cache / 'nova-34.0.0.tar.gz').exists()


def test_an_archive_that_cannot_be_had_is_said_so(
        layout, tmp_path, monkeypatch):
    _index(tmp_path, monkeypatch)
    shutil.rmtree(layout.cache)
    with pytest.raises(Problem, match='could not be downloaded'):
        build.build(layout)
    assert not layout.tree.exists()


def test_a_pin_that_is_none_is_refused(layout):
    layout.base.write_text('nova\n')
    with pytest.raises(Problem, match='holds no pin'):
        build.build(layout)


def test_the_facts_of_the_release_can_be_read():
    facts = release.facts(PROJECT)
    assert facts.microversion.startswith('2.')
    assert isinstance(facts.service_version, int)
