# SPDX-License-Identifier: Apache-2.0

"""The parts of ./run lab and ./run scenarios that run on the controller.

`python -m lab.real.inside ROOT COMMAND [ARGUMENT...]`, started by
lab.real.namespaces.run_inside.
"""

from collections import abc
import functools
import pathlib
import subprocess
import sys
import xmlrpc.client

from openstack import exceptions

from lab.guest import image as guest_image
from lab.real.bench import claim
from lab.real.bench import cross_cell
from lab.real.bench import rescue
from lab.real.bench import transfer
from lab.real import bringup
from lab.real import cloud
from lab.real.lab import Lab
from lab.real import layout
from lab import runner
from lab import scenarios
from tool import console


def _up(lab: Lab, arguments: abc.Sequence[str]) -> int:
    bringup.bring_up(
        lab, guest_image.Images.inside(lab.where.images), console.step)
    return 0


def _scenarios(lab: Lab, arguments: abc.Sequence[str]) -> int:
    report, *names = arguments
    return runner.play(
        scenarios.choose(names, scenarios.load()).values(),
        functools.partial(cloud.RealCloud, lab),
        pathlib.Path(report) if report else None)


_BENCHES = {
    'rescue': rescue.run, 'transfer': transfer.run, 'claim': claim.run,
    'cross-cell': cross_cell.run}


def _bench(lab: Lab, arguments: abc.Sequence[str]) -> int:
    what, rounds, *cases = arguments
    return _BENCHES[what](lab, int(rounds), cases)


_COMMANDS = {'up': _up, 'scenarios': _scenarios, 'bench': _bench}


def main(argv: abc.Sequence[str]) -> int:
    """Run a command. Returns the exit code."""
    root, command, *arguments = argv
    lab = Lab.load(layout.Layout(pathlib.Path(root)))
    try:
        return _COMMANDS[command](lab, arguments)
    except (console.Problem, exceptions.SDKException, xmlrpc.client.Fault,
            subprocess.SubprocessError, OSError) as exc:
        return console.problem('lab', exc)
    except KeyboardInterrupt:
        return console.INTERRUPTED


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
