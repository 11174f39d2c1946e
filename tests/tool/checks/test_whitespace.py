# SPDX-License-Identifier: Apache-2.0

"""No change of white space alone."""

from tests.tool.checks import conftest
from tests.tool.conftest import shell
from tool.checks import whitespace


def test_a_good_series_passes(two):
    assert whitespace.check(conftest.refreshed(two)) == []


def test_white_space_at_line_ends_is_found(two):
    two.write('nova/virt/driver.py', 'ONE = 1\nTWO = 22 \nTHREE = 3\n')
    two.commit('Third\n\nWhy.\n')
    found = whitespace.check(conftest.refreshed(two))
    assert any('trailing whitespace' in text for text in found)


def test_white_space_changed_alone_is_found(two):
    two.write(
        'nova/virt/driver.py', 'ONE = 1\n\nTWO = 22\nTHREE  =  3\n'
    )
    two.write('doc/source/index.rst', 'Title\n=====\n\nText.\n\nMore.\n')
    two.commit('Third\n\nWhy.\n')
    assert whitespace.check(conftest.refreshed(two)) == [
        f'patches/0003-Third.patch: nova/virt/driver.py:{line}: only white '
        'space changes here' for line in (2, 4)
    ]


def _only_space(tmp_path, old, new):
    """Lines where only white space differs between two modules."""
    for name, text in (('old', old), ('new', new)):
        (tmp_path / name).write_text(text)
    diff = shell(
        tmp_path, 'git', 'diff', '--no-index', '--unified=0', 'old', 'new'
    ).stdout
    return whitespace.only_space(
        old.encode(), new.encode(), diff.encode(), True)


def test_indentation_that_python_needs_is_not_counted(tmp_path):
    old = 'def f(a):\n    b = a\n\n    c = b\n    return c\n'
    new = (
        'def f(a):\n    if a:\n        b = a\n\n        c = b\n'
        '        return c\n'
    )
    assert _only_space(tmp_path, old, new) == []


def test_alignment_is_counted(tmp_path):
    old = 'f(a,\n  b)\nx = 1\n'
    new = 'f(a,\n        b)\nx = 1\n'
    assert _only_space(tmp_path, old, new) == [2]


def test_lines_joined_are_counted(tmp_path):
    old = 'x = f(a,\n      b)\n'
    new = 'x = f(a, b)\n'
    assert _only_space(tmp_path, old, new) == [1]
