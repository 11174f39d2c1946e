# SPDX-License-Identifier: Apache-2.0

"""A pool of booted servers, and those who claim servers from it.

The operator does both by typing the commands for it.
"""

from __future__ import annotations

from concurrent import futures
import threading
from typing import TYPE_CHECKING
import uuid

from lab import accounts
from lab.needs import Need
from lab.words import client
from lab.words import command_line
from lab.words import expect
from lab.words import server as servers
from lab.words import steps

if TYPE_CHECKING:
    from lab.words.scene import Scene

NETWORK = 'servers'
"""The network that all projects share, on a cloud with Need.NETWORK."""

_NONE_LEFT = 3
"""The exit code of a claim for which there is no server."""


class Pool:
    """Servers of the operator's project that are kept for others.

    :param scene: where they are
    """

    def __init__(self, scene: Scene):
        #: those that were ever in it, by id
        self.servers: dict[str, servers.Server] = {}
        self.teller = scene.teller
        self._scene = scene
        self._cloud = scene.cloud
        self._tag = f'pool:{uuid.uuid4()}'

    def _command(self, verb: str) -> str:
        return (f'openstack --os-compute-api-version {client.TRANSFER} '
                f'server pool {verb} --tag {self._tag}')

    def _run(self, line: str) -> str:
        said = command_line.run(self._cloud.connect(), line)
        expect.note_done(line)
        return said

    def _fill_command(self, count: int) -> str:
        return (f'{self._command("fill")} --count {count} '
                f'--flavor {self._cloud.flavor} --image {self._cloud.image} '
                f'--name {servers.NAME} --wait')

    def fill(self, count: int) -> None:
        """Type the command that fills it up to a number of servers."""
        self._fill(self._fill_command(count))

    @steps.action('type "{line}"')
    def _fill(self, line: str) -> None:
        self._run(line)
        for server_id in self.left():
            if server_id not in self.servers:
                self.servers[server_id] = self._scene.take_in(
                    server_id, f'server {len(self.servers) + 1}')

    def check_full(self, count: int) -> None:
        """Check its number of servers, and that filling it adds none."""
        with self.teller.step('filling it again changes nothing', True):
            before = self.left()
            expect.equal('the number of its servers', len(before), count)
            self._run(self._fill_command(count))
            expect.equal('the servers in it', self.left(), before)

    def left(self) -> list[str]:
        """The ids of the servers that are in the pool."""
        _, project = client.ids(self._cloud, accounts.FIRST_OWNER)
        return [
            server.id for server in self._cloud.connect().compute.servers(
                tags=self._tag, status='ACTIVE', all_projects=True)
            if server.project_id == project]

    def claim_one(
        self, owner: str, transfer_id: str | None = None,
        port: str | None = None,
    ) -> servers.Server | None:
        """Type the command that claims a server.

        :param owner: whom it is for
        :param transfer_id: what names the claim, to claim the same one again
        :param port: id of the port to attach, in the place of a new one
        :returns: the server, None if there is none left
        """
        line = (f'{self._command("claim")} --project '
                f'{accounts.OWNERS[owner]} --user {owner} -f value -c id')
        if transfer_id:
            line += f' --transfer-id {transfer_id}'
        if port:
            line += f' --port {port}'
        elif Need.NETWORK in self._cloud.has:
            line += f' --network {NETWORK} --wait'
        try:
            return self.servers[self._run(line).strip()]
        except command_line.Ended as ended:
            expect.equal('the exit code', ended.code, _NONE_LEFT)
            return None

    def claim(self, claimers: int, owner: str) -> list[servers.Server]:
        """Have many claim servers at once.

        :param owner: whom the servers are for
        :returns: the servers that were claimed, each once for each that got it
        """
        start = threading.Barrier(claimers, timeout=expect.TIMEOUT)

        def claim() -> servers.Server | None:
            start.wait()
            return self.claim_one(owner)

        with futures.ThreadPoolExecutor(claimers) as pool:
            claims = [pool.submit(claim) for _ in range(claimers)]
        expect.note_done(f'{claimers} claims')
        claimed = (each.result() for each in claims)
        return [server for server in claimed if server]
