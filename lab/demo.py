# SPDX-License-Identifier: Apache-2.0

"""./run demo: what the series is for, in a minute."""

import argparse
import contextlib

from lab import runner
from lab.words import client
from lab.words.scene import Scene
from lab.words import steps
from tool import console

_TASK = (
    'The task: empty node1, though a server on it, web, is in rescue.')
_BEYOND = (
    'Not shown here, as these guests are not real: that the guest runs on and '
    'no disk loses data; disks copied from host to host; services that die. '
    'The lab shows it: ./run lab up')
_NEXT = 'Next: ./run scenarios rescue'


def _play(scene: Scene) -> None:
    """The task, without the series and with it."""
    source, destination = scene.hosts()
    server = scene.boot(source, called='web')
    server.rescue()

    console.line(f'Without the series (microversion {client.RELEASED}):')
    with scene.refused(f'live-migrate web to {destination}', 409, 'rescued'):
        server.ask_live_migration(destination, client.RELEASED)
    server.check_unmoved(source)

    console.line(
        f'With the series (microversion {client.LIVE_MIGRATE_RESCUED}), '
        f'while libvirt of {destination} dies halfway:')
    with server.live_migrating(destination):
        server.check_busy('migrating')
        with scene.lasting(
                f'kill libvirt of {destination}',
                scene.cloud.faults.killed('libvirtd', destination),
                f'start libvirt of {destination} again'):
            server.check_migration('failed', 'error')
    server.check_lives_on(source, cleared_up=True)

    console.line('The next try, to the host that the scheduler picks:')
    server.live_migrate()
    server.check_lives_on(destination)
    server.check_recorded()
    server.unrescue()
    server.check_lives_on(destination)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code.

    :raises tool.console.Problem: if it cannot be run
    """
    make_cloud = runner.embedded(args.log)
    console.line(_TASK)
    try:
        with contextlib.ExitStack() as stack:
            with console.step('start Nova with three compute hosts'):
                cloud = stack.enter_context(make_cloud())
            teller = steps.Teller(cloud.has)
            _play(stack.enter_context(Scene(cloud, teller)))
    except Exception as exc:
        raise console.Problem(
            f"{runner.reason_of(exc)}\nNova's log is in {args.log}") from exc
    console.line(_BEYOND)
    console.line(_NEXT)
    return 0
