# SPDX-License-Identifier: Apache-2.0

"""The real cloud as the scenarios see it, from on its controller."""

from collections import abc
import contextlib
import functools
import hashlib
import pathlib
import tempfile
import threading
from typing import Any

import libvirt
from lxml import etree
from openstack import connection
import sqlalchemy

from lab import accounts
from lab import cloud
from lab.needs import Need
from lab.real import faults
from lab.real.lab import Lab
from lab.real import namespaces
from lab.real import neighbour
from lab.real.services import ceph
from lab.real.services import cinder
from lab.real.services import nova
from lab.real import topology
from lab.words import expect
from lab.words import server as servers

# What fails is raised; libvirt would print it as well.
libvirt.registerErrorHandler(lambda context, error: None, None)

_ANSWER = 10
"""Seconds that a guest may take to answer on its console, or a ping."""

_UEFI_GUEST = """\
<domain type="qemu">
  <name>uefi</name>
  <memory>1</memory>
  <os firmware="efi">
    <type>hvm</type>
    <firmware><feature name="secure-boot" enabled="no"/></firmware>
    {loader}
  </os>
  <features><acpi/></features>
</domain>
"""
"""As much as shows whether libvirt takes what Nova asks of it for UEFI."""

_STOCK_LOADER = '<loader secure="no"/>'
"""What the released Nova asks for, and some releases of libvirt, that of
Debian 12 among them, have no firmware for. The series leaves it out there."""

_UEFI_VARIABLES = 'var/lib/libvirt/qemu/nvram'
"""Where libvirt keeps those of guests, below the root of a host."""


class RealCloud(cloud.Cloud):
    """A cloud in namespaces of this machine.

    :param lab: a lab that is up
    """

    def __init__(self, lab: Lab):
        self._lab = lab
        self.faults = faults.RealFaults(lab, self)
        self._connections: dict[str, connection.Connection] = {}
        self._plugged = contextlib.ExitStack()
        #: ids of the images that scenarios have uploaded
        self._copies: list[str] = []

    @functools.cached_property
    def has(self) -> frozenset[Need]:
        found = {Need.GUESTS, Need.SERVICES, Need.NETWORK}
        if not self._lab.settings.shared:
            found.add(Need.OWN_FILES)
            if not ceph.wanted(self._lab):
                found.add(Need.LOCAL_DISKS)
        if cinder.wanted(self._lab):
            found.add(Need.VOLUMES)
        if all(map(self._has_uefi, self.hosts())):
            found.add(Need.UEFI)
        return frozenset(found)

    def _has_uefi(self, host: str) -> bool:
        """Whether the libvirt of a host starts guests with UEFI."""
        is_stock = self._lab.settings.nova is None
        guest = _UEFI_GUEST.format(loader=_STOCK_LOADER if is_stock else '')
        with self._lab.hypervisor(host) as hypervisor:
            try:
                hypervisor.domainXMLToNative('qemu-argv', guest, 0)
            except libvirt.libvirtError:
                return False
        return True

    def __enter__(self) -> 'RealCloud':
        self.image = self._image('disk')
        self.rescue_image = self._image('rescue')
        self.flavor = self._flavor('small')
        self.larger_flavor = self._flavor('large')
        self.disks_flavor = self._flavor('disks')
        self._earlier = self._servers()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._clear()
        finally:
            self._plugged.close()
            for opened in self._connections.values():
                opened.close()

    def _image(self, name: str) -> str:
        """The id of an image of this name."""
        images: Any = self.connect().image
        return images.find_image(name, ignore_missing=False).id

    def _flavor(self, name: str) -> str:
        """The id of the flavor of this name."""
        compute: Any = self.connect().compute
        return compute.find_flavor(name, ignore_missing=False).id

    def _servers(self) -> set[str]:
        """The ids of the servers that scenarios have booted."""
        return {server.id for server in self.connect().compute.servers(
            details=False, name=f'^{servers.NAME}(-|$)')}

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
                user, accounts.project(user))
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

    def guest(self, host: str, server_id: str) -> cloud.Guest | None:
        with self._lab.hypervisor(host) as hypervisor:
            try:
                domain = hypervisor.lookupByUUIDString(server_id)
                description = etree.fromstring(domain.XMLDesc(0))
                active = bool(domain.isActive())
            except libvirt.libvirtError as exc:
                if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None
        # The name of an image in RBD begins with the id of the server.
        paths = description.xpath(
            'devices/disk[@device="disk"]/source/@file | '
            'devices/disk[@device="disk"]/source/@name')
        return cloud.Guest(
            active,
            tuple(pathlib.PurePath(path).name.removeprefix(
                f'{server_id}_') for path in paths),
            description.find('os/nvram') is not None)

    def guest_owners(
        self, host: str, server_id: str
    ) -> set[tuple[str, str]]:
        with self._lab.hypervisor(host) as hypervisor:
            domain = hypervisor.lookupByUUIDString(server_id)
            # What starts next is not what runs.
            descriptions = [
                etree.fromstring(domain.XMLDesc(flags)) for flags in
                (0, libvirt.VIR_DOMAIN_XML_INACTIVE)]
        return {
            tuple(description.find(
                f'metadata/{{*}}instance/{{*}}owner/{{*}}{kind}').get('uuid')
                for kind in ('user', 'project'))
            for description in descriptions}

    def files(self, host: str, server_id: str) -> set[str]:
        directory = self._lab.server_directory(host, server_id)
        if not directory.is_dir():
            return set()
        return {path.name for path in directory.iterdir()}

    def digests(self, host: str, server_id: str) -> dict[str, str]:
        # What the host alone has use for.
        names = self.files(host, server_id) - {'console.log', 'disk.info'}
        # Where the host itself has it; backing files are named that way.
        directory = self._lab.where.instances / server_id
        return {name: self._digest(host, directory / name)
                for name in sorted(names)}

    def _digest(self, host: str, path: pathlib.Path) -> str:
        """A digest of the content of a disk, which may be in use."""
        with tempfile.NamedTemporaryFile(
            dir=self._lab.where.lab / 'tmp',
        ) as plain:
            self._lab.call(
                *namespaces.enter(host), 'qemu-img', 'convert',
                '--force-share', '-O', 'raw', str(path), plain.name)
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
        path = namespaces.files(host) / _UEFI_VARIABLES / f'{name}_VARS.fd'
        if not path.exists():
            return None
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def images(self, server_id: str) -> set[str] | None:
        if not ceph.wanted(self._lab):
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
        heard = b''
        with self._lab.hypervisor(host) as hypervisor:
            stream = hypervisor.newStream()
            hypervisor.lookupByUUIDString(server_id).openConsole(
                None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
            # A read blocks for as long as the guest is silent.
            end = threading.Timer(_ANSWER, stream.abort)
            end.start()
            try:
                # QEMU takes some time to see that somebody listens. It reads
                # nothing until then, nor when they are gone again.
                stream.recv(1)
                stream.send(f'{line}\n'.encode())
                while until.encode() not in heard.rpartition(b'\n')[0]:
                    read = stream.recv(4096)
                    if not read:
                        break
                    heard += read
                stream.finish()
            except libvirt.libvirtError:
                # It was aborted, or the guest is gone.
                pass
            finally:
                end.cancel()
                end.join()
        return heard.decode(errors='replace')

    def copy_image(self, image: str, **properties: str) -> str:
        images: Any = self.connect('member').image
        original = images.get_image(image)
        copied = images.create_image(
            name=f'{original.name}-copy', disk_format=original.disk_format,
            container_format=original.container_format,
            data=images.download_image(original).content,
            allow_duplicates=True, **properties).id
        self._copies.append(copied)
        return copied

    def kernel_image(self) -> str:
        return self._image('kernel')

    def delete_image(self, image: str) -> None:
        self.connect('member').image.delete_image(image)

    @functools.cached_property
    def _neighbour(self) -> neighbour.Neighbour:
        return self._plugged.enter_context(neighbour.plugged(self._lab))

    def answers(self, address: str) -> bool:
        return self._neighbour.answers(address, _ANSWER)

    def audit_placement(self, delete: bool = False) -> str:
        return nova.audit_placement(self._lab, delete)

    def recover_moves(self, dry_run: bool = False) -> str:
        return nova.recover_moves(self._lab, dry_run)
