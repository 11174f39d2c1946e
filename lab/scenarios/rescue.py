# SPDX-License-Identifier: Apache-2.0

"""Rescue and unrescue."""

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import scenarios
from lab import server as servers


def _stored(
    cloud: cloud_api.Cloud, server: servers.Server, host: str
) -> set[str]:
    """Names of the files and images of a server that is on a host."""
    return cloud.files(host, server.id) | (cloud.images(server.id) or set())


def rescue_and_unrescue(cloud: cloud_api.Cloud, step: scenarios.Step) -> None:
    """Rescue saves no file, and unrescue brings the server's own disks back"""
    host = cloud.hosts()[0]
    with step(f'boot a server on {host}'):
        server = servers.boot(cloud, host)
        guest = cloud.guest(host, server.id)
        stored = _stored(cloud, server, host)

    with step('rescue it with another image'):
        server.rescue()

    with step('its guest runs from the rescue disk, with its own beside'):
        expect.equal(
            'the disks of the guest', cloud.guest(host, server.id),
            cloud_api.Guest(True, ('disk.rescue', 'disk')))

    with step('the console shows the rescue image'):
        expect.equal(
            'the image that has booted',
            guests.ask(cloud, server.id).image, 'rescue')

    with step('no unrescue.xml ties the server to the host'):
        expect.equal(
            'what is stored for the server anew',
            _stored(cloud, server, host) - stored, {'disk.rescue'})

    with step('unrescue it'):
        server.unrescue()

    with step('its guest is as it was, and nothing of the rescue is left'):
        expect.equal('the guest', cloud.guest(host, server.id), guest)
        expect.equal(
            'what is stored for the server', _stored(cloud, server, host),
            stored)

    with step('delete it'):
        server.delete()


def rescued_before_upgrade(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """An unrescue.xml of the earlier release is ignored and deleted"""
    host = cloud.hosts()[0]
    with step(f'boot a server on {host} and rescue it'):
        server = servers.boot(cloud, host)
        guest = cloud.guest(host, server.id)
        stored = _stored(cloud, server, host)
        server.rescue()

    with step('put an unrescue.xml there that no guest could start from'):
        cloud.put_file(
            host, server.id, 'unrescue.xml', 'not the XML of a guest')

    with step('unrescue it: its guest is as it was'):
        server.unrescue()
        expect.equal('the guest', cloud.guest(host, server.id), guest)

    with step('the file is gone'):
        expect.equal(
            'what is stored for the server', _stored(cloud, server, host),
            stored)

    with step('delete it'):
        server.delete()
