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

"""Show how far a move across cells has come, as the progress of the server.

In the first half the disks go to the image service, in the second they come
from there. Each host knows what it transfers, and saves it in its own cell.
While the destination is at work the API still looks in the other cell, where
conductor copies it to: see nova.conductor.cross_cell_records.

Nothing here can make a move fail.
"""

import contextlib
import copy

from oslo_log import log as logging
from oslo_service import loopingcall
from oslo_utils import units

from nova.compute import task_states
from nova import exception
from nova.image import transfers
from nova import objects
from nova.objects import cross_cell

LOG = logging.getLogger(__name__)

#: What is shown when the server has left the source host.
HALF = 50

#: Seconds between two updates.
INTERVAL = 5


def exporting(context, instance, snapshot_id):
    """Show how much the source host has put into images.

    :param context: nova.context.RequestContext of the cell of this host
    :param instance: nova.objects.instance.Instance, whose progress is 0
    :param snapshot_id: ID of the image of its root disk, or None
    :returns: context manager for that
    """
    # How many bytes a disk will have in its image is not known before it is
    # converted. How large it is for the guest is.
    sizes = {}
    if snapshot_id:
        sizes[snapshot_id] = max(instance.flavor.root_gb, 1) * units.Gi
    parts = _parts(instance)
    ephemerals = [part for part in parts if part.kind == 'ephemeral']
    for part in parts:
        sizes[part.image_id] = units.Mi
    for part in ephemerals:
        sizes[part.image_id] = (
            instance.flavor.ephemeral_gb * units.Gi // len(ephemerals))
    return _shown(context, instance, 0, sizes, task_states.RESIZE_MIGRATING)


def importing(context, instance, snapshot):
    """Show how much the destination has got from images.

    :param context: nova.context.RequestContext of the cell of this host
    :param instance: nova.objects.instance.Instance, whose progress is HALF
    :param snapshot: nova.objects.ImageMeta of its root disk, or None
    :returns: context manager for that
    """
    sizes = {part.image_id: part.size or 0 for part in _parts(instance)}
    if snapshot and 'size' in snapshot:
        sizes[snapshot.id] = snapshot.size
    return _shown(context, instance, HALF, sizes, task_states.RESIZE_FINISH)


def _parts(instance):
    return [part for part in cross_cell.get_move(instance).parts
            if part.image_id]


@contextlib.contextmanager
def _shown(context, instance, begin, sizes, task_state):
    """Show how much of the images has been transferred.

    :param begin: the progress that is shown already
    :param sizes: sizes of the images in bytes, by their IDs
    :param task_state: that of the instance meanwhile
    """
    total = sum(sizes.values())
    if not total:
        yield
        return
    shown = begin
    with transfers.watch(sizes) as watched:
        def show():
            nonlocal shown
            done = sum(size * watched[image_id].fraction
                       for image_id, size in sizes.items())
            progress = begin + int(HALF * done / total)
            if progress > shown:
                shown = progress
                save(context, instance.uuid, progress, task_state)

        timer = loopingcall.FixedIntervalLoopingCall(show)
        timer.start(interval=INTERVAL)
        try:
            yield
        finally:
            timer.stop()
            timer.wait()


def save(context, instance_uuid, progress, task_state):
    """Save the progress of a server, and nothing else of it.

    If that fails, the move goes on.

    :param context: nova.context.RequestContext of its cell
    :param instance_uuid: UUID of the instance (str)
    :param progress: percentage (int)
    :param task_state: what the server has to be at, or nothing is saved: a
        request that comes late shows nothing wrong
    """
    # Another thread is using the context and has the instance.
    record = objects.Instance(copy.copy(context), uuid=instance_uuid)
    record.obj_reset_changes()
    record.progress = progress
    try:
        record.save(expected_task_state=[task_state])
    except (exception.InstanceNotFound,
            exception.UnexpectedTaskStateError) as e:
        LOG.debug('The progress of the server is not shown any more: %s', e,
                  instance_uuid=instance_uuid)
    except Exception as e:
        LOG.warning('The progress of the server is not saved: %s', e,
                    instance_uuid=instance_uuid)
