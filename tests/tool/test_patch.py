# SPDX-License-Identifier: Apache-2.0

"""The form of a patch file."""

import pytest

from tool import patch

PATCH = patch.Patch(
    message='Subject\n\nBody.\n\nTrailer: x\n', date=1700000000,
    adds=('nova/a.py', 'doc/b c.rst'), edits=b'diff --git a/x b/x\n',
)


def test_a_patch_is_written_as_git_format_patch_does():
    assert patch.write(PATCH).decode() == (
        'From 0000000000000000000000000000000000000000 '
        'Mon Sep 17 00:00:00 2001\n'
        'From: nova-series <nova-series@localhost>\n'
        'Date: Tue, 14 Nov 2023 22:13:20 +0000\n'
        'Subject: Subject\n\nBody.\n\nTrailer: x\n---\n'
        'Adds: nova/a.py\nAdds: doc/b c.rst\n\n'
        'diff --git a/x b/x\n-- \nnova-series\n'
    )


def test_what_is_written_is_read():
    assert patch.read(patch.write(PATCH), 'x') == PATCH


@pytest.mark.parametrize(
    'number, subject, name',
    [
        (1, 'libvirt: do it', '0001-libvirt-do-it.patch'),
        (12, 'Add "x" (2.105)...', '0012-Add-x-2.105.patch'),
        (3, 'x' * 80, '0003-' + 'x' * 52 + '.patch'),
        (4, '???', '0004.patch'),
    ],
)
def test_file_names_are_those_of_git(number, subject, name):
    assert patch.file_name(number, subject) == name
