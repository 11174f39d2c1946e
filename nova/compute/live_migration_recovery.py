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

"""Bring live migrations to an end that no thread follows any more.

A hypervisor migrates a guest without the help of nova-compute. If the service
on the source ends or fails in the middle, the guest may stay, or may arrive at
the destination, while the database still has the instance on the source.

The one rule that no code here, and no caller, may break: no file is removed
and no guest started unless it was just established, under the lock of the
instance, where the guest is.

The Migration record is the only state. What is in memory is the set of the
migrations that a thread of this process owns. Everything else in flight from
this host is the business of recover_all(), be it that the service was
restarted, that following the migration has failed, or that an earlier
recovery has not succeeded. While in doubt it changes nothing, so that it can
be run again at any time.
"""

import abc
import collections
import contextlib
import threading

from oslo_concurrency import lockutils
from oslo_log import log as logging
from oslo_serialization import jsonutils
from oslo_utils import timeutils

from nova.compute import guest_rpcapi
from nova.compute import power_state
from nova.compute import task_states
import nova.conf
from nova import exception
from nova.i18n import _
from nova import objects
from nova.objects import fields
from nova import servicegroup
from nova import utils

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# The destination has not been asked to prepare anything yet.
_WAITING = ('accepted', 'queued')

# The hypervisor has not been asked to migrate the guest yet.
_GUEST_NOT_TOUCHED = _WAITING + ('preparing',)

_IN_FLIGHT = _GUEST_NOT_TOUCHED + (
    'running', 'running (post-copy)', 'post-migrating')

# What the source has attached is kept in the system metadata of the instance,
# the values of which have at most 255 characters.
_VOLUMES_KEY = 'live_migration_source_volumes_'
_CHUNK = 255
_MIGRATION_KEY = _VOLUMES_KEY + 'of'

_INSTANCE_ATTRS = ['flavor', 'info_cache', 'metadata', 'migration_context',
                   'numa_topology', 'pci_devices', 'pci_requests',
                   'resources', 'system_metadata']


class Steps(abc.ABC):
    """What the compute manager does at the end of any live migration."""

    @abc.abstractmethod
    def roll_back(self, context, instance, dest, migrate_data, source_bdms):
        """Give the instance back to this host.

        :param source_bdms: the BlockDeviceMappingList of this host, which is
            what the database has
        """

    @abc.abstractmethod
    def complete(self, context, instance, dest, migrate_data, source_bdms):
        """Give up the instance, and make the destination take it over.

        :param source_bdms: the BlockDeviceMappingList of this host
        """

    @abc.abstractmethod
    def revert_allocation(self, context, instance, migration):
        """Give the instance the resources that a migration holds for it."""

    @abc.abstractmethod
    def delete_allocation(self, context, instance, migration):
        """Free the resources that a migration holds for its instance."""


class LiveMigrationRecovery(object):

    def __init__(self, host, driver, compute_rpcapi, reportclient,
                 network_api, volume_api, steps):
        """Initialize the recovery of the live migrations from a host.

        :param host: name of this host (str)
        :param driver: its nova.virt.driver.ComputeDriver
        :param compute_rpcapi: nova.compute.rpcapi.ComputeAPI
        :param reportclient: nova.scheduler.client.report.SchedulerReportClient
        :param network_api: nova.network.neutron.API
        :param volume_api: nova.volume.cinder.API
        :param steps: Steps
        """
        self._host = host
        self._driver = driver
        self._compute_rpcapi = compute_rpcapi
        self._reportclient = reportclient
        self._network_api = network_api
        self._volume_api = volume_api
        self._steps = steps
        self._guest_api = guest_rpcapi.GuestAPI()
        self._servicegroup_api = servicegroup.API()
        self._lock = threading.Lock()
        self._owned = set()

    @property
    def is_supported(self):
        """Whether the driver can find out what became of a migration (bool).
        """
        return self._driver.capabilities.get(
            'supports_live_migration_recovery', False)

    # What the thread of a migration does

    def own(self, migration):
        """Note that a thread of this process has, or will have, a migration.

        :param migration: the Migration
        """
        with self._lock:
            self._owned.add(migration.uuid)

    def disown(self, migration):
        """Note that no thread of this process has a migration any more.

        :param migration: the Migration
        """
        with self._lock:
            self._owned.discard(migration.uuid)

    def _is_owned(self, migrations):
        with self._lock:
            return any(each.uuid in self._owned for each in migrations)

    def may_queue(self, context, migration):
        """Whether a migration that a conductor asks for is still to be made.

        It may have been brought to an end while the request was delayed. If it
        were queued after all, nothing would show that.

        :param context: nova.context.RequestContext
        :param migration: the Migration as the conductor knew it
        :returns: bool
        """
        if not self.is_supported or objects.Migration.get_by_id(
                context, migration.id).status == migration.status:
            return True
        LOG.warning('Not queueing the live migration %s: it was brought to an '
                    'end', migration.uuid,
                    instance_uuid=migration.instance_uuid)
        return False

    def may_begin(self, context, instance, migration):
        """Whether a queued migration may begin, as the database has it now.

        It may have been brought to an end while it was queued, its instance
        may have been deleted or its state reset, and a second migration may
        have been requested. If it may not begin, it is left to recover_all().

        :param context: nova.context.RequestContext
        :param instance: the Instance as the conductor knew it
        :param migration: the Migration as the conductor knew it
        :returns: bool
        """
        @utils.synchronized(instance.uuid)
        def check():
            try:
                now = objects.Instance.get_by_uuid(context, instance.uuid)
            except exception.InstanceNotFound:
                return False
            migrations = objects.MigrationList.get_by_filters(
                context, {'instance_uuid': instance.uuid})
            # Those from other hosts cannot move the guest of this one. If the
            # destination has one to conclude, it does so soon; a host that is
            # gone for good never does.
            in_flight = [each for each in migrations
                         if each.is_live_migration and
                         each.status in _IN_FLIGHT and each.source_compute in
                         (self._host, migration.dest_compute)]
            return (
                now.host == self._host and
                now.task_state == task_states.MIGRATING and
                max(each.id for each in migrations) == migration.id and
                [each.id for each in in_flight] == [migration.id] and
                in_flight[0].status == 'queued')

        if not self.is_supported or check():
            return True
        LOG.warning('Not starting the live migration %s: the instance is not '
                    'migrating any more, or is in another migration',
                    migration.uuid, instance=instance)
        return False

    def check_not_deleted(self, context, instance):
        """Keep the thread of a migration from reviving a deleted instance.

        :raises nova.exception.InstanceNotFound: if it was deleted meanwhile
        """
        if self.is_supported:
            objects.Instance.get_by_uuid(context, instance.uuid)

    # What may run at any time

    def recover_all(self, context):
        """Bring to an end what is in flight from this host and not owned.

        :param context: nova.context.RequestContext of an administrator
        """
        if not self.is_supported:
            return
        with utils.temporary_mutation(context, read_deleted='yes'):
            in_flight = self._find_in_flight(context)
        by_instance = collections.defaultdict(list)
        for migration in in_flight:
            by_instance[migration.instance_uuid].append(migration)

        silent_hosts = set()
        for instance_uuid, migrations in by_instance.items():
            # Do not wait for the lock, nor for a host, in vain.
            if (self._is_owned(migrations) or
                    self._is_conductors(migrations) or
                    not self._can_ask(context, migrations, silent_hosts)):
                continue
            try:
                self._recover(context, instance_uuid)
            except exception.GuestStateUnknown as e:
                silent_hosts.add(e.kwargs['host'])
                LOG.warning('A live migration is not recovered yet. Start '
                            'nova-compute of the same release on that host. '
                            '%s', e, instance_uuid=instance_uuid)
            except Exception:
                LOG.exception('A live migration is not recovered yet. Remove '
                              'the cause, it is tried again.',
                              instance_uuid=instance_uuid)

        for instance in objects.InstanceList.get_by_filters(
                context, {'host': self._host,
                          'task_state': task_states.MIGRATING},
                expected_attrs=[]):
            if instance.uuid in by_instance or not _is_old(instance):
                continue
            try:
                self._reset(context, instance.uuid)
            except Exception:
                LOG.exception('The task state of the instance is not reset',
                              instance=instance)

    def _find_in_flight(self, context, **filters):
        return list(objects.MigrationList.get_by_filters(context, dict(
            filters, source_compute=self._host, status=list(_IN_FLIGHT),
            migration_type=fields.MigrationType.LIVE_MIGRATION)))

    @staticmethod
    def _is_conductors(migrations):
        """Whether a conductor may still be selecting a destination."""
        return any(each.status == 'accepted' and not _is_old(each)
                   for each in migrations)

    def _can_ask(self, context, migrations, silent_hosts=()):
        """Whether the destinations that have to be asked are up."""
        for host in {each.dest_compute for each in migrations
                     if each.status not in _WAITING}:
            if host in silent_hosts:
                return False
            service = _find_service(context, host)
            if service and service.forced_down:
                continue
            if not service or not self._servicegroup_api.service_is_up(
                    service):
                LOG.info('A live migration is not recovered, because '
                         'nova-compute on its destination %s is down', host,
                         instance_uuid=migrations[0].instance_uuid)
                return False
        return True

    def _recover(self, context, instance_uuid):
        @utils.synchronized(instance_uuid)
        def recover():
            with utils.temporary_mutation(context, read_deleted='yes'):
                migrations = sorted(
                    self._find_in_flight(context, instance_uuid=instance_uuid),
                    key=lambda migration: migration.id, reverse=True)
                if not migrations or self._is_owned(migrations):
                    return
                instance = objects.Instance.get_by_uuid(
                    context, instance_uuid, expected_attrs=[])
                if instance.deleted:
                    self._clear_deleted(context, instance, migrations)
                    return
            instance = objects.Instance.get_by_uuid(
                context, instance_uuid, expected_attrs=_INSTANCE_ATTRS)
            if instance.host == self._host:
                self._recover_here(context, instance, migrations)
            else:
                self._conclude(context, instance, migrations)

        recover()

    def _recover_here(self, context, instance, migrations):
        """Recover an instance that is on this host in the database.

        :param migrations: its migrations in flight, the newest first
        """
        if instance.task_state not in (None, task_states.MIGRATING):
            LOG.info('A live migration is not recovered while the task state '
                     'is %s', instance.task_state, instance=instance)
            return
        moved = self._find_guest(context, instance, migrations)
        if instance.task_state is None:
            # Somebody has reset it. Nobody shall start anything meanwhile.
            instance.task_state = task_states.MIGRATING
            instance.save(expected_task_state=[None])
        if moved is None:
            self._roll_back(context, instance, migrations)
        else:
            self._complete(context, instance, migrations, moved)

    def _find_guest(self, context, instance, migrations):
        """Establish where the guest is, now that nothing moves it any more.

        :returns: the Migration that has moved it, None if it is on this host
        :raises nova.exception.GuestStateUnknown: if a host does not answer
        :raises nova.exception.MigrationError: if that is not clear
        """
        if not self._driver.end_live_migration(instance):
            raise exception.MigrationError(reason=_(
                'The hypervisor still migrates the guest, and that cannot be '
                'aborted.'))
        here = guest_rpcapi.find_power_state(self._driver, instance)
        asked = {
            each.dest_compute: each for each in reversed(migrations)
            if each.status not in _GUEST_NOT_TOUCHED}
        asked.pop(self._host, None)
        there = {
            host: power_state.NOSTATE if _is_fenced(context, host) else
            self._guest_api.get_power_state(context, host, instance.uuid)
            for host in asked}
        found = [host for host, state in there.items()
                 if state != power_state.NOSTATE]
        if here != power_state.NOSTATE and not found:
            return None
        if here == power_state.NOSTATE and len(found) == 1:
            return asked[found[0]]
        states = ', '.join('%s on %s' % (power_state.STATE_MAP[state], host)
                           for host, state in dict(
                               {self._host: here}, **there).items())
        raise exception.MigrationError(reason=_(
            'It is not clear which host has the current disks of the server: '
            'its guest is %s. Find out, and remove the other guest from its '
            'hypervisor or start the guest on that host.') % states)

    def _migrate_data(self, context, instance, migration):
        """Find out anew what the source knew of a live migration."""
        def is_on_destination(data):
            return self._compute_rpcapi.check_instance_shared_storage(
                context, data, instance=instance, host=migration.dest_compute)

        if (migration.status in _WAITING or
                _is_fenced(context, migration.dest_compute)):
            # The destination has nothing, or cannot be asked.
            data = self._driver.rebuild_live_migrate_data(
                instance, lambda data: True)
        else:
            data = self._driver.rebuild_live_migrate_data(
                instance, is_on_destination)
        data.migration = migration
        return data

    def _roll_back(self, context, instance, migrations):
        """Roll back, for the guest is on this host."""
        newest, others = migrations[0], migrations[1:]
        LOG.info('Rolling back the live migration %s, because the guest is '
                 'on this host', newest.uuid, instance=instance)
        dest = newest.dest_compute or self._find_destination(context, instance)
        bdms = objects.BlockDeviceMappingList.get_by_instance_uuid(
            context, instance.uuid)
        for migration in migrations:
            if migration.status not in _WAITING:
                self._restore_volumes(context, instance, migration, bdms)
                break
        for migration in migrations:
            self._revert_allocation(context, instance, migration)
        for migration in others:
            self._close(context, instance, migration)
        data = self._migrate_data(context, instance, newest)
        if newest.status not in _GUEST_NOT_TOUCHED:
            self._driver.rollback_live_migration_at_source(
                context, instance, data)
        self._steps.roll_back(
            context, instance, dest, migrate_data=data, source_bdms=bdms)

    def _complete(self, context, instance, migrations, moved):
        """Complete a migration, for the guest is on its destination."""
        LOG.info('Completing the live migration %s, because the guest is on '
                 '%s', moved.uuid, moved.dest_compute, instance=instance)
        for migration in migrations:
            if migration.id > moved.id:
                self._revert_allocation(context, instance, migration)
            elif migration.id < moved.id:
                self._steps.delete_allocation(context, instance, migration)
            if migration.id != moved.id:
                self._close(context, instance, migration, moved.dest_compute)
        self._steps.complete(
            context, instance, moved.dest_compute,
            migrate_data=self._migrate_data(context, instance, moved),
            source_bdms=_source_bdms(context, instance))

    def _conclude(self, context, instance, migrations):
        """Conclude migrations of an instance that is on another host.

        The source may have been killed, or the answer of the destination may
        have been lost, when only notes were left to be made.
        """
        arrived = next((each for each in migrations
                        if each.dest_compute == instance.host), None)
        if arrived and (
                guest_rpcapi.find_power_state(self._driver, instance) !=
                power_state.NOSTATE):
            raise exception.MigrationError(reason=_(
                'The server is on %s, but its guest is on this host too. '
                'Find out which of them has the current disks, and remove the '
                'other from its hypervisor.') % instance.host)
        if arrived and not _is_fenced(context, instance.host):
            self._guest_api.get_power_state(
                context, instance.host, instance.uuid)
        for migration in migrations:
            self._steps.delete_allocation(context, instance, migration)
            if migration is not arrived:
                self._close(context, instance, migration, instance.host)
        if arrived:
            LOG.info('Concluding the live migration %s, because the instance '
                     'is on %s', arrived.uuid, instance.host,
                     instance=instance)
            self._delete_port_bindings(context, instance, self._host)
            _set_status(arrived, 'completed')

    def _close(self, context, instance, migration, *kept_hosts):
        """Close a migration that is not the one of its instance any more."""
        dest = migration.dest_compute
        if dest and dest not in (self._host, instance.host, *kept_hosts):
            if migration.status not in _WAITING:
                data = self._migrate_data(context, instance, migration)
                if not data.is_shared_instance_path:
                    self._compute_rpcapi.\
                        rollback_live_migration_at_destination(
                            context, instance, dest,
                            destroy_disks=not data.is_shared_block_storage,
                            migrate_data=data)
            self._delete_port_bindings(context, instance, dest)
        LOG.info('Closing the live migration %s, after which the instance was '
                 'in another', migration.uuid, instance=instance)
        _set_status(migration, 'error')

    def _clear_deleted(self, context, instance, migrations):
        """Remove what a deleted instance has left on its destinations.

        Its guest has no host any more. A destination is asked to remove it
        until it answers that there is nothing.
        """
        for migration in migrations:
            if (migration.dest_compute not in (None, self._host) and
                    migration.status not in _WAITING and
                    not _is_fenced(context, migration.dest_compute) and
                    self._is_on_destination(context, instance, migration)):
                LOG.info('Removing the deleted instance from %s, to which it '
                         'was live-migrated', migration.dest_compute,
                         instance=instance)
                data = self._driver.rebuild_live_migrate_data(instance, None)
                data.migration = migration
                self._compute_rpcapi.rollback_live_migration_at_destination(
                    context, instance, migration.dest_compute,
                    destroy_disks=True, migrate_data=data)
                continue
            for consumer, consumer_type in (
                    (migration.uuid, 'migration'),
                    (instance.uuid, 'instance')):
                self._reportclient.delete_allocation_for_instance(
                    context, consumer, consumer_type=consumer_type,
                    force=True)
            _set_status(migration, 'error')

    def _is_on_destination(self, context, instance, migration):
        def exists(data):
            return self._compute_rpcapi.check_instance_shared_storage(
                context, data, instance=instance, host=migration.dest_compute)

        state = self._guest_api.get_power_state(
            context, migration.dest_compute, instance.uuid)
        return (state != power_state.NOSTATE or
                self._driver.has_files_on_other_host(instance, exists))

    def _reset(self, context, instance_uuid):
        """Reset the task state if no migration will ever come of it.

        The conductor may have been killed before it made a Migration, or an
        earlier release of this service may have ended the Migration but not
        the task. Should a conductor ask for it after all, may_begin() says no.
        """
        @utils.synchronized(instance_uuid)
        def reset():
            instance = objects.Instance.get_by_uuid(context, instance_uuid)
            if (instance.host != self._host or
                    instance.task_state != task_states.MIGRATING or
                    self._find_in_flight(
                        context, instance_uuid=instance_uuid)):
                return
            last = objects.MigrationList.get_by_filters(
                context, {'instance_uuid': instance_uuid,
                          'migration_type':
                              fields.MigrationType.LIVE_MIGRATION},
                sort_keys=['id'], sort_dirs=['desc'], limit=1)
            # It is not in flight, but that is no proof of where the guest is.
            ended = [each for each in last
                     if each.source_compute == self._host and
                     each.dest_compute]
            with_status = [_with_status(each, 'running') for each in ended]
            if not self._can_ask(context, with_status):
                return
            if self._find_guest(context, instance, with_status) is not None:
                raise exception.MigrationError(reason=_(
                    'The guest is on %s.') % ended[0].dest_compute)
            LOG.warning('Resetting the task state: the live migration of the '
                        'instance has never begun', instance=instance)
            instance.task_state = None
            instance.save(expected_task_state=[task_states.MIGRATING])

        reset()

    def _revert_allocation(self, context, instance, migration):
        if self._reportclient.get_allocations_for_consumer(
                context, migration.uuid):
            self._steps.revert_allocation(context, instance, migration)

    def _find_destination(self, context, instance):
        """Find the host that a conductor has selected but not recorded.

        :returns: its name, or None if the instance has no allocations there
        """
        for provider_uuid in self._reportclient.get_allocations_for_consumer(
                context, instance.uuid):
            try:
                node = objects.ComputeNode.get_by_uuid(context, provider_uuid)
            except exception.ComputeHostNotFound:
                # A provider inside of a node, or shared by nodes.
                continue
            if node.host != self._host:
                return node.host
        return None

    def _delete_port_bindings(self, context, instance, host):
        """Delete the bindings of the ports on a host without the guest."""
        try:
            self._network_api.setup_networks_on_host(
                context, instance, host, teardown=True)
        except exception.PortBindingDeletionFailed as e:
            LOG.error('The ports keep their bindings to the host %(host)s: '
                      '%(error)s', {'host': host, 'error': e},
                      instance=instance)

    # The volumes of the source

    def _restore_volumes(self, context, instance, migration, bdms):
        """Give the source its volumes back, which the guest is using.

        :param bdms: BlockDeviceMappingList of the instance, which is changed
        :raises nova.exception.MigrationError: if what the source had attached
            is unknown
        """
        kept = _kept_volumes(instance)
        for bdm in bdms:
            if not bdm.is_volume or bdm.attachment_id is None:
                continue
            if bdm.volume_id not in kept:
                raise exception.MigrationError(reason=_(
                    'The source has not recorded what it has attached of '
                    'volume %s.') % bdm.volume_id)
            attachment_id, connection_info = kept[bdm.volume_id]
            if bdm.attachment_id == attachment_id:
                continue
            try:
                if not _is_fenced(context, migration.dest_compute):
                    self._compute_rpcapi.remove_volume_connection(
                        context, instance, bdm.volume_id,
                        migration.dest_compute)
            except Exception as e:
                LOG.warning('The host %(host)s keeps its connection to volume '
                            '%(volume)s: %(error)s',
                            {'host': migration.dest_compute,
                             'volume': bdm.volume_id, 'error': e},
                            instance=instance)
            try:
                self._volume_api.attachment_delete(context, bdm.attachment_id)
            except Exception as e:
                LOG.warning('Delete the attachment %(attachment)s of volume '
                            '%(volume)s, which Cinder does not: %(error)s',
                            {'attachment': bdm.attachment_id,
                             'volume': bdm.volume_id, 'error': e},
                            instance=instance)
            bdm.attachment_id = attachment_id
            bdm.connection_info = connection_info
            bdm.save()

    # What the destination does

    def check_is_preparing(self, context, instance, migrate_data):
        """Check that a live migration to this host is being prepared.

        The request may have been delayed, or may have taken so long, that the
        source has given it up. Nothing would remove what this host then made,
        and the instance would get the volume attachments of this host.

        :param context: nova.context.RequestContext
        :param instance: the Instance as the source knew it
        :param migrate_data: LiveMigrateData of the migration, which a source
            of an earlier release sends without the Migration
        :raises nova.exception.MigrationPreCheckError: if it is not
        """
        if not self.is_supported:
            return
        wanted = (migrate_data.migration.id
                  if 'migration' in migrate_data else None)
        if not any(each.dest_compute == self._host and
                   each.status == 'preparing' and
                   wanted in (None, each.id)
                   for each in self._find_moves(context, instance)):
            raise exception.MigrationPreCheckError(reason=_(
                'The live migration of the server to this host is not being '
                'prepared any more.'))

    @contextlib.contextmanager
    def disconnecting(self, context, instance):
        """Keep off another live migration while a volume is disconnected.

        The request names no migration and may have been delayed until another
        migration has connected the volume, or until the instance is here.

        :param context: nova.context.RequestContext
        :param instance: the Instance as the caller knew it
        :returns: context manager of whether the connection may be removed
            (bool)
        """
        with self._volumes_lock(instance):
            allowed = (not self.is_supported or
                       instance.host == self._host or
                       not self._has_or_awaits(context, instance))
            if not allowed:
                LOG.warning('Not removing the connection to a volume: the '
                            'instance is on this host, or another live '
                            'migration brings it', instance=instance)
            yield allowed

    def _has_or_awaits(self, context, instance):
        """Whether an instance is here, or another migration brings it.

        :param instance: the Instance as the source of a migration knew it
        """
        now = _get_if_exists(context, instance, ['system_metadata'])
        if now is None:
            return False
        migration_uuid = now.system_metadata.get(_MIGRATION_KEY)
        return now.host == self._host or (
            # A source of an earlier release records no migration.
            migration_uuid is not None and
            migration_uuid != _kept_migration(instance) and
            any(each.uuid == migration_uuid and each.status in _IN_FLIGHT
                for each in self._find_moves(context, instance)))

    def _volumes_lock(self, instance):
        # That of the instance is held by a source that waits for this host,
        # which may be in the same process.
        return lockutils.lock('%s-%s-volumes' % (self._host, instance.uuid),
                              lock_file_prefix='nova-')

    def may_clear(self, context, instance, migrate_data):
        """Whether this host may remove what a live migration has left here.

        The request may have been delayed until after another move, which
        brings, or has brought, the only guest and the only disks to this host.
        The caller has the lock of the instance.

        :param context: nova.context.RequestContext
        :param instance: the Instance as the source knew it
        :param migrate_data: LiveMigrateData of the migration
        :returns: bool
        :raises nova.exception.GuestStateUnknown: if the guest is on this host
            and it is not known whether the source has it too
        """
        if not self.is_supported:
            return True
        now = _get_if_exists(context, instance)
        if now is None:
            return True
        if now.host == self._host:
            LOG.warning('Not rolling back a live migration to this host, '
                        'because the instance is on this host',
                        instance=instance)
            return False
        if any(self._is_needed_here(each, now, migrate_data.migration)
               for each in self._find_moves(context, instance)):
            LOG.warning('Not rolling back a live migration to this host, '
                        'because another move of the instance came after it',
                        instance=instance)
            return False
        if (guest_rpcapi.find_power_state(self._driver, instance) !=
                power_state.NOSTATE and
                self._guest_api.get_power_state(
                    context, now.host, instance.uuid) ==
                power_state.NOSTATE):
            LOG.error('Not rolling back a live migration to this host, '
                      'because the only guest of the instance is on this '
                      'host', instance=instance)
            return False
        return True

    def is_in_later(self, context, instance, migrate_data):
        """Whether a later live migration to this host is under way.

        :param context: nova.context.RequestContext
        :param instance: the Instance as the source knew it
        :param migrate_data: LiveMigrateData of the migration that has ended
        :returns: bool; False if that cannot be found out
        """
        if not self.is_supported:
            return False
        try:
            moves = self._find_moves(context, instance)
        except Exception:
            LOG.exception('It is unknown whether a later live migration is '
                          'under way', instance=instance)
            return False
        return any(
            each.id > migrate_data.migration.id and
            each.is_live_migration and each.dest_compute == self._host and
            each.status in _IN_FLIGHT and each.status not in _WAITING
            for each in moves)

    @staticmethod
    def _is_needed_here(other, now, migration):
        """Whether another move may need what is on this host.

        :param other: the Migration of that move, from or to this host
        :param now: the Instance, which is on another host
        :param migration: the Migration that is rolled back
        """
        if not other.is_live_migration:
            # A resize leaves disks to go back to.
            return other.id > migration.id
        # No other host can bring the guest here.
        return (other.id != migration.id and other.status in _IN_FLIGHT and
                other.source_compute == now.host and
                (other.id > migration.id or other.status not in _WAITING))

    def _find_moves(self, context, instance):
        """Find the moves of an instance from or to this host.

        :returns: list of Migration
        """
        return [each for each in objects.MigrationList.get_by_filters(
                    context, {'instance_uuid': instance.uuid})
                if self._host in (each.source_compute, each.dest_compute)]

    def clear_destination(self, context, instance, migrate_data):
        """Remove a directory that an instance has left on this destination.

        A rollback may not have reached this host when it was down, and other
        moves leave directories too. If anything is in doubt, it stays, and
        the migration fails because of it.

        :param context: nova.context.RequestContext
        :param instance: the Instance that is being migrated to this host
        :param migrate_data: LiveMigrateData
        """
        if not self.is_supported:
            return

        def is_on_source(data):
            return self._compute_rpcapi.check_instance_shared_storage(
                context, data, instance=instance, host=source)

        # A rollback that has begun before this migration ends first.
        @utils.synchronized(instance.uuid)
        def clear():
            if not self._driver.has_leftover_directory(
                    instance, migrate_data):
                return
            self.check_is_preparing(context, instance, migrate_data)
            now = objects.Instance.get_by_uuid(context, instance.uuid)
            if (now.host != source or now.host == self._host or
                    now.task_state != task_states.MIGRATING or
                    guest_rpcapi.find_power_state(self._driver, instance) !=
                    power_state.NOSTATE or
                    self._guest_api.get_power_state(
                        context, source, instance.uuid) not in
                    (power_state.RUNNING, power_state.PAUSED)):
                return
            LOG.info('Removing the directory that an earlier move of the '
                     'instance has left on this host', instance=instance)
            self._driver.remove_leftover_directory(
                instance, migrate_data, is_on_source)

        source = instance.host
        # Nor does anything disconnect what this migration will connect.
        with self._volumes_lock(instance):
            pass
        try:
            clear()
        except Exception as e:
            LOG.warning('What an earlier move of the instance has left on '
                        'this host is not removed: %s', e, instance=instance)


def keep_source_volumes(instance, bdms, migration):
    """Record what the source has attached, before the destination does.

    :param instance: Instance that is to be live-migrated
    :param bdms: its BlockDeviceMappingList
    :param migration: the Migration for which it is recorded
    """
    if 'system_metadata' not in instance:
        instance.obj_load_attr('system_metadata')
    forget_source_volumes(instance)
    if any(bdm.is_volume for bdm in bdms):
        instance.system_metadata[_MIGRATION_KEY] = migration.uuid
    volumes = [[bdm.volume_id, bdm.attachment_id, bdm.connection_info]
               for bdm in bdms if bdm.is_volume and bdm.attachment_id]
    if volumes:
        text = jsonutils.dumps(volumes)
        for number, start in enumerate(range(0, len(text), _CHUNK)):
            instance.system_metadata[_VOLUMES_KEY + str(number)] = (
                text[start:start + _CHUNK])
    instance.save()


def forget_source_volumes(instance):
    """Remove what keep_source_volumes() has recorded, but do not save that.

    :param instance: Instance the live migration of which ends
    """
    if 'system_metadata' not in instance:
        # The source has loaded it if it has recorded anything.
        return
    for key in [key for key in instance.system_metadata
                if key.startswith(_VOLUMES_KEY)]:
        del instance.system_metadata[key]


def _kept_migration(instance):
    """For which migration keep_source_volumes() has recorded the volumes.

    :param instance: Instance, maybe as another host knew it
    :returns: UUID of the migration (str), None if that is not known
    """
    if 'system_metadata' not in instance:
        return None
    return instance.system_metadata.get(_MIGRATION_KEY)


def _kept_volumes(instance):
    """What keep_source_volumes() has recorded.

    :returns: dict of the attachment id and the connection info, by volume id
    """
    metadata = instance.system_metadata
    text = ''
    while (chunk := metadata.get(
            _VOLUMES_KEY + str(len(text) // _CHUNK))) is not None:
        text += chunk
        if len(chunk) < _CHUNK:
            break
    return {volume_id: (attachment_id, connection_info)
            for volume_id, attachment_id, connection_info
            in jsonutils.loads(text or '[]')}


def _source_bdms(context, instance):
    """Make block device mappings what they were on the source.

    :returns: BlockDeviceMappingList, without the volumes of which that is
        unknown
    """
    kept = _kept_volumes(instance)
    source_bdms = []
    for bdm in objects.BlockDeviceMappingList.get_by_instance_uuid(
            context, instance.uuid):
        if bdm.is_volume and bdm.attachment_id is not None:
            attachment_id, connection_info = kept.get(
                bdm.volume_id, (bdm.attachment_id, None))
            if attachment_id == bdm.attachment_id:
                LOG.warning('This host keeps what it has attached of volume '
                            '%s, because that is not recorded',
                            bdm.volume_id, instance=instance)
                continue
            bdm = bdm.obj_clone()
            bdm.attachment_id = attachment_id
            bdm.connection_info = connection_info
        source_bdms.append(bdm)
    return objects.BlockDeviceMappingList(objects=source_bdms)


def _get_if_exists(context, instance, expected_attrs=()):
    """Look up an instance anew.

    :param expected_attrs: names of what is loaded with it
    :returns: Instance, or None if it was deleted
    """
    try:
        now = objects.Instance.get_by_uuid(
            context, instance.uuid, expected_attrs=list(expected_attrs))
    except exception.InstanceNotFound:
        return None
    # The recovery asks with a context that reads what is deleted.
    return None if now.deleted else now


def _find_service(context, host):
    """Find the nova-compute service of a host.

    :returns: Service, or None
    """
    try:
        return objects.Service.get_by_compute_host(context, host)
    except exception.NotFound:
        return None


def _is_fenced(context, host):
    """Whether an operator has said that no guest runs on a host any more."""
    service = _find_service(context, host)
    return bool(service and service.forced_down)


def _is_old(record):
    """Whether no request of before the last change is under way any more."""
    return timeutils.is_older_than(
        record.updated_at or record.created_at, CONF.long_rpc_timeout)


def _with_status(migration, status):
    clone = migration.obj_clone()
    clone.status = status
    return clone


def _set_status(migration, status):
    migration.status = status
    migration.save()
