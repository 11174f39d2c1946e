# SPDX-License-Identifier: Apache-2.0

"""What a scenario may break in a cloud, and hold halfway.

Each fault is a context manager: it lasts as long as its block.
"""

from abc import ABC
from abc import abstractmethod
from contextlib import AbstractContextManager
from typing import Literal
from typing import Protocol
from typing import runtime_checkable

from lab.needs import Lacking
from lab.needs import Need

Service = Literal[
    'glance', 'libvirtd', 'nova-compute', 'nova-conductor',
    'nova-super-conductor', 'rabbitmq']


class Held(Protocol):
    """Copying that is held: it has begun, and does not end by itself."""

    def wait_until_running(self) -> None:
        """Wait until it has begun.

        :raises lab.words.expect.Unexpected: if that does not happen in time
        """


@runtime_checkable
class HeldCopy(Held, Protocol):
    """The copying of a file from one host to another, which stands still."""

    def break_off(self) -> None:
        """Make the copying fail, and hold no other one."""


class Disk(Protocol):
    """A disk of a host, for the files of servers."""

    def fill(self) -> None:
        """Leave next to no space on it."""


class Faults(ABC):
    """What can be broken in one cloud.

    What is not abstract here raises lab.needs.Lacking on a cloud that lacks
    what it stands on, as its docstring says.
    """

    @abstractmethod
    def migration_fails(self, server_id: str) -> AbstractContextManager[None]:
        """Make the hypervisor fail to move the guest of a server."""

    @abstractmethod
    def migration_held(
        self, server_id: str, copying: Literal['memory', 'disks'] = 'memory'
    ) -> AbstractContextManager[Held]:
        """Hold the server's live migrations.

        They end only if they are aborted or forced to complete. At exit a
        migration that is still held goes on.

        :param copying: what the hypervisor copies when it counts as begun;
            'disks' needs Need.LOCAL_DISKS
        """

    @abstractmethod
    def kill_guest(self, host: str, server_id: str) -> None:
        """Kill the guest of a server on a host."""

    @abstractmethod
    def killed(
        self, service: Service, host: str | None = None, gently: bool = False
    ) -> AbstractContextManager[None]:
        """Kill a service; start it again at exit, and wait until it works.

        :param service: 'nova-compute' or 'libvirtd' of a host, or one of no
            host: 'glance', 'nova-conductor' (all that there are),
            'nova-super-conductor' (the one that knows all cells) or
            'rabbitmq'. All but 'libvirtd' and 'glance' need Need.SERVICES.
        :param gently: whether it is asked to end, as for its upgrade
        """

    @abstractmethod
    def incapable(self, *hosts: str) -> AbstractContextManager[None]:
        """Take from hosts the ability to live-migrate rescued servers.

        They are as if they had never had it.
        """

    @abstractmethod
    def not_upgraded(self, host: str) -> AbstractContextManager[None]:
        """Make the compute service of a host one of the release before.

        It has gone back to that: Placement still has the trait of its
        ability.
        """

    def libvirt_without_vgpus(
        self, host: str
    ) -> AbstractContextManager[None]:
        """Make the libvirt of a host one that does not move vGPUs.

        Needs Need.VGPUS.
        """
        raise Lacking(Need.VGPUS)

    @abstractmethod
    def configured(
        self, section: str, option: str, value: str
    ) -> AbstractContextManager[None]:
        """Give the compute services of Cloud.hosts an option of Nova's."""

    @abstractmethod
    def host_down(self, host: str) -> AbstractContextManager[None]:
        """Make a host fail, with its guests, and report that to the API.

        At exit it comes back, and its guests stay off.
        """

    @abstractmethod
    def cell_database_down(self, host: str) -> AbstractContextManager[None]:
        """Make the database of a host's cell unreachable for commands.

        Services that run may keep their connections.
        """

    def copy_held(self, host: str) -> AbstractContextManager[HeldCopy]:
        """Hold the copying of files from another host to this one.

        At exit a copy that is still held goes on. Needs Need.LOCAL_DISKS.
        """
        raise Lacking(Need.LOCAL_DISKS)

    def new_disk(self, host: str) -> AbstractContextManager[Disk]:
        """Give a host an empty disk for the files of servers.

        The host must have no server. What comes there meanwhile is gone at
        exit. Needs Need.LOCAL_DISKS.
        """
        raise Lacking(Need.LOCAL_DISKS)

    def frozen(
        self, service: Service, host: str | None = None
    ) -> AbstractContextManager[None]:
        """Make a service hang, until exit or until it is killed.

        Needs Need.SERVICES.

        :param service: as for killed()
        """
        raise Lacking(Need.SERVICES)
