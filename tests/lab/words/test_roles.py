# SPDX-License-Identifier: Apache-2.0

"""Who may make a call is seen from what each role is told."""

import types

import pytest

from lab import accounts
from lab.words import expect
from lab.words import roles

CALL = roles.Call('open', 'member', {'open': None})
HIDDEN = 404, 'Instance that could not be found.'
FORBIDDEN = 403, "Policy doesn't allow it to be performed."
REFUSED = 409, 'It is open.'


def server(answers):
    """A server that answers by role, 'other' for those of other projects."""

    def connect_as(role, project):
        is_theirs = project == accounts.PROJECTS[0] or role == 'admin'
        status, message = answers[role if is_theirs else 'other']
        response = types.SimpleNamespace(
            ok=status < 400, status_code=status,
            json=lambda: {'error': {'message': message}})
        return types.SimpleNamespace(compute=types.SimpleNamespace(
            request=lambda *args, **kwargs: response))

    return types.SimpleNamespace(
        id='that', owner=accounts.FIRST_OWNER, cloud=types.SimpleNamespace(
            connect_as=connect_as, hosts=lambda: ['node1']))


RIGHT = {
    'service': FORBIDDEN, 'reader': FORBIDDEN, 'member': REFUSED,
    'manager': REFUSED, 'admin': REFUSED, 'other': HIDDEN}


def test_what_each_role_may_do_is_right():
    roles.check(server(RIGHT), CALL)


@pytest.mark.parametrize('role, answer, message', [
    ('service', REFUSED, "for service of demo .*'forbidden', got 'allowed'"),
    ('reader', HIDDEN, "for reader of demo .*'forbidden', got 'hidden'"),
    ('manager', FORBIDDEN, "for manager of demo .*got 'forbidden'"),
    ('other', FORBIDDEN, "for service of other .*'hidden', got 'forbidden'"),
    ('member', (409, 'node1 is full.'), 'the hosts that member is told of'),
    ('admin', (202, ''), 'as admin: expected an error, got none'),
])
def test_what_is_wrong_is_found(role, answer, message):
    with pytest.raises(expect.Unexpected, match=message):
        roles.check(server(RIGHT | {role: answer}), CALL)


def test_an_admin_may_be_told_of_hosts():
    roles.check(server(RIGHT | {'admin': (409, 'node1 is full.')}), CALL)
