# SPDX-License-Identifier: Apache-2.0

"""A port of the network service, with a bandwidth that is guaranteed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from lab.words import expect
from lab.words import steps

if TYPE_CHECKING:
    from lab.words.scene import Scene
    from lab.words.server import Server


@dataclasses.dataclass(frozen=True)
class Port:
    """A port that a server can be booted with."""

    id: str
    scene: Scene

    @property
    def teller(self) -> steps.Teller:
        """That of its scene."""
        return self.scene.teller

    def check_bandwidth(
        self, server: Server, host: str, kept_on: str | None = None,
        bound_to: str | None = None,
    ) -> None:
        """Check where its bandwidth is used, and what its binding says.

        :param host: where its server uses it
        :param kept_on: where the last move of the server keeps as much
        :param bound_to: the host that it is bound to, if it is not that
        """
        kept = f', and kept on {kept_on}' if kept_on else ''
        bound = f', bound to {bound_to}' if bound_to else ''
        self._check_bandwidth(
            f'{host}{kept}{bound}', server, host, kept_on, bound_to or host)

    @steps.check('the bandwidth of the port is used on {text}')
    def _check_bandwidth(
        self, text: str, server: Server, host: str, kept_on: str | None,
        bound_to: str,
    ) -> None:
        def using(consumer: str) -> dict[str, dict[str, int]]:
            """The providers of bandwidth that it uses, with how much."""
            return {name: held for name, held
                    in server.providers(consumer).items()
                    if any(each.startswith('NET_BW_') for each in held)}

        cloud = self.scene.cloud
        wanted = {each: {cloud.bandwidth_provider(each): cloud.bandwidth}
                  for each in filter(None, (host, kept_on))}
        expect.equal(
            'the bandwidth it uses, by provider', using(server.id),
            wanted[host])
        if kept_on:
            expect.equal(
                'the bandwidth kept for it, by provider',
                using(server.last_move()['uuid']), wanted[kept_on])
        seen = cloud.port(self.id)
        expect.equal('the host it is bound to', seen.host, bound_to)
        expect.equal(
            'the provider that its binding names', seen.provider,
            cloud.bandwidth_provider(bound_to))
