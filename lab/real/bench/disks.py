# SPDX-License-Identifier: Apache-2.0

"""An ephemeral disk full of data, so that a move has something to copy."""

from collections import abc
import contextlib
import subprocess
import tempfile

from lab.real import cloud as real
from lab.real.lab import Lab
from lab.real import namespaces
from lab.words import expect
from lab.words import server as servers

SIZE = 1
"""GiB of the disk."""

_SPARED = 1 << 20
"""Bytes at its begin that are left empty, for what guests write there."""

BYTES = (SIZE << 30) - _SPARED
"""Bytes of data on it."""

_NAME = 'disk.eph0'
"""The name of its file in Nova."""

_FLAVOR = 'bench-ephemeral'
"""The name of the flavor that has one."""

_TIMEOUT = 600.0
"""Seconds that a copy of it may take."""


@contextlib.contextmanager
def flavor(cloud: real.RealCloud) -> abc.Iterator[str]:
    """The id of a flavor like the usual one, with an ephemeral disk."""
    compute = cloud.connect().compute
    usual = compute.get_flavor(cloud.flavor)
    # A bench that was killed may have left it.
    found = compute.find_flavor(_FLAVOR) or compute.create_flavor(
        name=_FLAVOR, ram=usual.ram, vcpus=usual.vcpus, disk=usual.disk,
        ephemeral=SIZE)
    try:
        yield found.id
    finally:
        compute.delete_flavor(found)


def fill(lab: Lab, host: str, server_id: str) -> None:
    """Fill the disk of a server while no guest has it.

    The data are random, so that they can be neither skipped nor compressed.
    """
    path = lab.where.instances / server_id / _NAME
    with tempfile.NamedTemporaryFile(dir=lab.where.lab / 'tmp') as data:
        data.truncate(_SPARED)
        data.seek(_SPARED)
        subprocess.run(
            ['head', f'--bytes={BYTES}', '/dev/urandom'],
            stdout=data, check=True, timeout=_TIMEOUT)
        subprocess.run(
            [*namespaces.enter(host), 'qemu-img', 'convert', '-n', '-f', 'raw',
             '-O', 'qcow2', data.name, str(path)],
            check=True, timeout=_TIMEOUT)


def check_full(lab: Lab, server: servers.Server) -> None:
    """Check that the disk of a server has its data, on its host.

    :raises lab.words.expect.Unexpected: if it has less
    """
    path = lab.server_directory(server.host(), server.id) / _NAME
    held = path.stat().st_blocks * 512
    if held < BYTES:
        raise expect.Unexpected(
            f'the ephemeral disk: expected {BYTES} bytes of data, got '
            f'{held} bytes')
