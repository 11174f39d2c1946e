# SPDX-License-Identifier: Apache-2.0

"""What a scenario may ask of the cloud it runs on.

Everything that a user or an operator can do or see goes through the REST API,
with the connection that the cloud hands out. What is left is here: what only
the hosts can tell, and the faults that a scenario needs.
"""

from collections import abc
from contextlib import AbstractContextManager
import dataclasses
from typing import Protocol

from openstack import connection


class CannotTell(Exception):
    """This cloud has no real guest, so it cannot answer the question."""


@dataclasses.dataclass(frozen=True)
class Guest:
    """A guest as the hypervisor of one host has it."""

    running: bool
    #: names of the files of its disks, but CD-ROMs, in the order of its XML
    disks: tuple[str, ...]
    #: whether it has UEFI, and variables of that
    uefi: bool = False


class HeldMigration(Protocol):
    """A live migration that copies a guest and does not end by itself.

    Forced to complete, it ends.
    """

    def wait_until_running(self) -> None:
        """Wait until the guest is being copied.

        :raises lab.expect.Unexpected: if that does not happen in time
        """


class HeldCopy(Protocol):
    """The copying of a file from one host to another, which stands still."""

    def wait_until_running(self) -> None:
        """Wait until a file is being copied.

        :raises lab.expect.Unexpected: if that does not happen in time
        """

    def break_off(self) -> None:
        """Let the copying fail, and hold no other one."""


class Disk(Protocol):
    """A disk of a host, for the files of servers."""

    def fill(self) -> None:
        """Leave next to no space on it."""


class Cloud(Protocol):
    #: id of an image to boot servers from
    image: str
    #: id of another image, to rescue them with
    rescue_image: str
    #: id of the flavor of the servers
    flavor: str
    #: id of a flavor with more memory, enough for UEFI, and a larger disk
    larger_flavor: str
    #: id of a flavor with an ephemeral disk and a swap disk, too
    disks_flavor: str

    def connect(self, user: str = 'admin') -> connection.Connection:
        """A connection as 'admin' (operator) or 'member' (owner of servers).

        Both are of the same project.
        """

    def hosts(self) -> abc.Sequence[str]:
        """Names of the compute hosts of one cell, at least two of them."""

    def other_cell_hosts(self) -> abc.Sequence[str]:
        """Names of the compute hosts of another cell, at least one."""

    def cell_of(self, server_id: str) -> str:
        """Name of the cell that the API looks for a server in.

        :raises CannotTell: if no server ever moves to another
        """

    def records(self, server_id: str) -> dict[str, bool]:
        """Names of the cells whose databases have a server.

        With each goes whether the API shows what that cell has.

        :raises CannotTell: if no server ever moves to another
        """

    def require_disk_copies(self) -> None:
        """Make sure that hosts can copy the disks of a server.

        :raises CannotTell: if they have none, or cannot
        """

    def require_volumes(self) -> None:
        """Make sure that servers can have volumes.

        :raises CannotTell: if there are none
        """

    def require_uefi(self) -> None:
        """Make sure that guests can boot by UEFI.

        :raises CannotTell: if they cannot
        """

    def guest(self, host: str, server_id: str) -> Guest | None:
        """The guest of a server on a host; None if the host has none."""

    def files(self, host: str, server_id: str) -> set[str]:
        """Names of the files in the server's directory on a host."""

    def shared_files(self) -> bool:
        """Whether the server's directory is the same on all hosts."""

    def digests(self, host: str, server_id: str) -> dict[str, str]:
        """Digests of what is on the server's disks, by name of the file.

        Of all that is in the server's directory on a host and belongs to the
        server. A disk has the same one in whatever format its file is.

        :raises CannotTell: if the disks are not real
        """

    def cached_images(self, host: str) -> dict[str, str]:
        """Digests of the images that a host has cached, by name of the file.

        :raises CannotTell: if none is cached
        """

    def uefi_variables(self, host: str, server_id: str) -> str | None:
        """A digest of the UEFI variables that a host has of a server.

        None if it has none.
        """

    def images(self, server_id: str) -> set[str] | None:
        """Names of the server's disks in storage that all hosts share.

        None if its disks are files.
        """

    def put_file(
        self, host: str, server_id: str, name: str, text: str
    ) -> None:
        """Write a file to the server's directory on a host."""

    def console(self, server_id: str) -> str:
        """What the guest has written to its serial console on its host.

        Begins anew when the guest boots, and when it comes from another host.
        See lab.guest for what the guests write.

        :raises CannotTell: if there is no real guest
        """

    def type(self, server_id: str, line: str, until: str) -> str:
        """Type a line on the serial console of a guest.

        :param until: what the last line of the guest's answer has in it
        :returns: what the guest writes until then, or within a few seconds
        :raises CannotTell: if there is no real guest
        """

    def copy_image(self, image: str, **properties: str) -> str:
        """Upload a copy of an image, of which no host has the data.

        :param properties: what it has beside the properties of the image
        :returns: its id
        """

    def kernel_image(self) -> str:
        """Id of an image that has a kernel and a ramdisk.

        :raises CannotTell: if there is no real guest
        """

    def delete_image(self, image: str) -> None:
        """Delete an image from the image service."""

    def migration_fails(self, server_id: str) -> AbstractContextManager[None]:
        """Let the hypervisor fail to move the guest of a server."""

    def migration_held(
        self, server_id: str
    ) -> AbstractContextManager[HeldMigration]:
        """Let no migration of the server end but by abort or force-complete.

        At exit a migration that is still held goes on by itself.
        """

    def disks_held(
        self, server_id: str
    ) -> AbstractContextManager[HeldMigration]:
        """As migration_held, to wait until the hypervisor copies disks.

        :raises CannotTell: if it copies none
        """

    def copy_held(self, host: str) -> AbstractContextManager[HeldCopy]:
        """Let no file that a host copies from another get there.

        At exit a copy that is still held goes on by itself.

        :raises CannotTell: if hosts copy no files
        """

    def kill_guest(self, host: str, server_id: str) -> None:
        """Let the guest of a server on a host die without a word."""

    def killed(
        self, service: str, host: str | None = None, gently: bool = False
    ) -> AbstractContextManager[None]:
        """Kill a service; start it again at exit, and wait until it works.

        :param service: 'nova-compute' or 'libvirtd' of a host, or
            'nova-conductor' (all that there are), 'glance' or 'rabbitmq'
        :param gently: whether it is asked to end, as for its upgrade
        :raises CannotTell: if the cloud has no such service, or cannot do
            without
        """

    def frozen(
        self, service: str, host: str
    ) -> AbstractContextManager[None]:
        """Let a service of a host hang, until exit.

        :param service: 'nova-compute' or 'libvirtd'
        :raises CannotTell: if the cloud has no such service
        """

    def new_disk(self, host: str) -> AbstractContextManager[Disk]:
        """Let a host have an empty disk for the files of servers.

        The host must have no server. What comes there meanwhile is gone at
        exit.

        :raises CannotTell: if nothing comes there when a server moves
        """

    def incapable(self, *hosts: str) -> AbstractContextManager[None]:
        """Take from hosts the ability to live-migrate rescued servers.

        They are as if they had never had it.
        """

    def not_upgraded(self, host: str) -> AbstractContextManager[None]:
        """Let the compute service of a host be of the release before.

        It has gone back to that: Placement still tells of the ability.
        """

    def hosts_configured(
        self, section: str, option: str, value: str
    ) -> AbstractContextManager[None]:
        """Let the compute services of `hosts` have an option of Nova's."""

    def host_down(self, host: str) -> AbstractContextManager[None]:
        """Let a host fail, with its guests, and tell the API that it did.

        At exit it comes back, and its guests stay off.
        """

    def audit_placement(self, delete: bool = False) -> str:
        """What `nova-manage placement audit` tells of orphaned allocations.

        :param delete: whether it is to delete them
        """
