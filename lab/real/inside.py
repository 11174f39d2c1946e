# SPDX-License-Identifier: Apache-2.0

"""The parts of ./run lab and ./run scenarios that run on the controller.

`python -m lab.real.inside COMMAND [ARGUMENT...]`, from lab.real.commands.
"""

from collections import abc
import functools
import pathlib
import subprocess
import sys
import xmlrpc.client

from openstack import exceptions

from lab.real import bench
from lab.real import bringup
from lab.real import cloud
from lab.real import images
from lab.real import layout
from lab.real.services import common
from lab.real import settings
from lab import runner
from lab import scenarios
from tool import console


def _up(lab: common.Lab, arguments: abc.Sequence[str]) -> int:
    bringup.bring_up(
        lab, images.Images.inside(lab.where.images), console.step)
    return 0


def _scenarios(lab: common.Lab, arguments: abc.Sequence[str]) -> int:
    report, *names = arguments
    return runner.play(
        scenarios.choose(names, scenarios.load()).values(),
        functools.partial(cloud.RealCloud, lab),
        pathlib.Path(report) if report else None)


def _bench(lab: common.Lab, arguments: abc.Sequence[str]) -> int:
    return bench.run(lab, int(arguments[0]), arguments[1:])


_COMMANDS = {'up': _up, 'scenarios': _scenarios, 'bench': _bench}


def main(argv: abc.Sequence[str]) -> int:
    """Run a command. Returns the exit code."""
    where = layout.PROJECT
    lab = common.Lab(where, settings.Settings.load(where))
    try:
        return _COMMANDS[argv[0]](lab, argv[1:])
    except (console.Problem, exceptions.SDKException, xmlrpc.client.Fault,
            subprocess.CalledProcessError, OSError) as exc:
        return console.problem('lab', exc)
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
