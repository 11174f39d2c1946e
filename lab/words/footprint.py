# SPDX-License-Identifier: Apache-2.0

"""All that a server has in a cloud, and where.

Taken once, it is what the server must have wherever it lives later, and what
no other place may have.
"""

from __future__ import annotations

from collections import abc
import dataclasses
from typing import TYPE_CHECKING

from openstack import exceptions

from lab import cloud as cloud_api
from lab.guest import console as guests
from lab.needs import Need
from lab.words import expect

if TYPE_CHECKING:
    from lab.words.server import Server

STATES = {'ACTIVE': 'active', 'PAUSED': 'paused', 'RESCUE': 'rescued',
          'SHUTOFF': 'stopped'}
"""The state of a server in Nova's database, by its status."""

_UNUSED = 'disk.swap.rescue'
"""What Nova makes for a rescue with stable devices, and gives to no guest."""


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What a server has on its host, whichever that is."""

    guest: cloud_api.Guest
    #: names of its files
    files: frozenset[str]
    #: names of its disks in shared storage; None if they are files
    images: frozenset[str] | None
    #: what Placement has it use there, by resource class
    resources: dict[str, int]
    flavor: str
    #: ids of its volumes
    volumes: frozenset[str]
    #: ids of its ports
    ports: frozenset[str]
    #: what its project uses of its quota, with this server
    quota: dict[str, int]


def _files(server: Server, host: str) -> frozenset[str]:
    found = server.cloud.files(host, server.id)
    # It must be gone after the rescue.
    return frozenset(
        found - {_UNUSED} if server.status == 'RESCUE' else found)


def _ports(server: Server) -> dict[str, str]:
    """The hosts that each of its ports is bound on, by its id."""
    if Need.NETWORK not in server.cloud.has:
        return {}
    ports = server.cloud.connect().network.ports(device_id=server.id)
    return {port.id: port.binding_host_id for port in ports}


def quota(cloud: cloud_api.Cloud, owner: str) -> dict[str, int]:
    """What the project of a user uses of its quota."""
    response = cloud.connect(owner).compute.get('/limits')
    exceptions.raise_from_response(response)
    used = response.json()['limits']['absolute']
    return {name: used[f'total{name}Used']
            for name in ('Instances', 'Cores', 'RAM')}


def take(server: Server) -> Footprint:
    """The footprint of a server, on the host that it is on now."""
    seen = server.look()
    host = seen.compute_host
    guest = server.cloud.guest(host, server.id)
    if guest is None:
        raise expect.Unexpected(f'the guest of {server}: not on {host}')
    images = server.cloud.images(server.id)
    return Footprint(
        guest, _files(server, host),
        None if images is None else frozenset(images),
        server.allocations()[host], seen.flavor.original_name,
        frozenset(server.volumes()), frozenset(_ports(server)),
        quota(server.cloud, server.owner))


def disks(server: Server, host: str) -> dict[str, str]:
    """Digests of what a server has on its disks, and in UEFI variables.

    By the name of the file; lab.guest.console.UEFI for the variables. Needs
    Need.GUESTS.
    """
    found = server.cloud.digests(host, server.id)
    found.pop(_UNUSED, None)
    variables = server.cloud.uefi_variables(host, server.id)
    return found | ({guests.UEFI: variables} if variables else {})


def _traces(server: Server, host: str) -> list[str]:
    """What a host has of a server that is not there."""
    found = []
    if Need.OWN_FILES in server.cloud.has:
        found += sorted(server.cloud.files(host, server.id))
    if server.cloud.files(host, f'{server.id}_resize'):
        found.append('files kept for a return')
    if guest := server.cloud.guest(host, server.id):
        found.append(f'a guest, {guest}')
    if host in server.allocations():
        found.append('an allocation of the server')
    return found


def check_nothing(
    server: Server, hosts: abc.Iterable[str], cleared_up: bool
) -> None:
    """Check that some hosts have nothing of a server.

    :param cleared_up: whether to wait until they have been cleared up
    """
    for host in hosts:
        what = f'what {host} has of it'
        if cleared_up:
            expect.wait_for(
                what, lambda: _traces(server, host), lambda found: not found)
        else:
            expect.equal(what, _traces(server, host), [])


def check(
    server: Server, host: str, wanted: Footprint, running: bool,
    cleared_up: bool,
) -> None:
    """Check that a server lives on a host, whole, and nowhere else.

    :param wanted: its footprint
    :param running: whether its guest is to be running
    :param cleared_up: whether to wait until the other hosts are cleared up
    :raises lab.words.expect.Unexpected: if anything of it is missing, has
        changed, or is somewhere else
    """
    cloud = server.cloud
    seen = server.wait_for_status(server.status)
    expect.equal('its state', seen.vm_state, STATES[server.status])
    expect.equal('its host', seen.compute_host, host)
    expect.equal('its flavor', seen.flavor.original_name, wanted.flavor)
    expect.equal(
        'its guest', cloud.guest(host, server.id),
        dataclasses.replace(wanted.guest, running=running))
    expect.equal('its files', _files(server, host), wanted.files)
    expect.equal(
        'what is kept of its files',
        cloud.files(host, f'{server.id}_resize'), set())
    images = cloud.images(server.id)
    expect.equal(
        'its images', None if images is None else frozenset(images),
        wanted.images)
    expect.equal(
        'the hosts that its volumes are attached on', server.volumes(),
        {volume: [host] for volume in wanted.volumes})
    expect.equal(
        'the hosts that its ports are bound on', _ports(server),
        {port: host for port in wanted.ports})
    others = [*cloud.hosts(), *cloud.other_cell_hosts()]
    others.remove(host)
    check_nothing(server, others, cleared_up)
    for migration in server.migrations():
        expect.wait_for(
            'return of what a migration held',
            lambda: server.allocations(migration['uuid']),
            lambda held: not held)
    expect.equal('what is kept for its return', server.kept(), {})
    expect.equal(
        'the resources it uses', server.allocations(),
        {host: wanted.resources})
    expect.equal(
        'the cells that have it, and whether that is shown',
        cloud.records(server.id), {cloud.cell_of(server.id): True})
    expect.equal(
        'what its project uses of its quota', quota(cloud, server.owner),
        wanted.quota)


def check_gone(server: Server) -> None:
    """Wait until no place has anything of a server that was deleted."""
    cloud = server.cloud
    check_nothing(server, [*cloud.hosts(), *cloud.other_cell_hosts()], True)
    if Need.OWN_FILES not in cloud.has:
        expect.wait_for(
            'deletion of its files',
            lambda: cloud.files(cloud.hosts()[0], server.id),
            lambda found: not found)
    expect.equal('the cells that have it', cloud.records(server.id), {})
