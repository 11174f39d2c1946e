# SPDX-License-Identifier: Apache-2.0

"""How long a server takes to get another owner.

Measured with the series; with the writes alone that a transfer cannot do
without, issued by hand; and as the released Nova allows it: snapshot, share,
boot in the other project.
"""

from collections import abc
from concurrent import futures
import contextlib
import functools
import itertools
import os
import time
from typing import Any
import uuid

from openstack import exceptions
import sqlalchemy

from lab import accounts
from lab.real.bench import durations
from lab.real.bench import setting
from lab.real.bench import ticks
from lab.real import cloud as real
from lab.real.lab import Lab
from lab.real.services import cinder
from lab.words import client
from lab.words import expect
from lab.words import scene as scenes
from lab.words import server as servers
from lab.words import steps
from tool import console

_TODAY = 3
"""How often a server is booted anew in the other project."""

_CELL, _API = 'nova_cell1', 'nova_api'
"""The databases that have records of a server of the first cell."""


class _Owner:
    """Ids of a user and of the project that they act in."""

    def __init__(self, cloud: real.RealCloud, name: str):
        self.name = name
        self.user, self.project = client.ids(cloud, name)


class _Bench:
    """Servers that change hands, and what is measured on them.

    :param some: servers of the first of the owners
    :param watcher: hears the guest of the first of them
    """

    def __init__(
        self, lab: Lab, cloud: real.RealCloud, rounds: int,
        some: abc.Sequence[servers.Server], watcher: ticks.Watcher,
    ):
        self._lab = lab
        self._cloud = cloud
        self._rounds = rounds
        self._servers = some
        self._watcher = watcher
        self._owners = [
            _Owner(cloud, name)
            for name in (accounts.FIRST_OWNER, accounts.OTHER_OWNER)]
        #: the longest time without a tick during transfers, in seconds
        self.outage = 0.0

    def _timed(self, act: abc.Callable[[], None]) -> float:
        begun = time.monotonic()
        act()
        return time.monotonic() - begun

    def _hand_over(self, server: servers.Server, times: int) -> list[float]:
        """Transfer a server to and fro, and leave it with its first owner."""
        turns = itertools.cycle(reversed(self._owners))
        samples = [
            self._timed(functools.partial(server.ask_transfer, owner.name))
            for owner in itertools.islice(turns, times)]
        if times % 2:
            server.ask_transfer(self._owners[0].name)
        return samples

    def one(self) -> list[float]:
        """One server, one transfer after the other."""
        begun = time.monotonic()
        samples = self._hand_over(self._servers[0], self._rounds)
        seen = self._watcher.since(begun)
        if not seen or ticks.same_boot(seen) != list(seen):
            raise expect.Unexpected(
                'the guest: expected it to run on, but it did not')
        self.outage = ticks.longest_gap(seen)
        return samples

    def many(self) -> list[float]:
        """Many servers at once, each by a thread of its own."""
        times = max(1, self._rounds // len(self._servers))
        with futures.ThreadPoolExecutor(len(self._servers)) as threads:
            taken = list(threads.map(
                lambda server: self._hand_over(server, times), self._servers))
        return [sample for samples in taken for sample in samples]

    def crowd(self) -> list[float]:
        """As one, while both projects have many other servers."""
        with self._crowded():
            return self._hand_over(self._servers[0], self._rounds)

    @contextlib.contextmanager
    def _crowded(self) -> abc.Iterator[None]:
        """Give both projects many servers that are records alone."""
        tables = ((_CELL, 'instances', 'uuid'),
                  (_API, 'instance_mappings', 'instance_uuid'))
        added = [(str(uuid.uuid4()), owner) for owner in self._owners
                 for _ in range(durations.OTHERS)]
        names = [each for each, _ in added]
        with contextlib.ExitStack() as stack:
            for database, name, key in tables:
                connection = stack.enter_context(self._database(database))
                table = sqlalchemy.Table(
                    name, sqlalchemy.MetaData(), autoload_with=connection)
                like = dict(connection.execute(
                    table.select().where(
                        table.c[key] == self._servers[0].id)
                ).mappings().one())
                del like['id']
                stack.callback(
                    self._remove, database, table,
                    table.c[key].in_(names))
                connection.execute(table.insert(), [
                    {**like, key: each, 'project_id': owner.project,
                     'user_id': owner.user} for each, owner in added])
                connection.commit()
            yield

    def _remove(
        self, database: str, table: sqlalchemy.Table,
        which: sqlalchemy.ColumnElement[bool],
    ) -> None:
        with self._database(database) as connection:
            connection.execute(table.delete().where(which))
            connection.commit()

    @contextlib.contextmanager
    def _database(self, name: str) -> abc.Iterator[sqlalchemy.Connection]:
        engine = sqlalchemy.create_engine(self._lab.database(name))
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def writes(self) -> list[float]:
        """Hold, placement, owner, mapping, request spec, release: by hand.

        One after the other, each in a transaction of its own, without a look
        at anything. What a spec holds is written back as it is.
        """
        server = self._servers[0]
        with self._database(_CELL) as cell, self._database(_API) as api:
            spec = api.execute(
                sqlalchemy.text('SELECT spec FROM request_specs '
                                'WHERE instance_uuid = :id'),
                {'id': server.id}).scalar_one()
            turns = itertools.cycle(reversed(self._owners))
            samples = []
            # An even number: the server ends with its first owner.
            for owner in itertools.islice(turns, self._rounds // 2 * 2 or 2):
                samples.append(self._timed(functools.partial(
                    self._write, cell, api, server.id, spec, owner)))
        return samples

    def _write(
        self, cell: sqlalchemy.Connection, api: sqlalchemy.Connection,
        server_id: str, spec: str, owner: _Owner,
    ) -> None:
        def execute(
            connection: sqlalchemy.Connection, statement: str
        ) -> None:
            connection.execute(sqlalchemy.text(statement), {
                'id': server_id, 'project': owner.project,
                'user': owner.user, 'spec': spec})
            connection.commit()

        execute(cell, 'UPDATE instances SET task_state = \'transferring\' '
                      'WHERE uuid = :id')
        placement = self._cloud.connect().placement
        path = f'/allocations/{server_id}'
        held = placement.get(path, microversion='1.28').json()
        exceptions.raise_from_response(placement.put(path, json={
            'allocations': held['allocations'],
            'consumer_generation': held['consumer_generation'],
            'project_id': owner.project, 'user_id': owner.user,
        }, microversion='1.28'))
        execute(cell, 'UPDATE instances SET project_id = :project, '
                      'user_id = :user WHERE uuid = :id')
        execute(api, 'UPDATE instance_mappings SET project_id = :project, '
                     'user_id = :user WHERE instance_uuid = :id')
        execute(api, 'UPDATE request_specs SET spec = :spec '
                     'WHERE instance_uuid = :id')
        execute(cell, 'UPDATE instances SET task_state = NULL '
                      'WHERE uuid = :id')

    def today(self) -> list[float]:
        """What people do with the released Nova, until the server is up.

        The guest of the new server still has to boot then.
        """
        return [self._timed(self._boot_anew)
                for _ in range(min(_TODAY, self._rounds))]

    def _boot_anew(self) -> None:
        here = self._cloud.connect(self._owners[0].name)
        there = self._cloud.connect(self._owners[1].name)
        name = f'bench-{uuid.uuid4()}'
        image = here.compute.create_server_image(
            self._servers[0].id, name, wait=True)
        try:
            here.image.update_image(image, visibility='shared')
            here.image.add_member(image, member=self._owners[1].project)
            there.image.update_member(
                self._owners[1].project, image, status='accepted')
            created = there.compute.create_server(
                name=servers.NAME, flavor_id=self._cloud.flavor,
                image_id=image.id, networks='none')
            try:
                there.compute.wait_for_server(
                    created, interval=ticks.INTERVAL, wait=expect.TIMEOUT)
            finally:
                there.compute.delete_server(created)
                there.compute.wait_for_delete(created)
        finally:
            here.image.delete_image(image)

    def volume(self) -> list[float]:
        """A volume that Cinder transfers to and fro."""
        owners = [self._cloud.connect(owner.name).block_storage
                  for owner in self._owners]
        volume: Any = owners[0].create_volume(size=1, name=servers.NAME)
        owners[0].wait_for_status(volume, 'available', interval=1)
        samples = []
        # An even number: the volume ends with its first owner.
        for number in range(self._rounds // 2 * 2 or 2):
            samples.append(self._timed(functools.partial(
                self._accept, owners[number % 2], owners[1 - number % 2],
                volume.id)))
        owners[0].delete_volume(volume)
        return samples

    def _accept(self, giver: Any, taker: Any, volume_id: str) -> None:
        offer = giver.create_transfer(volume_id=volume_id)
        taker.accept_transfer(offer.id, offer.auth_key)


@contextlib.contextmanager
def _without_limits(
    cloud: real.RealCloud, owners: abc.Iterable[str]
) -> abc.Iterator[None]:
    """Lift the quotas of the projects of some users."""
    compute = cloud.connect().compute
    with contextlib.ExitStack() as stack:
        for owner in owners:
            _, project = client.ids(cloud, owner)
            stack.callback(compute.revert_quota_set, project)
            compute.update_quota_set(
                project, instances=-1, cores=-1, ram=-1)
        yield


def run(lab: Lab, rounds: int, cases: abc.Collection[str]) -> int:
    """Measure, and report the result. Returns the exit code.

    :param rounds: how many transfers to measure in each case
    :param cases: names of what to measure; all of durations.TRANSFER if none
    :raises tool.console.Problem: if a step fails
    """
    setting.need_series(lab)
    samples: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(real.RealCloud(lab))
        hosts = cloud.hosts()
        facts = setting.facts(lab, hosts[0], rounds=rounds)
        stack.enter_context(_without_limits(cloud, accounts.OWNERS))
        scene = scenes.Scene(cloud, steps.Teller(cloud.has, quiet=True))
        some: list[servers.Server] = []
        for number in range(durations.AT_ONCE):
            with setting.step(
                    f'boot server {number + 1} of {durations.AT_ONCE}'):
                server = scene.boot(hosts[number % len(hosts)])
                stack.callback(setting.delete, server)
                # One guest is listened to. Others would take the processors
                # from what is measured.
                if some:
                    server.pause()
                some.append(server)
        watcher = stack.enter_context(ticks.Watcher(
            [lab.server_directory(some[0].host(), some[0].id)
             / 'console.log']))
        bench = _Bench(lab, cloud, rounds, some, watcher)
        with setting.step('wait until the guest has booted'):
            some[0].check_guest('disk')
            for server in some:
                server.ask_transfer(accounts.OTHER_OWNER)
                server.ask_transfer(accounts.FIRST_OWNER)
        for case, text in durations.TRANSFER.items():
            if case == 'volume' and not cinder.wanted(lab):
                continue
            if not cases or case in cases:
                with setting.step(text):
                    samples[case] = getattr(bench, case)()
    facts['load_average']['end'] = os.getloadavg()
    durations.report(
        lab.where.bench / 'transfer.json', samples,
        {**facts, 'outage': bench.outage})
    if bench.outage:
        console.console.print(
            'Longest time without a tick of the guest during transfers: '
            f'{bench.outage:.2f} s')
    return 0
