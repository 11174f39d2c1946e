# SPDX-License-Identifier: Apache-2.0

"""./run export gerrit."""

import pytest

from tests.tool import conftest
from tool.console import Problem
from tool.exports import gerrit


def _am(nova, directory):
    patches = sorted(str(file) for file in directory.glob('*.patch'))
    nova('am', '--quiet', *patches)


def test_patches_become_commits_of_the_exporter(topical, nova, tmp_path):
    gerrit.export(topical.layout, tmp_path / 'out', None, [])
    _am(nova, tmp_path / 'out')
    assert nova.lines('log', '--reverse', '--format=%an <%ae> %s', '-2') == [
        'Ann <ann@example.org> First', 'Ann <ann@example.org> Second']
    assert nova('diff', 'HEAD~2', 'HEAD') == topical.git('diff', 'base')


def test_each_message_is_signed_off_next_to_its_change_id(
    topical, nova, tmp_path
):
    gerrit.export(
        topical.layout, tmp_path / 'out', None, ['Depends-On: I' + '3' * 40])
    _am(nova, tmp_path / 'out')
    for number, revision in (('1', 'HEAD^'), ('2', 'HEAD')):
        last = nova('log', '-1', '--format=%B', revision).split('\n\n')[-1]
        assert last.splitlines() == [
            'Change-Id: I' + number * 40, 'Depends-On: I' + '3' * 40,
            'Signed-off-by: Ann <ann@example.org>']


def test_a_topic_stands_alone(topical, nova, tmp_path):
    gerrit.export(topical.layout, tmp_path / 'out', 'fixes', [])
    assert [file.name for file in (tmp_path / 'out').glob('*.patch')] == [
        '0001-First.patch']
    _am(nova, tmp_path / 'out')
    assert (nova.tree / 'nova/virt/rescue.py').exists()


def test_a_later_topic_stands_on_the_earlier_one(topical, nova, tmp_path):
    gerrit.export(topical.layout, tmp_path / 'one', 'fixes', [])
    gerrit.export(topical.layout, tmp_path / 'two', 'feature', [])
    _am(nova, tmp_path / 'one')
    _am(nova, tmp_path / 'two')
    assert nova.lines('log', '--format=%s', '-2') == ['Second', 'First']


def test_a_tree_that_has_moved_on_is_merged(topical, nova, tmp_path):
    file = nova.tree / 'nova/virt/driver.py'
    file.write_text('# Theirs.\n' * 9 + file.read_text())
    nova('commit', '--quiet', '--all', '--message=Moved')
    gerrit.export(topical.layout, tmp_path / 'out', None, [])
    nova('am', '-3', '--quiet', *sorted(
        str(each) for each in (tmp_path / 'out').glob('*.patch')))
    assert 'TWO = 22' in file.read_text()


def test_the_cover_letter_has_every_subject_and_reason(
    topical, exporter, tmp_path
):
    gerrit.export(topical.layout, tmp_path / 'out', 'fixes', [])
    cover = (tmp_path / 'out' / gerrit.COVER).read_text()
    assert 'fixes: what stands alone' in cover
    assert '1. First\n\nWhy.' in cover
    assert 'Second' not in cover


def test_the_built_tree_stays_as_it_is(topical, exporter, tmp_path):
    before = topical.git('for-each-ref'), topical.git('status', '--porcelain')
    gerrit.export(topical.layout, tmp_path / 'out', None, [])
    assert (
        topical.git('for-each-ref'), topical.git('status', '--porcelain')
    ) == before


@pytest.mark.parametrize('topic, trailers, said', [
    ('none', [], 'patches/series has fixes, feature'),
    (None, ['no trailer'], 'Write it as'),
])
def test_wrong_words_are_refused(
    topical, exporter, tmp_path, topic, trailers, said
):
    with pytest.raises(Problem, match=said) as refused:
        gerrit.export(topical.layout, tmp_path / 'out', topic, trailers)
    assert refused.value.code == 2
    assert not (tmp_path / 'out').exists()


def test_without_an_identity_nothing_is_written(
    topical, exporter, tmp_path, monkeypatch
):
    (tmp_path / 'gitconfig').write_text('[user]\nuseConfigOnly = true\n')
    with pytest.raises(Problem, match='user.email'):
        gerrit.export(topical.layout, tmp_path / 'out', None, [])
    assert not (tmp_path / 'out').exists()


def test_a_directory_with_something_in_it_is_left_alone(
    topical, exporter, tmp_path
):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine').write_text('mine')
    before = conftest.snapshot(tmp_path, without=('project',))
    with pytest.raises(Problem, match='is not empty'):
        gerrit.export(topical.layout, tmp_path / 'out', None, [])
    assert conftest.snapshot(tmp_path, without=('project',)) == before


def test_work_that_the_patches_lack_is_not_left_out_in_silence(
    topical, exporter, tmp_path
):
    topical.write('nova/virt/driver.py', 'ONE = 1\n')
    topical.commit()
    with pytest.raises(Problem, match='./run refresh'):
        gerrit.export(topical.layout, tmp_path / 'out', None, [])
