# SPDX-License-Identifier: Apache-2.0

"""Nova's rules for commit messages."""

import pytest

from tests.tool.checks import conftest
from tool.checks import message

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
        (GOOD + '\n# Conflicts:\n#\tit.py\n', 'not in the last paragraph'),
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


def test_messages_are_named_with_their_patch(two):
    found = message.check(conftest.built(two))
    assert any(
        text.startswith('patches/0002-Second.patch: it names no blueprint')
        for text in found
    )
