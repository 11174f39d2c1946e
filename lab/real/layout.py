# SPDX-License-Identifier: Apache-2.0

"""The places of a lab, all of them below one directory."""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Layout:
    """The places of a lab."""

    #: what is outside of this directory belongs to the machine
    root: pathlib.Path

    @property
    def cache(self) -> pathlib.Path:
        """What the next lab can use: guest images and empty databases."""
        return self.root / 'cache'

    @property
    def lab(self) -> pathlib.Path:
        """What belongs to one lab and ends with it."""
        return self.root / 'lab'

    @property
    def logs(self) -> pathlib.Path:
        return self.root / 'logs'

    @property
    def bench(self) -> pathlib.Path:
        """What the bench has written."""
        return self.root / 'bench'

    @property
    def conf(self) -> pathlib.Path:
        """Configuration files, with the passwords in them."""
        return self.lab / 'conf'

    @property
    def ceph(self) -> pathlib.Path:
        """Configuration and keys of Ceph's clients, if the lab has Ceph.

        In the mount namespace of every host this is also /etc/ceph.
        """
        return self.conf / 'ceph'

    @property
    def run(self) -> pathlib.Path:
        """Sockets and process ids."""
        return self.lab / 'run'

    @property
    def images(self) -> pathlib.Path:
        return self.cache / 'images'

    @property
    def here(self) -> pathlib.Path:
        """The files of a host, in the mount namespace of that host.

        libvirt wants the disks of a guest at the same path on all hosts.
        """
        return self.lab / 'here'

    @property
    def instances(self) -> pathlib.Path:
        """The files of all servers, in the mount namespace of a host."""
        return self.here / 'instances'

    @property
    def shared(self) -> pathlib.Path:
        """The instances of all hosts, if they share them."""
        return self.lab / 'instances'

    @property
    def programs(self) -> pathlib.Path:
        """The names of the lab's programs, each with its host."""
        return self.conf / 'programs.json'

    @property
    def settings(self) -> pathlib.Path:
        return self.lab / 'settings.json'

    @property
    def clouds(self) -> pathlib.Path:
        return self.root / 'clouds.yaml'

    @property
    def lock(self) -> pathlib.Path:
        return self.root / '.lock'

    def host(self, name: str) -> pathlib.Path:
        """The files of a host, outside of its mount namespace."""
        return self.lab / 'hosts' / name

    def service(self, name: str) -> pathlib.Path:
        """The files of a service on the controller."""
        return self.lab / name
