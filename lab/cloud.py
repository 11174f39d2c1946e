# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

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
    #: names of the files of its disks, in the order of its XML
    disks: tuple[str, ...]


class HeldMigration(Protocol):
    """A live migration that copies memory and does not end by itself."""

    def wait_until_running(self) -> None:
        """Wait until the guest's memory is being copied.

        :raises lab.expect.Unexpected: if that does not happen in time
        """


class Cloud(Protocol):
    #: id of an image to boot servers from
    image: str
    #: id of another image, to rescue them with
    rescue_image: str
    #: id of the flavor of the servers
    flavor: str

    def connect(self, user: str = 'admin') -> connection.Connection:
        """A connection as 'admin' (operator) or 'member' (owner of servers).

        Both are of the same project.
        """

    def hosts(self) -> abc.Sequence[str]:
        """Names of the compute hosts of one cell, at least two of them."""

    def guest(self, host: str, server_id: str) -> Guest | None:
        """The guest of a server on a host; None if the host has none."""

    def files(self, host: str, server_id: str) -> set[str]:
        """Names of the files in the server's directory on a host."""

    def put_file(
        self, host: str, server_id: str, name: str, text: str
    ) -> None:
        """Write a file to the server's directory on a host."""

    def console(self, server_id: str) -> str:
        """What the guest has written to its serial console since it booted.

        An image writes its own id there when it boots.

        :raises CannotTell: if there is no real guest
        """

    def migration_fails(self, server_id: str) -> AbstractContextManager[None]:
        """Let the hypervisor fail to move the guest of a server."""

    def migration_held(
        self, server_id: str
    ) -> AbstractContextManager[HeldMigration]:
        """Let no migration of the server end but by abort or force-complete.

        At exit a migration that is still held goes on by itself.
        """

    def incapable(self, *hosts: str) -> AbstractContextManager[None]:
        """Take from hosts the ability to live-migrate rescued servers."""

    def not_upgraded(self, host: str) -> AbstractContextManager[None]:
        """Let the compute service of a host be of the release before."""
