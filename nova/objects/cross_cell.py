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

from nova.objects import base
from nova.objects import fields


@base.NovaObjectRegistry.register
class LocalPart(base.NovaObject):
    """Something of a server that only its host has, beside the root disk."""

    # Version 1.0: Initial version
    VERSION = '1.0'

    fields = {
        # The name that the virt driver knows it by.
        'name': fields.StringField(),
        'kind': fields.EnumField(('ephemeral', 'config', 'nvram')),
        # The format of what is in the image, which nobody probes.
        'format': fields.EnumField(('raw', 'qcow2')),
        # The temporary image that carries it, the bytes that it has, and
        # their SHA-512 as a hexadecimal string.
        'image_id': fields.UUIDField(nullable=True, default=None),
        'size': fields.IntegerField(nullable=True, default=None),
        'sha512': fields.StringField(nullable=True, default=None),
    }

    @classmethod
    def new(cls, **kwargs):
        """Describe a part that has no image yet."""
        part = cls(**kwargs)
        part.obj_set_defaults()
        return part


@base.NovaObjectRegistry.register
class LocalPartList(base.ObjectListBase, base.NovaObject):

    # Version 1.0: Initial version
    VERSION = '1.0'

    fields = {
        'objects': fields.ListOfObjectsField('LocalPart'),
    }


@base.NovaObjectRegistry.register
class CrossCellMove(base.NovaObject):
    """What the two hosts of a move across cells have to know of storage.

    The source host describes the server, the destination says what of it the
    two hosts share. It is kept in the migration context of the server in both
    cells until the move is confirmed or reverted.
    """

    # Version 1.0: Initial version
    VERSION = '1.0'

    fields = {
        # What holds the disks, in words of the virt driver. Two hosts with
        # the same do not need to share it.
        'storage': fields.StringField(default=''),
        # The name of an empty file in the directory of the server, by which
        # the destination sees whether it is the same directory there.
        'marker': fields.StringField(nullable=True, default=None),
        # Whether the hosts share what holds the disks, and the directory of
        # the server. None if that could not be found out.
        'shared': fields.BooleanField(nullable=True, default=None),
        'shared_path': fields.BooleanField(nullable=True, default=None),
        'parts': fields.ObjectField('LocalPartList'),
        'old_vm_state': fields.StringField(nullable=True, default=None),
        # Why the server cannot leave its host. There are none once the move
        # has begun.
        'blockers': fields.ListOfStringsField(default=[]),
    }

    @classmethod
    def new(cls, **kwargs):
        """Describe a move of which nothing else is known."""
        move = cls(parts=LocalPartList(objects=[]), **kwargs)
        move.obj_set_defaults()
        return move

    @property
    def in_place(self):
        """Whether the destination uses the disks where they are (bool).

        If in doubt, it gets a copy of them.
        """
        return self.shared is True

    @property
    def may_remove(self):
        """Whether a host may remove all that it has of the server (bool).

        If in doubt, the other host uses it.
        """
        return self.shared is False and self.shared_path is False


def find_move(instance):
    """What is known of the storage in a move across cells.

    :param instance: nova.objects.instance.Instance
    :returns: CrossCellMove object, or None: there is no such move, or an
        earlier release has begun it
    """
    context = instance.migration_context
    if context is None or 'cross_cell' not in context:
        return None
    return context.cross_cell


def get_move(instance):
    """What is known of the storage in a move across cells.

    :param instance: nova.objects.instance.Instance that is moved
    :returns: CrossCellMove object; an undecided one, after which nothing is
        removed, if an earlier release has begun the move
    """
    return find_move(instance) or CrossCellMove.new()
