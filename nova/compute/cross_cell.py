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

"""What a host does in a move to another cell besides moving.

Conductor calls the source and the destination of a move in turn. If a step
fails, both hosts are asked to undo what they did, and may be asked again after
any crash of any service. So every step finds out first where the guest is and
what there is, and runs under the lock of the instance: a later call waits for
an earlier one.

The one rule that no code here may break: no file is removed and no guest
started unless it was just established, under the lock of the instance, where
the guest is.
"""

import abc
import functools
import inspect

from oslo_log import log as logging

from nova.compute import guest_rpcapi
from nova.compute import power_state
from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova.i18n import _
from nova.network import neutron
from nova import objects
from nova import safe_utils
from nova import utils

LOG = logging.getLogger(__name__)

# Is in the system metadata of an instance whose ports and volumes may not be
# connected to its host, because a move or its undoing has not ended.
NOT_CONNECTED = 'cross_cell_not_connected'

_INSTANCE_ATTRS = [
    'flavor', 'info_cache', 'metadata', 'migration_context', 'numa_topology',
    'pci_devices', 'pci_requests', 'resources', 'system_metadata']


def step(function):
    """Make a method of the compute manager a step of a move.

    It runs under the lock of the instance, and only if conductor still waits
    for it: the request may have been on its way for so long that the move has
    failed, or goes to another host, by now.
    """
    @functools.wraps(function)
    def wrapper(manager, context, *args, **kwargs):
        arguments = inspect.getcallargs(
            safe_utils.get_wrapped_function(function), manager, context, *args,
            **kwargs)

        @utils.synchronized(arguments['instance'].uuid)
        def run():
            manager.cross_cell.check_wanted(context, arguments['migration'])
            return function(manager, context, *args, **kwargs)
        return run()
    return wrapper


class Host(abc.ABC):
    """What the steps need of the compute manager of a host."""

    @abc.abstractmethod
    def get_block_device_info(self, context, instance, bdms, refresh=False):
        """Get the block devices of an instance in the form of the driver.

        :param refresh: whether to ask Cinder for the connections, rather than
            to take those of the records
        """

    @abc.abstractmethod
    def drop_claim(self, context, instance, migration):
        """Free what is claimed on this host for the instance, if anything."""

    @abc.abstractmethod
    def may_share_disks(self, instance):
        """Whether disks on this host may be those of the source of a move.

        If it is not known, they may.
        """

    @abc.abstractmethod
    def discard_disks(self, context, instance):
        """Remove the disks on this host that are of no other one."""

    @abc.abstractmethod
    def give_back_disks(self, context, instance):
        """Have the disks that hosts share as they were before a move."""

    @abc.abstractmethod
    def forget(self, context, instance):
        """Forget what is in memory about an instance that is not here."""


class CrossCellMoves(object):
    """The moves of a host into and out of its cell."""

    def __init__(self, host, driver, network_api, volume_api, manager):
        """Initialize the moves of a host.

        :param host: name of this host (str)
        :param driver: its nova.virt.driver.ComputeDriver
        :param network_api: nova.network.neutron.API
        :param volume_api: nova.volume.cinder.API
        :param manager: Host
        """
        self._host = host
        self._driver = driver
        self._network_api = network_api
        self._volume_api = volume_api
        self._manager = manager

    def check_wanted(self, context, migration):
        """Check that a move is at a step that this host can do.

        :param context: nova.context.RequestContext of the cell of this host
        :param migration: Migration that the step was requested with
        :raises nova.exception.MigrationPreCheckError: if the move is over, or
            goes to another host
        """
        try:
            migration = objects.Migration.get_by_uuid(context, migration.uuid)
        except exception.MigrationNotFound:
            raise exception.MigrationPreCheckError(
                reason=_('the move has failed in the meantime'))
        if (migration.status != 'pre-migrating' or
                self._host not in (migration.source_compute,
                                   migration.dest_compute)):
            raise exception.MigrationPreCheckError(reason=_(
                'the move is %(status)s, from %(source)s to %(dest)s') % {
                    'status': migration.status,
                    'source': migration.source_compute,
                    'dest': migration.dest_compute})

    def check_destination(self, context, instance, migration, check):
        """Look at this host before a move comes here.

        What an earlier move has left is removed on the way. That may be what
        the source host has, unless conductor still waits for this: the source
        host forgets how to tell it when the move is given up.

        :param context: nova.context.RequestContext of the cell of this host
        :param instance: Instance of that cell
        :param migration: Migration that the request came with
        :param check: function that looks at it; it is given a function to call
            before it removes anything
        :returns: what that returns
        :raises nova.exception.MigrationPreCheckError: if the move is over, or
            goes to another host
        """
        @utils.synchronized(instance.uuid)
        def do_check():
            check_wanted = functools.partial(
                self.check_wanted, context, migration)
            check_wanted()
            return check(check_wanted)
        return do_check()

    def abandon(self, context, instance, migration):
        """Remove what a move to this host has put here.

        When this returns, the guest is not here, and no step of the move will
        bring it. Can be repeated.

        :param context: nova.context.RequestContext of the cell of this host
        :param instance: Instance of that cell; its record may be gone
        :param migration: Migration of that cell; its record may be gone
        :raises nova.exception.InstanceInvalidState: if the server is here
        :raises Exception: if the guest could not be destroyed
        """
        @utils.synchronized(instance.uuid)
        def do_abandon():
            record = self._get_record(context, instance)
            if record is None:
                self._remove(context, instance, guest_only=True)
                self._manager.forget(context, instance)
                return
            if not record.hidden:
                # The move was completed, by whoever.
                raise exception.InstanceInvalidState(
                    instance_uuid=instance.uuid, attr='cell',
                    state=context.cell_uuid, method='abandon its move there')
            move = self._get_migration(context, migration)
            if move is None or move.dest_compute != self._host:
                # What the records say of volumes and disks is of another host.
                self._remove(context, record, guest_only=True)
            else:
                self._remove(context, record)
                self._manager.drop_claim(context, record, move)
                # Without this, the request for a step that is still on its
                # way, and the resource tracker, would take the move for one
                # to this host.
                move.dest_compute = None
                move.dest_node = None
                move.dest_host = None
                move.save()
            self._manager.forget(context, record)
        do_abandon()

    def _remove(self, context, instance, guest_only=False):
        """Remove the guest of a server that is elsewhere.

        :param guest_only: whether to leave its disks and volumes, of which the
            records say nothing that is true for this host
        """
        LOG.info('Removing what a move from another cell has put here.',
                 instance=instance)
        block_device_info = None
        if not guest_only:
            block_device_info = self._manager.get_block_device_info(
                context, instance, instance.get_bdms())
        network_info = instance.get_network_info()
        keep = guest_only or self._manager.may_share_disks(instance)
        state = guest_rpcapi.find_power_state(self._driver, instance)
        remove = (self._driver.cleanup if state == power_state.NOSTATE else
                  self._driver.destroy)
        try:
            remove(context, instance, network_info,
                   block_device_info=block_device_info,
                   destroy_disks=not keep)
            if not guest_only:
                self._manager.discard_disks(context, instance)
        except Exception:
            LOG.exception('Not all that a move has put here was removed.',
                          instance=instance)
            if guest_rpcapi.find_power_state(
                    self._driver, instance) != power_state.NOSTATE:
                raise

    def restore(self, context, instance, migration):
        """Make a server run again on this host, from which it was moved.

        The caller has established that no other host has, or will get, its
        guest. Can be repeated.

        :param context: nova.context.RequestContext of the cell of this host
        :param instance: Instance of that cell
        :param migration: Migration of that cell
        :raises nova.exception.InstanceInvalidState: if the server is not here
        :raises Exception: if it could not be restored; a hard reboot will try
            the same again
        """
        @utils.synchronized(instance.uuid)
        def do_restore():
            record = self._get_record(context, instance)
            if record is None:
                LOG.info('The server was deleted.', instance=instance)
                return
            if record.task_state == task_states.DELETING:
                LOG.info('The server is being deleted.', instance=instance)
                self._give_up_volumes(context, record)
                return
            if record.hidden or record.host != self._host:
                raise exception.InstanceInvalidState(
                    instance_uuid=instance.uuid, attr='host',
                    state=record.host, method='restore it on another one')
            move = self._get_migration(context, migration)
            last = self._get_last_move(context, record.uuid)
            if move is not None and last.uuid != move.uuid:
                raise exception.InstanceInvalidState(
                    instance_uuid=instance.uuid, attr='migration',
                    state=last.status, method='restore it after another one')
            try:
                self._restore(context, record, move or migration)
            finally:
                # So no request for a step that is still on its way is done.
                if move is not None:
                    move.status = 'error'
                    move.save()
        do_restore()

    def _restore(self, context, instance, migration):
        old_vm_state = instance.system_metadata.get(
            'old_vm_state', instance.vm_state)
        if instance.vm_state == vm_states.SOFT_DELETED:
            old_vm_state = vm_states.SOFT_DELETED
        power_on = (old_vm_state == vm_states.ACTIVE and
                    instance.task_state != task_states.SOFT_DELETING)
        state = guest_rpcapi.find_power_state(self._driver, instance)
        LOG.info('Restoring the server, which was %(vm_state)s; its guest '
                 'is %(state)s.', {'vm_state': old_vm_state, 'state': (
                     'not here' if state == power_state.NOSTATE else
                     power_state.STATE_MAP[state])}, instance=instance)
        if state == power_state.NOSTATE:
            # From here on, a hard reboot makes the same connections.
            instance.system_metadata[NOT_CONNECTED] = 'True'
            instance.save()
        if NOT_CONNECTED in instance.system_metadata:
            block_device_info = self._connect(context, instance, state)
        else:
            self._bind_ports(context, instance)
            block_device_info = self._manager.get_block_device_info(
                context, instance, instance.get_bdms())
        network_info = instance.get_network_info()

        if state == power_state.NOSTATE:
            self._driver.finish_revert_migration(
                context, instance, network_info, migration,
                block_device_info=block_device_info, power_on=power_on)
        elif power_on and state != power_state.RUNNING:
            self._driver.power_on(
                context, instance, network_info,
                block_device_info=block_device_info)

        self._complete_attachments(context, instance)
        instance.system_metadata.pop(NOT_CONNECTED, None)
        instance.vm_state = old_vm_state
        instance.power_state = guest_rpcapi.find_power_state(
            self._driver, instance)
        instance.save()

    def _give_up_volumes(self, context, instance):
        """Delete the attachments that the deletion does not know of.

        It was requested with those that the server had before the move.
        """
        if guest_rpcapi.find_power_state(
                self._driver, instance) != power_state.NOSTATE:
            return
        for bdm in instance.get_bdms():
            if bdm.is_volume and bdm.attachment_id:
                self._delete_attachment(context, bdm, bdm.attachment_id)

    def _delete_attachment(self, context, bdm, attachment_id):
        try:
            self._volume_api.attachment_delete(context, attachment_id)
        except exception.VolumeAttachmentNotFound:
            LOG.debug('Attachment %s is gone.', attachment_id,
                      instance_uuid=bdm.instance_uuid)

    def remove_abandoned(self, context):
        """Remove the guests of moves that were undone without this host.

        It had been forced down at the time. The records in this cell were kept
        for this, and are deleted. To be called when the service starts, before
        anything is done with a guest.

        :param context: nova.context.RequestContext of an administrator
        """
        try:
            moves = objects.MigrationList.get_by_filters(
                context, {'host': self._host, 'status': ['error', 'reverted']})
        except Exception:
            LOG.exception('What moves from other cells have left here could '
                          'not be found out.')
            return
        for instance_uuid in {move.instance_uuid for move in moves
                              if move.cross_cell_move and
                              move.dest_compute == self._host}:
            try:
                self._remove_abandoned(context, instance_uuid)
            except Exception:
                LOG.exception('What a move from another cell has put here '
                              'could not be removed.',
                              instance_uuid=instance_uuid)

    def _remove_abandoned(self, context, instance_uuid):
        @utils.synchronized(instance_uuid)
        def do_remove():
            record = self._get_record(
                context, objects.Instance(uuid=instance_uuid))
            if record is None or not record.hidden:
                return
            last = self._get_last_move(context, instance_uuid)
            if (last.cross_cell_move and last.dest_compute == self._host and
                    last.status in ('error', 'reverted')):
                self._remove(context, record)
                record.destroy(hard_delete=True)
        do_remove()

    def is_leaving(self, context, instance):
        """Whether conductor moves an instance from this host to another cell.

        When the host starts again the request of conductor has failed, or is
        about to. Then the host is asked to restore the server, which knows
        better what was done to it before the host stopped.

        :param context: nova.context.RequestContext of an administrator
        :param instance: Instance of this host
        """
        move = self._get_last_move(context, instance.uuid)
        return bool(
            move and move.cross_cell_move and
            move.source_compute == self._host and move.status != 'error')

    def prepare_start(self, context, instance):
        """Do prepare_reboot() with the lock of the instance."""
        @utils.synchronized(instance.uuid)
        def do_prepare():
            self.prepare_reboot(context, instance)
        do_prepare()

    def prepare_reboot(self, context, instance):
        """Make sure that a user may start a guest, and can.

        The caller has the lock of the instance. It may be evacuated from
        another host to this one.

        :param context: nova.context.RequestContext of the cell of this host
        :param instance: Instance that is about to get a guest here
        :raises nova.exception.InstanceInvalidState: if another host has, or
            may have, the guest
        """
        if not instance.obj_attr_is_set('system_metadata'):
            # Those of a request have it.
            return
        if 'old_vm_state' in instance.system_metadata:
            self._check_guest_elsewhere(context, instance)
        if (NOT_CONNECTED in instance.system_metadata and
                instance.host == self._host):
            LOG.info('Connecting what a failed move to another cell has left '
                     'unconnected.', instance=instance)
            state = guest_rpcapi.find_power_state(self._driver, instance)
            if state == power_state.NOSTATE:
                self._manager.give_back_disks(context, instance)
            self._connect(context, instance, state)
            self._complete_attachments(context, instance)
            del instance.system_metadata[NOT_CONNECTED]
            instance.save()
            instance.drop_migration_context()

    def _check_guest_elsewhere(self, context, instance):
        """Check that no move has, or may have, the guest on another host."""
        move = self._get_last_move(context, instance.uuid)
        if move is None or not move.cross_cell_move:
            return
        leaves = (move.source_compute == instance.host and
                  (instance.hidden or move.status == 'post-migrating'))
        # The guest may be gone already, and with it its disks.
        returns = (move.dest_compute == instance.host and
                   move.status in ('reverting', 'reverted'))
        if leaves or returns:
            raise exception.InstanceInvalidState(
                instance_uuid=instance.uuid, attr='migration',
                state=move.status, method='start its guest')

    @staticmethod
    def _get_last_move(context, instance_uuid):
        """Get the newest migration; those of earlier moves are copied too."""
        moves = objects.MigrationList.get_by_filters(
            context, {'instance_uuid': instance_uuid})
        return max(moves, default=None, key=lambda migration: (
            migration.created_at, migration.id))

    def _connect(self, context, instance, state):
        """Connect the ports and volumes of an instance to this host.

        :param state: the power state of its guest; if there is a guest, its
            volumes are connected
        :returns: the block devices in the form of the driver
        """
        self._bind_ports(context, instance)
        bdms = instance.get_bdms()
        if state != power_state.NOSTATE:
            return self._manager.get_block_device_info(context, instance, bdms)
        volumes = [bdm for bdm in bdms if bdm.is_volume]
        if volumes:
            connector = self._driver.get_volume_connector(instance)
            for bdm in volumes:
                if bdm.attachment_id:
                    self._connect_volume(context, bdm, connector)
            # A cloud may have no volume service: only a server with volumes
            # asks for it.
            self._delete_stray_attachments(context, instance, bdms)
        return self._manager.get_block_device_info(
            context, instance, bdms, refresh=True)

    def _delete_stray_attachments(self, context, instance, bdms):
        """Delete the attachments that were made and never recorded."""
        known = {bdm.attachment_id for bdm in bdms}
        for attachment in self._volume_api.attachment_get_all(
                context, instance_id=instance.uuid):
            if attachment['id'] not in known:
                LOG.info('Deleting attachment %s, which was left by a move.',
                         attachment['id'], instance=instance)
                self._volume_api.attachment_delete(context, attachment['id'])

    def _connect_volume(self, context, bdm, connector):
        try:
            self._volume_api.attachment_update(
                context, bdm.attachment_id, connector, bdm.device_name)
            return
        except (exception.VolumeAttachmentNotFound,
                exception.InvalidInput) as e:
            # It was deleted before its successor was recorded, or has been
            # connected before.
            LOG.info('Replacing attachment %(attachment)s of volume '
                     '%(volume)s: %(error)s',
                     {'attachment': bdm.attachment_id, 'error': e,
                      'volume': bdm.volume_id},
                     instance_uuid=bdm.instance_uuid)
        old = bdm.attachment_id
        bdm.attachment_id = self._volume_api.attachment_create(
            context, bdm.volume_id, bdm.instance_uuid)['id']
        bdm.save()
        self._delete_attachment(context, bdm, old)
        self._volume_api.attachment_update(
            context, bdm.attachment_id, connector, bdm.device_name)

    def _complete_attachments(self, context, instance):
        for bdm in instance.get_bdms():
            if bdm.is_volume and bdm.attachment_id:
                self._volume_api.attachment_complete(
                    context, bdm.attachment_id)

    def _bind_ports(self, context, instance):
        """Make the bindings of the ports to this host the active ones."""
        self._network_api.migrate_instance_start(
            context, instance, objects.Migration(dest_compute=self._host))
        # A port may have lost its binding to this host.
        ports = neutron.get_client(context, admin=True).list_ports(
            device_id=instance.uuid)['ports']
        if any(port.get('binding:host_id') != self._host for port in ports):
            self._network_api.setup_instance_network_on_host(
                context, instance, self._host)
        self._network_api.get_instance_nw_info(context, instance)

    @staticmethod
    def _get_record(context, instance):
        try:
            return objects.Instance.get_by_uuid(
                context, instance.uuid, expected_attrs=_INSTANCE_ATTRS)
        except exception.InstanceNotFound:
            return None

    @staticmethod
    def _get_migration(context, migration):
        try:
            return objects.Migration.get_by_uuid(context, migration.uuid)
        except exception.MigrationNotFound:
            return None
