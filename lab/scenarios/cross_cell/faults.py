# SPDX-License-Identifier: Apache-2.0

"""Faults while a server moves to another cell, is confirmed or reverted.

Whatever dies, at whatever step: when what died is there again, and an operator
has typed the command that ends what was abandoned, the server is on one host
alone with all that was written to its disk, and can be moved again.
"""

from collections import abc
import contextlib
import dataclasses
from typing import Literal

from lab import faults
from lab.needs import Need
from lab import scenarios
from lab.words import expect
from lab.words.scene import Scene
from lab.words.server import Server

#: The steps at which a move can be held, as a sentence about the server.
Step = Literal[
    'its destination is checked', 'its disk is uploaded',
    'its guest is made', 'its move is confirmed',
    'its move is reverted']

#: How a move is brought to its end whose conductor has died at that step, as
#: the command says it.
_WAYS: dict[Step, str] = {
    'its destination is checked': 'roll it back',
    'its disk is uploaded': 'roll it back',
    'its guest is made': 'complete the move',
    'its move is confirmed': 'confirm it',
    'its move is reverted': 'revert it'}

#: Where the server is in the end, and whether Nova sees to that by itself or
#: an operator types a command for it. Where a host may have done what it was
#: asked to, though nobody got its answer, either end is right.
End = Literal[
    'source', 'source, by the command',
    'destination', 'destination, by the command',
    'source or destination']

#: The part of a move that has died: a service, of the source or of the
#: destination if hosts have it.
Part = tuple[faults.Service, Literal['source', 'destination', '']]


@dataclasses.dataclass(frozen=True)
class Fault:
    """A row of the table of faults, and the scenario that plays it."""

    #: what fails, and when
    what: str
    end: End
    scenario: scenarios.Scenario


def _hosts(scene: Scene) -> tuple[str, str]:
    """A source, and a destination in the other cell."""
    return scene.hosts()[0], scene.cloud.other_cell_hosts()[0]


def _wait_for_task(server: Server, task: str) -> None:
    expect.wait_for(
        'task state', lambda: server.look().task_state, task.__eq__)


def _wait_until_off(scene: Scene, server: Server, host: str) -> None:
    def runs() -> bool:
        guest = scene.cloud.guest(host, server.id)
        return guest is not None and guest.running

    expect.wait_for('guest that is off', runs, False.__eq__)


@contextlib.contextmanager
def _held(scene: Scene, server: Server, step: Step) -> abc.Iterator[None]:
    """Ask for something, and hold it at a step as long as the block lasts."""
    source, destination = _hosts(scene)
    frozen = scene.cloud.faults.frozen
    if step in ('its move is confirmed', 'its move is reverted'):
        server.migrate(destination)
        server.check_moved(destination)
    with contextlib.ExitStack() as held:
        with scene.teller.step(f'ask for it, and wait until {step}'):
            if step == 'its destination is checked':
                held.enter_context(frozen('nova-compute', destination))
                server.ask_migration(destination)
                # Before it has a record there, nothing tells of the move.
                expect.wait_for(
                    'number of cells that have it',
                    lambda: len(scene.cloud.records(server.id)), (2).__eq__)
            elif step == 'its disk is uploaded':
                server.ask_migration(destination)
                _wait_for_task(server, 'resize_migrating')
                held.enter_context(frozen('glance'))
                _wait_until_off(scene, server, source)
            elif step == 'its guest is made':
                server.ask_migration(destination)
                _wait_for_task(server, 'resize_migrating')
                held.enter_context(frozen('libvirtd', destination))
                expect.wait_for(
                    'files on its destination',
                    lambda: scene.cloud.files(destination, server.id), bool)
            elif step == 'its move is confirmed':
                held.enter_context(frozen('nova-compute', source))
                server.ask_confirmation()
                expect.wait_for(
                    'status of its move',
                    lambda: server.last_move()['status'], 'confirming'.__eq__)
            else:
                held.enter_context(frozen('nova-compute', destination))
                server.ask_revert()
                _wait_for_task(server, 'resize_reverting')
        yield


def _end(scene: Scene, server: Server, step: Step, end: End) -> str:
    """See the server come to an end, and that nothing is left to do.

    :returns: the host that has it
    """
    source, destination = _hosts(scene)
    if end.endswith('by the command'):
        scene.check_recovers(server, _WAYS[step])
    with scene.teller.step('its move ends'):
        if end == 'source or destination':
            arrived = server.come_to_rest() == 'VERIFY_RESIZE'
            end = 'destination' if arrived else 'source'
        elif step == 'its move is reverted':
            server.return_home()
        elif step == 'its move is confirmed' and end == 'destination':
            # One that has failed leaves the server as it was before it.
            if server.come_to_rest() == 'VERIFY_RESIZE':
                server.confirm()
        elif end.startswith('source') or step == 'its move is confirmed':
            server.become_active()
            expect.wait_for(
                'task state', lambda: server.look().task_state, None.__eq__)
        else:
            server.arrive()
    if not end.endswith('by the command'):
        scene.check_nothing_to_recover()
    if end.startswith('destination') and step != 'its move is confirmed':
        server.check_moved(destination)
        server.confirm()
    host = source if end.startswith('source') else destination
    server.check_lives_on(host)
    scene.check_audit()
    if step == 'its destination is checked':
        server.check_guest_runs_on()
    else:
        server.check_boots()
    return host


def _killed(
    name: str, title: str, what: str, step: Step, part: Part, end: End
) -> Fault:
    """A row whose fault is the death of a service.

    :param what: the service, as the table calls it
    """

    def play(scene: Scene) -> None:
        source, destination = _hosts(scene)
        service, side = part
        host = {'source': source, 'destination': destination, '': None}[side]
        server = scene.booted(source)
        with contextlib.ExitStack() as dead:
            with _held(scene, server, step):
                dead.enter_context(scene.lasting(
                    f'kill {what}', scene.cloud.faults.killed(service, host),
                    f'start {what} again'))
        if _end(scene, server, step, end) == source:
            server.migrate(destination)
            server.check_moved(destination)
            server.confirm()
            server.check_lives_on(destination)
            server.check_boots()

    return Fault(f'{what} dies while {step}', end, scenarios.Scenario(
        name, title, play, 7,
        frozenset({Need.GUESTS, Need.OWN_FILES, Need.SERVICES}),
        scenarios.groups(__name__)))


_CONDUCTOR: Part = ('nova-super-conductor', '')

FAULTS = (
    _killed(
        'conductor-killed-checking',
        'Its conductor dies as the destination is checked: a server stays',
        'the super-conductor', 'its destination is checked', _CONDUCTOR,
        'source, by the command'),
    _killed(
        'conductor-killed-uploading',
        'Its conductor dies as the disk is uploaded: a server is given back',
        'the super-conductor', 'its disk is uploaded', _CONDUCTOR,
        'source, by the command'),
    _killed(
        'conductor-killed-finishing',
        'Its conductor dies as the guest is made: its move is completed',
        'the super-conductor', 'its guest is made', _CONDUCTOR,
        'destination, by the command'),
    _killed(
        'conductor-killed-recovered',
        'A move whose conductor has died is completed by the next one',
        'the super-conductor', 'its guest is made', _CONDUCTOR,
        'destination'),
    _killed(
        'conductor-killed-confirming',
        'Its conductor dies as its move is confirmed: a server stays there',
        'the super-conductor', 'its move is confirmed', _CONDUCTOR,
        'destination, by the command'),
    _killed(
        'conductor-killed-reverting',
        'Its conductor dies as its move is reverted: a server comes back',
        'the super-conductor', 'its move is reverted', _CONDUCTOR,
        'source, by the command'),
    _killed(
        'conductors-killed-uploading',
        'All conductors die as the disk is uploaded: a server is given back',
        'every conductor', 'its disk is uploaded', ('nova-conductor', ''),
        'source, by the command'),
    _killed(
        'source-killed-uploading',
        "The source's nova-compute dies as the disk is uploaded",
        'nova-compute of the source', 'its disk is uploaded',
        ('nova-compute', 'source'), 'source'),
    _killed(
        'destination-killed-reverting',
        "The destination's nova-compute dies as the move is reverted",
        'nova-compute of the destination', 'its move is reverted',
        ('nova-compute', 'destination'), 'source'),
    _killed(
        'source-killed-confirming',
        "The source's nova-compute dies as the move is confirmed",
        'nova-compute of the source', 'its move is confirmed',
        ('nova-compute', 'source'), 'destination'),
    _killed(
        'destination-killed-finishing',
        "The destination's nova-compute dies as the guest is made",
        'nova-compute of the destination', 'its guest is made',
        ('nova-compute', 'destination'), 'source or destination'),
    _killed(
        'source-libvirt-killed-uploading',
        "The source's libvirt dies as the disk is uploaded",
        'libvirt of the source', 'its disk is uploaded',
        ('libvirtd', 'source'), 'source or destination'),
    _killed(
        'destination-libvirt-killed-finishing',
        "The destination's libvirt dies as the guest is made",
        'libvirt of the destination', 'its guest is made',
        ('libvirtd', 'destination'), 'source or destination'),
    _killed(
        'glance-killed-uploading',
        'The image service dies as the disk is uploaded',
        'the image service', 'its disk is uploaded', ('glance', ''),
        'source or destination'),
    _killed(
        'message-queues-killed-uploading',
        'The message queues die as the disk is uploaded',
        'every message queue', 'its disk is uploaded', ('rabbitmq', ''),
        'source or destination'),
)

SCENARIOS = tuple(fault.scenario for fault in FAULTS)
