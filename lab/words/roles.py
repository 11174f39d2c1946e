# SPDX-License-Identifier: Apache-2.0

"""Who may make a call: by role, in the project of a server or another."""

from __future__ import annotations

import dataclasses
from typing import Any
from typing import TYPE_CHECKING

import requests

from lab import accounts
from lab.words import client
from lab.words import expect

if TYPE_CHECKING:
    from lab.words.server import Server

ROLES = ('service', 'reader', 'member', 'manager', 'admin')
"""The roles, each with the rights of those before it, but for the first."""

_UNKNOWN = '11111111-2222-4333-8444-555555555555'
"""The id of an image, a project and more of which there is none."""

_LIVE_MIGRATE = {'host': None, 'block_migration': 'auto'}


@dataclasses.dataclass(frozen=True)
class Call:
    """A call that changes nothing, if it is made for a server that is off.

    Whoever may make it is refused for another reason.
    """

    what: str
    #: the least of the roles that may make it in the project of the server
    role: str
    body: dict[str, Any] | None
    path: str = '/servers/{server}/action'
    microversion: str = client.RELEASED

    @property
    def is_of_server(self) -> bool:
        """Whether it is made for one server."""
        return '{server}' in self.path

    def make(self, server: Server, role: str, project: str) -> str:
        """Make it. Returns what is told to the one who made it."""
        compute = server.cloud.connect_as(role, project).compute
        path = self.path.format(server=server.id)
        response: requests.Response = compute.request(
            path, 'DELETE' if self.body is None else 'POST', json=self.body,
            microversion=self.microversion)
        if response.ok:
            raise expect.Unexpected(
                f'{self.what}, as {role}: expected an error, got none')
        (error,) = response.json().values()
        return f'{response.status_code} {error["message"]}'


CALLS = (
    Call('rescue', 'member', {'rescue': {'rescue_image_ref': _UNKNOWN}}),
    Call('unrescue', 'member', {'unrescue': None}),
    Call('confirm a resize', 'member', {'confirmResize': None}),
    Call('revert a resize', 'member', {'revertResize': None}),
    Call('live-migrate', 'manager', {'os-migrateLive': _LIVE_MIGRATE}),
    Call('live-migrate, as of 2.105', 'manager',
         {'os-migrateLive': _LIVE_MIGRATE},
         microversion=client.LIVE_MIGRATE_RESCUED),
    Call('live-migrate to a host, as of 2.105', 'admin',
         {'os-migrateLive': {**_LIVE_MIGRATE, 'host': 'nowhere'}},
         microversion=client.LIVE_MIGRATE_RESCUED),
    Call('abort a live migration', 'manager', None,
         '/servers/{server}/migrations/1000000'),
    Call('force a live migration to complete', 'manager',
         {'force_complete': None},
         '/servers/{server}/migrations/1000000/action'),
    Call('transfer', 'admin', {'transfer': {'project_id': _UNKNOWN}},
         microversion=client.TRANSFER),
    Call('cache images ahead', 'admin', {'cache': [{'id': _UNKNOWN}]},
         '/os-aggregates/1000000/images'),
)
"""The calls that the series adds, or that it touches."""


def check(server: Server, call: Call) -> None:
    """Check who may make a call, and that the others learn nothing.

    :param server: one that is off
    """
    cloud = server.cloud
    for project in accounts.PROJECTS:
        is_theirs = project == accounts.project(server.owner)
        for role in ROLES:
            said = call.make(server, role, project)
            if role == 'admin' or is_theirs and (
                    ROLES.index(role) >= ROLES.index(call.role)):
                wanted = 'allowed'
            elif is_theirs or not call.is_of_server:
                wanted = 'forbidden'
            else:
                wanted = 'hidden'
            seen = (
                'forbidden' if said.startswith('403 Policy doesn') else
                'hidden' if said.startswith(
                    f'404 Instance {server.id} could not be found') else
                'allowed')
            expect.equal(
                f'to {call.what}, for {role} of {project} ({said})', seen,
                wanted)
            if role != 'admin':
                expect.equal(
                    f'the hosts that {role} is told of',
                    [host for host in cloud.hosts() if host in said], [])
