# SPDX-License-Identifier: Apache-2.0

"""What a guest tells on its console is understood, or asked for again."""

import dataclasses

import pytest

from lab.guest import console as guest
from lab.words import expect

FACTS = [
    'image rescue boot 2',
    'uptime 7.50',
    'disk vda 1073741824 -',
    'marker vda rescue 2',
    'disk vdb 1073741824 serial',
    'marker vdb disk 1',
    'marker vdb two words',
    'marker vdb rescue 2',
    'disk vdb holds disk',
    'disk sr0 read-only',
    'running from vda',
]


def lines(*texts):
    return ''.join(f'lab: {len(text)} {text}\r\n' for text in texts)


def told(word, *facts):
    return lines(
        *(f'{word} {fact}' for fact in facts), f'{word} told {len(facts)}')


class Console:
    """A console that a guest tells its facts on, badly at first."""

    def __init__(self, *spoil, booted=True):
        self.asked = []
        self._spoil = list(spoil)
        self._booted = booted

    def console(self, server_id):
        return lines('tick 1.00') if self._booted else 'SeaBIOS\r\n'

    def type(self, server_id, line, until):
        self.asked.append(line)
        command, word = line.split()
        assert command == 'tell' and until == f' {word} told '
        text = 'k 1.10\r\n' + told(word, *FACTS)
        return self._spoil.pop(0)(text) if self._spoil else text


def test_what_a_guest_tells():
    seen = guest.ask(Console(), 'id')
    assert seen == guest.State(
        marker='rescue 2', uptime=7.5, running_from='vda',
        sizes={'vda': 1 << 30, 'vdb': 1 << 30},
        markers={'vda': ['rescue 2'],
                 'vdb': ['disk 1', 'two words', 'rescue 2']})
    assert seen.image == 'rescue'


def test_what_a_guest_with_uefi_tells():
    facts = [*FACTS[:-1], 'marker uefi disk 1', 'marker uefi rescue 2',
             FACTS[-1]]
    seen = guest.parse(told('now', *facts), 'now')
    assert seen.sizes.keys() == {'vda', 'vdb'}
    assert seen.markers[guest.UEFI] == ['disk 1', 'rescue 2']


@pytest.mark.parametrize('spoil', [
    lambda text: '',
    lambda text: text[:-1],
    lambda text: text.replace('marker vdb two', 'marker vdb to'),
    lambda text: text.replace('marker vdb two', 'marker vdb twoo'),
    lambda text: text.replace('2\r\n', '2'),
    lambda text: ''.join(line for line in text.splitlines(keepends=True)
                         if 'two words' not in line),
    lambda text: text + text,
    lambda text: told('earlier', *FACTS),
])
def test_answer_that_is_not_whole_is_asked_for_again(spoil):
    console = Console(spoil, spoil)
    assert guest.ask(console, 'id') == guest.ask(Console(), 'id')
    assert len(set(console.asked)) == 3


def test_guest_that_boots_is_not_asked():
    console = Console(booted=False)
    with pytest.raises(expect.Unexpected, match='SeaBIOS'):
        guest.ask(console, 'id', timeout=0)
    assert not console.asked


def test_guest_of_before():
    with pytest.raises(expect.Unexpected, match="marker='rescue 2'"):
        guest.ask(Console(), 'id', ['rescue 2'], timeout=0)


def test_boot_with_what_was_on_the_disks():
    assert guest.check_boot(
        Console(), 'id', 'rescue', 'vda',
        {'vda': [], 'vdb': ['disk 1', 'two words']}) == 'rescue 2'


@pytest.mark.parametrize('image, disk, markers, message', [
    ('disk', 'vda', {'vda': []}, 'the image'),
    ('rescue', 'vdb', {'vda': []}, 'the disk that it runs from'),
    ('rescue', 'vda', {'vda': []}, 'the markers'),
    ('rescue', 'vda', {'vda': [], 'vdb': ['disk 1']}, 'the markers'),
    ('rescue', 'vda', {'vda': [], 'vdb': ['two words', 'disk 1']},
     'the markers'),
])
def test_boot_with_anything_else(image, disk, markers, message):
    with pytest.raises(expect.Unexpected, match=message):
        guest.check_boot(Console(), 'id', image, disk, markers)


def test_guest_that_runs_on():
    before = dataclasses.replace(guest.ask(Console(), 'id'), uptime=7.49)
    guest.check_runs_on(Console(), 'id', before)


@pytest.mark.parametrize('changed, message', [
    ({'marker': 'rescue 1'}, 'booted last'),
    ({'uptime': 7.5}, 'the uptime'),
    ({'markers': {}}, 'but for its uptime'),
])
def test_guest_that_does_not_run_on(changed, message):
    before = dataclasses.replace(
        guest.ask(Console(), 'id'), **{'uptime': 7.0, **changed})
    with pytest.raises(expect.Unexpected, match=message):
        guest.check_runs_on(Console(), 'id', before)
