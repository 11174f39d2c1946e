# SPDX-License-Identifier: Apache-2.0

"""One lab: its places, passwords and URLs, and the ways into it."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shlex
import subprocess
import sys
from typing import Self
from typing import TYPE_CHECKING

from openstack import connection

from lab.real import layout
from lab.real import namespaces
from lab.real import oslo
from lab.real import settings as lab_settings
from lab.real.supervisor import Supervisor
from lab.real import topology
from tool import console

if TYPE_CHECKING:
    import libvirt

REGION = 'lab'

_TIMEOUT = 600
"""Seconds that a command may take."""

_LINES = 15
"""Lines of a failed command's output that are shown."""


class Failed(console.Problem):
    """A command that prepares a service failed."""


def executable(name: str) -> str:
    """The path of a program of the environment that this runs in."""
    return str(pathlib.Path(sys.executable).parent / name)


@dataclasses.dataclass(frozen=True)
class Lab:
    """A lab that is up, or is coming up."""

    where: layout.Layout
    settings: lab_settings.Settings

    @classmethod
    def load(cls, where: layout.Layout) -> Self:
        """The lab whose files are there."""
        return cls(where, lab_settings.Settings.load(where))

    @functools.cached_property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.where)

    def password(self, account: str) -> str:
        return self.settings.passwords[account]

    def write_secret(self, path: pathlib.Path, text: str) -> None:
        """Write a file that only root can read."""
        path.touch(mode=0o600)
        path.write_text(text)

    def directory(self, service: str) -> pathlib.Path:
        """The directory with the configuration of a service."""
        path = self.where.conf / service
        path.mkdir(exist_ok=True)
        return path

    def instances_directory(self, host: str) -> pathlib.Path:
        """The directory of all servers on a host, seen from the controller.

        It is followed through what is mounted on the host now.
        """
        return namespaces.files(host) / self.where.instances.relative_to('/')

    def server_directory(self, host: str, server_id: str) -> pathlib.Path:
        """The directory of a server on a host, seen from the controller."""
        return self.instances_directory(host) / server_id

    def hypervisor(
        self, host: str
    ) -> 'contextlib.AbstractContextManager[libvirt.virConnect]':
        """A connection to the libvirt of a host, closed at the end.

        :raises libvirt.libvirtError: if it cannot be reached
        """
        # Only the environment of the lab has it, and only this needs it.
        import libvirt

        return contextlib.closing(libvirt.open(
            f'qemu+tcp://{topology.host(host).address}/system'))

    def database(self, name: str) -> str:
        """The URL of a database."""
        return (f'mysql+pymysql://openstack:{self.password("database")}'
                f'@{topology.CONTROLLER.address}/{name}?charset=utf8mb4')

    def messages(self, virtual_host: str) -> str:
        """The URL of a virtual host of the message queue."""
        return (f'rabbit://openstack:{self.password("messages")}'
                f'@{topology.CONTROLLER.address}:5672/{virtual_host}')

    def internal(self, api: str, path: str = '') -> str:
        """The URL of an API in the network of the lab."""
        port = lab_settings.APIS[api].port
        return f'http://{topology.CONTROLLER.address}:{port}{path}'

    def public(self, api: str, path: str = '') -> str:
        """The URL of an API on the machine."""
        return f'http://127.0.0.1:{self.settings.ports[api]}{path}'

    def _account(self, user: str, project: str) -> dict[str, object]:
        return {
            'username': user, 'password': self.password(user),
            'project_name': project, 'user_domain_name': 'Default',
            'project_domain_name': 'Default'}

    def login(self, service: str) -> dict[str, object]:
        """Options with which a service logs in to Keystone."""
        return {
            'auth_type': 'password', 'auth_url': self.internal('keystone'),
            **self._account(service, 'service')}

    def client(self, service: str) -> dict[str, object]:
        """Options with which a service calls another one."""
        return {**self.login(service), 'region_name': REGION,
                'valid_interfaces': 'internal'}

    def api(self, service: str) -> oslo.Options:
        """Options of every service with an API."""
        return {
            'DEFAULT': self.logging(),
            'keystone_authtoken': {
                **self.login(service),
                'www_authenticate_uri': self.public('keystone'),
                'interface': 'internal',
                'memcached_servers': f'{topology.CONTROLLER.address}:11211'},
            'oslo_concurrency': {
                'lock_path': self.where.run / f'{service}-locks'},
        }

    def cache(self) -> dict[str, object]:
        """Options of a service that caches in memcached."""
        return {
            'enabled': 'true', 'backend': 'dogpile.cache.memcached',
            'memcache_servers': f'{topology.CONTROLLER.address}:11211'}

    def logging(self) -> dict[str, object]:
        """Options with which a service logs to its supervisor."""
        return {'use_stderr': 'true', 'debug': 'false'}

    def cloud(
        self, user: str, project: str, public: bool = False
    ) -> dict[str, object]:
        """The entry of a user in clouds.yaml, also what openstacksdk takes.

        :param public: whether it is for use on the machine, rather than in
            the lab
        """
        url = self.public if public else self.internal
        return {
            'auth': {'auth_url': url('keystone', '/v3'),
                     **self._account(user, project)},
            'region_name': REGION,
            'interface': 'public' if public else 'internal',
            'identity_api_version': '3'}

    def connect(
        self, user: str = 'admin', project: str = 'admin'
    ) -> connection.Connection:
        """A new connection of a user, from the controller."""
        return connection.Connection(**self.cloud(user, project))

    @functools.cached_property
    def admin(self) -> connection.Connection:
        """The connection of the operator, once the catalog is complete."""
        return self.connect()

    def environment(self) -> dict[str, str]:
        """The environment of every process."""
        temporary = self.where.lab / 'tmp'
        return {
            'PATH': f'{pathlib.Path(sys.executable).parent}:/usr/sbin:'
                    '/usr/bin:/sbin:/bin',
            'TMPDIR': str(temporary), 'HOME': str(temporary),
            'PYTHONPATH': self.settings.nova or '',
            'LC_ALL': 'C.UTF-8'}

    def call(self, *command: str, **environment: str) -> str:
        """Run a command that belongs to a service, on the controller.

        :param environment: variables for it
        :returns: its output, errors included
        :raises Failed: if it fails or takes too long, with the end of its
            output
        """
        name = pathlib.Path(command[0]).name
        log = self.where.logs / f'{name}.log'
        words = shlex.join([name, *command[1:]])
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, cwd=self.where.lab,
                env={**os.environ, **self.environment(), **environment},
                timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as exc:
            raise Failed(f'{words} took more than {_TIMEOUT} s') from exc
        with log.open('a') as output:
            output.write(done.stdout)
        if done.returncode:
            last = '\n'.join(done.stdout.splitlines()[-_LINES:])
            raise Failed(
                f'{words} failed:\n{last}\nThe whole output is in {log}')
        return done.stdout
