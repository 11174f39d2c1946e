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

"""What becomes of a live migration that its nova-compute no longer follows.

A hypervisor migrates a guest without the help of nova-compute. When the
service on the source ends in the middle, or loses libvirt or the message
queue, the guest may stay, or it may arrive at the destination, while the
database says that it is on the source. Whoever started it there again would
start it a second time, from disks that are out of date. So the source looks
then, or when it starts, where the guest is, and rolls the migration back or
completes it. What it cannot tell it leaves alone, in the task state that keeps
everybody off.
"""

import contextlib
import functools
import inspect

from oslo_log import log as logging
from oslo_serialization import jsonutils
from oslo_utils import excutils

from nova.compute import power_state
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception
from nova.i18n import _
from nova import objects
from nova.objects import fields
from nova import servicegroup

LOG = logging.getLogger(__name__)

# The hypervisor of the source has not been told to migrate the guest yet. A
# service that ends cancels what is queued, and leaves the instance migrating.
_GUEST_NOT_TOUCHED = ('accepted', 'queued', 'preparing', 'cancelled')

_RUNNING = ('running', 'running (post-copy)')

# A rollback may have been broken off after it had set the status to error.
_UNFINISHED = _GUEST_NOT_TOUCHED + _RUNNING + ('post-migrating', 'error')


def recover(manager, context, instance, report=True):
    """Bring a live migration to an end that nobody follows any more.

    Runs when the compute service of the source starts. If it fails, it is
    tried again.

    :param manager: the ComputeManager
    :param context: RequestContext of an administrator
    :param instance: an Instance of this host in the task state MIGRATING
    :param report: whether to add an event to the action of the migration
    :returns: True if the guest belongs to this host, so that the host may do
        with it what it does with its instances on start. False if the guest
        is now on the destination, or if it is not known where it is
    """
    try:
        return _recover_or_leave(manager, context, instance, report)
    except NotImplementedError:
        manager._reset_live_migration(context, instance)
        return True


def _recover_or_leave(manager, context, instance, report=True):
    try:
        is_here = _recover(manager, context, instance, report)
    except NotImplementedError:
        raise
    except Exception:
        # One server must not keep the service from starting.
        LOG.exception('A live migration has not been recovered, which is '
                      'tried again. Remove the cause.', instance=instance)
        manager._lost_live_migrations.setdefault(instance.uuid, None)
        return False
    manager._lost_live_migrations.pop(instance.uuid, None)
    return is_here


def take_up(manager, instance, migration):
    """Bring a live migration to an end that the driver has let go.

    What it raised says nothing of the guest, which may have stayed or moved,
    or may still be on its way.

    :param manager: the ComputeManager of the source
    :param instance: the Instance
    :param migration: the Migration
    :returns: False if the instance has left this host, or if the driver
        cannot tell where its guest is. True otherwise, even if it is not
        known: then the instance stays in the task state MIGRATING
    """
    instance.refresh()
    if instance.host != manager.host:
        return False
    # Cinder shows the attachments of all projects to the service only.
    context = nova_context.get_admin_context()
    try:
        if instance.task_state == task_states.MIGRATING:
            _recover_or_leave(manager, context, instance)
            return True
        if manager.driver.end_live_migration(instance):
            # It was rolled back to the end, of which only the note is missing.
            conclude_at_rest(manager, context, instance, migration)
            return True
    except NotImplementedError:
        pass
    return False


def remembers(function):
    """Look again at a live migration that a method has ended with an error.

    :param function: a method of the ComputeManager of the source, which takes
        an ``instance`` and its ``migration``
    """
    @functools.wraps(function)
    def wrapper(manager, *args, **kwargs):
        try:
            return function(manager, *args, **kwargs)
        except Exception:
            with excutils.save_and_reraise_exception():
                call = inspect.getcallargs(function, manager, *args, **kwargs)
                manager._lost_live_migrations[call['instance'].uuid] = (
                    call['migration'].id)
    return wrapper


def try_again(manager, context):
    """Recover live migrations of which it was not known where the guest is.

    :param manager: the ComputeManager of the source
    :param context: RequestContext of an administrator
    """
    for instance_uuid, migration_id in list(
            manager._lost_live_migrations.items()):
        try:
            instance = objects.Instance.get_by_uuid(context, instance_uuid)
        except exception.InstanceNotFound:
            del manager._lost_live_migrations[instance_uuid]
            continue
        # It may have been brought to an end, and be in another one by now.
        latest = _find_migration(manager, context, instance)
        if (latest and migration_id in (None, latest.id) and
                _is_migrating_here(manager, instance)):
            recover(manager, context, instance, report=False)
            continue
        if migration_id is not None:
            conclude_at_rest(
                manager, context, instance,
                objects.Migration.get_by_id(context, migration_id))
        del manager._lost_live_migrations[instance_uuid]


def _is_migrating_here(manager, instance):
    return (instance.task_state == task_states.MIGRATING and
            instance.host == manager.host)


def _recover(manager, context, instance, report):
    job_has_ended = manager.driver.end_live_migration(instance)
    migration = _find_migration(manager, context, instance)
    if migration is None:
        LOG.info('Instance found in migrating state during startup, but no '
                 'migration of it. Resetting task_state', instance=instance)
        instance.task_state = None
        instance.save(expected_task_state=[task_states.MIGRATING])
        return True

    try:
        return _bring_to_end(
            manager, context, instance, migration, job_has_ended, report)
    except Exception:
        manager._lost_live_migrations[instance.uuid] = migration.id
        raise


def _bring_to_end(
        manager, context, instance, migration, job_has_ended, report):
    event = compute_utils.EventReporter(
        context, 'compute_recover_live_migration', manager.host, instance.uuid)
    with event if report else contextlib.nullcontext():
        if not job_has_ended:
            raise exception.MigrationError(reason=_(
                'The hypervisor of the source still migrates the guest, and '
                'that can not be aborted. The source tries again.'))
        if _is_guest_here(manager, context, instance, migration):
            _roll_back(manager, context, instance, migration)
            return True
        _complete(manager, context, instance, migration)
        return False


def _find_migration(manager, context, instance):
    """Find the live migration that an instance is in.

    :returns: the latest unfinished one from this host, None without one
    """
    migrations = objects.MigrationList.get_by_filters(context, {
        'instance_uuid': instance.uuid,
        'source_compute': manager.host,
        'migration_type': fields.MigrationType.LIVE_MIGRATION,
        'status': list(_UNFINISHED)})
    return max(migrations, key=lambda migration: migration.id, default=None)


def _is_guest_here(manager, context, instance, migration):
    """Tell where the guest is, now that nothing moves it any more.

    :returns: True if it is on this host, False if it is on the destination
    :raises nova.exception.MigrationError: if that cannot be told
    """
    here = manager._get_power_state(instance)
    if (migration.status in _GUEST_NOT_TOUCHED or
            migration.dest_compute is None or
            here == power_state.RUNNING or
            here == power_state.PAUSED and
            instance.vm_state == vm_states.PAUSED):
        return True

    try:
        there = manager.compute_rpcapi.get_guest_power_state(
            context, instance, migration.dest_compute)
    except Exception as e:
        raise exception.MigrationError(reason=_(
            'The guest does not run on the source, and the destination '
            '%(dest)s does not tell whether it is there: %(error)s. The '
            'source asks again. Let the nova-compute service of the '
            'destination be up, and be no older than that of the source.'
        ) % {'dest': migration.dest_compute, 'error': e}) from e

    if there == power_state.NOSTATE and here != power_state.NOSTATE:
        return True
    if here == power_state.NOSTATE and there != power_state.NOSTATE:
        return False
    raise exception.MigrationError(reason=_(
        'It cannot be told which host has the current disks of the server: '
        'its guest is in the power state %(here)s on the source, and in '
        '%(there)s on the destination %(dest)s. Let the hypervisor of one '
        'of them alone have it. The source looks again.'
    ) % {'here': power_state.STATE_MAP[here],
         'there': power_state.STATE_MAP[there],
         'dest': migration.dest_compute})


def _migrate_data(manager, context, instance, migration):
    """Find out anew what the source knew of a live migration."""
    def is_on_destination(data):
        return manager.compute_rpcapi.check_instance_shared_storage(
            context, data, instance=instance, host=migration.dest_compute)

    migrate_data = manager.driver.rebuild_live_migrate_data(
        instance, is_on_destination)
    migrate_data.migration = migration
    return migrate_data


def _migrate_data_of_rollback(manager, context, instance, migration):
    try:
        return _migrate_data(manager, context, instance, migration)
    except Exception as e:
        # What is left there the destination removes itself.
        LOG.warning('The destination %s does not answer, its files stay: %s',
                    migration.dest_compute, e, instance=instance)
    migrate_data = manager.driver.rebuild_live_migrate_data(
        instance, lambda data: True)
    migrate_data.migration = migration
    return migrate_data


def _roll_back(manager, context, instance, migration):
    """Undo at the destination and elsewhere what the migration has done."""
    LOG.info('Rolling back the live migration %s, for the guest is still on '
             'this host', migration.uuid, instance=instance)
    migration.dest_compute = (
        migration.dest_compute or _find_destination(manager, context, instance)
    )
    if migration.dest_compute is None:
        # No host was selected, so none has anything that could be removed.
        migrate_data = objects.migrate_data.LiveMigrateData(
            migration=migration)
    else:
        migrate_data = _migrate_data_of_rollback(
            manager, context, instance, migration)
        if migration.status not in _GUEST_NOT_TOUCHED:
            manager.driver.rollback_live_migration_at_source(
                context, instance, migrate_data)
        _roll_back_volumes(manager, context, instance, migration)
    manager._rollback_live_migration(
        context, instance, migration.dest_compute, migrate_data=migrate_data,
        migration_status='error',
        source_bdms=objects.BlockDeviceMappingList.get_by_instance_uuid(
            context, instance.uuid),
        pre_live_migration=True)


def _roll_back_volumes(manager, context, instance, migration):
    """Give volumes back to the source that an earlier rollback did not."""
    bdms = objects.BlockDeviceMappingList.get_by_instance_uuid(
        context, instance.uuid)
    by_both = []
    for bdm, attachment_ids in _attachments(manager, context, instance, bdms):
        others = attachment_ids - {bdm.attachment_id}
        if not others:
            continue
        source_bdm = _source_bdm(manager, context, bdm, others)
        if bdm.attachment_id in attachment_ids:
            by_both.append((bdm, source_bdm))
        else:
            # The rollback has deleted that of the destination, no more.
            source_bdm.save()
    manager._remove_remote_volume_connections(
        context, migration.dest_compute, [bdm for bdm, _source in by_both],
        instance)
    manager._rollback_volume_bdms(
        context, [bdm for bdm, _source in by_both],
        [source_bdm for _bdm, source_bdm in by_both], instance)


def _find_destination(manager, context, instance):
    """Find the host that a conductor has selected but not written down.

    :returns: its name, or None if the instance has no allocations there
    """
    allocations = manager.reportclient.get_allocations_for_consumer(
        context, instance.uuid)
    for provider_uuid in allocations:
        try:
            node = objects.ComputeNode.get_by_uuid(context, provider_uuid)
        except exception.ComputeHostNotFound:
            # A provider inside of a node, or shared by nodes.
            continue
        if node.host != manager.host:
            return node.host
    return None


def _complete(manager, context, instance, migration):
    """Do at the source what has to be done after the guest has left it."""
    LOG.info('Completing the live migration %s, for the guest is on %s',
             migration.uuid, migration.dest_compute, instance=instance)
    # The devices of the instance are freed in the resource tracker, which has
    # not yet learned of any when the service starts.
    if not manager.rt.compute_nodes:
        manager.update_available_resource(context, startup=True)
    migrate_data = _migrate_data(manager, context, instance, migration)
    manager._post_live_migration_update_host(
        context, instance, migration.dest_compute,
        block_migration=migrate_data.block_migration,
        migrate_data=migrate_data,
        source_bdms=_bdms_to_disconnect(manager, context, instance))


def _bdms_to_disconnect(manager, context, instance):
    """Find the volumes that the source still has attached, as it has them.

    The guest has left, so whatever is in the block device mappings belongs to
    the destination. An attachment that is alone is that one: an earlier
    attempt has deleted the one of the source.

    :returns: BlockDeviceMappingList
    """
    bdms = objects.BlockDeviceMappingList.get_by_instance_uuid(
        context, instance.uuid)
    attached = {
        bdm.id: _source_bdm(
            manager, context, bdm, attachment_ids - {bdm.attachment_id})
        for bdm, attachment_ids in _attachments(
            manager, context, instance, bdms)
        if attachment_ids != {bdm.attachment_id}}
    return objects.BlockDeviceMappingList(objects=[
        attached.get(bdm.id, bdm) for bdm in bdms
        if bdm.id in attached or not _has_attachment(bdm)])


def _has_attachment(bdm):
    return bdm.is_volume and bdm.attachment_id is not None


def _attachments(manager, context, instance, bdms):
    """Find what volumes are attached by the hosts of a live migration.

    The destination puts its own attachments into the block device mappings,
    and completes them when it is prepared. Cinder still knows the others.

    :returns: list of a BlockDeviceMapping and the ids of the attachments of
        its volume to the instance (set)
    :raises nova.exception.MigrationError: if Cinder tells of none
    """
    bdms = [bdm for bdm in bdms if _has_attachment(bdm)]
    if not bdms:
        return []
    known = manager.volume_api.attachment_get_all(
        context, instance_id=instance.uuid, all_tenants=True)
    found = []
    for bdm in bdms:
        attachment_ids = {each['id'] for each in known
                          if each['volume_id'] == bdm.volume_id}
        if not attachment_ids:
            raise exception.MigrationError(reason=_(
                'Cinder tells of no attachment of the volume %s to the '
                'server.') % bdm.volume_id)
        found.append((bdm, attachment_ids))
    return found


def _source_bdm(manager, context, bdm, attachment_ids):
    """Make a block device mapping what it was before the destination's.

    :param attachment_ids: what the volume has but that of the destination
    :raises nova.exception.MigrationError: if these are several
    """
    if len(attachment_ids) > 1:
        raise exception.MigrationError(reason=_(
            'The volume %(volume)s has more than two attachments to the '
            'server. Delete those that are in use on neither host. The '
            'source looks again.'
        ) % {'volume': bdm.volume_id})
    attachment = manager.volume_api.attachment_get(context, *attachment_ids)
    connection_info = attachment['connection_info']
    connection_info.setdefault('serial', bdm.volume_id)
    source_bdm = bdm.obj_clone()
    source_bdm.attachment_id = attachment['id']
    source_bdm.connection_info = jsonutils.dumps(connection_info)
    return source_bdm


def is_over(manager, context, instance, migration):
    """Whether a live migration has been recovered before it could start.

    A conductor may still select a destination while the source starts and
    recovers the migration, and then tell the source to go on with it.

    :param manager: the ComputeManager of the source
    :param context: RequestContext
    :param instance: the Instance as the conductor knows it
    :param migration: the Migration that the source shall execute
    """
    lost = manager._lost_live_migrations
    if instance.uuid in lost and lost[instance.uuid] in (None, migration.id):
        LOG.warning('Not starting the live migration %s, for it is still to '
                    'be rolled back', migration.uuid, instance=instance)
        return True
    if objects.Migration.get_by_id(context, migration.id).status != 'error':
        return False
    LOG.warning('Not starting the live migration %s, for it was rolled back '
                'when this service started', migration.uuid, instance=instance)
    instance = objects.Instance.get_by_uuid(context, instance.uuid)
    if instance.task_state is None and instance.host == manager.host:
        node = objects.ComputeNode.get_by_host_and_nodename(
            context, migration.dest_compute, migration.dest_node)
        manager.reportclient.remove_provider_tree_from_instance_allocation(
            context, instance.uuid, node.uuid)
        _delete_port_bindings(manager, context, instance,
                              migration.dest_compute)
    return True


def conclude_all(manager, context):
    """Conclude what the source was killed in when all but its note was done.

    :param manager: the ComputeManager of the source, which starts
    :param context: RequestContext of an administrator
    """
    for migration in objects.MigrationList.get_by_filters(context, {
            'source_compute': manager.host,
            'migration_type': fields.MigrationType.LIVE_MIGRATION,
            'status': list(_RUNNING)}):
        try:
            instance = objects.Instance.get_by_uuid(
                context, migration.instance_uuid)
            conclude_at_rest(manager, context, instance, migration)
        except exception.InstanceNotFound:
            continue
        except Exception:
            LOG.exception('The live migration %s has not been concluded',
                          migration.uuid)


def conclude_at_rest(manager, context, instance, migration):
    """Conclude a live migration that nobody follows if its instance rests.

    :param manager: the ComputeManager of the source
    :param context: RequestContext of an administrator
    :param instance: the Instance as the database has it
    :param migration: the Migration
    """
    if instance.task_state is not None:
        return
    status = 'error'
    if instance.host == migration.dest_compute:
        conclude(manager, context, instance, migration)
        status = 'completed'
    if migration.status in _RUNNING:
        migration.status = status
        migration.save()


def conclude(manager, context, instance, migration):
    """Give up what the source still has of an instance that has left it.

    :param manager: the ComputeManager of the source
    :param context: RequestContext
    :param instance: the Instance, which is on its destination
    :param migration: the Migration that has brought it there
    :raises nova.exception.AllocationDeleteFailed: if the source keeps its
        resources in placement
    """
    _delete_port_bindings(manager, context, instance, manager.host)
    manager._delete_allocation_after_move(context, instance, migration)


def keep_rescued(manager, context, instance, migration):
    """Keep an instance in rescue if only the end of its migration has failed.

    In ERROR it could not be unrescued any more, while its guest is well on the
    destination.

    :param manager: the ComputeManager of the source
    :param context: RequestContext
    :param instance: the Instance as the database has it
    :param migration: the Migration that has failed
    :returns: True if the instance is rescued and is on its destination
    """
    if (instance.vm_state != vm_states.RESCUED or
            instance.host == manager.host):
        return False
    try:
        conclude(manager, context, instance, migration)
    except Exception:
        LOG.exception('The source has not given up all of the instance',
                      instance=instance)
    return True


def _delete_port_bindings(manager, context, instance, host):
    """Delete the port bindings of an instance on a host that it is not on."""
    try:
        manager.network_api.setup_networks_on_host(
            context, instance, host, teardown=True)
    except exception.PortBindingDeletionFailed as e:
        LOG.error('The ports keep their bindings to the host %(host)s: '
                  '%(error)s', {'host': host, 'error': e}, instance=instance)


def remove_strays(manager, context):
    """Remove what failed live migrations have left on this host.

    The host may have been down when a migration was rolled back, or the
    message that says so may have been lost.

    :param manager: the ComputeManager of the host
    :param context: RequestContext of an administrator
    """
    try:
        stray_uuids = manager.driver.list_stray_instances()
    except NotImplementedError:
        return
    if not stray_uuids:
        return
    migrations = objects.MigrationList.get_by_filters(context, {
        'host': manager.host,
        'migration_type': fields.MigrationType.LIVE_MIGRATION,
        'status': ['cancelled', 'error', 'failed']})
    for uuid in stray_uuids.intersection(
            migration.instance_uuid for migration in migrations):
        try:
            _remove_stray(manager, context, uuid)
        except exception.InstanceNotFound:
            # What deleted instances leave has a clean-up of its own.
            continue
        except Exception as e:
            LOG.warning('What a failed live migration of the instance has '
                        'left on this host is not removed: %s', e,
                        instance_uuid=uuid)


def _remove_stray(manager, context, instance_uuid):
    """Remove what an instance has left on this host, if it is elsewhere."""
    instance = objects.Instance.get_by_uuid(context, instance_uuid)
    if instance.host in (None, manager.host) or not _is_at_rest(instance):
        return
    if instance.resources or any(
            'pci_slot' in (vif.get('profile') or {})
            for vif in instance.get_network_info()):
        # The devices of the instance have the names that they have on its
        # host. Here they may belong to another.
        return
    host = instance.host
    service = objects.Service.get_by_compute_host(context, host)
    if not servicegroup.API().service_is_up(service):
        # It would be waited for in vain, once for every instance.
        return

    def is_on_its_host(data):
        return manager.compute_rpcapi.check_instance_shared_storage(
            context, data, instance=instance, host=host)

    migrate_data = manager.driver.rebuild_live_migrate_data(
        instance, is_on_its_host)
    if migrate_data.is_shared_instance_path:
        return
    if manager.compute_rpcapi.get_guest_power_state(
            context, instance, host) == power_state.NOSTATE:
        LOG.warning('This host has files of the instance, whose own host '
                    '%s has no guest of it. They are not removed.',
                    host, instance=instance)
        return

    # The instance may be on its way to this host by now.
    instance.refresh()
    if (instance.host != host or not _is_at_rest(instance) or
            instance_uuid not in manager.driver.list_stray_instances()):
        return

    LOG.info('Removing what a failed live migration has left on this host',
             instance=instance)
    manager._do_rollback_live_migration_at_destination(
        context, instance,
        destroy_disks=not migrate_data.is_shared_block_storage,
        migrate_data=migrate_data)


def _is_at_rest(instance):
    return (instance.task_state is None and
            instance.vm_state != vm_states.RESIZED)
