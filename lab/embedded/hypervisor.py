# SPDX-License-Identifier: Apache-2.0

"""How guests move between the fake libvirts of the hosts.

Nova's fake libvirt fails every migration. This one moves the guest, unless it
is made to fail, or to hold the guest in the middle of the move.
"""

from collections import abc
import contextlib
import enum
import threading
from urllib import parse

import fixtures
from nova.tests.fixtures import libvirt as fakelibvirt

from lab.words import expect


_OPERATION_ABORTED = 78
"""libvirt's code for that, which the fake one does not have."""


def _error(message: str, code: int) -> Exception:
    return fakelibvirt.make_libvirtError(
        fakelibvirt.libvirtError, message, error_code=code,
        error_message=message, error_domain=fakelibvirt.VIR_FROM_QEMU)


class _End(enum.Enum):
    """What becomes of a move that stands still."""

    GOES_ON = enum.auto()
    ABORTED = enum.auto()
    LOST = enum.auto()


class _Held:
    """A move that stands still until it comes to an end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._hosts: tuple[str, ...] = ()
        self._end: _End | None = None

    def stand(self, *hosts: str) -> _End:
        """Stand still.

        :param hosts: those of its source and its destination
        """
        with self._changed:
            self._hosts = hosts
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._end)
            assert self._end
            return self._end

    def _come_to(self, end: _End) -> None:
        with self._changed:
            self._end = self._end or end
            self._changed.notify_all()

    def abort(self) -> None:
        """End it as if it had been aborted."""
        self._come_to(_End.ABORTED)

    def release(self) -> None:
        """No longer hold it."""
        self._come_to(_End.GOES_ON)

    def lose(self, host: str) -> None:
        """Make it fail if the libvirt of this host has a part in it."""
        if host in self._hosts:
            self._come_to(_End.LOST)

    def wait_until_running(self) -> None:
        """Wait until it stands still. See lab.faults.Held."""
        with self._changed:
            if not self._changed.wait_for(
                    lambda: self._hosts, expect.TIMEOUT):
                raise expect.Unexpected(
                    'the copying of the guest\'s memory: not begun within '
                    f'{expect.TIMEOUT:.0f} s')


class Migrations(fixtures.Fixture):
    """Makes the fake libvirts move guests.

    :param connections: the fake libvirt of each host, by its name; hosts may
        be added later
    """

    def __init__(self, connections: dict[str, fakelibvirt.Connection]):
        super().__init__()
        self.connections = connections
        self._failing: set[str] = set()
        self._unreachable: set[str] = set()
        self._held: dict[str, _Held] = {}

    def _setUp(self) -> None:
        real_suspend = fakelibvirt.Domain.suspend

        def suspend(domain):
            # Nova forces a migration to complete by pausing the guest, after
            # which no memory is left to copy.
            real_suspend(domain)
            if held := self._held.get(domain.UUIDString()):
                held.release()

        def abort_job(domain):
            if held := self._held.get(domain.UUIDString()):
                held.abort()

        for name, function in (
                ('migrateToURI3', lambda domain, *args, **kwargs:
                    self._migrate(domain, *args, **kwargs)),
                ('suspend', suspend),
                ('abortJob', abort_job)):
            self.useFixture(fixtures.MonkeyPatch(
                f'nova.tests.fixtures.libvirt.Domain.{name}', function))
        self.addCleanup(self.release)

    def release(self) -> None:
        """Hold no move any longer."""
        for held in self._held.values():
            held.release()

    def _migrate(self, domain, dconnuri, params, flags):
        uuid = domain.UUIDString()
        if uuid in self._failing:
            raise _error(
                'internal error: the guest cannot be moved',
                fakelibvirt.VIR_ERR_INTERNAL_ERROR)
        host = parse.urlsplit(dconnuri).hostname
        lost = host in self._unreachable
        if held := self._held.get(uuid):
            domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED
            end = held.stand(self._host(domain._connection), host)
            lost = lost or end is _End.LOST
            if end is _End.ABORTED:
                # libvirt forgets the job as soon as it has cleaned up.
                domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE
                raise _error(
                    'operation aborted: migration out job: canceled by client',
                    _OPERATION_ABORTED)
        # The fake one takes a guest that is paused for inactive.
        if domain.info()[0] == fakelibvirt.VIR_DOMAIN_SHUTOFF:
            raise _error(
                'operation failed: domain is not running',
                fakelibvirt.VIR_ERR_OPERATION_FAILED)
        source = domain._connection
        if lost:
            domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE
            raise _error(
                'unable to connect to server',
                fakelibvirt.VIR_ERR_INTERNAL_ERROR)
        destination = self.connections[host]
        moved = destination.defineXML(params['destination_xml'])
        moved.create()
        domain.destroy()
        domain.undefine()
        assert uuid not in [
            left.UUIDString() for left in source._vms.values()]
        domain.complete_job()

    def _host(self, connection: fakelibvirt.Connection) -> str:
        return next(host for host, each in self.connections.items()
                    if each is connection)

    def kill(self, host: str, uuid: str) -> None:
        """Kill a guest on a host, also one that moves."""
        domain = self.connections[host].lookupByUUIDString(uuid)
        domain.destroy()
        domain.complete_job()
        self.release()

    @contextlib.contextmanager
    def failing(self, uuid: str) -> abc.Iterator[None]:
        """Fail to move a guest."""
        self._failing.add(uuid)
        try:
            yield
        finally:
            self._failing.discard(uuid)

    @contextlib.contextmanager
    def unreachable(self, host: str) -> abc.Iterator[None]:
        """Fail all moves from and to a host."""
        self._unreachable.add(host)
        for held in self._held.values():
            held.lose(host)
        try:
            yield
        finally:
            self._unreachable.discard(host)

    @contextlib.contextmanager
    def held(self, uuid: str) -> abc.Iterator[_Held]:
        """Hold a guest in the middle of each of its moves."""
        held = self._held[uuid] = _Held()
        try:
            yield held
        finally:
            del self._held[uuid]
            held.release()
