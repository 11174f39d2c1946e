#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""What a cell database holds of a server, carried from one cell to another.

A resize across cells makes a second record of the server, in the target cell.
It is a copy at first. Until the resize is confirmed or reverted both change,
and what has happened in the cell that is left is carried to the other.
"""

import collections
import contextlib
import copy
import datetime
import threading

from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import cross_cell
from nova.compute import cross_cell_progress
from nova.compute import instance_actions
from nova.compute import task_states
from nova import exception
from nova import objects
from nova.objects import instance as instance_obj

LOG = logging.getLogger(__name__)

# Fields of an instance that a copy does not have. They belong to the host
# (pci_devices, services), are made anew by the cell (ec2_ids), are of a move
# (old_flavor, new_flavor, migration_context), or have tables of their own that
# Instance.create() does not write (fault, tags).
_NOT_COPIED = frozenset({
    'ec2_ids', 'fault', 'migration_context', 'new_flavor', 'old_flavor',
    'pci_devices', 'services', 'tags'})

# Fields that can change while a resize waits to be confirmed, and do not
# depend on where the server is.
_CARRIED_BACK = (
    'access_ip_v4', 'access_ip_v6', 'auto_disk_config', 'display_description',
    'display_name', 'hostname', 'locked', 'locked_by', 'project_id',
    'system_metadata', 'user_id')

# Seconds between two updates of the migration record of a move.
_BEAT = 30

# Actions that move a server, or end its move.
_MOVES = (
    instance_actions.MIGRATE, instance_actions.RESIZE,
    instance_actions.CONFIRM_RESIZE, instance_actions.REVERT_RESIZE)


def clone_creatable_object(ctxt, obj, delete_fields=None):
    """Targets the object at the given context and removes its id attribute

    Dirties all of the set fields on a new copy of the object.
    This is necessary before the object is created in a new cell.

    :param ctxt: cell-targeted nova auth request context to set on the clone
    :param obj: the object to re-target
    :param delete_fields: list of fields to delete from the new object;
        note that the ``id`` field is always deleted
    :returns: Cloned version of ``obj`` with all set fields marked as
        "changed" so they will be persisted on a subsequent
        ``obj.create()`` call.
    """
    delete_fields = {'id', *(delete_fields or ())}
    new_obj = obj.obj_clone()
    new_obj._context = ctxt
    for field in obj.obj_fields:
        if field in obj:
            if field in delete_fields:
                delattr(new_obj, field)
            else:
                # Dirty the field since obj_clone does not modify
                # _changed_fields. The value must be the clone's own: create()
                # targets nested objects, like the info cache of an instance,
                # at the other cell.
                setattr(new_obj, field, getattr(new_obj, field))
    return new_obj


def clone_instance(ctxt, instance):
    """Make a copy of an instance that can be created in another cell.

    :param ctxt: context targeted at the other cell
    :param instance: Instance object; fields of it that are not loaded are
    :returns: Instance object with all that is the same in any cell
    """
    for field in instance_obj.INSTANCE_OPTIONAL_ATTRS:
        if field not in instance and field not in _NOT_COPIED:
            instance.obj_load_attr(field)
    clone = clone_creatable_object(ctxt, instance, delete_fields=_NOT_COPIED)
    # The node with this ID is another one in the other cell.
    clone.compute_id = None
    return clone


def carry_back(source, target):
    """Update the record of an instance in the cell that it returns to.

    :param source: Instance object of the cell that it leaves
    :param target: Instance object of the cell that it returns to; not saved
    """
    for field in _CARRIED_BACK:
        setattr(target, field, getattr(source, field))


def _missing(source, target, key):
    """What one list has more of than another.

    :param source: objects, oldest first
    :param target: objects
    :param key: a function of an object; two with the same are the same thing
    """
    counts = collections.Counter(map(key, target))
    for it in source:
        if counts[key(it)]:
            counts[key(it)] -= 1
        else:
            yield it


def carry_actions(source_ctxt, target_ctxt, instance_uuid):
    """Create the actions and events that only one of the cells knows.

    Both cells record some of the events, at slightly different times. These
    are events with the same name and the same host.

    :param source_ctxt: context targeted at the cell that knows them
    :param target_ctxt: context targeted at the cell to create them in
    :param instance_uuid: UUID of the instance
    """
    def actions_of(ctxt):
        # The newest are the first.
        return list(reversed(objects.InstanceActionList.get_by_instance_uuid(
            ctxt, instance_uuid)))

    def events_of(ctxt, action):
        return list(reversed(objects.InstanceActionEventList.get_by_action(
            ctxt, action.id)))

    def key(action):
        return action.request_id, action.action

    known = {key(action): action for action in actions_of(target_ctxt)}
    for action in actions_of(source_ctxt):
        if key(action) not in known:
            known[key(action)] = clone_creatable_object(target_ctxt, action)
            known[key(action)].create()
        missing = _missing(
            events_of(source_ctxt, action),
            events_of(target_ctxt, known[key(action)]),
            lambda event: (event.event, event.host))
        for event in missing:
            clone_creatable_object(target_ctxt, event).create(
                action.instance_uuid, action.request_id)


def carry_faults(source_ctxt, target_ctxt, instance_uuid):
    """Create the faults that only one of the cells knows.

    :param source_ctxt: context targeted at the cell that knows them
    :param target_ctxt: context targeted at the cell to create them in
    :param instance_uuid: UUID of the instance
    """
    source, target = (
        reversed(objects.InstanceFaultList.get_by_instance_uuids(
            ctxt, [instance_uuid]).objects)
        for ctxt in (source_ctxt, target_ctxt))
    missing = _missing(
        source, target,
        lambda fault: (fault.created_at, fault.code, fault.message))
    for fault in missing:
        clone_creatable_object(target_ctxt, fault).create()


def complete_in_target_cell(source_ctxt, target_ctxt, instance):
    """Complete the records in the target cell when the server is there.

    What the source cell has recorded since the copy was made is carried over.
    The events of conductor are still running, and will end in the source cell
    only, so they end here. Nothing is raised: the guest runs in the target
    cell by now, and must not lose its record there because of its history.

    :param source_ctxt: context targeted at the source cell
    :param target_ctxt: context of the request, targeted at the target cell
    :param instance: Instance object of the target cell
    """
    try:
        carry_actions(source_ctxt, target_ctxt, instance.uuid)
        carry_faults(source_ctxt, target_ctxt, instance.uuid)
        end_events(target_ctxt, instance.uuid)
    except Exception:
        LOG.exception('The actions and faults of a server that has been moved '
                      'to another cell are not complete there.',
                      instance=instance)


def get_open_events(ctxt, instance_uuid):
    """Get the events of moves of an instance that have not ended.

    :param ctxt: context targeted at the cell
    :param instance_uuid: UUID of the instance
    :returns: a list of pairs of an InstanceAction and an InstanceActionEvent
    """
    actions = objects.InstanceActionList.get_by_instance_uuid(
        ctxt, instance_uuid)
    return [
        (action, event) for action in actions if action.action in _MOVES
        for event in objects.InstanceActionEventList.get_by_action(
            ctxt, action.id)
        if event.finish_time is None]


def end_events(ctxt, instance_uuid, cause=None):
    """End the events of the moves of an instance.

    :param ctxt: context targeted at the cell
    :param instance_uuid: UUID of the instance
    :param cause: the exception that ended the move, which was raised; None if
        it succeeded
    """
    for action, event in get_open_events(ctxt, instance_uuid):
        # Events are found by the ID of the request that has made them.
        request_ctxt = copy.copy(ctxt)
        request_ctxt.request_id = action.request_id
        objects.InstanceActionEvent.event_finish_with_failure(
            request_ctxt, instance_uuid, event.event, exc_val=cause,
            exc_tb=cause and cause.__traceback__, want_result=False)


def heartbeat(*migrations):
    """Keep a move from being taken for abandoned while it is worked on.

    :param migrations: Migration objects of the move, in any cell
    :returns: a context manager, whose value is the thread that does it
    """
    def beat():
        for migration in migrations:
            touch(migration)

    return _repeated(_BEAT, beat)


@contextlib.contextmanager
def _repeated(interval, function):
    """Call a function again and again as long as the context lasts.

    :param interval: seconds before each call
    :param function: function without parameters, which raises nothing
    :returns: a context manager, whose value is the thread that does it
    """
    done = threading.Event()

    def repeat():
        while not done.wait(interval):
            function()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        done.set()
        thread.join()


def progress_shown(source, target):
    """Show the progress that the destination host saves.

    It saves that in its own cell, while the API looks in the other one.

    :param source: Instance object of the cell that the API looks in
    :param target: Instance object of the cell of the destination host
    :returns: a context manager for the time in which the host is at work
    """
    shown = 0

    def show():
        nonlocal shown
        try:
            # Another thread is using the objects and their contexts.
            record = objects.Instance.get_by_uuid(
                copy.copy(target._context), target.uuid, expected_attrs=[])
        except Exception as e:
            LOG.warning('The progress of the server is not known: %s', e,
                        instance=target)
            return
        if record.progress and record.progress > shown:
            shown = record.progress
            cross_cell_progress.save(
                source._context, source.uuid, shown,
                task_states.RESIZE_MIGRATED)

    return _repeated(cross_cell_progress.INTERVAL, show)


def claim(migration):
    """Update the time of a migration record if nobody else has done so.

    :param migration: Migration object as it was read
    :returns: whether it was updated (bool). Of all who have read the same
        record, one succeeds.
    """
    known = migration.updated_at and timeutils.normalize_time(
        migration.updated_at)
    # MySQL stores seconds, and the time has to change.
    now = timeutils.utcnow().replace(microsecond=0)
    if known is not None:
        now = max(now, known.replace(microsecond=0) + datetime.timedelta(
            seconds=1))
    return objects.Migration.touch(
        migration._context, migration.id, known, now)


def touch(migration):
    """Update the time of a migration record.

    Failures are logged only: the work on the move goes on, and if a recovery
    begins meanwhile the hosts see to it that both end the same way.

    :param migration: Migration object, which is not changed
    """
    # Another thread may be using the object and its context.
    record = objects.Migration(copy.copy(migration._context), id=migration.id)
    record.obj_reset_changes()
    record.updated_at = timeutils.utcnow(with_timezone=True)
    try:
        record.save()
    except exception.MigrationNotFound:
        # The end of a move deletes the record of one of the cells.
        pass
    except Exception as e:
        LOG.warning('The time of migration %(migration)s could not be '
                    'updated: %(error)s',
                    {'migration': migration.uuid, 'error': e},
                    instance_uuid=migration.instance_uuid)


def forget_move(instance):
    """Remove what a failed move has stored with an instance.

    :param instance: Instance object of the source cell
    """
    try:
        # Fields may have been set that were never saved.
        instance.refresh()
        instance.old_flavor = None
        instance.new_flavor = None
        instance.progress = 0
        instance.system_metadata.pop('old_vm_state', None)
        if cross_cell.NOT_CONNECTED not in instance.system_metadata:
            # Otherwise a reboot has to know what the hosts share.
            instance.drop_migration_context()
        instance.save()
    except exception.InstanceNotFound:
        LOG.info('The instance was deleted while it was moved.',
                 instance=instance)
    except Exception:
        LOG.exception('The stored flavors and the migration context of a '
                      'failed move could not be removed.', instance=instance)
