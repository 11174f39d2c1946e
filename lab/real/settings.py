# SPDX-License-Identifier: Apache-2.0

"""The settings of one lab: ports and passwords are drawn for each."""

from collections import abc
import dataclasses
import json
import secrets
import socket
from typing import Self

from lab import accounts
from lab.real import layout

USERS = {**{name: ('member', 'reader') for name in accounts.OWNERS},
         'reader': ('reader',)}
"""Users by name, with their roles in each of the projects."""

EXTRAS = ('ceph', 'cinder')
"""What a lab has only if asked for."""


@dataclasses.dataclass(frozen=True)
class Api:
    """A service that answers HTTP."""

    #: port in the network of the lab
    port: int
    #: type in the catalog; empty if it is not for users
    type: str
    #: path of its endpoint
    path: str = ''


APIS = {
    'keystone': Api(5000, 'identity', '/v3'),
    'glance': Api(9292, 'image'),
    'placement': Api(8778, 'placement'),
    'neutron': Api(9696, 'network'),
    'nova': Api(8774, 'compute', '/v2.1'),
    'metadata': Api(8775, ''),
    'cinder': Api(8776, 'block-storage', '/v3'),
}
"""The APIs by name, which is also the name of the service's account."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What distinguishes a lab from others."""

    #: password of each account, of the database and of the message queue
    passwords: dict[str, str]
    #: port on the loopback of the machine, by name of the API
    ports: dict[str, int]
    #: the tree that Nova runs from; none if it is the released one
    nova: str | None
    #: whether all hosts share the directory with the disks of their guests
    shared: bool
    #: which of `EXTRAS` it has
    extras: list[str]

    def save(self, where: layout.Layout) -> None:
        where.settings.touch(mode=0o600)
        where.settings.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, where: layout.Layout) -> Self:
        return cls(**json.loads(where.settings.read_text()))


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def draw(
    nova: str | None, shared: bool, extras: abc.Iterable[str] = ()
) -> Settings:
    """Settings for a new lab.

    :param nova: as in `Settings`
    :param shared: as in `Settings`
    :param extras: those asked for; what they need is added
    """
    extras = set(extras)
    if 'cinder' in extras:
        extras.add('ceph')
    public = [name for name, api in APIS.items()
              if api.type and (name in extras or name not in EXTRAS)]
    names = (accounts.ADMIN, *USERS, *public, 'database', 'messages',
             'metadata')
    return Settings(
        passwords={name: secrets.token_urlsafe(18) for name in names},
        ports=dict(zip(public, _free_ports(len(public)), strict=True)),
        nova=nova, shared=shared, extras=sorted(extras))
