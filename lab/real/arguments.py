# SPDX-License-Identifier: Apache-2.0

"""The command line of ./run lab."""

import argparse

from lab import accounts
from lab.real import bench as benches
from lab.real import settings as lab_settings
from lab.real import topology
from tool import environments
from tool.layout import PROJECT


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a whole number of at least 1')
    return int(text)


def add(
    commands: 'argparse._SubParsersAction[argparse.ArgumentParser]',
) -> None:
    """Add the command, with its own commands, to the parser of ./run."""
    lab = commands.add_parser(
        'lab', help='a real OpenStack on this machine, to try the series on',
        description='A real OpenStack on this machine, in namespaces of its '
        'own: Keystone, Glance, Placement, Neutron and Nova, with two cells, '
        'three compute hosts, and guests in QEMU under software emulation.')
    commands = lab.add_subparsers(
        dest='lab_command', metavar='COMMAND', title='commands')

    command = commands.add_parser(
        'up', help='start a lab',
        description='Starts a new lab, with new passwords and nothing in it '
        'but images, flavors and a network. If that fails, nothing is left '
        'running.')
    _add_variants(command)
    command.add_argument(
        '--keep', action='store_true',
        help='if it fails, leave running what runs')
    _calls(command, 'up', installs=True)

    command = commands.add_parser(
        'down', help='end the lab',
        description='Ends the lab, its servers included, and removes its '
        'files. Logs, guest images and empty databases stay in .lab/ for '
        'the next one.')
    command.add_argument(
        '--purge', action='store_true', help='remove .lab/ altogether')
    _calls(command, 'down')

    command = commands.add_parser(
        'status', help='show hosts, versions and services',
        description='Shows hosts, cells, versions and services. Exits with '
        '1 if the lab is not up, or a service is not running.')
    _calls(command, 'status')

    command = commands.add_parser(
        'env', help='print what points the openstack command at the lab',
        description='Prints shell commands that point the openstack command '
        'at the lab: eval "$(./run lab env)". The users are admin, member, '
        'tenant and reader, each in the projects demo and other.')
    command.add_argument(
        'cloud', nargs='?', default='admin-demo', metavar='USER-PROJECT',
        choices=[f'{user}-{project}'
                 for user in (accounts.ADMIN, *lab_settings.USERS)
                 for project in accounts.PROJECTS],
        help='the user and project (default: %(default)s)')
    _calls(command, 'env')

    command = commands.add_parser(
        'logs', help='show the log of a service',
        description='Shows the end of the log of a service, or the names of '
        'all logs if none is named.')
    command.add_argument('name', nargs='?', metavar='SERVICE')
    command.add_argument(
        '-f', '--follow', action='store_true',
        help='keep showing what is added')
    _calls(command, 'logs')

    command = commands.add_parser(
        'shell', help='a shell on a host',
        description='Opens a shell on a host of the lab, or runs a command '
        'there: ./run lab shell node1 virsh list')
    command.add_argument(
        'host', choices=[host.name for host in topology.HOSTS])
    command.add_argument(
        'argument', nargs=argparse.REMAINDER, metavar='COMMAND')
    _calls(command, 'shell')

    command = commands.add_parser(
        'tempest', help='run OpenStack\'s own tests on the lab',
        description='Configures Tempest for the lab and runs those of its '
        'tests whose names match. Exits with Tempest\'s own code.')
    command.add_argument(
        'regex', metavar='REGEX',
        help='e.g. tempest.api.compute.servers.test_server_rescue')
    _calls(command, 'tests')

    command = commands.add_parser(
        'bench', help='measure what the series is faster at',
        description='Measures the series beside what people do without it, '
        'writes a table, and JSON to .lab/bench/. Exits with 1 if a round '
        'fails.')
    command.add_argument(
        'what', nargs='?', choices=benches.CASES, default='rescue',
        metavar='WHAT', help='; '.join(
            f'{name}: {text}' for name, text in benches.MEANINGS.items())
        + ' (default: %(default)s)')
    command.add_argument(
        '--rounds', type=_count, metavar='NUMBER',
        help='how often to measure each (default: ' + ', '.join(
            f'{rounds} for {name}'
            for name, rounds in benches.ROUNDS.items()) + ')')
    command.add_argument(
        '--case', dest='cases', action='append', default=[], metavar='CASE',
        help='measure only this; can be given more than once ('
        + '. '.join(
            f'Of {name}: ' + ', '.join(
                f'{case}: {text}' for case, text in cases.items())
            for name, cases in benches.CASES.items()) + ')')
    _calls(command, 'bench')

    command = commands.add_parser(
        'smoke', help='start a lab, move a rescued server, end the lab',
        description='Boots the guest images, starts a lab, runs the '
        'scenario of a rescued server that moves, ends the lab, and checks '
        'that nothing is left.')
    _add_variants(command)
    _calls(command, 'smoke', installs=True)


def _calls(
    command: argparse.ArgumentParser, function: str, installs: bool = False
) -> None:
    """Declare what a command runs.

    :param function: its name in lab.real.commands
    :param installs: whether it makes the lab's environment, and installs the
        packages of the system
    """
    command.set_defaults(
        call=f'lab.real.commands:{function}', root=PROJECT.root / '.lab',
        parser=command, packages=installs, companions=installs,
        environment='lab' if installs else environments.IF_LAB)


def _add_variants(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        '--stock', action='store_true',
        help='run the released Nova, without the series')
    command.add_argument(
        '--shared', action='store_true',
        help='share the directory with the disks of guests between all hosts')
    command.add_argument(
        '--with', dest='extras', metavar='EXTRA', action='append', default=[],
        choices=lab_settings.EXTRAS,
        help='ceph: keep the disks of the guests of cell1 in Ceph, as images '
        'in RBD; cinder: that, and Cinder with its volumes there')
