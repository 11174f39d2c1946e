# SPDX-License-Identifier: Apache-2.0

"""Servers whose ports have a guaranteed bandwidth, which moves with them."""

from lab.needs import Need
from lab.scenarios import scenario
from lab.words.scene import Scene


@scenario(capability=13, needs={Need.BANDWIDTH})
def move_with_bandwidth(scene: Scene) -> None:
    """The bandwidth of a port moves with its server, also one in rescue"""
    source, destination = scene.hosts()
    port = scene.create_port()
    server = scene.boot(source, port=port)
    port.check_bandwidth(server, source)

    server.migrate(destination)
    port.check_bandwidth(server, destination, kept_on=source)
    scene.check_audit()
    server.revert()
    port.check_bandwidth(server, source)
    server.resize()
    port.check_bandwidth(server, destination, kept_on=source)
    server.check_grown(destination)
    server.confirm()
    port.check_bandwidth(server, destination)

    server.rescue()
    port.check_bandwidth(server, destination)
    with server.live_migrating(source) as move:
        port.check_bandwidth(
            server, source, kept_on=destination, bound_to=destination)
        scene.check_audit_keeps(server)
        move.abort()
    server.check_lives_on(destination)
    port.check_bandwidth(server, destination)
    with scene.cloud.faults.migration_fails(server.id):
        server.fail_to_live_migrate(source)
    port.check_bandwidth(server, destination)
    server.live_migrate(source)
    server.check_lives_on(source)
    port.check_bandwidth(server, source)
    server.unrescue()
    server.check_lives_on(source)
    port.check_bandwidth(server, source)
