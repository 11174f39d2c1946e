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

"""What scenarios share."""

import contextlib

import pytest

from lab import scenarios


@pytest.fixture
def told():
    return []


@pytest.fixture
def step(told):
    @contextlib.contextmanager
    def step(text):
        told.append(f'begin: {text}')
        yield
        told.append(f'end: {text}')

    return step


@pytest.fixture
def act(told):
    @contextlib.contextmanager
    def act():
        told.append('done')
        try:
            yield
        finally:
            told.append('undone')

    return act()


def test_both_ends_of_what_lasts_are_steps(told, step, act):
    with scenarios.lasting(step, 'fill the disk', act):
        told.append('block')
    assert told == [
        'begin: fill the disk', 'done', 'end: fill the disk', 'block',
        'begin: end that', 'undone', 'end: end that']


def test_what_lasts_ends_with_a_failure(told, step, act):
    with pytest.raises(ValueError):
        with scenarios.lasting(step, 'fill the disk', act):
            raise ValueError()
    assert told[-2:] == ['end: fill the disk', 'undone']
