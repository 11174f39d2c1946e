# SPDX-License-Identifier: Apache-2.0

"""Whatever interrupts live migrations, one host has the server in the end.

`./run tests` tries a few sequences, the same each time. To try others::

    RECOVERY_SEQUENCES=500 PYTHONPATH=$PWD:$PWD/build/nova \\
        .tox/nova/bin/python -m pytest --timeout=0 \\
        tests/lab/test_recovery_sequences.py
"""

import os

import hypothesis
from hypothesis import strategies as st
import pytest

_HOSTS = ('node1', 'node2')

_POINTS = [
    f'{point}{after}'
    for point in ('check', 'begin', 'prepare', 'move', 'finish', 'clear')
    for after in ('', ' done')]

_HOST = st.sampled_from(_HOSTS)
_POINT = st.none() | st.sampled_from(_POINTS)
_MIGRATE = st.tuples(st.just('migrate'), _POINT)

_STEP = st.one_of(
    _MIGRATE,
    st.tuples(st.just('go on'), st.integers(0, 1), st.booleans(), _POINT),
    st.tuples(st.just('kill'), st.sampled_from((*_HOSTS, 'conductor')),
              st.booleans()),
    st.tuples(st.just('start'), _HOST),
    st.tuples(st.just('recover'), _HOST, st.booleans(),
              st.none() | st.sampled_from(
                  ['finish', 'finish done', 'clear', 'clear done']),
              st.booleans()),
    st.tuples(st.just('arrive')),
    st.tuples(st.just('delay'), st.sampled_from(['select', 'clear'])),
    st.tuples(st.just('deliver')),
    st.tuples(st.just('reset state')),
    st.tuples(st.just('unrescue'), _POINT),
    st.tuples(st.just('delete'), _POINT))

_SEQUENCE = st.tuples(_MIGRATE, st.lists(_STEP, max_size=8)).map(
    lambda steps: [steps[0], *steps[1]])


@pytest.fixture(scope='module')
def nova(tmp_path_factory):
    # Nova changes much in a process: not before a test needs it.
    from lab.embedded import EmbeddedCloud
    from tests.lab import stepwise

    with EmbeddedCloud(tmp_path_factory.mktemp('cloud') / 'log') as cloud:
        with stepwise.Stepwise(cloud._services, cloud._moves) as nova:
            nova.cloud = cloud
            yield nova


class Server:
    """A server that goes through a sequence of steps."""

    def __init__(self, nova, status):
        self._nova = nova
        self._api = nova.services.admin_api
        created = self._api.post_server({'server': {
            'name': 'server', 'imageRef': nova.cloud.image,
            'flavorRef': nova.cloud.flavor, 'networks': 'auto',
            'host': _HOSTS[0]}})
        self.id = created['id']
        nova.run()
        if status == 'RESCUE':
            nova.ask(self.id, {'rescue': {
                'rescue_image_ref': nova.cloud.rescue_image}})
        elif status == 'PAUSED':
            nova.ask(self.id, {'pause': None})
        assert self._look()['status'] == status
        (self._port,) = nova.services.neutron.list_ports(
            True, device_id=self.id)['ports']
        nova.write(_HOSTS[0], self.id)
        self._disks = nova.files(_HOSTS[0], self.id)
        assert 'disk' in self._disks

    def _look(self):
        found = [server for server in self._api.get_servers(
                    search_opts={'uuid': self.id, 'all_tenants': 1})
                 if server['id'] == self.id]
        return found[0] if found else None

    def _other_host(self):
        server = self._look()
        return _HOSTS[server['OS-EXT-SRV-ATTR:host'] == _HOSTS[0]]

    def take(self, step):
        """Take a step, if it makes sense."""
        nova = self._nova
        verb, *args = step
        if verb == 'migrate':
            if self._look():
                nova.ask(self.id, {'os-migrateLive': {
                    'host': self._other_host(), 'block_migration': 'auto'}},
                    *args)
        elif verb == 'go on':
            number, fails, stop = args
            for task in nova.stopped()[number:number + 1]:
                nova.go_on(task, fails, stop)
        elif verb == 'kill':
            if args[0] not in nova.dead:
                nova.kill(*args)
        elif verb == 'start':
            if args[0] in nova.dead:
                nova.start(*args)
                nova.recover(*args)
        elif verb == 'recover':
            if args[0] not in nova.dead:
                nova.recover(*args)
        elif verb == 'arrive':
            if nova.is_moving(self.id):
                nova.arrive(self.id)
        elif verb == 'delay':
            nova.delays.add(*args)
        elif verb == 'deliver':
            nova.deliver()
        elif verb == 'reset state':
            nova.ask(self.id, {'os-resetState': {'state': 'active'}})
        elif verb == 'unrescue':
            nova.ask(self.id, {'unrescue': None}, *args)
            self._disks -= {'disk.rescue'}
        elif verb == 'delete':
            nova.ask(self.id, 'delete', *args)

    def settle(self):
        """Start what is down, and recover until nothing changes.

        What was delayed comes after that, too.
        """
        nova = self._nova
        nova.delays.clear()
        for host in list(nova.dead):
            nova.start(host)
        while stopped := nova.stopped():
            nova.go_on(stopped[0])
        before = None
        while before != (before := self._find()):
            for host in _HOSTS:
                nova.recover(host, late=True)
                nova.clean(host)
            nova.deliver()

    def _find(self):
        """What there is of it, and where."""
        nova = self._nova
        server = self._look()
        migrations = nova.migrations(self.id)
        providers = nova.services.compute_rp_uuids
        bindings = nova.services.neutron._port_bindings.get(
            self._port['id'], {})
        consumers = [self.id, *(each.uuid for each in migrations)]
        used = {uuid: self._allocations(uuid) for uuid in consumers}
        return {
            'host': server and server['OS-EXT-SRV-ATTR:host'],
            'task': server and server['OS-EXT-STS:task_state'],
            'migrations in flight': [
                each.status for each in migrations
                if each.status not in (
                    'completed', 'cancelled', 'error', 'failed')],
            'guests': nova.guests(self.id),
            'directories': nova.directories(self.id),
            'allocations': [host for host in _HOSTS
                            if providers[host] in used[self.id]],
            'allocations of migrations': [
                each.status for each in migrations if used[each.uuid]],
            'bindings': {host: binding['status']
                         for host, binding in bindings.items()},
        }

    def check(self):
        """Check that it is on one host, or nowhere if it was deleted."""
        nova = self._nova
        found = self._find()
        host = found['host']
        on = [host] if host else []
        assert nova.vain == []
        assert found == {
            'host': host, 'task': None, 'migrations in flight': [],
            'guests': on, 'directories': on, 'allocations': on,
            'allocations of migrations': [],
            'bindings': {each: 'ACTIVE' for each in on}}
        if host:
            assert self._disks <= nova.files(host, self.id)
            assert nova.read(host, self.id) == nova.written

    def _allocations(self, consumer):
        return self._nova.services.placement.get(
            f'/allocations/{consumer}').body['allocations']

    def remove(self):
        """Delete it, to make room for the next."""
        if self._look():
            self.take(('delete', None))
            assert self._look() is None


@hypothesis.settings(
    max_examples=int(os.environ.get('RECOVERY_SEQUENCES', 3)),
    derandomize='RECOVERY_SEQUENCES' not in os.environ,
    deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.example('RESCUE', [
    ('migrate', 'move'), ('kill', 'node1', False), ('arrive',),
    ('start', 'node1')])
@hypothesis.example('ACTIVE', [
    ('migrate', 'begin'), ('recover', 'node1', True, None, False),
    ('migrate', None), ('go on', 0, False, None)])
@hypothesis.example('ACTIVE', [('migrate', 'move'), ('arrive',)])
# The conductor asks for a migration that was given up, while it has not yet
# been asked for the next.
@hypothesis.example('ACTIVE', [
    ('migrate', 'begin'), ('recover', 'node1', True, None, False),
    ('delay', 'select'), ('migrate', None), ('go on', 0, False, None),
    ('deliver',)])
@hypothesis.example('ACTIVE', [
    ('migrate', 'begin'), ('reset state',), ('migrate', 'check'),
    ('go on', 1, True, None), ('delay', 'select'), ('migrate', None),
    ('go on', 0, False, None), ('deliver',)])
# A thread of the source is at work.
@hypothesis.example('ACTIVE', [
    ('migrate', 'prepare done'), ('recover', 'node1', True, None, False)])
# The destination is down when the source starts again.
@hypothesis.example('ACTIVE', [
    ('migrate', 'move'), ('kill', 'node2', True), ('kill', 'node1', False),
    ('arrive',), ('start', 'node1')])
@hypothesis.example('ACTIVE', [
    ('delay', 'clear'), ('migrate', 'move'), ('go on', 0, True, None),
    ('migrate', 'finish'), ('deliver',)])
@hypothesis.example('PAUSED', [('migrate', 'prepare done'), ('delete', None)])
@hypothesis.example('ACTIVE', [('migrate', 'finish'), ('delete', None)])
@hypothesis.given(
    status=st.sampled_from(['ACTIVE', 'PAUSED', 'RESCUE']), steps=_SEQUENCE)
def test_one_host_has_the_server_in_the_end(nova, status, steps):
    server = Server(nova, status)
    for step in steps:
        server.take(step)
    server.settle()
    server.check()
    server.remove()
