# SPDX-License-Identifier: Apache-2.0

"""What the services of the lab share."""

import dataclasses
import functools
import os
import pathlib
import shlex
import subprocess
import sys

from openstack import connection

from lab.real import layout
from lab.real import machine
from lab.real import oslo
from lab.real import settings as lab_settings
from lab.real import topology
from tool import console

REGION = 'lab'
CONTROLLER = topology.CONTROLLER.address


class Failed(console.Problem):
    """A command that prepares a service failed."""


def tool(name: str) -> str:
    """A program of the environment that this runs in."""
    return str(pathlib.Path(sys.executable).parent / name)


@dataclasses.dataclass(frozen=True)
class Lab:
    """What a service must know of the lab that it is part of."""

    where: layout.Layout
    settings: lab_settings.Settings

    def password(self, account: str) -> str:
        return self.settings.passwords[account]

    def directory(self, service: str) -> pathlib.Path:
        """The directory for the configuration of a service."""
        path = self.where.conf / service
        path.mkdir(exist_ok=True)
        return path

    def instances_directory(self, host: str) -> pathlib.Path:
        """The directory of all servers on a host, from on the controller.

        As the host itself has it mounted now.
        """
        path = self.where.here / 'instances'
        return machine.files(host) / path.relative_to('/')

    def server_directory(self, host: str, server_id: str) -> pathlib.Path:
        """The directory of a server on a host, from on the controller."""
        return self.instances_directory(host) / server_id

    def database(self, name: str) -> str:
        """The URL of a database."""
        return (f'mysql+pymysql://openstack:{self.password("database")}'
                f'@{CONTROLLER}/{name}?charset=utf8mb4')

    def messages(self, virtual_host: str) -> str:
        """The URL of a virtual host of the message queue."""
        return (f'rabbit://openstack:{self.password("messages")}'
                f'@{CONTROLLER}:5672/{virtual_host}')

    def internal(self, api: str, path: str = '') -> str:
        """The URL of an API in the network of the lab."""
        return f'http://{CONTROLLER}:{lab_settings.APIS[api]}{path}'

    def public(self, api: str, path: str = '') -> str:
        """The URL of an API on the machine."""
        return f'http://127.0.0.1:{self.settings.ports[api]}{path}'

    def _account(self, user: str, project: str) -> dict[str, object]:
        return {
            'username': user, 'password': self.password(user),
            'project_name': project, 'user_domain_name': 'Default',
            'project_domain_name': 'Default'}

    def login(self, service: str) -> dict[str, object]:
        """Options by which a service logs in to Keystone."""
        return {
            'auth_type': 'password', 'auth_url': self.internal('keystone'),
            **self._account(service, 'service')}

    def client(self, service: str) -> dict[str, object]:
        """Options by which a service calls another one."""
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
                'memcached_servers': f'{CONTROLLER}:11211'},
            'oslo_concurrency': {'lock_path': self.lock_path(service)},
        }

    def cloud(
        self, user: str, project: str, public: bool = False
    ) -> dict[str, object]:
        """What clouds.yaml and openstacksdk have to know of a user.

        :param public: whether to come from the machine, not from the lab
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

    def logging(self) -> dict[str, object]:
        return {'use_stderr': 'true', 'debug': 'false'}

    def lock_path(self, service: str) -> pathlib.Path:
        return self.where.run / f'{service}-locks'

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
        """Run a command that prepares a service, on the controller.

        :returns: its output
        :raises Failed: if it fails, with the end of its output
        """
        log = self.where.logs / f'{pathlib.Path(command[0]).name}.log'
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=self.where.lab,
            env={**os.environ, **self.environment(), **environment})
        with log.open('a') as output:
            output.write(done.stdout)
        if done.returncode:
            last = '\n'.join(done.stdout.splitlines()[-15:])
            words = shlex.join(
                [pathlib.Path(command[0]).name, *command[1:]])
            raise Failed(
                f'{words} failed:\n{last}\nThe whole output is in {log}')
        return done.stdout
