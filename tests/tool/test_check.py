# SPDX-License-Identifier: Apache-2.0

"""./run check, but for the checks that need Nova itself."""

import re

import pytest

from tests.tool import conftest
from tool import blank
from tool import build
from tool import check
from tool import message
from tool import owntests
from tool import refresh
from tool import stack

ID = 'Change-Id: I' + 'a' * 40
GOOD = f'Change it\n\nWhy it is so.\n\nImplements: blueprint a-b\n{ID}\n'


def test_a_good_message_is_fine():
    assert message.problems(GOOD) == []


@pytest.mark.parametrize(
    'line',
    [
        'Implements: blueprint live-migrate-rescued-instances',
        'Partially-Implements: blueprint a-b',
        'Part of: blueprint a-b',
        'Related to blueprint a-b',
        'Closes-Bug: #123',
        'Partial-Bug: #123',
        'Related-Bug: #123',
    ],
)
def test_a_message_may_name_a_blueprint_or_a_bug(line):
    text = GOOD.replace('Implements: blueprint a-b', line)
    assert message.problems(text) == []


@pytest.mark.parametrize(
    'text, said',
    [
        (GOOD.replace('Change it', 'x' * 51), 'subject has 51 characters'),
        (GOOD.replace('Change it', 'Change it.'), 'full stop'),
        (GOOD.replace('it\n\nWhy', 'it\nWhy'), 'second line is not empty'),
        (GOOD.replace('Why', 'y ' * 40), 'line 3 has 90 characters'),
        (GOOD.replace('Implements: blueprint', 'On'), 'names no blueprint'),
        (GOOD.replace('a-b', 'a b'), 'names no blueprint'),
        (GOOD.replace('Implements: blueprint a-b', 'Closes-Bug: 12'),
         'names no blueprint'),
        (GOOD.replace(ID, ''), '0 lines "Change-Id'),
        (GOOD.replace('aaa', 'AAA'), '0 lines "Change-Id'),
        (GOOD + ID + '\n', '2 lines "Change-Id'),
    ],
)
def test_a_message_against_the_rules_is_said_so(text, said):
    assert any(said in problem for problem in message.problems(text))


def test_an_address_may_be_longer_than_a_line():
    text = GOOD.replace('Why it is so.', 'https://example.org/' + 'x' * 80)
    assert message.problems(text) == []


def test_a_change_id_that_comes_twice_is_found():
    other = GOOD.replace('aaa', 'bbb')
    assert message.repeated([GOOD, other]) == []
    assert message.repeated([GOOD, other, GOOD]) == [ID.split()[1]]


def _series(tree):
    """The series of a tree, refreshed, as the checks take it."""
    refresh.refresh(tree.layout)
    return _built(tree)


def _built(tree):
    made = stack.make_commits(
        tree.git, tree.layout, tree.git.commit('base')
    )
    return check.Series(tree.layout, tree.git, made)


def test_a_good_series_passes(two):
    series = _series(two)
    assert check._apply(series) == []
    assert check._additions(series) == []
    assert check._white_space(series) == []
    assert check._notes(series) == []


def test_a_patch_with_an_offset_is_found(two):
    patch = two.layout.patches / '0001-First.patch'
    text = patch.read_text()
    moved = text.replace('@@ -39,7 +39,7 @@', '@@ -29,7 +29,7 @@')
    assert moved != text
    patch.write_text(moved)
    found = check._apply(_built(two))
    assert len(found) == 1
    assert '0001-First.patch: Hunk #1 succeeded at 39' in found[0]


def test_a_patch_that_needs_fuzz_does_not_apply(two):
    patch = two.layout.patches / '0001-First.patch'
    patch.write_text(patch.read_text().replace(' ONE = 1\n', ' ONE = 0\n'))
    with pytest.raises(stack.DoesNotApply):
        _built(two)


def test_an_addition_of_no_commit_or_of_two_is_found(two):
    root = two.layout.root
    (root / 'nova/virt/mine.py').write_text('mine\n')
    (root / 'patches/0009-mine.patch').write_text('mine\n')
    series = _built(two)
    second = root / 'patches/0002-Second.patch'
    second.write_text(second.read_text().replace(
        'Adds: ', 'Adds: nova/virt/rescue.py\nAdds: ', 1
    ))
    assert sorted(check._additions(series)) == [
        'nova/virt/mine.py is added by no patch',
        'nova/virt/rescue.py is added by 0001-First.patch and '
        '0002-Second.patch',
        'patches/0009-mine.patch is not in patches/series',
    ]


def test_messages_are_named_with_their_patch(two):
    found = check._messages(_built(two))
    assert any(
        text.startswith('patches/0002-Second.patch: it names no blueprint')
        for text in found
    )


def test_white_space_at_line_ends_is_found(two):
    two.write('nova/virt/driver.py', 'ONE = 1\nTWO = 22 \nTHREE = 3\n')
    two.commit('Third\n\nWhy.\n')
    found = check._white_space(_series(two))
    assert any('trailing whitespace' in text for text in found)


def test_white_space_changed_alone_is_found(two):
    two.write(
        'nova/virt/driver.py', 'ONE = 1\n\nTWO = 22\nTHREE  =  3\n'
    )
    two.write('doc/source/index.rst', 'Title\n=====\n\nText.\n\nMore.\n')
    two.commit('Third\n\nWhy.\n')
    assert check._white_space(_series(two)) == [
        f'patches/0003-Third.patch: nova/virt/driver.py:{line}: only white '
        'space changes here' for line in (2, 4)
    ]


def _only_space(tmp_path, old, new):
    """Lines where only white space differs between two modules."""
    for name, text in (('old', old), ('new', new)):
        (tmp_path / name).write_text(text)
    diff = conftest.shell(
        tmp_path, 'git', 'diff', '--no-index', '--unified=0', 'old', 'new'
    ).stdout
    return blank.only_space(old.encode(), new.encode(), diff.encode(), True)


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


NOTE = 'releasenotes/notes/rescue-0123456789abcdef.yaml'


def test_a_good_release_note_passes_reno(two):
    two.write(NOTE, '---\nfeatures:\n  - |\n    Rescue.\n')
    two.commit('Third\n\nWhy.\n')
    assert check._notes(_series(two)) == []


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
    found = check._notes(_series(two))
    assert found and found[0].startswith('reno: ')


def test_a_note_with_the_id_of_one_of_novas_is_found(tmp_path):
    other = 'releasenotes/notes/theirs-0123456789abcdef.yaml'
    note = '---\nfixes:\n  - |\n    It.\n'
    layout = conftest.project(
        tmp_path / 'project', {**conftest.BASE, other: note}
    )
    build.build(layout)
    tree = conftest.Tree(layout)
    tree.write(NOTE, note)
    tree.commit()
    assert check._notes(_series(tree)) == [
        f'{NOTE}: a note of Nova has this id already'
    ]


def test_requirements_that_are_not_met_are_found(two):
    two.write(
        'requirements.txt',
        'rich>=1 # MIT\n\nhypothesis<1\nno-such-package>=1\n'
        "other;sys_platform=='none'\n",
    )
    two.write('test-requirements.txt', 'pytest\n')
    two.git('add', '--all')
    two.git('commit', '--quiet', '--message=Requirements')
    made = [stack.Made('x', two.git.commit('HEAD'), ())]
    found = check._requirements(check.Series(two.layout, two.git, made))
    assert len(found) == 2
    assert 'hypothesis<1 is not met by' in found[0]
    assert 'no-such-package is not in constraints.txt' in found[1]


UNIT = 'nova/tests/unit/virt/test_driver.py'


def _expressions(tree, before, after):
    """What would be run of a commit that changes a test module."""
    tree.write(UNIT, before)
    tree.commit()
    tree.write(UNIT, after)
    commit = tree.commit()
    return owntests.regexes(
        tree.git, commit, [UNIT, 'nova/virt/driver.py']
    )


def test_a_test_module_that_a_commit_touches_is_run_whole(tree):
    found, below = _expressions(tree, 'import a\n', 'import b\n')
    assert found == [r'^nova\.tests\.unit\.virt\.test_driver\.']
    assert below == 'nova/tests/unit/virt'


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
        ('x = 1', 'x = 2', ['One.', 'Two.']),
        ('    y = 1\n', '    y = 1\n\n    def test_d(self):\n        pass\n',
         ['Two.test_d']),
        ('    def test_c(self):\n        c = 1\n', '    pass\n', ['Three.']),
        ('class One', 'import x\n\n\nclass One', ['']),
        ('class One:\n    x = 1', 'import x\n\n\nclass One:\n    x = 2',
         ['One.', 'Two.']),
    ],
)
def test_of_a_huge_module_what_a_commit_touches_is_run(tree, old, new, names):
    found, _ = _expressions(tree, HUGE, HUGE.replace(old, new, 1))
    prefix = r'^nova\.tests\.unit\.virt\.test_driver\.'
    ids = [f'nova.tests.unit.virt.test_driver.{name}' for name in names]
    assert len(found) == len(ids)
    for expression, name in zip(found, ids):
        assert expression.startswith(prefix)
        assert re.match(expression, name)
