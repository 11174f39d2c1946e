# SPDX-License-Identifier: Apache-2.0

"""Faults while a server in rescue moves.

Whatever fails, at whatever step: the server stays in rescue, on one host
alone and with all its disks; it can be moved again, and it comes back from
rescue with its data.
"""

from collections import abc
import contextlib
import dataclasses
from typing import Literal

from lab import faults
from lab.needs import Need
from lab import scenarios
from lab.words.scene import Scene
from lab.words import server as servers
from lab.words.server import Server

#: How the migration ends that meets with a fault: the server stays on its
#: source, or moves to its destination; or it stays and its guest is off.
End = Literal['stays', 'moves', 'stays, its guest is off; unrescue starts it',
              'stays, then moves',
              'stays, once nova-compute of the source is restarted']

#: What is waited for before what was killed is started again: nothing, that
#: the migration has failed, or that the guest has left the source.
Until = Literal['', 'failed', 'moved']


@dataclasses.dataclass(frozen=True)
class Fault:
    """A row of the table of faults, and the scenario that plays it."""

    #: what fails, and when
    what: str
    end: End
    scenario: scenarios.Scenario


def _rescued(
    scene: Scene, rescue_image: str | None = None,
    volumes: abc.Collection[str] = (),
) -> Server:
    """A server in rescue, both of whose guests have written to its disks.

    It has a config drive, which has to be copied as a file: the hypervisor
    copies only the disks that a guest writes to.

    :param rescue_image: the cloud's if none
    :param volumes: as for Scene.boot
    """
    server = scene.boot(scene.hosts()[0], config_drive=True, volumes=volumes)
    server.check_boots()
    server.rescue(rescue_image)
    server.check_rescue_boots()
    return server


def _check_survives(
    scene: Scene, server: Server, host: str, running: bool = True
) -> None:
    """Check that a server has lived through a fault, on a host alone."""
    server.check_lives_on(host, running, cleared_up=True)
    if running:
        server.check_guest_runs_on()
    server.check_disks(host)
    server.check_caches()


def _check_stays(scene: Scene, server: Server) -> None:
    server.check_migration('failed', 'error')
    _check_survives(scene, server, scene.hosts()[0])


def _check_moves(scene: Scene, server: Server) -> None:
    server.check_migration('completed')
    _check_survives(scene, server, scene.hosts()[1])


def _go_on(scene: Scene, server: Server) -> None:
    """Move a server to the other host, and unrescue it."""
    (other,) = set(scene.hosts()) - {server.host()}
    server.live_migrate(other)
    _check_survives(scene, server, other)
    _unrescue(server, other)


def _unrescue(server: Server, host: str) -> None:
    server.unrescue()
    server.check_lives_on(host)
    server.check_boots()


def _kill(
    scene: Scene, server: Server, service: faults.Service, host: str | None,
    copying: servers.Copied, gently: bool = False, until: Until = '',
) -> None:
    """Kill a service while a server in rescue moves, and start it again."""
    what = service + (f' on {host}' if host else '')
    with server.live_migrating(scene.hosts()[1], copying) as move:
        with scene.lasting(
                f'{"stop" if gently else "kill"} {what}',
                scene.cloud.faults.killed(service, host, gently),
                f'start {what} again'):
            if until == 'failed':
                server.check_migration('failed', 'error')
            elif until == 'moved':
                move.let_guest_move()


def _killed(
    name: str, title: str, what: str, end: End, service: faults.Service,
    host: int | None, copying: servers.Copied, gently: bool = False,
    until: Until = '',
) -> Fault:
    """A row whose fault is the death of a service.

    :param host: 0 for the source, 1 for the destination, None if the service
        is of no host
    """

    def play(scene: Scene) -> None:
        server = _rescued(scene)
        where = None if host is None else scene.hosts()[host]
        _kill(scene, server, service, where, copying, gently, until)
        (_check_moves if end == 'moves' else _check_stays)(scene, server)
        _go_on(scene, server)

    needs = set() if service == 'libvirtd' else {Need.SERVICES}
    if copying == 'files':
        needs.add(Need.LOCAL_DISKS)
    return Fault(what, end, scenarios.Scenario(
        name, title, play, 3, frozenset(needs), scenarios.groups(__name__)))


def _fault(
    what: str, end: End, *needs: Need
) -> abc.Callable[[scenarios.Play], Fault]:
    """Declare that a function plays a fault of its own kind."""

    def declare(play: scenarios.Play) -> Fault:
        return Fault(
            what, end, scenarios.scenario(capability=3, needs=needs)(play))

    return declare


@_fault('libvirt of the destination is down', 'stays')
def hypervisor_unreachable(scene: Scene) -> None:
    """The destination's libvirt is down: the server stays where it was"""
    source, destination = scene.hosts()
    server = _rescued(scene)
    with scene.lasting(
            f'kill libvirtd on {destination}',
            scene.cloud.faults.killed('libvirtd', destination),
            f'start libvirtd on {destination} again'):
        server.fail_to_live_migrate(destination)
    _check_survives(scene, server, source)
    _go_on(scene, server)


@_fault('disk of the destination is full', 'stays', Need.LOCAL_DISKS)
def destination_disk_full(scene: Scene) -> None:
    """The destination's disk is full: the server stays where it was"""
    source, destination = scene.hosts()
    server = _rescued(scene)
    with scene.new_disk(destination) as disk:
        scene.fill(disk, destination)
        server.fail_to_live_migrate(destination)
        _check_survives(scene, server, source)
    _go_on(scene, server)


@_fault('disk of the destination fills while the hypervisor copies disks',
        'stays', Need.LOCAL_DISKS)
def destination_disk_full_moving(scene: Scene) -> None:
    """The destination's disk fills as disks are copied: the server stays"""
    source, destination = scene.hosts()
    # Of others, little is copied: only what the guest has written.
    with scene.storing('raw'):
        server = _rescued(scene)
        with scene.new_disk(destination) as disk:
            with server.live_migrating(destination, 'disks'):
                scene.fill(disk, destination)
                server.check_migration('failed', 'error')
            _check_survives(scene, server, source)
        _go_on(scene, server)


@_fault('image service is down, and the destination lacks the rescue image',
        'moves')
def image_service_down(scene: Scene) -> None:
    """The image service is down: the server moves without it"""
    destination = scene.hosts()[1]
    # The destination has the image of the server, and not that of the rescue.
    scene.boot(destination, called='another server').delete()
    image = scene.copy_image(scene.cloud.rescue_image, 'the rescue image')
    server = _rescued(scene, image.id)
    with scene.lasting(
            'kill the image service', scene.cloud.faults.killed('glance'),
            'start the image service again'):
        server.live_migrate(destination)
        _check_survives(scene, server, destination)
    image.delete()
    _go_on(scene, server)


@_fault('copying of a file breaks off', 'stays', Need.LOCAL_DISKS)
def copy_broken_off(scene: Scene) -> None:
    """The copying of a file breaks off: the server stays where it was"""
    server = _rescued(scene)
    with server.live_migrating(scene.hosts()[1], 'files') as move:
        move.break_off()
        _check_stays(scene, server)
    _go_on(scene, server)


@_fault('QEMU of the destination dies', 'stays')
def incoming_guest_killed(scene: Scene) -> None:
    """The guest that receives the memory dies: the server stays"""
    source, destination = scene.hosts()
    server = _rescued(scene)
    with scene.cloud.faults.migration_fails(server.id):
        server.fail_to_live_migrate(destination)
    _check_survives(scene, server, source)
    _go_on(scene, server)


@_fault('QEMU of the source dies',
        'stays, its guest is off; unrescue starts it')
def outgoing_guest_killed(scene: Scene) -> None:
    """The guest dies as it moves: the server is off, and loses no disk"""
    source, destination = scene.hosts()
    server = _rescued(scene)
    with server.live_migrating(destination):
        server.kill_guest(source)
        server.check_migration('failed', 'error')
    _check_survives(scene, server, source, running=False)
    _unrescue(server, source)


@_fault('nova-compute of the source dies twice while a server with a volume '
        'moves', 'stays, then moves', Need.SERVICES, Need.VOLUMES)
def source_compute_killed_with_volume(scene: Scene) -> None:
    """The source's nova-compute dies while a server with a volume moves

    It takes the server back, and then, dead once more, loses it.
    """
    source = scene.hosts()[0]
    server = _rescued(scene, volumes=[servers.DATA])
    _kill(scene, server, 'nova-compute', source, 'memory')
    _check_stays(scene, server)
    _kill(scene, server, 'nova-compute', source, 'memory', until='moved')
    _check_moves(scene, server)
    _go_on(scene, server)


@_fault('all conductors die before the migration begins',
        'stays, once nova-compute of the source is restarted', Need.SERVICES)
def conductors_killed_checking(scene: Scene) -> None:
    """The conductors die before the migration begins: the server stays

    No service knows of it then. The source's nova-compute takes it back when
    it is started anew.
    """
    source, destination = scene.hosts()
    inflict = scene.cloud.faults
    server = _rescued(scene)
    with contextlib.ExitStack() as dead:
        with scene.lasting(
                f'freeze nova-compute on {destination}',
                inflict.frozen('nova-compute', destination), 'thaw it'):
            server.start_live_migration(destination)
            dead.enter_context(scene.lasting(
                'kill the conductors', inflict.killed('nova-conductor'),
                'start the conductors again'))
    with scene.lasting(
            f'kill nova-compute on {source}',
            inflict.killed('nova-compute', source),
            f'start nova-compute on {source} again'):
        pass
    _check_stays(scene, server)
    _go_on(scene, server)


FAULTS = (
    hypervisor_unreachable,
    _killed(
        'hypervisor-killed',
        "The destination's libvirt dies as memory is copied: the server stays",
        'libvirt of the destination dies while memory is copied',
        'stays', 'libvirtd', 1, 'memory', until='failed'),
    _killed(
        'source-hypervisor-killed',
        "The source's libvirt dies as memory is copied: the server stays",
        'libvirt of the source dies while memory is copied',
        'stays', 'libvirtd', 0, 'memory'),
    _killed(
        'source-hypervisor-restarted',
        "The source's libvirt is restarted as memory is copied: the same",
        'libvirt of the source is stopped and started while memory is copied',
        'stays', 'libvirtd', 0, 'memory', gently=True),
    destination_disk_full,
    destination_disk_full_moving,
    image_service_down,
    copy_broken_off,
    incoming_guest_killed,
    outgoing_guest_killed,
    _killed(
        'source-compute-killed-copying',
        "The source's nova-compute dies as files are copied, and comes back",
        'nova-compute of the source dies while files are copied',
        'stays', 'nova-compute', 0, 'files'),
    _killed(
        'source-compute-killed-moving',
        "The source's nova-compute dies as memory is copied, and comes back",
        'nova-compute of the source dies while memory is copied',
        'stays', 'nova-compute', 0, 'memory'),
    _killed(
        'source-compute-dead-at-the-end',
        "The guest moves while the source's nova-compute is dead",
        'nova-compute of the source is dead when the guest arrives',
        'moves', 'nova-compute', 0, 'memory', until='moved'),
    source_compute_killed_with_volume,
    _killed(
        'destination-compute-killed-copying',
        "The destination's nova-compute dies as files are copied",
        'nova-compute of the destination dies while files are copied',
        'stays', 'nova-compute', 1, 'files'),
    _killed(
        'destination-compute-killed-moving',
        "The destination's nova-compute dies as memory is copied",
        'nova-compute of the destination dies while memory is copied',
        'moves', 'nova-compute', 1, 'memory'),
    _killed(
        'destination-compute-dead-at-the-end',
        "The guest moves while the destination's nova-compute is dead",
        'nova-compute of the destination is dead when the guest arrives',
        'moves', 'nova-compute', 1, 'memory', until='moved'),
    conductors_killed_checking,
    _killed(
        'conductors-killed',
        'No conductor is there while the guest moves: the migration completes',
        'all conductors die while memory is copied',
        'moves', 'nova-conductor', None, 'memory'),
    _killed(
        'message-queue-killed',
        'The message queue dies while the guest moves, and comes back',
        'message queue dies while memory is copied',
        'moves', 'rabbitmq', None, 'memory'),
)

SCENARIOS = tuple(fault.scenario for fault in FAULTS)
