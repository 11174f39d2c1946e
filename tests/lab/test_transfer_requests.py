# SPDX-License-Identifier: Apache-2.0

"""Whatever is sent as a transfer, the API answers, and says why it refuses.

TRANSFER_REQUESTS is how many requests are sent, if not the same few.
`--hypothesis-show-statistics` shows how they were answered.
"""

import os

import hypothesis
from hypothesis import strategies as st
import pytest

from lab import accounts
from lab.words import client
from lab.words import scene as scenes
from lab.words import steps

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5)

_ID = st.one_of(
    st.uuids().map(str), st.uuids().map(lambda one: one.hex), st.text(),
    st.text('abc-/%?#. \n\0é', min_size=1), st.text('a', min_size=256), _ANY)

_BODY = st.one_of(_ANY, st.fixed_dictionaries(
    {'project_id': _ID},
    optional={'user_id': _ID, 'from_project_id': _ID, 'transfer_id': _ID,
              'other': _ANY}))


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    from lab.embedded import EmbeddedCloud

    with EmbeddedCloud(tmp_path_factory.mktemp('cloud') / 'log') as cloud:
        scene = scenes.Scene(cloud, steps.Teller(cloud.has, quiet=True))
        yield scene.boot(cloud.hosts()[0])


@hypothesis.settings(
    deadline=None, suppress_health_check=list(hypothesis.HealthCheck),
    max_examples=int(os.environ.get('TRANSFER_REQUESTS', 100)),
    derandomize='TRANSFER_REQUESTS' not in os.environ)
@hypothesis.given(body=_BODY)
def test_no_body_is_an_error_of_the_server(server, body):
    compute = server.cloud.connect().compute
    answer = compute.post(
        f'/servers/{server.id}/action', json={'transfer': body},
        microversion=client.TRANSFER)
    hypothesis.event(f'answered {answer.status_code}')
    assert answer.status_code in (400, 404, 409), answer.text
    seen = server.look()
    assert seen.project_id == client.ids(
        server.cloud, accounts.FIRST_OWNER)[1]
    assert seen.task_state is None
