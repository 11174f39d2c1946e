# SPDX-License-Identifier: Apache-2.0

"""The release notes of the series."""

import pytest

from tests.tool.checks import conftest
from tests.tool.conftest import BASE
from tests.tool.conftest import project
from tests.tool.conftest import Tree
from tool import build
from tool.checks import notes

NOTE = 'releasenotes/notes/rescue-0123456789abcdef.yaml'


def test_a_series_without_notes_passes(two):
    assert notes.check(conftest.refreshed(two)) == []


def test_a_good_release_note_passes_reno(two):
    two.write(NOTE, '---\nfeatures:\n  - |\n    Rescue.\n')
    two.commit('Third\n\nWhy.\n')
    assert notes.check(conftest.refreshed(two)) == []


@pytest.mark.parametrize(
    'path, text',
    [
        (NOTE, '---\nnothings:\n  - |\n    Rescue.\n'),
        (NOTE, '---\nfeatures: [\n'),
    ],
)
def test_a_release_note_that_reno_does_not_take_is_found(two, path, text):
    two.write(path, text)
    two.commit('Third\n\nWhy.\n')
    found = notes.check(conftest.refreshed(two))
    assert found and found[0].startswith('reno: ')


def test_a_note_with_the_id_of_one_of_novas_is_found(tmp_path):
    other = 'releasenotes/notes/theirs-0123456789abcdef.yaml'
    note = '---\nfixes:\n  - |\n    It.\n'
    layout = project(
        tmp_path / 'project', {**BASE, other: note}
    )
    build.build(layout)
    tree = Tree(layout)
    tree.write(NOTE, note)
    tree.commit()
    assert notes.check(conftest.refreshed(tree)) == [
        f'{NOTE}: a note of Nova has this id already'
    ]
