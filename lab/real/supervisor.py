# SPDX-License-Identifier: Apache-2.0

"""The programs of the lab and their supervisor.

The supervisor is supervisord: it comes from PyPI, runs without systemd, and
is controlled over a socket.
"""

from collections import abc
import configparser
import dataclasses
import functools
import http.client
import io
import json
import os
import pathlib
import shlex
import signal
import socket
from typing import Any
import xmlrpc.client

from supervisor import xmlrpc as supervisor_xmlrpc

from lab.real import layout
from lab.real import namespaces
from lab.words import expect
from tool import console

_RUNNING = 'RUNNING'

_INTERVAL = 0.1
"""Seconds between two looks at a program."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A process that the supervisor keeps running on a host, if asked to."""

    name: str
    #: the host that it runs on; the network of the machine if empty
    host: str
    command: tuple[str, ...]
    #: whether it is ready to work; asked until it is
    ready: abc.Callable[[], bool]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    #: name of the signal that asks it to end
    stop_signal: str = 'TERM'
    #: seconds that it may take to end, before it is killed
    patience: int = 10


@dataclasses.dataclass(frozen=True)
class State:
    """The state of a program."""

    name: str
    #: as in `Program`
    host: str
    #: as supervisord names it, e.g. RUNNING
    state: str
    #: seconds since it was started
    seconds: int

    @property
    def runs(self) -> bool:
        return self.state == _RUNNING


class NotReady(console.Problem):
    """A program did not become ready."""


def port_open(address: str, port: int) -> abc.Callable[[], bool]:
    """A check whether something listens on a port, on the controller."""

    def look() -> bool:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            return False
        return True

    return look


def answers(address: str, port: int, path: str = '/') -> (
        abc.Callable[[], bool]):
    """A check whether an API answers without a server error."""

    def look() -> bool:
        connection = http.client.HTTPConnection(address, port, timeout=30)
        try:
            connection.request('GET', path)
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return look


def socket_open(path: pathlib.Path) -> abc.Callable[[], bool]:
    """A check whether something listens on a Unix socket."""

    def look() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                return False
        return True

    return look


def _quoted(value: str) -> str:
    # supervisord expands %(name)s in its values.
    return value.replace('%', '%%')


def _environment(values: dict[str, str]) -> str:
    return ','.join(
        f'{name}="{_quoted(value)}"' for name, value in values.items())


def write_configuration(
    where: layout.Layout, programs: abc.Sequence[Program],
    spare: abc.Sequence[Program] = (),
) -> None:
    """Write the configuration of supervisord.

    :param programs: the programs of the lab, which `Supervisor` starts
    :param spare: those that can be started in place of some of them
    """
    where.programs.write_text(json.dumps(
        {program.name: program.host for program in programs}))
    found = configparser.RawConfigParser()
    found['unix_http_server'] = {
        'file': str(where.run / 'supervisor'), 'chmod': '0700'}
    found['rpcinterface:supervisor'] = {
        'supervisor.rpcinterface_factory':
            'supervisor.rpcinterface:make_main_rpcinterface'}
    found['supervisord'] = {
        'nodaemon': 'true', 'silent': 'true', 'user': 'root',
        'logfile': str(where.logs / 'supervisord.log'),
        'pidfile': str(where.run / 'supervisord.pid'),
        'childlogdir': str(where.logs), 'directory': str(where.lab)}
    for program in [*programs, *spare]:
        prefix = namespaces.enter(program.host) if program.host else []
        found[f'program:{program.name}'] = {
            'command': _quoted(shlex.join([*prefix, *program.command])),
            'environment': _environment(program.environment),
            'autostart': 'false', 'autorestart': 'unexpected',
            'startsecs': '1', 'startretries': '2',
            'stopsignal': program.stop_signal,
            'stopwaitsecs': str(program.patience),
            'stopasgroup': 'true', 'killasgroup': 'true',
            'redirect_stderr': 'true', 'stdout_logfile_maxbytes': '0',
            'stdout_logfile': str(log(where, program.name))}
    text = io.StringIO()
    found.write(text)
    (where.conf / 'supervisord.conf').write_text(text.getvalue())


def log(where: layout.Layout, name: str) -> pathlib.Path:
    """The path of the log of a program."""
    return where.logs / f'{name}.log'


def _exists(group: int) -> bool:
    """Whether there is a process of a process group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Supervisor:
    """The supervisor of a lab that is up, reached through its socket."""

    def __init__(self, where: layout.Layout):
        self._where = where

    @functools.cached_property
    def _server(self) -> Any:
        transport = supervisor_xmlrpc.SupervisorTransport(
            serverurl=f'unix://{self._where.run / "supervisor"}')
        return xmlrpc.client.ServerProxy(
            'http://127.0.0.1', transport=transport).supervisor

    def wait_until_up(self) -> None:
        """Wait until the supervisor listens.

        :raises NotReady: if it does not in time
        """
        self._wait(
            'supervisord', socket_open(self._where.run / 'supervisor'),
            lambda: True)

    def start(self, *programs: Program) -> None:
        """Start programs together, and wait until each is ready.

        :raises NotReady: if one is not in time, with the end of its log
        """
        for program in programs:
            try:
                self._server.startProcess(program.name, False)
            except xmlrpc.client.Fault as exc:
                if exc.faultCode != supervisor_xmlrpc.Faults.ALREADY_STARTED:
                    raise
        for program in programs:
            self._wait(
                program.name, program.ready,
                functools.partial(self.runs, program.name))

    def _wait(
        self, name: str, ready: abc.Callable[[], bool],
        runs: abc.Callable[[], bool],
    ) -> None:

        def look() -> str:
            if ready():
                return 'ready'
            return 'running' if runs() else 'ended'

        try:
            expect.wait_for(
                f'{name} that is ready', look, {'ready'}.__contains__,
                {'ended'}.__contains__, longest_pause=_INTERVAL)
        except expect.Unexpected as exc:
            raise NotReady(f'{exc}\n{self.tail(name)}') from exc

    def tail(self, name: str, count: int = 15) -> str:
        """The last lines of a program's log."""
        try:
            lines = log(self._where, name).read_text(
                errors='replace').splitlines()
        except OSError:
            lines = []
        return '\n'.join([*lines[-count:],
                          f'The whole log: ./run lab logs {name}'])

    def states(self) -> list[State]:
        """The state of every program of the lab.

        Of spare programs, only those that run are among them.
        """
        hosts = json.loads(self._where.programs.read_text())
        return [
            State(
                each['name'], hosts.get(each['name'], ''), each['statename'],
                each['now'] - each['start'])
            for each in self._server.getAllProcessInfo()
            if each['name'] in hosts or each['statename'] == _RUNNING]

    def runs(self, name: str) -> bool:
        """Whether a program runs or is being started."""
        return self._state(name) in ('STARTING', 'RUNNING', 'BACKOFF')

    def _state(self, name: str) -> str:
        return self._server.getProcessInfo(name)['statename']

    def stop(self, name: str) -> None:
        """Stop a program and wait until it has ended."""
        try:
            self._server.stopProcess(name)
        except xmlrpc.client.Fault as exc:
            if exc.faultCode != supervisor_xmlrpc.Faults.NOT_RUNNING:
                raise

    def freeze(self, name: str) -> int:
        """Stop a program and its children with SIGSTOP, so that they hang.

        :returns: the process group of the program
        """
        # This fails if it does not run, and so has no process group.
        self._server.signalProcess(name, 'STOP')
        group = self._server.getProcessInfo(name)['pid']
        os.killpg(group, signal.SIGSTOP)
        return group

    def thaw(self, name: str) -> None:
        """Resume a program that was frozen, unless it was killed since."""
        group = self._server.getProcessInfo(name)['pid']
        if group:
            os.killpg(group, signal.SIGCONT)

    def kill(self, name: str) -> None:
        """Kill a program and its children; it is not started again.

        :raises lab.words.expect.Unexpected: if it does not die
        """
        # If it died first, the supervisor would start it again; if it were
        # stopped first, it would end in an orderly way.
        group = self.freeze(name)
        self._server.stopProcess(name, False)
        os.killpg(group, signal.SIGKILL)
        expect.wait_for(
            f'{name} that is dead',
            lambda: (self._state(name), _exists(group)),
            ('STOPPED', False).__eq__, longest_pause=_INTERVAL)
