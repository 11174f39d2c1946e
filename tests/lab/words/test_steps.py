# SPDX-License-Identifier: Apache-2.0

"""A step says what it does, and is ok only if it did it."""

import pytest

from lab.needs import Need
from lab.words import expect
from lab.words import steps
from lab.words.steps import Outcome

UUID = '2f0dcb1e-0f6b-4a39-9f3c-0a4f9f8a2f10'


class Door:
    """Has verbs."""

    def __init__(self, *has, quiet=False):
        self.teller = steps.Teller(frozenset(has), quiet)
        self.tries = 0

    @steps.action('open {self} with {key}')
    def open(self, key='the key'):
        expect.note_done('open')
        return key

    @steps.action('look at {self}')
    def look(self):
        pass

    @steps.check('{self} leads to {host}')
    def check_leads(self, host=None):
        expect.equal('the host', host, host)

    @steps.check('{self} is ajar')
    def check_ajar(self):
        expect.note_done('a glance, which compares nothing')

    @steps.check('{self} squeaks', Need.GUESTS)
    def check_squeaks(self):
        self.tries += 1
        expect.equal('the sound', 'squeak', 'squeak')

    def __str__(self):
        return 'the door'


def ends(door):
    return [(step.text, step.outcome) for step in door.teller.steps]


def test_verb_announces_itself_with_its_arguments(capsys):
    door = Door()
    assert door.open() == 'the key'
    assert door.open('a crowbar') == 'a crowbar'
    door.check_leads()
    assert ends(door) == [
        ('open the door with the key', Outcome.OK),
        ('open the door with a crowbar', Outcome.OK),
        ('the door leads to the host that the scheduler picks', Outcome.OK)]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith('  ok ')
    assert lines[0].endswith(' s  open the door with the key')


def test_step_keeps_what_was_done_and_compared():
    door = Door()
    door.open()
    door.check_leads()
    assert [(step.done, step.compared) for step in door.teller.steps] == [
        (('open',), ()), ((), ('the host',))]
    assert [step.is_check for step in door.teller.steps] == [False, True]


def test_action_in_which_nothing_is_done_is_not_ok(capsys):
    door = Door()
    with pytest.raises(expect.Unexpected, match='look.*nothing was done'):
        door.look()
    assert ends(door) == [('look at the door', Outcome.FAILED)]
    assert 'FAILED' in capsys.readouterr().out


def test_check_in_which_nothing_is_compared_is_not_ok():
    door = Door()
    with pytest.raises(expect.Unexpected, match='ajar.*nothing was compared'):
        door.check_ajar()
    assert ends(door) == [('the door is ajar', Outcome.FAILED)]


def test_check_that_cannot_be_made_is_skipped_with_its_reason(capsys):
    door = Door(Need.VOLUMES)
    door.check_squeaks()
    (step,) = door.teller.steps
    assert step.outcome is Outcome.SKIPPED
    assert step.needs == (Need.GUESTS,)
    assert not door.tries
    line = capsys.readouterr().out
    assert line.startswith('  skipped ')
    assert 'the door squeaks (needs real guests)' in line


def test_check_that_can_be_made_is_made():
    door = Door(Need.GUESTS)
    door.check_squeaks()
    assert door.tries == 1
    assert ends(door) == [('the door squeaks', Outcome.OK)]


def test_error_fails_the_step_and_is_raised(capsys):
    door = Door()
    with pytest.raises(ZeroDivisionError):
        with door.teller.step('divide'):
            1 / 0
    assert ends(door) == [('divide', Outcome.FAILED)]
    with door.teller.step('go on'):
        expect.note_done('go')


def test_step_may_say_in_the_end_what_it_found():
    door = Door()
    with door.teller.step('look') as texts:
        expect.note_done('look')
        texts.append('see [a cat]')
    assert ends(door) == [('see [a cat]', Outcome.OK)]


def test_no_step_within_a_step():
    door = Door()
    with pytest.raises(RuntimeError, match='open the door.* in .*outer'):
        with door.teller.step('outer'):
            door.open()


def test_quiet_teller_keeps_steps_and_shows_none(capsys):
    door = Door(quiet=True)
    door.open()
    door.check_squeaks()
    assert len(door.teller.steps) == 2
    assert capsys.readouterr().out == ''


def test_names_stand_for_uuids():
    teller = steps.Teller(frozenset(), quiet=True)
    teller.call(UUID, 'the server')
    assert teller.named(f'Instance {UUID}') == 'Instance the server'
    other = UUID.replace('2', '3')
    assert teller.named(f'Instance {other}') == f'Instance {other}'


def test_all_that_is_lacking_is_named():
    assert steps.lacking([Need.VOLUMES, Need.GUESTS]) == (
        'needs real guests and volumes')
