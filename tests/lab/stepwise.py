# SPDX-License-Identifier: Apache-2.0

"""An embedded Nova whose services act only when they are told to.

Messages are delivered, and live migrations begun, by Stepwise.run() alone. One
thread runs at a time, until it ends or reaches the point at which it is to
stop, so that a sequence of steps has one outcome.
"""

from collections import abc
import contextlib
import contextvars
import dataclasses
import itertools
import os
import queue
import shutil
import threading
import types
import warnings

import fixtures
import futurist
from nova import context as nova_context
from nova import objects
from nova import rpc
from nova.tests.fixtures import host_dirs
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova import thread_pool_factory
from nova.virt.libvirt import driver
from oslo_context import context as oslo_context
import oslo_messaging
from oslo_messaging.rpc import client as rpc_client
from oslo_serialization import jsonutils

_POINTS = {
    'live_migrate_instance': 'select',
    'check_can_live_migrate_destination': 'check',
    'live_migration': 'begin',
    'pre_live_migration': 'prepare',
    'post_live_migration_at_destination': 'finish',
    'rollback_live_migration_at_destination': 'clear',
}
"""The messages before and after which their sender can be stopped."""

_ACTIVE = {
    fakelibvirt.VIR_DOMAIN_RUNNING, fakelibvirt.VIR_DOMAIN_PAUSED}

_TASKS = {
    thread_pool_factory.ExecutorType.LIVE_MIGRATION,
    thread_pool_factory.ExecutorType.LONG_TASK}

_TIMEOUT = 600

_GO_ON, _FAIL, _KILL = 'go on', 'fail', 'kill'
"""What becomes of a task that has come to a point."""


class _Killed(BaseException):
    """Ends a thread of a killed service, which does not clean up."""


@dataclasses.dataclass(eq=False)
class _Task:
    """What one service does by itself: a message, or a migration's thread."""

    process: str
    function: abc.Callable[[], object]
    point: str = ''
    verdicts: queue.Queue = dataclasses.field(default_factory=queue.Queue)


class _Local(threading.local):
    """The task of the current thread, and the service that acts in it."""

    task: _Task | None = None
    process = 'api'


class Stepwise(fixtures.Fixture):
    """Takes the services of an embedded cloud over.

    :param running: lab.embedded.services.Services
    :param moves: lab.embedded.hypervisor.Migrations
    """

    def __init__(self, running, moves):
        super().__init__()
        self.services = running
        self.dead = {}
        """Names of the killed hosts, and whether that has been noticed."""
        self.tasks = []
        """The tasks that have not ended. Those with a point are stopped."""
        self.delayed = []
        """The messages that are delivered when deliver() is called."""
        self.delays = set()
        """The points at which the next message is delayed."""
        self.vain = []
        """What a recovery has asked a host that is known to be down."""
        self._moves = moves
        self._jobs = {}
        self._local = _Local()
        self._reports = queue.Queue()
        self._stop = None
        self._then = None
        self._recovers = False
        self._writes = itertools.count()

    def _setUp(self):
        self.dirs = self.useFixture(host_dirs.HostDirs())
        self.services.flags(
            vif_plugging_timeout=0, running_deleted_instance_action='reap')
        self.services.admin_api.microversion = '2.105'
        # Nova's tests make it an error. A service that saves an instance which
        # was deleted meanwhile gives it a second row of this table.
        warnings.filterwarnings(
            'ignore', "Multiple rows returned .* 'Instance.extra'")
        self._operate = driver.LibvirtDriver._live_migration_operation
        self._call = rpc_client._BaseCallContext.call
        self._make_server = rpc.get_server
        self._spawn_on = thread_pool_factory.spawn_on
        for name, value in {
            # The disks are no images, and the block job copies all of them.
            'nova.virt.libvirt.LibvirtDriver.'
            '_get_instance_disk_info_from_config': lambda *args, **kwargs: [],
            'nova.virt.libvirt.LibvirtDriver.'
            '_live_migration_copy_disk_paths':
                lambda *args, **kwargs: ([], []),
            'nova.virt.libvirt.LibvirtDriver._create_images_and_backing':
                lambda *args, **kwargs: None,
            'nova.virt.libvirt.utils.copy_image': self._copy_image,
            'nova.virt.libvirt.LibvirtDriver._live_migration_operation':
                lambda *args, **kwargs: None,
            'nova.virt.libvirt.LibvirtDriver._live_migration_monitor':
                lambda *args: self._monitor(*args),
            'nova.tests.fixtures.libvirt.Domain.migrateToURI3':
                lambda *args, **kwargs: self._migrate(*args, **kwargs),
            'nova.tests.fixtures.libvirt.Domain.abortJob':
                lambda domain: self._end_job(domain),
            'nova.servicegroup.API.service_is_up':
                lambda api, service: not self.dead.get(
                    service.get('host')),
            'nova.thread_pool_factory.spawn_on': self._spawn,
            'nova.rpc.get_server': self._get_server,
            'oslo_messaging.rpc.client._BaseCallContext.call':
                lambda *args, **kwargs: self._on_call(*args, **kwargs),
            'oslo_messaging.rpc.client._BaseCallContext.cast':
                lambda *args, **kwargs: self._on_cast(*args, **kwargs),
        }.items():
            self.useFixture(fixtures.MonkeyPatch(name, value))
        for service in (self.services.conductor, self.services.scheduler,
                        *self.services.computes.values()):
            for server in filter(None, (
                    service.rpcserver, service.rpcserver_alt)):
                server.stop()

    # Threads

    @contextlib.contextmanager
    def _as(self, process):
        before, self._local.process = self._local.process, process
        try:
            yield
        finally:
            self._local.process = before

    def _perform(self, task):
        self._local.task = task
        self._local.process = task.process
        try:
            task.function()
        except (Exception, _Killed):
            # Nobody waits for what it returns or raises.
            pass
        finally:
            self.tasks.remove(task)
            self._reports.put(task)

    def _wait(self, task):
        assert self._reports.get(timeout=_TIMEOUT) is task

    def _resume(self, task, verdict):
        task.point = ''
        task.verdicts.put(verdict)
        self._wait(task)

    def _at(self, point):
        """Stop if that is asked for.

        :returns: whether what comes next is to fail
        """
        task = self._local.task
        if task is None or point is None or point != self._stop:
            return False
        self._stop = None
        verdict = self._then
        if verdict is None:
            task.point = point
            self._reports.put(task)
            verdict = task.verdicts.get()
        if verdict is _KILL:
            raise _Killed
        return verdict is _FAIL

    def run(self, stop=None):
        """Run what does not stand still, until all of it does or has ended.

        :param stop: the point at which the first task to reach it stops
        """
        self._stop = stop
        while task := next(
                (each for each in self.tasks
                 if not each.point and each.process not in self.dead), None):
            threading.Thread(
                target=contextvars.Context().run,
                args=(self._perform, task)).start()
            self._wait(task)
        self._stop = None

    def stopped(self):
        """The tasks that stand still."""
        return [task for task in self.tasks if task.point]

    def go_on(self, task, fails=False, stop=None):
        """Make a task go on that stands still.

        :param fails: whether what it would do next fails, or the answer to
            what it has done is lost
        """
        self._stop = stop
        self._resume(task, _FAIL if fails else _GO_ON)
        self.run(self._stop)

    # Messages

    def _get_server(self, *args):
        server = self._make_server(*args)
        # Nothing is to be received but what _dispatch() delivers.
        server.start = server.stop = server.wait = lambda: None
        return server

    def _server(self, target):
        if target.topic.startswith('compute') and target.server:
            service = self.services.computes[target.server]
            return (service.rpcserver if target.topic == 'compute'
                    else service.rpcserver_alt)
        return {'conductor': self.services.conductor,
                'scheduler': self.services.scheduler}[target.topic].rpcserver

    @staticmethod
    def _serialize(sender, ctxt, method, args):
        message = sender._make_message(ctxt, method, args)
        sender._check_version_cap(message.get('version'))
        return sender.serializer.serialize_context(ctxt), message

    def _dispatch(self, target, ctxt, message):
        dispatcher = self._server(target).dispatcher
        incoming = types.SimpleNamespace(
            ctxt=ctxt, message=jsonutils.loads(jsonutils.dumps(message)),
            client_timeout=None)
        current = oslo_context.get_current()
        try:
            with self._as(target.server or target.topic):
                return contextvars.Context().run(
                    dispatcher.dispatch, incoming)
        except oslo_messaging.ExpectedException as error:
            raise error.exc_info[1]
        finally:
            if current:
                current.update_store()

    def _on_call(self, sender, ctxt, method, **args):
        target = sender.target
        if target.fanout:
            return self._call(sender, ctxt, method, **args)
        sent = self._serialize(sender, ctxt, method, args)
        point = _POINTS.get(method)
        if self._recovers and self.dead.get(target.server):
            self.vain.append(method)
        if self._at(point) or target.server in self.dead:
            raise oslo_messaging.MessagingTimeout()
        result = self._dispatch(target, *sent)
        if point and self._at(f'{point} done'):
            raise oslo_messaging.MessagingTimeout()
        return sender.serializer.deserialize_entity(
            ctxt, jsonutils.loads(jsonutils.dumps(result)))

    def _on_cast(self, sender, ctxt, method, **args):
        target = sender.target
        if target.fanout:
            return
        sent = self._serialize(sender, ctxt, method, args)
        point = _POINTS.get(method)
        if self._at(point):
            return
        task = _Task(
            target.server or target.topic,
            lambda: self._dispatch(target, *sent))
        if point in self.delays:
            self.delays.remove(point)
            self.delayed.append(task)
        else:
            self.tasks.append(task)
        if point:
            self._at(f'{point} done')

    def deliver(self):
        """Deliver what was delayed."""
        self.tasks += self.delayed
        self.delayed.clear()
        self.run()

    def _spawn(self, executor_type, function, *args, **kwargs):
        if executor_type not in _TASKS:
            return self._spawn_on(executor_type, function, *args, **kwargs)
        future = futurist.Future()
        current = oslo_context.get_current()

        def perform():
            current.update_store()
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self.tasks.append(_Task(self._local.process, perform))
        return future

    # Hypervisors

    def _copy_image(
        self, source, destination, host=None, receive=False, **kwargs
    ):
        shutil.copy(
            self.dirs.elsewhere(source, host) if host else source,
            destination)

    def _monitor(
        self, drvr, context, instance, guest, dest, post_method,
        recover_method, block_migration, migrate_data, future, disk_paths,
    ):
        try:
            self._operate(
                drvr, context, instance, dest, block_migration, migrate_data,
                guest, [])
        except fakelibvirt.libvirtError:
            recover_method(context, instance, dest, migrate_data)
            return
        if self._at('move done'):
            raise oslo_messaging.MessagingTimeout()
        post_method(context, instance, dest, block_migration, migrate_data)

    def _migrate(self, domain, uri, params, flags):
        uuid = domain.UUIDString()
        domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED
        self._jobs[uuid] = (domain, uri, params, flags)
        if self._at('move'):
            self._end_job(domain)
        source = self._moves._host(domain._connection)
        # Not so if it has arrived while this stood still.
        if uuid in self._jobs or source in self.guests(uuid):
            self.arrive(uuid)

    def _end_job(self, domain):
        domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE
        self._jobs.pop(domain.UUIDString(), None)

    def arrive(self, uuid):
        """Make a guest arrive that the hypervisor moves."""
        if uuid not in self._jobs:
            raise fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError, 'operation aborted',
                error_code=fakelibvirt.VIR_ERR_OPERATION_FAILED)
        domain, uri, params, flags = self._jobs.pop(uuid)
        source = self._moves._host(domain._connection)
        state = domain._state
        self._moves._migrate(domain, uri, params, flags)
        (destination,) = self.guests(uuid)
        self._moves.connections[destination].lookupByUUIDString(
            uuid)._state = state
        for name in self.files(source, uuid):
            shutil.copy(self.dirs.path(source, uuid, name),
                        self.dirs.path(destination, uuid, name))
        self.write(destination, uuid)

    def is_moving(self, uuid):
        """Whether the hypervisor moves a guest."""
        return uuid in self._jobs

    def guests(self, uuid):
        """Names of the hosts that have a guest."""
        return [host for host, connection in self._moves.connections.items()
                if uuid in {domain.UUIDString()
                            for domain in connection._vms.values()
                            if domain.info()[0] in _ACTIVE}]

    def files(self, host, uuid):
        """Names of the files that a host has of a server."""
        return set(os.listdir(self.dirs.path(host, uuid)))

    def directories(self, uuid):
        """Names of the hosts that have a directory of a server."""
        return [host for host in self._moves.connections
                if os.path.isdir(self.dirs.path(host, uuid))]

    def write(self, host, uuid):
        """Write to the disk of a guest."""
        text = f'{uuid} {next(self._writes)}'
        with open(self.dirs.path(host, uuid, 'disk'), 'w') as disk:
            disk.write(text)
        self.written = text

    def read(self, host, uuid):
        """What is on the disk of a server."""
        with open(self.dirs.path(host, uuid, 'disk')) as disk:
            return disk.read()

    # Services

    def kill(self, process, noticed=False):
        """Kill a service.

        :param process: the name of a host, for its nova-compute, or
            'conductor', which starts again at once
        :param noticed: whether others know that before it starts again
        """
        for task in [each for each in self.stopped()
                     if each.process == process]:
            self._resume(task, _KILL)
        if process != 'conductor':
            self.dead[process] = noticed

    def start(self, host):
        """Start nova-compute of a host that was killed."""
        compute = self.services.computes[host]
        compute.manager.graceful_shutdown = lambda timeout: None
        compute.manager.cleanup_host = lambda: None
        del self.dead[host]
        self.services.restart_compute_service(host)
        self.run()

    @contextlib.contextmanager
    def cell(self):
        """The context of the cell that both hosts are in."""
        with nova_context.target_cell(
                nova_context.get_admin_context(),
                self.services.cell_mappings['cell1']) as context:
            yield context

    def recover(self, host, late=False, stop=None, kill=False):
        """Run the periodic task of a host.

        :param late: whether no conductor can be at work any more
        :param stop: the point at which it fails, or is killed
        """
        manager = self.services.computes[host].manager

        def perform():
            with self.cell() as context:
                manager._recover_live_migrations(context)

        if late:
            self.services.flags(long_rpc_timeout=-1)
        try:
            self.tasks.append(_Task(host, perform))
            self._then = _KILL if kill else _FAIL
            self._recovers = True
            self.run(stop)
            if kill:
                self.kill(host)
        finally:
            self._then = None
            self._recovers = False
            self.services.flags(long_rpc_timeout=20)

    def clean(self, host):
        """Run the periodic tasks of a host that remove deleted servers."""
        manager = self.services.computes[host].manager
        with self.cell() as context:
            manager._cleanup_running_deleted_instances(context)
            manager._run_pending_deletes(context)

    # Users

    def ask(self, uuid, action, stop=None):
        """Ask the API for an action on a server, which it may refuse."""
        api = self.services.admin_api
        try:
            if action == 'delete':
                api.delete_server(uuid)
            else:
                api.post_server_action(uuid, action)
        except client.OpenStackApiException as error:
            assert error.response.status_code < 500, error
        self.run(stop)

    def migrations(self, uuid):
        """The migrations of a server, also of one that is deleted."""
        with self.cell() as context:
            context.read_deleted = 'yes'
            return list(objects.MigrationList.get_by_filters(
                context, {'instance_uuid': uuid}))
