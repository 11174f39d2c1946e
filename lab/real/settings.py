# SPDX-License-Identifier: Apache-2.0

"""What one lab is made of: drawn anew for every lab."""

from collections import abc
import dataclasses
import json
import secrets
import socket

from lab.real import layout

#: Projects of the users of the lab; the operator is in the first as well.
PROJECTS = ('demo', 'other')

#: Users by name, with their roles in each of the projects.
USERS = {'member': ('member', 'reader'), 'reader': ('reader',)}

#: What a lab has only if asked to.
EXTRAS = ('ceph', 'cinder')

#: The services that answer HTTP, with the port that each is known by.
APIS = {
    'keystone': 5000,
    'glance': 9292,
    'placement': 8778,
    'neutron': 9696,
    'nova': 8774,
    'metadata': 8775,
    'cinder': 8776,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    #: password of each account, of the database and of the message queue
    passwords: dict[str, str]
    #: port on the loopback of the machine by name of the API
    ports: dict[str, int]
    #: the tree that Nova runs from; none if it is the released one
    nova: str | None
    #: whether all hosts have one directory for the disks of their guests
    shared: bool
    #: which of `EXTRAS` it has
    extras: list[str]

    def save(self, where: layout.Layout) -> None:
        where.settings.touch(mode=0o600)
        where.settings.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, where: layout.Layout) -> 'Settings':
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
    """Settings for a new lab."""
    extras = set(extras)
    if 'cinder' in extras:
        extras.add('ceph')
    accounts = (
        'admin', 'member', 'reader', 'database', 'messages', 'keystone',
        'glance', 'placement', 'neutron', 'nova', 'cinder', 'metadata')
    public = [name for name in APIS if name != 'metadata'
              and (name in extras or name not in EXTRAS)]
    return Settings(
        passwords={name: secrets.token_urlsafe(18) for name in accounts},
        ports=dict(zip(public, _free_ports(len(public)), strict=True)),
        nova=nova, shared=shared, extras=sorted(extras))
