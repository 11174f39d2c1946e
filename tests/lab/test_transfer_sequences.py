# SPDX-License-Identifier: Apache-2.0

"""Whatever is done with servers, each project uses what it owns.

TRANSFER_SEQUENCES is how many sequences are tried, if not the same few.
"""

import dataclasses
import os
import uuid

import hypothesis
from hypothesis import strategies as st
import pytest

from lab import accounts
from lab.words import client
from lab.words import expect
from lab.words import footprint

_MOST = 4
"""Servers that there may be, so that no quota is reached."""


@dataclasses.dataclass
class _Owned:
    """What a server must be like."""

    owner: str
    flavor: str
    #: body of the transfer that brought it to its owner
    transfer: dict[str, str] | None = None
    #: the flavor that it goes back to if its resize is reverted
    earlier: str | None = None


class _Model:
    """Servers, what is done with them, and what each project must use."""

    def __init__(self, cloud):
        self._cloud = cloud
        self._compute = cloud.connect().compute
        self._flavors = {
            flavor.id: {'VCPU': flavor.vcpus, 'MEMORY_MB': flavor.ram,
                        'DISK_GB': flavor.disk}
            for flavor in map(self._compute.get_flavor, (
                cloud.flavor, cloud.larger_flavor))}
        self._owned = {}

    def _act(self, server, body, status, microversion=client.RELEASED):
        answer = self._compute.post(
            f'/servers/{server}/action', json=body, microversion=microversion)
        assert answer.status_code == status, answer.text

    def _wait(self, server, status):
        expect.wait_for(
            f'server with status {status}',
            lambda: self._compute.get_server(server),
            lambda seen: seen.status == status and seen.task_state is None,
            lambda seen: seen.status == 'ERROR')

    def create(self, _, owner):
        if len(self._owned) == _MOST:
            return
        created = self._cloud.connect(owner).compute.create_server(
            name='sequence', flavor_id=self._cloud.flavor,
            image_id=self._cloud.image, networks='none')
        self._wait(created.id, 'ACTIVE')
        self._owned[created.id] = _Owned(owner, self._cloud.flavor)

    def _transfer(self, server, owner, body):
        owned = self._owned[server]
        if body['project_id'] == client.ids(self._cloud, owned.owner)[1]:
            status = 409 if 'transfer_id' in body else 200
            body = {**body, 'user_id': self._compute.get_server(
                server).user_id}
        else:
            status = 409 if owned.earlier else 200
        self._act(server, {'transfer': body}, status, client.TRANSFER)
        if status == 200:
            owned.owner, owned.transfer = owner, body

    def transfer(self, server, owner):
        user, project = client.ids(self._cloud, owner)
        self._transfer(server, owner, {
            'project_id': project, 'user_id': user})

    def claim(self, server, owner):
        user, project = client.ids(self._cloud, owner)
        self._transfer(server, owner, {
            'project_id': project, 'user_id': user,
            'transfer_id': str(uuid.uuid4())})

    def ask_again(self, server, _):
        if self._owned[server].transfer:
            self._act(server, {'transfer': self._owned[server].transfer}, 200,
                      client.TRANSFER)

    def resize(self, server, _):
        owned = self._owned[server]
        # No disk can become smaller.
        if owned.flavor == self._cloud.flavor:
            larger = self._cloud.larger_flavor
            self._act(server, {'resize': {'flavorRef': larger}}, 202)
            self._wait(server, 'VERIFY_RESIZE')
            owned.earlier, owned.flavor = owned.flavor, larger

    def _end_resize(self, server, action, status):
        if self._owned[server].earlier:
            self._act(server, {action: None}, status)
            self._wait(server, 'ACTIVE')

    def confirm(self, server, _):
        self._end_resize(server, 'confirmResize', 204)
        self._owned[server].earlier = None

    def revert(self, server, _):
        owned = self._owned[server]
        self._end_resize(server, 'revertResize', 202)
        owned.flavor, owned.earlier = owned.earlier or owned.flavor, None

    def delete(self, server, _):
        self._compute.delete_server(server)
        # It has the status DELETED a moment before it is gone.
        expect.wait_for(
            'deletion of the server',
            lambda: self._compute.find_server(server, ignore_missing=True),
            lambda seen: seen is None)
        del self._owned[server]

    def do(self, name, which, owner):
        """Do one thing with one of the servers, if there is any."""
        servers = sorted(self._owned)
        if servers or name == 'create':
            getattr(self, name)(
                servers[which % len(servers)] if servers else None, owner)

    def check(self):
        """Each project uses what it owns, once no resize is unconfirmed."""
        if any(owned.earlier for owned in self._owned.values()):
            return
        for owner in accounts.OWNERS:
            held = [self._flavors[owned.flavor]
                    for owned in self._owned.values() if owned.owner == owner]
            total = {name: sum(each[name] for each in held)
                     for name in ('VCPU', 'MEMORY_MB', 'DISK_GB')}
            assert footprint.quota(self._cloud, owner) == {
                'Instances': len(held), 'Cores': total['VCPU'],
                'RAM': total['MEMORY_MB']}
            _, project = client.ids(self._cloud, owner)
            used = self._cloud.connect().placement.get(
                f'/usages?project_id={project}', microversion='1.9'
            ).json()['usages']
            assert {name: used.get(name, 0) for name in total} == total

    def clear(self):
        for server in sorted(self._owned):
            self.delete(server, None)
        self.check()


@pytest.fixture(scope='module')
def cloud(tmp_path_factory):
    from lab.embedded import EmbeddedCloud

    with EmbeddedCloud(tmp_path_factory.mktemp('cloud') / 'log') as started:
        compute = started.connect().compute
        # Alone in its cell, such a host resizes nothing.
        for service in compute.services(binary='nova-compute'):
            if service.host in started.other_cell_hosts():
                compute.disable_service(service)
        yield started


_STEPS = st.lists(
    st.tuples(
        st.sampled_from([
            'create', 'transfer', 'claim', 'ask_again', 'resize', 'confirm',
            'revert', 'delete']),
        st.integers(0, _MOST - 1), st.sampled_from(sorted(accounts.OWNERS))),
    min_size=3, max_size=12)


@hypothesis.settings(
    deadline=None, suppress_health_check=list(hypothesis.HealthCheck),
    max_examples=int(os.environ.get('TRANSFER_SEQUENCES', 3)),
    derandomize='TRANSFER_SEQUENCES' not in os.environ)
@hypothesis.given(owner=st.sampled_from(sorted(accounts.OWNERS)), then=_STEPS)
def test_each_project_uses_what_it_owns(cloud, owner, then):
    model = _Model(cloud)
    try:
        for name, which, whose in [('create', 0, owner), *then]:
            model.do(name, which, whose)
            model.check()
    finally:
        model.clear()
