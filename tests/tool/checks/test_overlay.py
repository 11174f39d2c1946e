# SPDX-License-Identifier: Apache-2.0

"""Patches and overlay fit each other, and the release they stand on."""

import pytest

from tests.tool.checks import conftest
from tool.checks import overlay
from tool import series


def test_a_good_series_passes(two):
    checked = conftest.refreshed(two)
    assert overlay.applies(checked) == []
    assert overlay.belongs(checked) == []


def test_a_patch_with_an_offset_is_found(two):
    patch = two.layout.patches / '0001-First.patch'
    text = patch.read_text()
    moved = text.replace('@@ -39,7 +39,7 @@', '@@ -29,7 +29,7 @@')
    assert moved != text
    patch.write_text(moved)
    found = overlay.applies(conftest.built(two))
    assert len(found) == 1
    assert '0001-First.patch: Hunk #1 succeeded at 39' in found[0]


def test_a_patch_that_needs_fuzz_does_not_apply(two):
    patch = two.layout.patches / '0001-First.patch'
    patch.write_text(patch.read_text().replace(' ONE = 1\n', ' ONE = 0\n'))
    with pytest.raises(series.DoesNotApply):
        conftest.built(two)


def test_an_addition_of_no_commit_or_of_two_is_found(two):
    root = two.layout.root
    (root / 'nova/virt/mine.py').write_text('mine\n')
    (root / 'patches/0009-mine.patch').write_text('mine\n')
    checked = conftest.built(two)
    second = root / 'patches/0002-Second.patch'
    second.write_text(second.read_text().replace(
        'Adds: ', 'Adds: nova/virt/rescue.py\nAdds: ', 1
    ))
    assert sorted(overlay.belongs(checked)) == [
        'nova/virt/mine.py is added by no patch',
        'nova/virt/rescue.py is added by 0001-First.patch and '
        '0002-Second.patch',
        'patches/0009-mine.patch is not in patches/series',
    ]
