# SPDX-License-Identifier: Apache-2.0

"""A pool of booted servers, and those who claim servers from it.

A claimer does what the admin guide says under "Keep a pool", as long as every
request is answered.
"""

from __future__ import annotations

from collections import abc
from concurrent import futures
import threading
from typing import TYPE_CHECKING
import uuid

from openstack import exceptions

from lab import accounts
from lab.words import client
from lab.words import expect

if TYPE_CHECKING:
    from lab.words.scene import Scene
    from lab.words.server import Server


class Pool:
    """Servers of one project that are kept for others.

    :param scene: where they are
    :param servers: the servers; they get the tag of the pool
    """

    def __init__(self, scene: Scene, servers: abc.Sequence[Server]):
        #: its servers by id
        self.servers = {server.id: server for server in servers}
        self._cloud = scene.cloud
        self._teller = scene.teller
        self._tag = f'pool:{uuid.uuid4()}'
        with self._teller.step(
                f'put {len(servers)} servers into a pool, by a tag'):
            compute = self._cloud.connect().compute
            for server in servers:
                server.look().add_tag(compute, self._tag)
                expect.note_done('tag')

    def left(self) -> list[str]:
        """The ids of the servers that are in the pool."""
        _, project = client.ids(self._cloud, accounts.FIRST_OWNER)
        return [
            server.id for server in self._cloud.connect().compute.servers(
                tags=self._tag, status='ACTIVE', all_projects=True)
            if server.project_id == project]

    def _claim(self, owner: str, start: threading.Barrier) -> str | None:
        """Claim a server. Returns its id, None if there is none left.

        :param owner: whom it is for
        :param start: where to wait for the others, with the pool in view
        """
        left = self.left()
        start.wait()
        for server_id in left:
            try:
                self.servers[server_id].ask_transfer(
                    owner, str(uuid.uuid4()), accounts.FIRST_OWNER)
            except exceptions.ConflictException:
                continue
            return server_id
        return None

    def claim(self, claimers: int, owner: str) -> list[Server]:
        """Let many claim servers at once. All have the same ones in view.

        :param owner: whom the servers are for
        :returns: the servers that were claimed, each once for each that got it
        """
        start = threading.Barrier(claimers, timeout=expect.TIMEOUT)
        with futures.ThreadPoolExecutor(claimers) as pool:
            claimed = list(pool.map(
                lambda _: self._claim(owner, start), range(claimers)))
        expect.note_done(f'{claimers} claims')
        return [self.servers[each] for each in claimed if each]
