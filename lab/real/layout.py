# SPDX-License-Identifier: Apache-2.0

"""Where the lab keeps what, all of it below one directory."""

import dataclasses
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Layout:
    root: pathlib.Path

    @property
    def cache(self) -> pathlib.Path:
        """What the next lab can use again: images and empty databases."""
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
        """What the bench has measured."""
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
        """In the mount namespace of a host: the directory of that host.

        libvirt wants the disks of a guest at the same path on both hosts.
        """
        return self.lab / 'here'

    @property
    def shared(self) -> pathlib.Path:
        """The instances of all hosts, if they share them."""
        return self.lab / 'instances'

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
        """The files of a host, as seen from outside of it."""
        return self.lab / 'hosts' / name

    def service(self, name: str) -> pathlib.Path:
        """The files of a service of the controller."""
        return self.lab / name


PROJECT = Layout(ROOT / '.lab')
