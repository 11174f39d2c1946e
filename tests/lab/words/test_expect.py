# SPDX-License-Identifier: Apache-2.0

"""How a scenario says what must hold."""

from openstack import exceptions
import pytest

from lab.words import expect


def test_equal_tells_both_values():
    expect.equal('the answer', 42, 42)
    with pytest.raises(expect.Unexpected) as told:
        expect.equal('the answer', 41, 42)
    assert str(told.value) == 'the answer: expected 42, got 41'


def test_wait_for_looks_until_it_comes():
    seen = iter([1, 2, 3, 4])
    assert expect.wait_for('three', lambda: next(seen), {3}.__contains__) == 3
    assert next(seen) == 4


def test_wait_for_gives_up_in_time():
    with pytest.raises(expect.Unexpected, match='three: not within 0 s, last '
                       'got number 1'):
        expect.wait_for(
            'three', lambda: 1, {3}.__contains__, show='number {}'.format,
            timeout=0)


def test_wait_for_does_not_wait_for_what_has_failed():
    with pytest.raises(expect.Unexpected, match='three: will not come'):
        expect.wait_for(
            'three', lambda: 9, {3}.__contains__, {9}.__contains__)


def _answer(status):
    raise exceptions.HttpException(
        'no', http_status=status, details='not like this')


def test_refused_hands_out_the_message():
    with expect.refused(409) as refusal:
        _answer(409)
    assert refusal.message == 'not like this'


def test_refused_with_another_status():
    with pytest.raises(expect.Unexpected, match='with 409, got 400: not '):
        with expect.refused(409):
            _answer(400)


def test_not_refused():
    with pytest.raises(expect.Unexpected, match='but it accepted'):
        with expect.refused(409):
            pass


def test_mentions():
    expect.mentions('the source node one', 'source', 'one')
    with pytest.raises(expect.Unexpected, match="expected to say 'two'"):
        expect.mentions('the source node one', 'source', 'two')


def test_what_holds_is_noted():
    with expect.noting() as notes:
        expect.equal('the answer', 42, 42)
        expect.wait_for('three', lambda: 3, {3}.__contains__)
        expect.mentions('one two', 'two')
        with expect.refused(409):
            _answer(409)
        expect.note_done('reboot')
    assert notes.compared == [
        'the answer', 'three', "the word 'two'", 'refusal with 409']
    assert notes.done == ['reboot']


@pytest.mark.parametrize('check', [
    lambda: expect.equal('the answer', 41, 42),
    lambda: expect.wait_for('three', lambda: 1, {3}.__contains__, timeout=0),
    lambda: expect.mentions('one', 'two'),
])
def test_what_does_not_hold_is_not_noted(check):
    with expect.noting() as notes:
        with pytest.raises(expect.Unexpected):
            check()
    assert notes == expect.Notes()


def test_nothing_is_noted_for_a_step_that_is_over():
    with expect.noting() as notes:
        pass
    expect.equal('the answer', 42, 42)
    assert notes == expect.Notes()
