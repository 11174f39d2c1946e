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

"""What the API does to confirm a resize or cold migration across cells.

A confirm removes the server from the source, which cannot be undone. Each of
its steps can be repeated, so a confirm that has failed or was interrupted is
requested again. Until it is complete, the records in the target cell are:

* migration "finished": there has been no confirm, a revert is possible;
* migration "confirming", task state None: a confirm has failed half-way;
* migration "confirming", task state "resize_confirming": a confirm runs, or
  was interrupted;
* migration "confirmed", task state "resize_confirming": it was interrupted at
  its last step.
"""

from oslo_log import log as logging
from oslo_utils import timeutils

from nova.compute import task_states
from nova.compute import vm_states
from nova import conf
from nova import exception
from nova import objects

CONF = conf.CONF
LOG = logging.getLogger(__name__)


def get_migration(context, instance):
    """Get the migration that a request to confirm a resize is for.

    :param context: elevated context, targeted at the cell of the instance
    :param instance: Instance object with vm_state "resized"
    :returns: Migration object
    :raises: MigrationNotFoundByStatus if no resize can be confirmed
    """
    try:
        return objects.Migration.get_by_instance_and_status(
            context, instance.uuid, 'finished')
    except exception.MigrationNotFoundByStatus:
        statuses = ['confirming']
        if instance.task_state == task_states.RESIZE_CONFIRMING:
            statuses.append('confirmed')
        migrations = objects.MigrationList.get_by_filters(
            context, {'instance_uuid': instance.uuid, 'status': statuses},
            sort_keys=['id'], sort_dirs=['desc'])
        if not migrations or not migrations[0].cross_cell_move:
            raise
        return migrations[0]


def begin(instance, migration):
    """Set the task state of a confirm, which only one request can do.

    A task state that an interrupted confirm has left does not keep the server
    from being confirmed. Should that confirm be at work after all, the two do
    the same steps, one after the other on the source host.

    :param instance: Instance object of the target cell
    :param migration: Migration object of the target cell
    :raises: InstanceInvalidState if the resize is being confirmed or the
        server has changed its state
    """
    task_state = instance.task_state
    if task_state is not None and not _is_interrupted(instance, migration):
        raise _invalid_state(instance, 'task_state', task_state)
    instance.task_state = task_states.RESIZE_CONFIRMING
    try:
        instance.save(expected_vm_state=[vm_states.RESIZED],
                      expected_task_state=[task_state])
    except exception.InstanceUpdateConflict as e:
        attr, state = next(iter(e.kwargs['actual'].items()))
        raise _invalid_state(instance, attr, state)


def _is_interrupted(instance, migration):
    since = max(it.updated_at for it in (instance, migration) if it.updated_at)
    return timeutils.is_older_than(since, CONF.rpc_response_timeout)


def _invalid_state(instance, attr, state):
    return exception.InstanceInvalidState(
        attr=attr, instance_uuid=instance.uuid, state=state,
        method='confirm_resize')


def confirm_on_delete(context, instance, migration, compute_task_api):
    """Remove a server that is being deleted from the source as well.

    The server is deleted on the destination, whatever becomes of this. If the
    source cannot be cleaned, its records stay there as a note of what is left.

    :param context: context of the request
    :param instance: Instance object of the target cell
    :param migration: Migration object of the target cell
    :param compute_task_api: nova.conductor.api.ComputeTaskAPI
    """
    try:
        # From here on the server cannot go back.
        migration.status = 'confirming'
        migration.save()
        compute_task_api.confirm_snapshot_based_resize(
            context, instance, migration, do_cast=False)
    except Exception:
        LOG.exception('The server is deleted, but it may not be removed from '
                      'its source host %s yet.', migration.source_compute,
                      instance=instance)
