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

"""Images that carry what a server has beside its root disk to another cell."""

from nova.compute import utils as compute_utils
from nova import objects
from nova.objects import cross_cell


class PartImages:
    """The images of the parts of a server, for as long as it moves."""

    def __init__(self, context, instance, image_api):
        """Know whose images they will be.

        :param context: nova.context.RequestContext; it owns the images
        :param instance: nova.objects.instance.Instance of the source cell
        :param image_api: nova.image.glance.API
        """
        self._context = context
        self._instance = instance
        self._image_api = image_api
        self._image_ids = []

    def create(self, move):
        """Create an empty image for each part that is not shared.

        :param move: nova.objects.cross_cell.CrossCellMove of the instance;
            the instance is not saved
        """
        if move.in_place or not move.parts:
            return
        for part in move.parts:
            image = compute_utils.create_image(
                self._context, self._instance, '%s-resize-temp-%s' % (
                    self._instance.display_name, part.name),
                'snapshot', self._image_api, hidden=True)
            self._image_ids.append(image['id'])
            part.image_id = image['id']
        # The instance does not see what changes that deep in it.
        self._instance.migration_context = self._instance.migration_context

    def delete(self):
        """Delete the images, as far as they are still there."""
        while self._image_ids:
            compute_utils.delete_image(
                self._context, self._instance, self._image_api,
                self._image_ids.pop())


def carry(source, target):
    """Have the target cell know what the source host has put into images.

    :param source: nova.objects.instance.Instance of the source cell, of which
        the source host has its own copy
    :param target: Instance of the target cell
    """
    if cross_cell.get_move(source).parts:
        context = objects.MigrationContext.get_by_instance_uuid(
            source._context, source.uuid)
        target.migration_context.cross_cell = context.cross_cell.obj_clone()
        target.migration_context = target.migration_context
        target.save()
