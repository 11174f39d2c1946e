# SPDX-License-Identifier: Apache-2.0

"""What can be broken in the embedded cloud."""

from collections import abc
import contextlib
from typing import Literal
from unittest import mock

from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from openstack import connection

from lab.embedded import devices
from lab.embedded import hypervisor
from lab.embedded import services
from lab import faults
from lab.needs import Lacking
from lab.needs import Need

CAPABILITY = 'supports_live_migrate_rescued'


class EmbeddedFaults(faults.Faults):
    """A lab.faults.Faults of the services in this process.

    :param connect: opens a connection of the operator's
    """

    def __init__(
        self, running: services.Services, moves: hypervisor.Migrations,
        connect: abc.Callable[[], connection.Connection],
    ):
        self._services = running
        self._moves = moves
        self._connect = connect

    def migration_fails(
        self, server_id: str
    ) -> contextlib.AbstractContextManager[None]:
        return self._moves.failing(server_id)

    def migration_held(
        self, server_id: str, copying: Literal['memory', 'disks'] = 'memory'
    ) -> contextlib.AbstractContextManager[faults.Held]:
        if copying == 'disks':
            raise Lacking(Need.LOCAL_DISKS)
        return self._moves.held(server_id)

    def kill_guest(self, host: str, server_id: str) -> None:
        self._moves.kill(host, server_id)

    def killed(
        self, service: faults.Service, host: str | None = None,
        gently: bool = False,
    ) -> contextlib.AbstractContextManager[None]:
        if service == 'libvirtd' and host is not None:
            return self._moves.unreachable(host)
        if service == 'glance':
            return self._services.images_unreachable()
        raise Lacking(Need.SERVICES)

    @contextlib.contextmanager
    def incapable(self, *hosts: str) -> abc.Iterator[None]:
        try:
            for host in hosts:
                self._services.report_capability(host, CAPABILITY, False)
            yield
        finally:
            for host in hosts:
                self._services.report_capability(host, CAPABILITY, True)

    @contextlib.contextmanager
    def not_upgraded(self, host: str) -> abc.Iterator[None]:
        driver = self._services.computes[host].manager.driver
        check = driver.check_can_live_migrate_destination

        def released_check(
            *args: object, **kwargs: object
        ) -> objects.LibvirtLiveMigrateData:
            checked = check(*args, **kwargs)
            if 'rescue_files' in checked:
                del checked.rescue_files
            return checked

        driver.check_can_live_migrate_destination = released_check
        try:
            yield
        finally:
            del driver.check_can_live_migrate_destination

    @contextlib.contextmanager
    def libvirt_without_vgpus(self, host: str) -> abc.Iterator[None]:
        with mock.patch.object(
                self._moves.connections[host], 'getLibVersion',
                return_value=devices.LIBVIRT - 1):
            yield

    def configured(
        self, section: str, option: str, value: str
    ) -> contextlib.AbstractContextManager[None]:
        return self._services.configured(section, option, value)

    def cell_database_down(
        self, host: str
    ) -> contextlib.AbstractContextManager[None]:
        return self._services.cell_database_down(host)

    @contextlib.contextmanager
    def host_down(self, host: str) -> abc.Iterator[None]:
        compute = self._connect().compute
        (service,) = compute.services(binary='nova-compute', host=host)
        self._services.computes[host].stop()
        for domain in self._moves.connections[host].listAllDomains(
                fakelibvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            domain.destroy()
        compute.update_service_forced_down(service, forced=True)
        try:
            yield
        finally:
            self._services.restart_compute_service(host)
            compute.update_service_forced_down(service, forced=False)
