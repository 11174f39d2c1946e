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

"""Bring moves across cells to an end that no conductor works on any more.

The records of both cells and the instance mapping say how far a move has come.
They are the only state: whoever reads them later comes to the same conclusion,
so that a recovery can be repeated, and can itself be interrupted.

While a conductor works on a move it updates the time of the migration record
again and again. A move whose records have been left alone is abandoned.

The rule of nova.compute.live_migration_recovery holds here too: no file is
removed and no guest started unless its host has just established, under the
lock of the instance, where the guest is. A host that does not answer leaves
the move as it is, to be tried again later.
"""

import copy
import dataclasses
import enum

from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import cross_cell_rpcapi
from nova.compute import rpcapi
from nova.compute import task_states
from nova.compute import vm_states
from nova.conductor import cross_cell_records
from nova.conductor import cross_cell_rollback
from nova.conductor.tasks import cross_cell_migrate
from nova.conductor.tasks import migrate
from nova import conf
from nova import context as nova_context
from nova import exception
from nova.i18n import _
from nova.image import glance
from nova.network import neutron
from nova import objects
from nova import rpc
from nova.scheduler.client import report
from nova.scheduler import utils as scheduler_utils
from nova import servicegroup
from nova import utils
from nova.virt import hardware
from nova.volume import cinder

CONF = conf.CONF
LOG = logging.getLogger(__name__)

_CONFIRMING = 'confirming'
_REVERTING = 'reverting'

# Statuses of a migration that has not ended. One that is "finished" waits to
# be confirmed.
_UNDER_WAY = (
    'pre-migrating', 'migrating', 'post-migrating', 'finished', _CONFIRMING,
    _REVERTING)

# Task states of an instance that is being moved.
_MOVING = (
    task_states.RESIZE_PREP, task_states.RESIZE_MIGRATING,
    task_states.RESIZE_MIGRATED, task_states.RESIZE_FINISH)

_INSTANCE_ATTRS = [
    'flavor', 'info_cache', 'metadata', 'migration_context', 'numa_topology',
    'pci_devices', 'pci_requests', 'resources', 'system_metadata']


@dataclasses.dataclass
class Side:
    """What one cell has of a move.

    :ivar cell: CellMapping
    :ivar context: RequestContext, targeted at the cell
    :ivar instance: Instance, None if the cell has none
    :ivar migration: Migration, None if the cell has none
    :ivar has_open_events: whether an event of a move has not ended there
    """

    cell: object
    context: object
    instance: object = None
    migration: object = None
    has_open_events: bool = False


@dataclasses.dataclass
class Move:
    """What all records say of the newest move of a server.

    :ivar instance_uuid: UUID of the server
    :ivar mapped_cell: UUID of the cell that the server is mapped to, None if
        it is not mapped
    :ivar source: Side
    :ivar target: Side, None as long as it is not known
    :ivar is_newest: whether the server has not been moved since, within its
        cell
    """

    instance_uuid: str
    mapped_cell: str | None
    source: Side
    target: Side | None = None
    is_newest: bool = True

    @property
    def sides(self):
        """The Sides that are known."""
        return [side for side in (self.source, self.target) if side]

    @property
    def mapped_to_source(self):
        """Whether the server is mapped to the source cell."""
        return self.source.cell.uuid == self.mapped_cell

    @property
    def claimable(self):
        """The Migration that whoever leads the move to its end claims."""
        return next(side.migration for side in self.sides if side.migration)

    @property
    def last_touched(self):
        """When a record of the move was updated last (datetime)."""
        return max(
            side.migration.updated_at or side.migration.created_at
            for side in self.sides if side.migration)


class Way(enum.Enum):
    """What leads a move to its end; the value is the message about it."""

    NONE = _('the move is complete or has ended')
    BACK = _('the move has not come to its end: roll it back')
    FORWARD = _('the server is on its new host: complete the move')
    CONFIRM = _('the resize is being confirmed: confirm it')
    REVERT = _('the resize is being reverted: revert it')
    LEAVE = _('the move has ended: remove what it has left in the other cell')
    REMOVE = _('the server is deleted: remove what a move has left of it')
    RESET = _('the state was reset while the resize waited to be confirmed: '
              'it is confirmed if its server is named')


def find_way(move):
    """Read from the records which way a move goes.

    :param move: Move
    :returns: Way
    """
    source = move.source.instance
    target = move.target and move.target.instance
    if move.mapped_to_source:
        if source:
            return _find_way_at_source(move, source, target)
    elif target and move.mapped_cell is not None:
        return _find_way_at_target(move, source, target)
    return Way.REMOVE if source or target else Way.NONE


def _find_way_at_source(move, source, target):
    # Whoever has reset the state has not ended the move.
    is_moving = source.task_state in (
        *_MOVING, task_states.RESIZE_REVERTING, None)
    migration = move.source.migration
    if not (move.is_newest and is_moving and
            migration and migration.status in _UNDER_WAY):
        return Way.LEAVE if target else Way.NONE
    if source.task_state == task_states.RESIZE_REVERTING:
        return Way.REVERT
    if target is None:
        return Way.BACK
    if (target.vm_state == vm_states.RESIZED and
            move.target.migration and
            move.target.migration.uuid == migration.uuid and
            move.target.migration.status == 'finished'):
        return Way.FORWARD
    return Way.BACK


def _find_way_at_target(move, source, target):
    status = move.target.migration.status
    if (status == _REVERTING or
            target.task_state == task_states.RESIZE_REVERTING):
        return Way.REVERT
    resized = target.vm_state == vm_states.RESIZED
    if not move.is_newest:
        # The record in the source cell is not of what happens now.
        return Way.NONE
    if source is None:
        return Way.CONFIRM if resized else Way.NONE
    if not source.hidden:
        return Way.FORWARD
    if (status in (_CONFIRMING, 'confirmed') or
            target.task_state == task_states.RESIZE_CONFIRMING):
        return Way.CONFIRM
    if not resized:
        return Way.RESET
    return Way.FORWARD if move.target.has_open_events else Way.NONE


def _get_moved_uuids(context, instance_uuid):
    """List the servers of a cell that a move may have something of.

    :param context: RequestContext, targeted at the cell
    :param instance_uuid: UUID of the only server to look for, or None
    :returns: set of UUIDs
    """
    migration_filters = {'status': list(_UNDER_WAY)}
    instance_filters = {'hidden': True, 'deleted': False}
    if instance_uuid:
        migration_filters['instance_uuid'] = instance_uuid
        instance_filters['uuid'] = instance_uuid
    migrations = objects.MigrationList.get_by_filters(
        context, migration_filters)
    hidden = objects.InstanceList.get_by_filters(
        context, instance_filters, expected_attrs=[])
    return {
        migration.instance_uuid for migration in migrations
        if migration.cross_cell_move
    } | {instance.uuid for instance in hidden}


def _get_records(context, instance_uuid):
    """Get what a cell has of the moves of a server.

    :param context: RequestContext, targeted at the cell
    :param instance_uuid: UUID of the server
    :returns: Instance or None, a dict of its Migrations by UUID, and whether
        an event of a move has not ended
    """
    try:
        instance = objects.Instance.get_by_uuid(
            context, instance_uuid, expected_attrs=_INSTANCE_ATTRS)
    except exception.InstanceNotFound:
        instance = None
    migrations = objects.MigrationList.get_by_filters(
        context, {'instance_uuid': instance_uuid})
    return instance, {
        migration.uuid: migration for migration in migrations}, bool(
        cross_cell_records.get_open_events(context, instance_uuid))


def _get_service(context, host):
    """Get the service of a host of a cell, None if the cell has none."""
    try:
        return objects.Service.get_by_compute_host(context, host)
    except exception.ComputeHostNotFound:
        return None


def _get_newest(migrations):
    """Get the newest of some Migrations that is of a move across cells."""
    return max(
        (migration for migration in migrations if migration.cross_cell_move),
        key=lambda migration: migration.created_at, default=None)


class MoveFinder:
    """Finds the moves across cells that the databases have records of."""

    def __init__(self, context):
        """Initialize the finder.

        :param context: RequestContext of an administrator, not targeted
        """
        self._context = context
        self._sides = {}
        for cell in objects.CellMappingList.get_all(context):
            if not cell.is_cell0():
                cctxt = copy.copy(context)
                nova_context.set_target_cell(cctxt, cell)
                self._sides[cell.uuid] = Side(cell, cctxt)
        self.silent_cells = set()
        """UUIDs of cells that have not answered."""

    def find(self, instance_uuid=None):
        """Find the servers that a move may have left something of.

        :param instance_uuid: UUID of the only server to look for, or None
        :returns: sorted list of UUIDs of servers
        """
        found = self._ask_cells(_get_moved_uuids, instance_uuid)
        return sorted(set().union(*found.values()))

    def get(self, instance_uuid):
        """Get the newest move of a server.

        :param instance_uuid: UUID of the server
        :returns: Move, None if it has not been moved across cells
        :raises nova.exception.CellTimeout: if a cell that may have something
            of it does not answer
        """
        records = self._ask_cells(_get_records, instance_uuid)
        mapped_cell = self._get_mapped_cell(instance_uuid)
        # The newest move began or ended in the cell of the server.
        self._check_answered(records, mapped_cell)
        migrations = [migration for _instance, found, _open in records.values()
                      for migration in found.values()]
        newest = _get_newest(migrations)
        if newest is None:
            return None
        is_newest = all(migration.created_at <= newest.created_at
                        for migration in migrations)

        source_cell = self._get_source_cell(newest, mapped_cell)
        self._check_answered(records, source_cell)
        sides = {
            cell_uuid: dataclasses.replace(
                self._sides[cell_uuid], instance=instance,
                migration=migrations.get(newest.uuid),
                has_open_events=has_open_events)
            for cell_uuid, (instance, migrations, has_open_events)
            in records.items()}
        source = sides.pop(source_cell)
        target = next((
            side for side in sides.values() if side.migration), None)
        if target is None:
            # The destination is not known before the claim on it, and the
            # record of the instance is the first in its cell.
            self._check_answered(records, None)
            target = next((
                side for side in sides.values() if side.instance), None)
        if target is not None and target.migration is None:
            # The record of the instance is that of an earlier move, which a
            # host may need to remove its guest.
            target.migration = _get_newest(
                records[target.cell.uuid][1].values())
        move = Move(instance_uuid, mapped_cell, source, target, is_newest)
        if target is None or find_way(move) is not Way.NONE:
            return move

        # Another cell may have the record of a move before that one.
        stray = next((
            side for side in sides.values()
            if side.instance and side is not target), None)
        earlier = stray and _get_newest(records[stray.cell.uuid][1].values())
        if not earlier or source.instance and target.instance:
            return move
        home = next((
            side for side in move.sides if side.cell.uuid == mapped_cell),
            source)
        return Move(
            instance_uuid, mapped_cell,
            dataclasses.replace(home, migration=None),
            dataclasses.replace(stray, migration=earlier), is_newest=False)

    def get_service(self, host):
        """Get the service of a host, whichever its cell is.

        :param host: name of the host
        :returns: Service, None if it has been deleted
        :raises nova.exception.CellTimeout: if it is in none of the cells that
            answer
        """
        services = self._ask_cells(_get_service, host)
        service = next(filter(None, services.values()), None)
        if service is None:
            self._check_answered(services, None)
        return service

    def _ask_cells(self, function, *args):
        results = nova_context.scatter_gather_cells(
            self._context, [side.cell for side in self._sides.values()],
            nova_context.CELL_TIMEOUT, function, *args)
        answers = {
            cell_uuid: result for cell_uuid, result in results.items()
            if not nova_context.is_cell_failure_sentinel(result)}
        self.silent_cells.update(results.keys() - answers)
        return answers

    def _check_answered(self, answers, cell_uuid):
        """Check that one cell has answered, or all if it is None."""
        needed = self._sides.keys() if cell_uuid is None else {cell_uuid}
        if needed - answers.keys():
            raise exception.CellTimeout()

    def _get_cell_of_host(self, host):
        return objects.HostMapping.get_by_host(
            self._context, host).cell_mapping.uuid

    def _get_source_cell(self, migration, mapped_cell):
        """Get the cell that a move has begun in.

        :param migration: Migration
        :param mapped_cell: UUID of the cell that the server is mapped to
        """
        try:
            return self._get_cell_of_host(migration.source_compute)
        except exception.HostMappingNotFound:
            # A host is deleted once its servers have left it.
            if mapped_cell is None or migration.status in _UNDER_WAY:
                raise
            return mapped_cell

    def _get_mapped_cell(self, instance_uuid):
        try:
            mapping = objects.InstanceMapping.get_by_instance_uuid(
                self._context, instance_uuid)
        except exception.InstanceMappingNotFound:
            return None
        return mapping.cell_mapping and mapping.cell_mapping.uuid


class Recovery:
    """Completes or rolls back the moves that no conductor works on."""

    def __init__(self, context, older_than, tell=None, lost_host=None):
        """Initialize the recovery.

        :param context: RequestContext of an administrator, not targeted
        :param older_than: a move is abandoned if its records have not been
            updated for so many seconds
        :param tell: function that is called with the UUID of a server and a
            message about its move
        :param lost_host: name of a host that will never come back with what it
            has, and is not waited for
        """
        self._context = context
        self._older_than = older_than
        self._tell = tell or self._log
        self._lost_host = lost_host
        self._finder = MoveFinder(context)
        self._compute_rpcapi = rpcapi.ComputeAPI()
        self._image_api = glance.API()
        self._network_api = neutron.API()
        self._servicegroup_api = servicegroup.API()
        self._notifier = rpc.get_notifier('compute')
        self._volume_api = cinder.API()

    @staticmethod
    def _log(instance_uuid, message):
        LOG.debug('A move across cells: %s', message,
                  instance_uuid=instance_uuid)

    def run(self, instance_uuid=None, dry_run=False):
        """Recover what is abandoned, one server after the other.

        :param instance_uuid: UUID of the only server to look at, or None
        :param dry_run: tell what would be done, and do nothing
        :returns: number of servers and cells of which something is left to do
        :raises nova.exception.Invalid: if a host may run that is said to be
            lost
        """
        if self._lost_host is not None:
            self._check_lost_host()
        left = 0
        for uuid in self._finder.find(instance_uuid):
            try:
                ended = self._recover(
                    uuid, named=uuid == instance_uuid, dry_run=dry_run)
            except Exception as e:
                LOG.warning('The move of the server to another cell could '
                            'not be recovered: %s', e, instance_uuid=uuid,
                            exc_info=not isinstance(
                                e, exception.NovaException))
                self._tell(uuid, _('left as it is: %s') % e)
                ended = False
            left += not ended
        for cell_uuid in sorted(self._finder.silent_cells):
            self._tell(None, _('cell %s does not answer') % cell_uuid)
        return left + len(self._finder.silent_cells)

    def _recover(self, uuid, named, dry_run):
        """Recover the move of a server.

        :returns: whether nothing is left to do
        """
        move = self._finder.get(uuid)
        if move is None:
            self._tell(uuid, _('it has a hidden record, and no migration says '
                               'why: remove the record by hand'))
            return False
        way = find_way(move)
        if way is Way.NONE:
            return True
        age = timeutils.delta_seconds(
            move.last_touched, timeutils.utcnow(with_timezone=True))
        if self._older_than and age < self._older_than:
            self._tell(uuid, _('a conductor was at work %d seconds ago') % age)
            return True
        self._tell(uuid, way.value)
        if any(self._is_given_up(move, way, side)
               for side, _host in self._get_hosts(move, way)):
            self._tell(uuid, _('host %s is lost: what it has of the server '
                               'stays there') % self._lost_host)
        if dry_run or way is Way.RESET and not (
                named and move.target.migration.status == 'finished'):
            return False
        self._check_hosts(move, way)
        if not cross_cell_records.claim(move.claimable):
            self._tell(uuid, _('somebody else has just begun to work on it'))
            return True
        # It may have come further before it was claimed.
        move = self._finder.get(uuid)
        if move is not None and find_way(move) is way:
            self._lead(move, way)
        # The records say whether it has come to its end.
        move = self._finder.get(uuid)
        return move is None or find_way(move) is Way.NONE

    def _check_lost_host(self):
        """Check that the host that is said to be lost does not run.

        :raises nova.exception.Invalid: if it may
        """
        host = self._lost_host
        service = self._finder.get_service(host)
        if service is None:
            return
        if not service.forced_down:
            raise exception.Invalid(_('Host %s is not forced down') % host)
        with utils.temporary_mutation(service, forced_down=False):
            if self._servicegroup_api.service_is_up(service):
                raise exception.Invalid(_(
                    'Host %s is forced down, but its service runs, or did so '
                    'a moment ago') % host)

    def _is_lost(self, host):
        """Whether a host will never come back with what it has.

        :raises nova.exception.Invalid: if that is not true
        """
        if host is None or host != self._lost_host:
            return False
        self._check_lost_host()
        return True

    @staticmethod
    def _get_hosts(move, way):
        """Get the hosts that have to do something.

        :returns: list of pairs of a Side and the name of its host
        """
        source, target = move.source, move.target
        hosts = []
        if way not in (Way.FORWARD, Way.LEAVE) and source.instance:
            hosts.append((source, source.migration.source_compute))
        if (way in (Way.BACK, Way.REVERT, Way.LEAVE, Way.REMOVE) and
                target and target.instance and target.migration and
                target.migration.dest_compute):
            hosts.append((target, target.migration.dest_compute))
        return hosts

    def _is_given_up(self, move, way, side):
        """Whether the host of a side is lost, and a way goes on without it.

        A server cannot go back to a host that is lost.
        """
        if side is move.source:
            return way not in (Way.BACK, Way.REVERT) and self._is_lost(
                side.migration.source_compute)
        return self._is_lost(side.migration.dest_compute)

    def _check_hosts(self, move, way):
        """Check that the hosts that have to do something can do it.

        :raises nova.exception.ComputeServiceUnavailable: if one cannot
        """
        for side, host in self._get_hosts(move, way):
            if self._is_given_up(move, way, side):
                continue
            if (side is move.source or
                    not cross_cell_rollback.is_forced_down(
                        side.context, host)):
                self._check_host(side, host)

    def _check_host(self, side, host):
        service = objects.Service.get_by_compute_host(side.context, host)
        if not self._servicegroup_api.service_is_up(service):
            raise exception.ComputeServiceUnavailable(host=host)

    def _lead(self, move, way):
        """Lead a move to its end."""
        LOG.info('Recovering the move of the server to another cell: %s',
                 way.value, instance_uuid=move.instance_uuid)
        migrations = [
            side.migration for side in move.sides if side.migration]
        for migration in migrations:
            cross_cell_records.touch(migration)
        with cross_cell_records.heartbeat(*migrations):
            {
                Way.BACK: self._roll_back,
                Way.FORWARD: self._complete,
                Way.CONFIRM: self._confirm,
                Way.RESET: self._confirm,
                Way.REVERT: self._revert,
                Way.LEAVE: self._end,
                Way.REMOVE: self._remove,
            }[way](move)

    def _roll_back(self, move):
        """Give the server back to the host that it was to leave."""
        source = move.source
        self._leave(move)
        # No destination looks for the marker any more.
        cross_cell_rpcapi.CrossCellAPI().forget_check(
            source.context, source.instance, source.migration)
        cross_cell_rollback.restore_at_source(
            source.instance, source.migration)
        migrate.revert_allocation_for_migration(
            source.context,
            objects.ComputeNode.get_by_host_and_nodename(
                source.context, source.migration.source_compute,
                source.migration.source_node),
            source.instance, source.migration)
        source.migration.status = 'error'
        source.migration.save()
        cross_cell_records.forget_move(source.instance)
        self._delete_images(move)

        source.instance.refresh()
        updates = {'vm_state': source.instance.vm_state}
        if source.instance.task_state in _MOVING:
            updates['task_state'] = None
        try:
            # Faults and events tell where an exception comes from.
            raise exception.MigrationError(reason=_(
                'the service that moved the server to another cell has ended, '
                'and the server was given back'))
        except exception.MigrationError as cause:
            cross_cell_records.end_events(
                source.context, move.instance_uuid, cause)
            scheduler_utils.set_vm_state_and_notify(
                source.context, move.instance_uuid, 'compute_task',
                'migrate_server', updates, cause, self._get_request_spec(move))

    def _complete(self, move):
        """Give the server to the host that has it."""
        source, target = move.source, move.target
        task = cross_cell_migrate.FinishResizeAtDestTask(
            target.context, target.instance, target.migration, source.instance,
            self._compute_rpcapi, target.cell, None, None)
        try:
            task.complete()
        except Exception as e:
            # The user may have deleted the server meanwhile.
            task.rollback(e)
            raise
        self._delete_images(move)
        spec = self._get_request_spec(move)
        if spec.flavor.flavorid != target.instance.flavor.flavorid:
            spec.flavor = target.instance.flavor
            spec.numa_topology = hardware.numa_get_constraints(
                spec.flavor, target.instance.image_meta)
            spec.pci_requests = target.instance.pci_requests
            spec.save()

    def _confirm(self, move):
        """Go on confirming a resize, or confirm one that was forgotten."""
        source, target = move.source, move.target
        if source.instance and self._is_lost(source.migration.source_compute):
            self._give_up_source(move)
        cross_cell_migrate.ConfirmResizeTask(
            target.context, target.instance, target.migration,
            self._notifier, self._compute_rpcapi).execute()
        cross_cell_records.end_events(target.context, move.instance_uuid)

    def _give_up_source(self, move):
        """Remove what a confirm removes, but for what a lost source has."""
        source = move.source
        self._delete_attachments(source, move.target)
        self._network_api.cleanup_instance_network_on_host(
            source.context, source.instance, source.migration.source_compute)
        report.report_client_singleton().delete_allocation_for_instance(
            self._context, source.migration.uuid, force=True)
        source.instance.destroy(hard_delete=True)

    def _revert(self, move):
        """Go on reverting a resize."""
        source, target = move.source, move.target
        if not move.mapped_to_source:
            cross_cell_migrate.RevertResizeTask(
                target.context, target.instance, target.migration,
                self._notifier, self._compute_rpcapi).execute()
        else:
            # The guest is gone from the destination.
            self._compute_rpcapi.\
                finish_revert_snapshot_based_resize_at_source(
                    source.context, source.instance, source.migration)
            self._leave(move)
        cross_cell_records.end_events(source.context, move.instance_uuid)

    def _remove(self, move):
        """Remove what the deletion of a server did not know of.

        The records that tell of it go last.
        """
        source, target = move.source, move.target
        if (source.instance and
                not self._is_lost(source.migration.source_compute)):
            self._compute_rpcapi.confirm_snapshot_based_resize_at_source(
                source.context, source.instance, source.migration)
        deletable = not target or self._leave_target(move)
        self._delete_images(move)
        placement = report.report_client_singleton()
        for consumer in {side.migration.uuid for side in move.sides
                         if side.migration} | {move.instance_uuid}:
            placement.delete_allocation_for_instance(
                self._context, consumer, force=True)
        for side in move.sides:
            cross_cell_rollback.delete_attachments(
                side.context, self._volume_api, move.instance_uuid)
            if side.instance:
                self._release_ports(move, side.instance)
        if source.instance:
            source.instance.destroy(hard_delete=True)
        if target and target.instance and deletable:
            target.instance.destroy(hard_delete=True)

    def _release_ports(self, move, instance):
        """Delete the bindings of the ports that a deleted server had."""
        hosts = {host for side in move.sides if side.migration
                 for host in (side.migration.source_compute,
                              side.migration.dest_compute) if host}
        for vif in instance.get_network_info():
            try:
                port = self._network_api.show_port(
                    self._context, vif['id'])['port']
            except exception.PortNotFound:
                continue
            if port.get('device_id') in ('', None, move.instance_uuid):
                for host in hosts:
                    self._network_api.delete_port_binding(
                        self._context, vif['id'], host)

    def _end(self, move):
        """Remove what is left of a move that has ended."""
        self._leave(move)
        source = move.source
        if (move.is_newest and source.migration and
                source.migration.status == 'reverted'):
            cross_cell_records.end_events(source.context, move.instance_uuid)

    def _leave(self, move):
        """Remove what a move has left in the target cell."""
        if move.target and self._leave_target(move) and move.target.instance:
            move.target.instance.destroy(hard_delete=True)

    def _leave_target(self, move):
        """Remove what a move has made for a host of the target cell.

        :returns: whether the record of the instance there can be deleted
        :raises nova.exception.CrossCellMoveUndecided: if it is not known that
            the guest is not there
        """
        target = move.target
        host, deletable = None, True
        if target.migration:
            host = target.migration.dest_compute
            if not self._is_lost(host):
                deletable = cross_cell_rollback.abandon_at_dest(
                    target.context, move.instance_uuid, target.migration.uuid)
        if target.instance is None:
            return True
        self._delete_attachments(target, move.source)
        if host:
            for vif in target.instance.get_network_info():
                self._network_api.delete_port_binding(
                    target.context, vif['id'], host)
        if not deletable:
            self._tell(move.instance_uuid, _(
                'host %s is forced down; it will remove what it has when it '
                'is back') % host)
        return deletable

    def _delete_attachments(self, side, other):
        """Delete the volume attachments that only one of the cells knows."""
        kept = set()
        if other.instance:
            kept = {bdm.attachment_id for bdm in other.instance.get_bdms()}
        for bdm in side.instance.get_bdms():
            if bdm.attachment_id and bdm.attachment_id not in kept:
                try:
                    self._volume_api.attachment_delete(
                        side.context, bdm.attachment_id)
                except exception.VolumeAttachmentNotFound:
                    LOG.debug('Attachment %s is gone.', bdm.attachment_id,
                              instance=side.instance)

    def _delete_images(self, move):
        """Delete the temporary images of a move.

        They belong to the project of the user who has asked for the move, and
        the image service may not show them to this one.
        """
        try:
            for hidden in ('false', 'true'):
                images = self._image_api.get_all(self._context, filters={
                    'os_hidden': hidden,
                    'property-instance_uuid': move.instance_uuid})
                for image in images:
                    properties = image.get('properties', {})
                    if (properties.get('instance_uuid') ==
                            move.instance_uuid and
                            '-resize-temp' in image['name']):
                        self._image_api.delete(self._context, image['id'])
        except Exception as e:
            self._tell(move.instance_uuid, _(
                'the temporary images of the move could not be deleted: '
                '%(error)s. List them with "openstack image list --property '
                'instance_uuid=%(uuid)s", and again with "--hidden", and '
                'delete those with "-resize-temp" in their name') % {
                    'error': str(e).rstrip('.'), 'uuid': move.instance_uuid})

    def _get_request_spec(self, move):
        return objects.RequestSpec.get_by_instance_uuid(
            self._context, move.instance_uuid)


def recover_abandoned(context):
    """Recover the moves that no conductor has worked on for some time.

    Nothing is done where the API database is not configured.

    :param context: RequestContext of an administrator
    """
    if (CONF.api_database.connection is not None and
            CONF.conductor.cross_cell_poll_interval):
        Recovery(context, CONF.conductor.cross_cell_abandoned_after).run()
