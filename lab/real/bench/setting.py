# SPDX-License-Identifier: Apache-2.0

"""What all benches do: look at the lab, show steps, clear up."""

from collections import abc
import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
from typing import Any

import libvirt
from openstack import exceptions

from lab.real.lab import Lab
from lab.words import expect
from lab.words import server as servers
from tool import console


def need_series(lab: Lab) -> None:
    """Refuse a lab without the series.

    :raises tool.console.Problem: if it runs the released Nova
    """
    if lab.settings.nova is None:
        raise console.Problem(
            'the bench needs the series, and this lab runs the released '
            'Nova: end it with ./run lab down, and start one without --stock')


def facts(lab: Lab, host: str, **more: int) -> dict[str, Any]:
    """What describes the lab and the run.

    :param host: one of those that are measured
    :param more: what was asked for
    """
    with lab.hypervisor(host) as hypervisor:
        numbers = {
            'libvirt': hypervisor.getLibVersion(),
            'qemu': hypervisor.getVersion()}
    versions = {
        name: f'{number // 1000000}.{number // 1000 % 1000}.{number % 1000}'
        for name, number in numbers.items()}
    return {
        'begun': datetime.datetime.now(datetime.UTC).isoformat(
            timespec='seconds'),
        'versions': {
            'nova': importlib.metadata.version('nova'), **versions,
            'linux': platform.release()},
        'processors': os.cpu_count(),
        'shared': lab.settings.shared,
        **more,
        'load_average': {'begin': os.getloadavg()}}


@contextlib.contextmanager
def step(text: str) -> abc.Iterator[None]:
    """Show a step.

    :raises tool.console.Problem: if it fails
    """
    with console.step(text):
        try:
            yield
        except (expect.Unexpected, exceptions.HttpException,
                libvirt.libvirtError, subprocess.SubprocessError) as exc:
            raise console.Problem(f'{text}: {exc}') from exc


def delete(server: servers.Server) -> None:
    """Delete a server, as a step."""
    with step('delete the server'):
        server.delete()
