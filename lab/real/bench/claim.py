# SPDX-License-Identifier: Apache-2.0

"""How long a tenant waits for a server that can be reached.

From the command that claims one of a pool until the port of the tenant
answers a ping, and from the creation of a server with such a port.
"""

from collections import abc
import contextlib
import os
import time
from typing import Any

from lab import accounts
from lab.real.bench import durations
from lab.real.bench import setting
from lab.real import cloud as real
from lab.real.lab import Lab
from lab.real import neighbour
from lab.words import expect
from lab.words import pool as pools
from lab.words import scene as scenes
from lab.words import server as servers
from lab.words import steps


class _Bench:
    """The two ways to a server.

    :param beside: who pings
    """

    def __init__(
        self, cloud: real.RealCloud, rounds: int,
        beside: neighbour.Neighbour,
    ):
        self._cloud = cloud
        self._rounds = rounds
        self._beside = beside
        self._tenant = cloud.connect(accounts.OTHER_OWNER)

    @contextlib.contextmanager
    def _port(self) -> abc.Iterator[Any]:
        """A port of the tenant."""
        network: Any = self._tenant.network
        port = network.create_port(
            network_id=network.find_network(
                pools.NETWORK, ignore_missing=False).id)
        try:
            yield port
        finally:
            network.delete_port(port)

    def _until_answer(self, ask: abc.Callable[[Any], str]) -> float:
        """The seconds until a server answers. The server is deleted.

        :param ask: gets a server with a port, and returns its id
        """
        compute: Any = self._tenant.compute
        with self._port() as port:
            begun = time.monotonic()
            server = ask(port)
            address = port.fixed_ips[0]['ip_address']
            if not self._beside.answers(address, expect.TIMEOUT):
                raise expect.Unexpected(
                    f'the port: expected {address} to answer a ping, but it '
                    'did not')
            taken = time.monotonic() - begun
            found = compute.get_server(server)
            compute.delete_server(found)
            compute.wait_for_delete(found)
        return taken

    def claim(self) -> list[float]:
        """Servers of a pool whose guests have booted."""
        scene = scenes.Scene(
            self._cloud, steps.Teller(self._cloud.has, quiet=True))
        pool = pools.Pool(scene)
        samples = []
        for _ in range(self._rounds):
            pool.fill(1)
            pool.servers[pool.left()[0]].check_boots()
            samples.append(self._until_answer(
                lambda port: self._claim(pool, port)))
        return samples

    def _claim(self, pool: pools.Pool, port: Any) -> str:
        server = pool.claim_one(accounts.OTHER_OWNER, port=port.id)
        if server is None:
            raise expect.Unexpected(
                'the pool: expected it to have a server, but it had none')
        return server.id

    def boot(self) -> list[float]:
        """New servers."""
        return [self._until_answer(self._boot) for _ in range(self._rounds)]

    def _boot(self, port: Any) -> str:
        return self._tenant.compute.create_server(
            name=servers.NAME, flavor_id=self._cloud.flavor,
            image_id=self._cloud.image, networks=[{'port': port.id}]).id


def run(lab: Lab, rounds: int, cases: abc.Collection[str]) -> int:
    """Measure, and report the result. Returns the exit code.

    :param rounds: how many servers to have in each case
    :param cases: names of what to measure; all of durations.CLAIM if none
    :raises tool.console.Problem: if a step fails
    """
    setting.need_series(lab)
    samples: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(real.RealCloud(lab))
        facts = setting.facts(lab, cloud.hosts()[0], rounds=rounds)
        bench = _Bench(
            cloud, rounds, stack.enter_context(neighbour.plugged(lab)))
        for case, text in durations.CLAIM.items():
            if not cases or case in cases:
                with setting.step(text):
                    samples[case] = getattr(bench, case)()
    facts['load_average']['end'] = os.getloadavg()
    durations.report(lab.where.bench / 'claim.json', samples, facts)
    return 0
