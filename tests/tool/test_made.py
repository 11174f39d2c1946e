# SPDX-License-Identifier: Apache-2.0

"""What is remembered of the commits of a series."""

import pytest

from tool import build
from tool import made
from tool import series


@pytest.fixture
def makes(monkeypatch):
    """A list with an entry for each time that the commits are made."""
    times = []
    make_commits = series.make_commits

    def count(*args, **kwargs):
        times.append(1)
        return make_commits(*args, **kwargs)

    monkeypatch.setattr(series, 'make_commits', count)
    return times


def test_what_was_made_is_not_made_again(two, makes):
    head = build.build(two.layout)
    del makes[:]
    assert build.build(two.layout) == head
    assert not makes


@pytest.mark.parametrize('change', [
    lambda root: (root / 'doc/source/rescue.rst').write_text('Rescue!\n'),
    lambda root: (root / 'doc/source/rescue.rst').chmod(0o755),
    lambda root: (root / 'patches/series').write_text('0001-First.patch\n'),
], ids=['a new file', 'its mode', 'the list of patches'])
def test_it_is_made_again_of_other_files(two, change):
    build.build(two.layout)
    base = two.git.commit('base')
    before = made.key(two.layout, base)
    change(two.layout.root)
    assert made.key(two.layout, base) != before


def test_it_is_made_again_where_its_commits_are_not(two, makes):
    key = made.key(two.layout, two.git.commit('base'))
    head = build.build(two.layout)
    made.remember(two.git, key, '1' * 40, 2)
    del makes[:]
    assert build.build(two.layout) == head
    assert makes


def test_a_note_that_is_half_written_is_no_note(two):
    key = made.key(two.layout, two.git.commit('base'))
    (two.path / '.git/nova-series-made').write_text(f'{key} 12')
    assert made.remembered(two.git, key) is None
