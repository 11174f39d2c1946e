# SPDX-License-Identifier: Apache-2.0

"""The openstack command as an operator types it, run in this process.

It runs with a connection of the cloud, so that it can be typed on a cloud that
listens on no network.
"""

import argparse
import copy
import importlib.metadata
import io
import logging
import re
import shlex
import types
from typing import Any
import warnings

from openstack import connection

from tool.layout import PROJECT

_GUIDES = 'doc/source/admin'

_GROUP = 'openstack.compute.v2'


class Ended(Exception):
    """A command ended with an exit code of its own.

    :ivar code: the exit code
    """

    def __init__(self, code: int, said: str):
        super().__init__(said)
        self.code = code


class _Clients:
    """What the command line has to reach the services with.

    :param opened: who types
    :param microversion: of the compute service
    """

    def __init__(self, opened: connection.Connection, microversion: str):
        self.sdk_connection = opened
        self.compute = copy.copy(opened.compute)
        self.compute.default_microversion = microversion

    @property
    def image(self) -> Any:
        """The image service, which not every cloud has."""
        return self.sdk_connection.image

    @property
    def network(self) -> Any:
        """The network service, which not every cloud has."""
        return self.sdk_connection.network


def of_guide(
    section: str, page: str = 'live-migration-usage', **names: str
) -> str:
    """The first openstack command of a section of the admin guide.

    :param section: the label that the section has
    :param page: the name of the page that has it
    :param names: what to put in the place of names in that command
    """
    guide = f'{_GUIDES}/{page}.rst'
    text = (PROJECT.tree / guide).read_text()
    _, _, text = text.partition(f'.. _{section}:\n')
    found = re.search(r'\$ (openstack (?:.*\\\n)*.*)\n', text)
    if not found:
        raise LookupError(f'{guide} has no command in the section {section}')
    line = re.sub(r'\\\n\s*', '', found[1])
    for name, value in names.items():
        if not re.search(rf'\b{name}\b', line):
            raise LookupError(f'{line!r} of {guide} has no {name}')
        line = re.sub(rf'\b{name}\b', value, line)
    return line


def run(opened: connection.Connection, line: str) -> str:
    """Run an openstack command for compute.

    :param opened: who types it
    :returns: what it prints
    :raises Ended: if the command ends with an exit code of its own
    :raises Exception: what makes the command exit with an error
    """
    program, *words = shlex.split(line)
    assert program == 'openstack'
    # The options that come before the command.
    top = argparse.ArgumentParser(allow_abbrev=False)
    top.add_argument('--os-compute-api-version', default='2.1')
    options, words = top.parse_known_args(words)
    app = types.SimpleNamespace(
        client_manager=_Clients(opened, options.os_compute_api_version),
        stdout=io.StringIO(), stderr=io.StringIO(), stdin=io.StringIO(),
        LOG=logging.getLogger('openstack'))
    commands = importlib.metadata.entry_points(group=_GROUP)
    for count in range(len(words), 0, -1):
        name = '_'.join(words[:count])
        if name in commands.names:
            break
    else:
        raise LookupError(f'openstack has no command {shlex.join(words)!r}')
    with warnings.catch_warnings():
        # Of osc-lib about its own parts, which are the client's to replace.
        warnings.simplefilter('ignore', DeprecationWarning)
        command = commands[name].load()(app, None)
        parser = command.get_parser(f'openstack {name.replace("_", " ")}')
        code = command.run(parser.parse_args(words[count:]))
    if code:
        raise Ended(code, app.stderr.getvalue())
    return app.stdout.getvalue()
