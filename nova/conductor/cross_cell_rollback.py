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


"""Undo a move to another cell.

What the records say is all that is needed, so whoever finds a move that nobody
works on can undo it as well as who began it.

No guest is started before it is known that no other host has it, or can get
it: it has said so, or it has never been asked to make one, or an operator has
forced it down, which is only allowed for a host that has been fenced.
"""

from oslo_log import log as logging
import oslo_messaging as messaging

from nova.compute import cross_cell
from nova.compute import cross_cell_rpcapi
from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova.i18n import _
from nova import objects
from nova.scheduler.client import report

LOG = logging.getLogger(__name__)


def check_not_deleted(instance):
    """Check that the user has not deleted a server that is being moved.

    :param instance: Instance object of the source cell
    :raises nova.exception.InstanceNotFound: if it was deleted
    :raises nova.exception.UnexpectedDeletingTaskStateError: if it is about to
        be deleted
    """
    record = objects.Instance.get_by_uuid(
        instance._context, instance.uuid, expected_attrs=[])
    if is_deleted(record):
        raise exception.UnexpectedDeletingTaskStateError(
            instance_uuid=instance.uuid,
            expected={'task_state': task_states.resizing_states},
            actual={'task_state': record.task_state})


def check_nothing_left(context, instance_uuid):
    """Check that an earlier move has left no record in a cell.

    A host that was fenced finds its guest by that record, so the server
    cannot come back to the cell, be it to another host, before that is gone.

    :param context: nova.context.RequestContext targeted at the cell
    :param instance_uuid: UUID of the instance (str)
    :raises nova.exception.MigrationPreCheckError: if there is one
    """
    try:
        objects.Instance.get_by_uuid(
            context, instance_uuid, expected_attrs=[])
    except exception.InstanceNotFound:
        return
    moves = objects.MigrationList.get_by_filters(
        context, {'instance_uuid': instance_uuid})
    hosts = sorted({move.dest_compute for move in moves
                    if move.cross_cell_move and move.dest_compute})
    raise exception.MigrationPreCheckError(reason=_(
        'cell %(cell)s still has what an earlier move of the server has left '
        'there; host %(hosts)s has to remove its guest first') % {
            'cell': context.cell_uuid, 'hosts': ', '.join(hosts)})


def is_deleted(instance):
    """Whether a server is about to be deleted, or soft-deleted."""
    return (instance.vm_state == vm_states.SOFT_DELETED or
            'task_state' in instance and instance.task_state in (
                task_states.DELETING, task_states.SOFT_DELETING))


def is_forced_down(context, host):
    """Whether an operator says that a host does not run any more.

    :param context: nova.context.RequestContext of the cell of the host
    :param host: name of the host (str)
    """
    try:
        return objects.Service.get_by_compute_host(context, host).forced_down
    except exception.ComputeHostNotFound:
        LOG.warning('There is no record of the host %s.', host)
        return False


def check_host_is_fenced(context, host, cause):
    """Check that a host that did not answer does not go on working.

    :param context: nova.context.RequestContext of the cell of the host
    :param host: name of the host (str)
    :param cause: the Exception that came instead of an answer
    :raises nova.exception.CrossCellMoveUndecided: if it may
    """
    if not is_forced_down(context, host):
        raise exception.CrossCellMoveUndecided(reason=_(
            'host %(host)s did not answer: %(cause)s') % {
                'host': host, 'cause': cause}) from cause


def abandon_at_dest(context, instance_uuid, migration_uuid):
    """Make sure that the guest is not on the destination, and will not be.

    :param context: nova.context.RequestContext of the target cell
    :param instance_uuid: UUID of the instance (str)
    :param migration_uuid: UUID of its migration (str)
    :returns: whether the records in the target cell can be deleted. They are
        kept for a host that was forced down and may have the guest, to remove
        it when it is back.
    :raises nova.exception.CrossCellMoveUndecided: if it is not known
    """
    try:
        instance = objects.Instance.get_by_uuid(
            context, instance_uuid,
            expected_attrs=['flavor', 'info_cache', 'system_metadata'])
        migration = objects.Migration.get_by_uuid(context, migration_uuid)
    except (exception.InstanceNotFound, exception.MigrationNotFound):
        return True
    host = migration.dest_compute
    if host is None:
        # Nothing has been claimed, or it was abandoned before.
        return True
    may_have_guest = instance.task_state != task_states.RESIZE_PREP
    if may_have_guest and is_forced_down(context, host):
        LOG.warning('The move is undone without host %s, which was forced '
                    'down. It will remove its guest when it is back.', host,
                    instance=instance)
        migration.status = 'error'
        migration.save()
        return False
    try:
        cross_cell_rpcapi.CrossCellAPI().abandon(
            context, host, instance, migration)
    except Exception as e:
        if may_have_guest:
            check_host_is_fenced(context, host, e)
            return False
        LOG.warning('Host %(host)s keeps what it has claimed for the move '
                    'until it looks at its resources the next time: '
                    '%(error)s', {'host': host, 'error': e},
                    instance=instance)
    return True


def restore_at_source(instance, migration):
    """Make a server run on the source again, if that has done anything to it.

    It goes to ERROR if that fails. A hard reboot tries the same again.

    :param instance: Instance object of the source cell
    :param migration: Migration object of the source cell
    :raises nova.exception.CrossCellMoveUndecided: if the host does not answer,
        so it may still be working on the move
    """
    try:
        instance.refresh()
    except exception.InstanceNotFound:
        return
    if instance.task_state == task_states.RESIZE_PREP:
        return
    context = instance._context
    host = migration.source_compute
    try:
        cross_cell_rpcapi.CrossCellAPI().restore(
            context, host, instance, migration)
        return
    except messaging.MessagingTimeout as e:
        check_host_is_fenced(context, host, e)
    except Exception as e:
        if (isinstance(e, messaging.RemoteError) and
                e.exc_type == 'UnsupportedVersion'):
            # It is of the release before, and may still be at work.
            raise exception.CrossCellMoveUndecided(reason=_(
                'host %s is too old to undo it') % host) from e
        LOG.exception('The server could not be restored on host %s after a '
                      'failed move to another cell. A hard reboot will try it '
                      'again.', host, instance=instance)
    try:
        instance.refresh()
        instance.system_metadata[cross_cell.NOT_CONNECTED] = 'True'
        if not is_deleted(instance):
            instance.vm_state = vm_states.ERROR
        instance.save()
    except exception.InstanceNotFound:
        LOG.debug('The server was deleted.', instance=instance)


def forget_deleted(instance, migration, network_api, volume_api, port_ids):
    """Remove what the deletion of a moving server did not know of.

    :param instance: Instance object of the source cell
    :param migration: Migration object of the source cell
    :param network_api: nova.network.neutron.API
    :param volume_api: nova.volume.cinder.API
    :param port_ids: IDs of the ports that were bound for the move
    """
    context = instance._context
    try:
        objects.Instance.get_by_uuid(
            context, instance.uuid, expected_attrs=[])
        return
    except exception.InstanceNotFound:
        LOG.debug('Removing what is left of a server that was deleted while '
                  'it was moved.', instance=instance)
    try:
        delete_attachments(context, volume_api, instance.uuid)
        for port_id in port_ids:
            port = network_api.show_port(context, port_id)['port']
            if port.get('device_id') in ('', None, instance.uuid):
                network_api.delete_port_binding(
                    context, port_id, migration.source_compute)
    except Exception:
        LOG.exception('Not all of a server that was deleted while it was '
                      'moved could be removed.', instance=instance)


def delete_attachments(context, volume_api, instance_uuid):
    """Delete the attachments of the volumes of a server that is deleted.

    Only a server that had volumes has any. For others the volume service is
    not asked: a cloud may have none, or none that answers without a user.

    :param context: RequestContext, targeted at a cell that has had the server
    :param volume_api: nova.volume.cinder.API
    :param instance_uuid: UUID of the server
    """
    bdms = objects.BlockDeviceMappingList.get_by_instance_uuid(
        context.elevated(read_deleted='yes'), instance_uuid)
    if any(bdm.is_volume for bdm in bdms):
        for attachment in volume_api.attachment_get_all(
                context, instance_id=instance_uuid):
            volume_api.attachment_delete(context, attachment['id'])


def forget_deleted_allocation(instance):
    """Free the resources of a server that was deleted while it was moved.

    The deletion has freed those on the destination, and those on the source
    have been given back to the instance since.

    :param instance: Instance object of the source cell
    """
    try:
        objects.Instance.get_by_uuid(
            instance._context, instance.uuid, expected_attrs=[])
    except exception.InstanceNotFound:
        report.report_client_singleton().delete_allocation_for_instance(
            instance._context, instance.uuid, force=True)
