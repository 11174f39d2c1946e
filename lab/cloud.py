# SPDX-License-Identifier: Apache-2.0

"""What a scenario may ask of the cloud that it runs on.

Everything that a user or an operator can do or see goes through the REST
APIs, with the connection that the cloud hands out. What is left is here: what
only the hosts and the databases can show. The faults are in lab.faults.
"""

from abc import ABC
from abc import abstractmethod
from collections import abc
import dataclasses
from typing import Any

from openstack import connection

from lab import faults
from lab.needs import Lacking
from lab.needs import Need


@dataclasses.dataclass(frozen=True)
class Guest:
    """A guest as the hypervisor of one host has it."""

    running: bool
    #: names of the files of its disks, but CD-ROMs, in the order of its XML
    disks: tuple[str, ...]
    #: whether it boots by UEFI, and so has variables of that
    uefi: bool = False


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that a guest has of its host."""

    #: the types of its vGPUs, in their order
    vgpus: tuple[str, ...] = ()
    #: the addresses of its PCI devices, in their order
    pci: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Port:
    """A port with a guaranteed bandwidth, as the network service has it."""

    #: the name of the host that it is bound to; '' if to none
    host: str
    #: the name of the resource provider that its binding says it uses
    provider: str


class Cloud(ABC):
    """A cloud, from entering it until leaving it.

    What is not abstract here raises lab.needs.Lacking on a cloud that lacks
    what it stands on, as its docstring says.
    """

    #: what can be broken in it
    faults: faults.Faults
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
    #: ids of flavors with a vGPU, by its type; has Need.VGPUS
    vgpu_flavors: dict[str, str]
    #: id of a flavor with an accelerator; has Need.ACCELERATORS
    accelerator_flavor: str
    #: what a port with a guaranteed bandwidth uses, by resource class; has
    #: Need.BANDWIDTH
    bandwidth: dict[str, int]

    @property
    @abstractmethod
    def has(self) -> frozenset[Need]:
        """What the cloud has. Known before it is entered."""

    @abstractmethod
    def __enter__(self) -> 'Cloud':
        """Start the cloud, or get hold of it."""

    @abstractmethod
    def __exit__(self, *exc_info: object) -> None:
        """Stop it, or leave it with nothing of the scenarios in it."""

    @abstractmethod
    def connect(self, user: str = 'admin') -> connection.Connection:
        """The connection of a user of lab.accounts, for all threads."""

    def connect_as(self, role: str, project: str) -> connection.Connection:
        """The connection of one who has a role in a project.

        And the roles that this one implies. Needs Need.ROLES.

        :param role: 'service', 'reader', 'member', 'manager' or 'admin'
        :param project: its name
        """
        raise Lacking(Need.ROLES)

    @abstractmethod
    def hosts(self) -> abc.Sequence[str]:
        """Names of the compute hosts of one cell, at least two of them."""

    @abstractmethod
    def other_cell_hosts(self) -> abc.Sequence[str]:
        """Names of the compute hosts of another cell, at least one."""

    @abstractmethod
    def cell_of(self, server_id: str) -> str:
        """Name of the cell in which the API looks for a server."""

    @abstractmethod
    def records(self, server_id: str) -> dict[str, bool]:
        """Names of the cells whose databases have a server.

        The value is whether the API shows what that cell has.
        """

    @abstractmethod
    def guest(self, host: str, server_id: str) -> Guest | None:
        """The guest of a server on a host; None if the host has none."""

    @abstractmethod
    def files(self, host: str, server_id: str) -> set[str]:
        """Names of the files in the server's directory on a host."""

    @abstractmethod
    def put_file(
        self, host: str, server_id: str, name: str, text: str
    ) -> None:
        """Write a file to the server's directory on a host."""

    @abstractmethod
    def copy_image(self, image: str, **properties: str) -> str:
        """Upload a copy of an image, of which no host has the data.

        :param properties: what it has beside the properties of the image
        :returns: its id
        """

    @abstractmethod
    def delete_image(self, image: str) -> None:
        """Delete an image from the image service, if it is there."""

    @abstractmethod
    def audit_placement(self, delete: bool = False) -> str:
        """What `nova-manage placement audit` says of orphaned allocations.

        :param delete: whether it is to delete them
        """

    @abstractmethod
    def recover_moves(self, dry_run: bool = False) -> str:
        """What `nova-manage cell_v2 recover_cross_cell_moves` says.

        It takes all moves for abandoned.

        :param dry_run: whether it is to tell only what it would do
        """

    def spoil_image(self, image: str) -> None:
        """Give an image data of another format than it says.

        Needs Need.DOWNLOADS.
        """
        raise Lacking(Need.DOWNLOADS)

    def downloads(self, image: str) -> int:
        """How often hosts have downloaded the data of an image.

        Needs Need.DOWNLOADS.
        """
        raise Lacking(Need.DOWNLOADS)

    def notifications(self, event: str) -> list[dict[str, Any]]:
        """The payloads of all versioned notifications of an event.

        The earliest is the first. Needs Need.NOTIFICATIONS.
        """
        raise Lacking(Need.NOTIFICATIONS)

    def create_port(self) -> str:
        """Create a port with a guaranteed bandwidth. Returns its id.

        Needs Need.BANDWIDTH.
        """
        raise Lacking(Need.BANDWIDTH)

    def delete_port(self, port: str) -> None:
        """Delete a port. Needs Need.BANDWIDTH."""
        raise Lacking(Need.BANDWIDTH)

    def port(self, port: str) -> Port:
        """A port with a guaranteed bandwidth. Needs Need.BANDWIDTH."""
        raise Lacking(Need.BANDWIDTH)

    def bandwidth_provider(self, host: str) -> str:
        """The name of the resource provider of the bandwidth of a host.

        Needs Need.BANDWIDTH.
        """
        raise Lacking(Need.BANDWIDTH)

    def devices(self, host: str, server_id: str) -> Devices:
        """The devices that a guest has of its host.

        Needs Need.VGPUS or Need.ACCELERATORS.
        """
        raise Lacking(Need.VGPUS)

    def accelerators(self, server_id: str) -> dict[str, str]:
        """The hosts of a server's accelerators, by their PCI address.

        As Cyborg has bound them. Needs Need.ACCELERATORS.
        """
        raise Lacking(Need.ACCELERATORS)

    def guest_owners(
        self, host: str, server_id: str
    ) -> set[tuple[str, str]]:
        """Ids of user and project that the hypervisor has for a guest.

        That is one pair, unless what runs and what starts next differ. Needs
        Need.GUESTS.
        """
        raise Lacking(Need.GUESTS)

    def answers(self, address: str) -> bool:
        """Whether an address in the network of the servers answers a ping.

        Needs Need.NETWORK.
        """
        raise Lacking(Need.NETWORK)

    def images(self, server_id: str) -> set[str] | None:
        """Names of the server's disks in storage that all hosts share.

        None if its disks are files, as on a cloud without Need.GUESTS.
        """
        return None

    def digests(self, host: str, server_id: str) -> dict[str, str]:
        """Digests of the content of the server's disks, by name of the file.

        Of all that is in the server's directory on a host and belongs to the
        server. A disk has the same one in whatever format its file is. Needs
        Need.GUESTS.
        """
        raise Lacking(Need.GUESTS)

    def cached_images(self, host: str) -> dict[str, str]:
        """Digests of the images that a host has cached, by name of the file.

        Needs Need.GUESTS.
        """
        raise Lacking(Need.GUESTS)

    def uefi_variables(self, host: str, server_id: str) -> str | None:
        """A digest of the UEFI variables that a host has of a server.

        None if it has none. Needs Need.GUESTS.
        """
        raise Lacking(Need.GUESTS)

    def console(self, server_id: str) -> str:
        """What the guest has written to its serial console on its host.

        Begins anew when the guest boots, and when it comes from another host.
        See lab.guest.console for what guests write. Needs Need.GUESTS.
        """
        raise Lacking(Need.GUESTS)

    def type(self, server_id: str, line: str, until: str) -> str:
        """Type a line on the serial console of a guest.

        :param until: what the last line of the guest's answer has in it
        :returns: what the guest writes until then, or within a few seconds

        Needs Need.GUESTS.
        """
        raise Lacking(Need.GUESTS)

    def kernel_image(self) -> str:
        """Id of an image that has a kernel and a ramdisk.

        Needs Need.GUESTS.
        """
        raise Lacking(Need.GUESTS)
