# SPDX-License-Identifier: Apache-2.0

"""The real cloud as the scenarios see it, from on its controller."""

from collections import abc
import contextlib
import errno
import hashlib
import os
import pathlib
import signal
import tempfile
import threading
import time
from typing import Any

import libvirt
from lxml import etree
from openstack import connection
from openstack import exceptions
import sqlalchemy

from lab import cloud
from lab import expect
from lab.real import machine
from lab.real import programs
from lab.real.services import ceph
from lab.real.services import cinder
from lab.real.services import common
from lab.real.services import glance
from lab.real.services import hypervisor as hypervisors
from lab.real.services import infrastructure
from lab.real.services import nova
from lab.real import settings
from lab.real import topology
from lab import server as servers

# What fails is raised; libvirt would print it as well.
libvirt.registerErrorHandler(lambda context, error: None, None)

TRAIT = 'CUSTOM_COMPUTE_LIVE_MIGRATE_RESCUED'
"""What a host reports to Placement that can live-migrate rescued servers."""

_PACE = 0.1
"""Seconds between two looks at a migration."""

_ANSWER = 10
"""Seconds that a guest may take to answer on its console."""

_UEFI_GUEST = """\
<domain type="qemu">
  <name>uefi</name>
  <memory>1</memory>
  <os firmware="efi"><type>hvm</type><loader secure="no"/></os>
  <features><acpi/></features>
</domain>
"""
"""As much as tells whether libvirt takes what Nova asks of it for UEFI.

Some releases do not, that of Debian 12 among them.
"""

_UEFI_VARIABLES = 'var/lib/libvirt/qemu/nvram'
"""Where libvirt keeps those of guests, below the root of a host."""

_SLOWLY = 1
"""MiB/s: the least that libvirt knows. A guest takes a minute to move."""

_SIZE = 20 << 30
"""Bytes of a new disk. The machine has to store what is written to it."""

_LEFT = 1 << 20
"""Bytes that are free on it when it is full."""


def _reads(path: pathlib.Path) -> str:
    """What is in a file of /proc; nothing if its process has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ''


def _signal(process: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _kill_incoming(server_id: str) -> bool:
    """Kill the QEMU that a guest moves to. Returns whether there was one.

    The hosts of the lab are in one process namespace.
    """
    for directory in pathlib.Path('/proc').glob('[0-9]*'):
        words = _reads(directory / 'cmdline').split('\0')
        if server_id in words and '-incoming' in words:
            _signal(int(directory.name), signal.SIGKILL)
            return True
    return False


def _kill_guests(host: str, server_id: str = '') -> None:
    """Kill all guests of a host, or that of one server."""
    for directory in machine.processes(host):
        if _reads(directory / 'comm').startswith('qemu-system') and (
                server_id in _reads(directory / 'cmdline')):
            _signal(int(directory.name), signal.SIGKILL)


class _HeldCopy:
    """Stops each process that copies a file to a host.

    Nova copies with scp, or with rsync if it is told to.
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
            for directory in machine.processes(self._host):
                if _reads(directory / 'comm') in ('scp\n', 'rsync\n'):
                    self._stopped.add(int(directory.name))
                    _signal(int(directory.name), signal.SIGSTOP)

    def _end(self, number: signal.Signals) -> None:
        self._over.set()
        self._watcher.join()
        for process in self._stopped:
            _signal(process, number)
        self._stopped.clear()

    def wait_until_running(self) -> None:
        expect.wait_for(
            'copying of a file', lambda: len(self._stopped), bool,
            tell='{} copies begun'.format)

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
            lambda count: count > 0, tell='{} bytes copied'.format)


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


class RealCloud:
    """A lab.cloud.Cloud in namespaces of this machine.

    :param lab: a lab that is up
    """

    def __init__(self, lab: common.Lab):
        self._lab = lab
        self._connections: dict[str, connection.Connection] = {}
        #: ids of the images that scenarios have uploaded
        self._copies: list[str] = []

    def __enter__(self) -> 'RealCloud':
        images = self.connect().image
        self.image = images.find_image('disk').id
        self.rescue_image = images.find_image('rescue').id
        self.flavor = self.connect().compute.find_flavor('small').id
        self.larger_flavor = self.connect().compute.find_flavor('large').id
        self.disks_flavor = self.connect().compute.find_flavor('disks').id
        self._earlier = self._servers()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._clear()
        finally:
            for opened in self._connections.values():
                opened.close()

    def _servers(self) -> set[str]:
        """The ids of the servers that scenarios have booted."""
        return {server.id for server in self.connect().compute.servers(
            details=False, name=f'^{servers.NAME}$')}

    def _clear(self) -> None:
        """Delete the servers and images that a failed scenario has left."""
        left = self._servers() - self._earlier
        for server_id in left:
            self.connect().compute.delete_server(server_id, force=True)
        expect.wait_for(
            'deletion of the servers that are left', self._servers,
            lambda servers: not servers & left)
        for image in self._copies:
            self.delete_image(image)

    def connect(self, user: str = 'admin') -> connection.Connection:
        if user not in self._connections:
            self._connections[user] = self._lab.connect(
                user, settings.PROJECTS[0])
        return self._connections[user]

    def hosts(self) -> list[str]:
        return [compute.name for compute in topology.COMPUTES
                if compute.cell == topology.CELLS[0]]

    def other_cell_hosts(self) -> list[str]:
        return [compute.name for compute in topology.COMPUTES
                if compute.cell != topology.CELLS[0]]

    def cell_of(self, server_id: str) -> str:
        ((name,),) = self._query(
            'nova_api',
            'SELECT cell_mappings.name FROM cell_mappings '
            'JOIN instance_mappings '
            'ON instance_mappings.cell_id = cell_mappings.id '
            'WHERE instance_mappings.instance_uuid = :id', server_id)
        return name

    def records(self, server_id: str) -> dict[str, bool]:
        found = {}
        for cell in topology.CELLS:
            for (hidden,) in self._query(
                f'nova_{cell}',
                'SELECT hidden FROM instances '
                'WHERE uuid = :id AND deleted = 0', server_id,
            ):
                found[cell] = not hidden
        return found

    def _query(
        self, database: str, statement: str, server_id: str
    ) -> abc.Sequence[abc.Sequence[Any]]:
        engine = sqlalchemy.create_engine(self._lab.database(database))
        try:
            with engine.connect() as opened:
                return opened.execute(
                    sqlalchemy.text(statement), {'id': server_id}).all()
        finally:
            engine.dispose()

    def require_disk_copies(self) -> None:
        pass

    def require_volumes(self) -> None:
        if not cinder.enabled(self._lab):
            raise cloud.CannotTell('it is up without Cinder')

    def hypervisor(self, host: str) -> libvirt.virConnect:
        """A new connection to the libvirt of a host."""
        return libvirt.open(
            f'qemu+tcp://{topology.host(host).address}/system')

    def require_uefi(self) -> None:
        for host in self.hosts():
            hypervisor = self.hypervisor(host)
            try:
                hypervisor.domainXMLToNative('qemu-argv', _UEFI_GUEST, 0)
            except libvirt.libvirtError as exc:
                raise cloud.CannotTell(
                    f'libvirt of {host} starts no guest with UEFI: {exc}'
                ) from exc
            finally:
                hypervisor.close()

    def guest(self, host: str, server_id: str) -> cloud.Guest | None:
        hypervisor = self.hypervisor(host)
        try:
            domain = hypervisor.lookupByUUIDString(server_id)
            description = etree.fromstring(domain.XMLDesc(0))
            # The name of an image in RBD begins with the id of the server.
            paths = description.xpath(
                'devices/disk[@device="disk"]/source/@file | '
                'devices/disk[@device="disk"]/source/@name')
            return cloud.Guest(
                bool(domain.isActive()),
                tuple(pathlib.PurePath(path).name.removeprefix(
                    f'{server_id}_') for path in paths),
                description.find('os/nvram') is not None)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None
        finally:
            hypervisor.close()

    def files(self, host: str, server_id: str) -> set[str]:
        directory = self._lab.server_directory(host, server_id)
        if not directory.is_dir():
            return set()
        return {path.name for path in directory.iterdir()}

    def shared_files(self) -> bool:
        return self._lab.settings.shared

    def digests(self, host: str, server_id: str) -> dict[str, str]:
        # What the host alone has use for.
        names = self.files(host, server_id) - {'console.log', 'disk.info'}
        # Where the host itself has it; backing files are named that way.
        directory = self._lab.where.here / 'instances' / server_id
        return {name: self._digest(host, directory / name)
                for name in sorted(names)}

    def _digest(self, host: str, path: pathlib.Path) -> str:
        """A digest of the content of a disk, which may be in use."""
        with tempfile.NamedTemporaryFile(
            dir=self._lab.where.lab / 'tmp',
        ) as plain:
            self._lab.call(
                *machine.enter(host), 'qemu-img', 'convert', '--force-share',
                '-O', 'raw', str(path), plain.name)
            return hashlib.file_digest(plain, 'sha256').hexdigest()

    def cached_images(self, host: str) -> dict[str, str]:
        found = {}
        for path in (self._lab.instances_directory(host) / '_base').glob('*'):
            with path.open('rb') as file:
                found[path.name] = hashlib.file_digest(
                    file, 'sha256').hexdigest()
        return found

    def uefi_variables(self, host: str, server_id: str) -> str | None:
        name = self.connect().compute.get_server(server_id).instance_name
        path = machine.files(host) / _UEFI_VARIABLES / f'{name}_VARS.fd'
        if not path.exists():
            return None
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def images(self, server_id: str) -> set[str] | None:
        if not ceph.enabled(self._lab):
            return None
        prefix = f'{server_id}_'
        return {name.removeprefix(prefix) for name in ceph.images()
                if name.startswith(prefix)}

    def put_file(
        self, host: str, server_id: str, name: str, text: str
    ) -> None:
        directory = self._lab.server_directory(host, server_id)
        directory.joinpath(name).write_text(text)

    def console(self, server_id: str) -> str:
        return self.connect().compute.get_server_console_output(
            server_id)['output']

    def type(self, server_id: str, line: str, until: str) -> str:
        host = self.connect().compute.get_server(server_id).compute_host
        hypervisor = self.hypervisor(host)
        try:
            stream = hypervisor.newStream()
            hypervisor.lookupByUUIDString(server_id).openConsole(
                None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
            # QEMU takes some time to see that somebody listens. It reads
            # nothing until then, nor when they are gone again.
            stream.recv(1)
            stream.send(f'{line}\n'.encode())
            heard = b''
            end = time.monotonic() + _ANSWER
            while (until.encode() not in heard.rpartition(b'\n')[0]
                    and time.monotonic() < end):
                heard += stream.recv(4096)
            stream.finish()
            return heard.decode(errors='replace')
        finally:
            hypervisor.close()

    def copy_image(self, image: str, **properties: str) -> str:
        images = self.connect('member').image
        original = images.get_image(image)
        copied = images.create_image(
            name=f'{original.name}-copy', disk_format=original.disk_format,
            container_format=original.container_format,
            data=images.download_image(original).content,
            allow_duplicates=True, **properties).id
        self._copies.append(copied)
        return copied

    def kernel_image(self) -> str:
        return self.connect().image.find_image('kernel').id

    def delete_image(self, image: str) -> None:
        self.connect('member').image.delete_image(image)

    @contextlib.contextmanager
    def migration_held(
        self, server_id: str, copied: str = 'memory'
    ) -> abc.Iterator[_Held]:
        host = self.connect().compute.get_server(server_id).compute_host
        hypervisor = self.hypervisor(host)
        try:
            with _Held(
                hypervisor.lookupByUUIDString(server_id), copied,
            ) as held:
                yield held
        finally:
            hypervisor.close()

    def disks_held(
        self, server_id: str
    ) -> contextlib.AbstractContextManager[_Held]:
        return self.migration_held(server_id, 'disk')

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
        self._require_files()
        return _HeldCopy(host)

    def _require_files(self) -> None:
        """Make sure that each host has files of its own for disks."""
        if self.shared_files():
            raise cloud.CannotTell('its hosts share their files')
        if ceph.enabled(self._lab):
            raise cloud.CannotTell('its disks are in Ceph')

    def kill_guest(self, host: str, server_id: str) -> None:
        _kill_guests(host, server_id)

    @contextlib.contextmanager
    def frozen(self, service: str, host: str) -> abc.Iterator[None]:
        supervisor = programs.Supervisor(self._lab.where)
        (program,) = self._programs(service, host)
        supervisor.freeze(program.name)
        try:
            yield
        finally:
            supervisor.thaw(program.name)

    def _programs(
        self, service: str, host: str | None
    ) -> list[programs.Program]:
        if service == 'nova-conductor':
            return nova.conductors(self._lab)
        if service == 'rabbitmq':
            return [infrastructure.messages(self._lab)]
        if service == 'glance':
            return glance.programs_of(self._lab)
        assert host is not None
        make = {'nova-compute': nova.compute,
                'libvirtd': hypervisors.libvirtd}[service]
        return [make(self._lab, topology.compute(host))]

    @contextlib.contextmanager
    def killed(
        self, service: str, host: str | None = None, gently: bool = False
    ) -> abc.Iterator[None]:
        found = self._programs(service, host)
        supervisor = programs.Supervisor(self._lab.where)
        for program in found:
            (supervisor.stop if gently else supervisor.kill)(program.name)
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
        return [service.host for service in self.connect().compute.services(
            binary='nova-compute') if service.status != 'enabled']

    def new_disk(
        self, host: str
    ) -> contextlib.AbstractContextManager[_Disk]:
        self._require_files()
        return self._mounted(host)

    @contextlib.contextmanager
    def _mounted(self, host: str) -> abc.Iterator[_Disk]:
        image = self._lab.where.lab / f'disk-{host}'
        instances = str(self._lab.where.here / 'instances')
        enter = machine.enter(host)
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
        placement = self.connect().placement
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
    def hosts_configured(
        self, section: str, option: str, value: str
    ) -> abc.Iterator[None]:
        computes = [topology.compute(host) for host in self.hosts()]
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
        supervisor = programs.Supervisor(self._lab.where)
        libvirtd = hypervisors.libvirtd(self._lab, compute)
        services = self.connect().compute
        (service,) = services.services(binary='nova-compute', host=host)
        with contextlib.ExitStack() as stack:
            # Nova takes no host for up whose evacuations are not over, and
            # those end when its compute service starts.
            stack.callback(
                services.update_service_forced_down, service, forced=False)
            stack.callback(nova.start_compute, self._lab, compute)
            stack.callback(supervisor.start, libvirtd)
            for program in (nova.compute(self._lab, compute), libvirtd):
                supervisor.kill(program.name)
            _kill_guests(host)
            services.update_service_forced_down(service, forced=True)
            yield

    def audit_placement(self, delete: bool = False) -> str:
        return nova.audit_placement(self._lab, delete)
