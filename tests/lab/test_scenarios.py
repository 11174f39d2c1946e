# SPDX-License-Identifier: Apache-2.0

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
