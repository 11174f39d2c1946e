# SPDX-License-Identifier: Apache-2.0

"""What must hold before a lab can start, and once one has ended."""

import os
import pathlib
import shutil

import psutil

from lab.real import layout
from tool import console

_MEMORY = 6 * 2**30
"""Bytes that must be free, for the services and four small guests."""

_DISK = 4 * 2**30
"""Bytes that must be free on the disk."""

_SOCKET_PATH = 107
"""Bytes of the longest path that a Unix socket may have."""


def need_root() -> None:
    """Refuse to go on as another user.

    :raises tool.console.Problem: if this is not root
    """
    if os.geteuid():
        raise console.Problem(
            'namespaces and bridges need root: run this with sudo.')


def check_machine(where: layout.Layout) -> None:
    """Check that the machine can run a lab, before anything is begun.

    :raises tool.console.Problem: if it cannot
    """
    # The longest is what oslo.privsep makes in the directory for temporary
    # files.
    socket = str(where.lab / 'tmp' / 'tmp12345678' / 'privsep.sock')
    if any(character.isspace() for character in socket):
        raise console.Problem(
            f'there is a blank in the path {where.root}: move this checkout.')
    if len(os.fsencode(socket)) > _SOCKET_PATH:
        raise console.Problem(
            f'the path {where.root} is too long for sockets in it: move this '
            'checkout to a shorter one.')
    memory = psutil.virtual_memory().available
    if memory < _MEMORY:
        raise console.Problem(
            f'the lab needs {_MEMORY / 2**30:.0f} GiB of free memory, and '
            f'{memory / 2**30:.1f} GiB are free: end something else first.')
    disk = shutil.disk_usage(where.root).free
    if disk < _DISK:
        raise console.Problem(
            f'the lab needs {_DISK / 2**30:.0f} GiB of free disk space in '
            f'{where.root}, and {disk / 2**30:.1f} GiB are free: make room.')


def interfaces() -> set[str]:
    """The names of the machine's network interfaces."""
    return set(psutil.net_if_stats())


def check_nothing_left(where: layout.Layout, before: set[str]) -> None:
    """Check that a lab has left nothing running or mounted.

    :param before: the interfaces of the machine before the lab
    :raises tool.console.Problem: if something is left
    """
    left = [f'interface {name}' for name in interfaces() - before]
    left += [
        f'mount {line.split()[1]}'
        for line in pathlib.Path('/proc/mounts').read_text().splitlines()
        if str(where.root) in line]
    left += [
        f'process {process.pid}'
        for process in psutil.process_iter(['cmdline'])
        if any(f'{where.lab}/' in word
               for word in process.info['cmdline'] or ())]
    if where.lab.exists():
        left.append(str(where.lab))
    if left:
        raise console.Problem(f'the lab has left behind: {", ".join(left)}')
