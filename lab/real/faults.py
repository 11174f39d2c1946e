# SPDX-License-Identifier: Apache-2.0

"""What can be broken in the real cloud."""

from __future__ import annotations

from collections import abc
import contextlib
import dataclasses
import errno
import os
import pathlib
import signal
import threading
from typing import Any
from typing import Literal
from typing import TYPE_CHECKING

import libvirt
from openstack import exceptions
import psutil

from lab import faults
from lab.needs import Lacking
from lab.needs import Need
from lab.real.lab import Lab
from lab.real import namespaces
from lab.real.services import glance
from lab.real.services import libvirtd as hypervisors
from lab.real.services import nova
from lab.real.services import rabbitmq
from lab.real import supervisor
from lab.real import topology
from lab.words import expect

if TYPE_CHECKING:
    from lab.real import cloud

TRAIT = 'CUSTOM_COMPUTE_LIVE_MIGRATE_RESCUED'
"""What a host reports to Placement that can live-migrate rescued servers."""

_PACE = 0.1
"""Seconds between two looks at a migration."""

_SLOWLY = 1
"""MiB/s: the least that libvirt knows. A guest takes a minute to move."""

_SIZE = 20 << 30
"""Bytes of a new disk. The machine has to store what is written to it."""

_LEFT = 1 << 20
"""Bytes that are free on it when it is full."""


def _signal(process: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _kill_incoming(server_id: str) -> bool:
    """Kill the QEMU that a guest moves to. Returns whether there was one.

    The hosts of the lab are in one process namespace.
    """
    for process in psutil.process_iter(['cmdline']):
        words = process.info['cmdline'] or ()
        if server_id in words and '-incoming' in words:
            _signal(process.pid, signal.SIGKILL)
            return True
    return False


def _kill_guests(host: str, server_id: str = '') -> None:
    """Kill all guests of a host, or that of one server."""
    for process in namespaces.processes(host):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name().startswith('qemu-system') and (
                    server_id in ' '.join(process.cmdline())):
                process.kill()


class _HeldCopy:
    """Stops each process that copies a file to a host.

    Nova copies with scp, or with rsync if it is configured to.
    """

    def __init__(self, host: str):
        self._host = host
        self._stopped: set[int] = set()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> '_HeldCopy':
        self._watcher.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end(signal.SIGCONT)

    def _watch(self) -> None:
        while not self._over.wait(_PACE / 10):
            for process in namespaces.processes(self._host):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.name() in ('scp', 'rsync'):
                        self._stopped.add(process.pid)
                        process.suspend()

    def _end(self, number: signal.Signals) -> None:
        self._over.set()
        self._watcher.join()
        for process in self._stopped:
            _signal(process, number)
        self._stopped.clear()

    def wait_until_running(self) -> None:
        expect.wait_for(
            'copying of a file', lambda: len(self._stopped), bool,
            show='{} copies begun'.format)

    def break_off(self) -> None:
        self._end(signal.SIGKILL)


class _Held:
    """A guest that is copied so slowly that it takes a minute.

    Paused, which is how Nova forces a migration to complete, it may move at
    full speed.

    :param copied: what is waited for, 'memory' or 'disk'
    """

    def __init__(self, domain: libvirt.virDomain, copied: str = 'memory'):
        self._domain = domain
        self._copied = copied
        self._speed = domain.migrateGetMaxSpeed()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> '_Held':
        self._domain.migrateSetMaxSpeed(_SLOWLY)
        self._watcher.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._watcher.join()
        self._let_go()

    def _let_go(self) -> None:
        try:
            self._domain.migrateSetMaxSpeed(self._speed)
        except libvirt.libvirtError:
            # It is not there any more.
            if self._there():
                raise

    def _there(self) -> bool:
        try:
            return bool(self._domain.isActive())
        except libvirt.libvirtError as exc:
            # A libvirt that dies takes what it held with it.
            if (exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN and
                    self._domain.connect().isAlive()):
                raise
            return False

    def _watch(self) -> None:
        while not self._over.wait(_PACE) and self._there():
            try:
                state, _ = self._domain.state()
            except libvirt.libvirtError:
                continue
            if state == libvirt.VIR_DOMAIN_PAUSED:
                self._let_go()
                return

    def copied(self) -> int:
        """How many bytes have been copied of what is waited for."""
        try:
            stats = self._domain.jobStats()
        except libvirt.libvirtError:
            # A job that begins or ends has none for a moment.
            return 0
        return int(stats.get(f'{self._copied}_processed', 0))

    def wait_until_running(self) -> None:
        expect.wait_for(
            f'copying of the guest\'s {self._copied}', self.copied,
            lambda count: count > 0, show='{} bytes copied'.format)


class _Disk:
    """A disk that is mounted on a host."""

    def __init__(self, directory: pathlib.Path):
        self._directory = directory

    def fill(self) -> None:
        with self._directory.joinpath('filler').open('wb') as filler:
            while True:
                seen = os.statvfs(self._directory)
                free = seen.f_bavail * seen.f_frsize - _LEFT
                if free <= 0:
                    return
                try:
                    # Takes the space without writing to it.
                    os.posix_fallocate(filler.fileno(), 0, free)
                    return
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise
                    # Somebody else has taken some meanwhile.
                    filler.truncate(0)


class RealFaults(faults.Faults):
    """A lab.faults.Faults of services, hosts and guests that are real.

    :param lab: a lab that is up
    :param seen: the cloud that they are in
    """

    def __init__(self, lab: Lab, seen: cloud.RealCloud):
        self._lab = lab
        self._seen = seen

    def _need(self, need: Need) -> None:
        """Refuse what the cloud lacks.

        :raises lab.needs.Lacking: if it does
        """
        if need not in self._seen.has:
            raise Lacking(need)

    @contextlib.contextmanager
    def migration_held(
        self, server_id: str, copying: Literal['memory', 'disks'] = 'memory'
    ) -> abc.Iterator[_Held]:
        if copying == 'disks':
            self._need(Need.LOCAL_DISKS)
        host = self._seen.connect().compute.get_server(server_id).compute_host
        with self._lab.hypervisor(host) as hypervisor, _Held(
            hypervisor.lookupByUUIDString(server_id),
            {'memory': 'memory', 'disks': 'disk'}[copying],
        ) as held:
            yield held

    @contextlib.contextmanager
    def migration_fails(self, server_id: str) -> abc.Iterator[None]:
        over = threading.Event()

        def fail() -> None:
            while not over.wait(_PACE):
                if held.copied() and _kill_incoming(server_id):
                    return

        with self.migration_held(server_id) as held:
            watcher = threading.Thread(target=fail)
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()

    def copy_held(self, host: str) -> _HeldCopy:
        self._need(Need.LOCAL_DISKS)
        return _HeldCopy(host)

    def kill_guest(self, host: str, server_id: str) -> None:
        _kill_guests(host, server_id)

    @contextlib.contextmanager
    def frozen(
        self, service: str, host: str | None = None
    ) -> abc.Iterator[None]:
        found = self._programs(service, host)
        for program in found:
            self._lab.supervisor.freeze(program.name)
        try:
            yield
        finally:
            for program in found:
                self._lab.supervisor.thaw(program.name)

    def _programs(
        self, service: str, host: str | None
    ) -> list[supervisor.Program]:
        if service == 'nova-conductor':
            return nova.conductors(self._lab)
        if service == 'nova-super-conductor':
            return nova.conductors(self._lab)[:1]
        if service == 'rabbitmq':
            return rabbitmq.programs(self._lab)
        if service == 'glance':
            return glance.programs(self._lab)
        assert host is not None
        make = {'nova-compute': nova.compute,
                'libvirtd': hypervisors.of_host}[service]
        return [make(self._lab, topology.compute(host))]

    @contextlib.contextmanager
    def killed(
        self, service: str, host: str | None = None, gently: bool = False
    ) -> abc.Iterator[None]:
        found = self._programs(service, host)
        for program in found:
            (self._lab.supervisor.stop if gently
             else self._lab.supervisor.kill)(program.name)
        try:
            yield
        finally:
            nova.start_anew(self._lab, topology.CELLS, *found)
            # A compute service that has lost libvirt disables itself.
            expect.wait_for(
                'compute services that are enabled', self._disabled,
                lambda disabled: not disabled)

    def _disabled(self) -> list[str]:
        """The hosts whose compute services are disabled."""
        compute = self._seen.connect().compute
        return [service.host for service
                in compute.services(binary='nova-compute')
                if service.status != 'enabled']

    def new_disk(
        self, host: str
    ) -> contextlib.AbstractContextManager[_Disk]:
        self._need(Need.LOCAL_DISKS)
        return self._mounted(host)

    @contextlib.contextmanager
    def _mounted(self, host: str) -> abc.Iterator[_Disk]:
        image = self._lab.where.lab / f'disk-{host}'
        instances = str(self._lab.where.instances)
        enter = namespaces.enter(host)
        with image.open('wb') as file:
            file.truncate(_SIZE)
        self._lab.call('mkfs.ext4', '-q', '-m', '0', str(image))
        self._lab.call(
            *enter, 'mount', '-o', 'loop', str(image), instances)
        try:
            yield _Disk(self._lab.instances_directory(host))
        finally:
            self._lab.call(*enter, 'umount', '--lazy', instances)
            image.unlink()

    @contextlib.contextmanager
    def incapable(self, *hosts: str) -> abc.Iterator[None]:
        with contextlib.ExitStack() as stack:
            for host in hosts:
                stack.enter_context(self.not_upgraded(host))
                self._remove_trait(host)
            yield

    def _remove_trait(self, host: str) -> None:
        """Remove the trait of a host, whose service does not report it."""
        placement = self._seen.connect().placement
        (provider,) = placement.get(
            '/resource_providers', params={'name': host}
        ).json()['resource_providers']
        path = f'/resource_providers/{provider["uuid"]}/traits'
        traits = placement.get(path, microversion='1.6').json()
        traits['traits'].remove(TRAIT)
        exceptions.raise_from_response(
            placement.put(path, json=traits, microversion='1.6'))

    @contextlib.contextmanager
    def not_upgraded(self, host: str) -> abc.Iterator[None]:
        compute = topology.compute(host)
        try:
            nova.downgrade(self._lab, compute)
            yield
        finally:
            nova.upgrade(self._lab, compute)

    @contextlib.contextmanager
    def configured(
        self, section: str, option: str, value: str
    ) -> abc.Iterator[None]:
        computes = [topology.compute(host) for host in self._seen.hosts()]
        try:
            for compute in computes:
                nova.configure_anew(
                    self._lab, compute, {section: {option: value}})
            yield
        finally:
            for compute in computes:
                nova.configure_anew(self._lab, compute, {})

    @contextlib.contextmanager
    def host_down(self, host: str) -> abc.Iterator[None]:
        compute = topology.compute(host)
        libvirtd = hypervisors.of_host(self._lab, compute)
        services = self._seen.connect().compute
        (service,) = services.services(binary='nova-compute', host=host)
        with contextlib.ExitStack() as stack:
            stack.callback(nova.start_compute, self._lab, compute)
            stack.callback(self._force_up, service)
            # It is not up as long as it is forced down.
            stack.callback(self._lab.supervisor.start, dataclasses.replace(
                nova.compute(self._lab, compute), ready=lambda: True))
            stack.callback(self._lab.supervisor.start, libvirtd)
            for program in (nova.compute(self._lab, compute), libvirtd):
                self._lab.supervisor.kill(program.name)
            _kill_guests(host)
            services.update_service_forced_down(service, forced=True)
            yield

    def cell_database_down(
        self, host: str
    ) -> contextlib.AbstractContextManager[None]:
        return nova.cell_database_down(self._lab, topology.compute(host).cell)

    def _force_up(self, service: Any) -> None:
        """No longer force a compute service down.

        The API refuses that until the evacuations from its host are over,
        and they are not before the service has started.
        """
        compute = self._seen.connect().compute

        def refusal() -> str:
            try:
                compute.update_service_forced_down(service, forced=False)
            except exceptions.BadRequestException as exc:
                return str(exc)
            return ''

        expect.wait_for(
            'compute service that may be forced up', refusal,
            lambda refused: not refused)
