# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What a guest tells on its console is understood."""

import types

import pytest

from lab import cloud as cloud_api
from lab import expect
from lab import guest

BOOT = (
    'lab: image {name} boot {boot}\r\n'
    'lab: disk vda 1073741824 -\r\n'
    'lab: wrote vda {name} {boot}\r\n'
    'lab: disk vdb 1073741824 -\r\n'
    'lab: marker vdb disk 0\r\n'
    'lab: marker vdb two words\r\n'
    'lab: wrote vdb {name} {boot}\r\n'
    'lab: running from vda\r\n')


def console(text):
    return types.SimpleNamespace(console=lambda server_id: text)


def test_only_the_last_boot_counts():
    text = (BOOT.format(name='disk', boot='1') + 'lab: tick 5.00\r\n'
            + BOOT.format(name='rescue', boot='2') + 'lab: tick 0.50\r\n')
    seen = guest.look(console(text), 'id')
    assert seen.image() == 'rescue'
    assert seen.marker() == 'rescue 2'
    assert seen.running_from() == 'vda'
    assert seen.markers('vda') == []
    assert seen.markers('vdb') == ['disk 0', 'two words']
    assert seen.wrote('vdb') == ['rescue 2']
    assert seen.ticks() == [0.5]


def test_guest_that_came_from_another_host():
    seen = guest.look(console('ick 1.0\r\nlab: tick 1.10\r\n'), 'id')
    assert seen.image() == seen.marker() == seen.running_from() == ''
    assert seen.ticks() == [1.1]


def test_line_that_is_not_whole_yet():
    seen = guest.look(console('lab: image disk boot 1\r\nlab: tick 12'), 'id')
    assert seen.image() == 'disk'
    assert seen.ticks() == []


def test_guest_that_has_not_booted_yet():
    with pytest.raises(expect.Unexpected, match="'rescue' that is up"):
        guest.wait_until_booted(
            console(BOOT.format(name='disk', boot='1') + 'lab: tick 1.0\r\n'),
            'id', 'rescue', timeout=0)


def test_guests_that_are_not_real_need_no_waiting_for():
    def cannot(server_id):
        raise cloud_api.CannotTell('they are not real')

    guest.settle(types.SimpleNamespace(console=cannot), 'id', 'disk')
