# SPDX-License-Identifier: Apache-2.0

"""Which unit tests are a commit's own."""

import pytest

from tool.checks import unit_tests

UNIT = 'nova/tests/unit/virt/test_driver.py'


def _chosen(tree, before, after):
    """What would be run of a commit that changes a test module."""
    tree.write(UNIT, before)
    tree.commit()
    tree.write(UNIT, after)
    commit = tree.commit()
    return unit_tests.chosen(
        tree.git, commit, [UNIT, 'nova/virt/driver.py']
    )


def test_a_test_module_that_a_commit_touches_is_run_whole(tree):
    assert _chosen(tree, 'import a\n', 'import b\n') == (
        ['nova.tests.unit.virt.test_driver'],
        ['nova.tests.unit.virt.test_driver.*'])


HELPED = (
    'class One:\n    def setUp(self):\n        s = 1\n\n'
    '    def _help(self):\n        h = 1\n\n'
    '    def _more(self):\n        self._help()\n\n'
    '    def _hook(self):\n        k = 1\n\n'
    '    def test_a(self):\n        self._more()\n\n'
    '    def test_b(self):\n        pass\n\n\n'
    'class Two(One):\n'
    '    def test_c(self):\n        with patch(self._help):\n'
    '            pass\n\n\n'
    + '# filler\n' * 4000
)


@pytest.mark.parametrize(
    'old, new, names',
    [
        ('h = 1', 'h = 2',
         ['One.test_a', 'One.test_c', 'Two.test_a', 'Two.test_c']),
        # Whatever calls these calls them for each test.
        ('s = 1', 's = 2', ['One', 'Two']),
        ('k = 1', 'k = 2', ['One', 'Two']),
    ],
)
def test_of_a_huge_module_what_uses_what_a_commit_touches_is_run(
        tree, old, new, names):
    _, found = _chosen(tree, HELPED, HELPED.replace(old, new, 1))
    assert found == [
        f'nova.tests.unit.virt.test_driver.{name}*' for name in names]


HUGE = (
    'class One:\n    x = 1\n\n    def test_a(self):\n        a = 1\n\n'
    '    @decorated(1)\n    def test_b(self):\n        b = 1\n\n\n'
    'class Two(One):\n    y = 1\n\n\n'
    'class Three:\n    def test_c(self):\n        c = 1\n\n\n'
    + '# filler\n' * 4000
)


@pytest.mark.parametrize(
    'old, new, names',
    [
        ('a = 1', 'a = 2', ['One.test_a', 'Two.test_a']),
        ('(1)', '(2)', ['One.test_b', 'Two.test_b']),
        ('x = 1', 'x = 2', ['One', 'Two']),
        ('    y = 1\n', '    y = 1\n\n    def test_d(self):\n        pass\n',
         ['Two.test_d']),
        ('    def test_c(self):\n        c = 1\n', '    pass\n', ['Three']),
        ('class One', 'import x\n\n\nclass One', ['']),
        ('class One:\n    x = 1', 'import x\n\n\nclass One:\n    x = 2',
         ['One', 'Two']),
    ],
)
def test_of_a_huge_module_what_a_commit_touches_is_run(tree, old, new, names):
    _, found = _chosen(tree, HUGE, HUGE.replace(old, new, 1))
    assert found == [
        f'nova.tests.unit.virt.test_driver.{name}*' for name in names]
