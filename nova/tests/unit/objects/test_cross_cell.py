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

from oslo_utils.fixture import uuidsentinel as uuids

from nova import objects
from nova.objects import cross_cell
from nova import test


class CrossCellMoveTestCase(test.NoDBTestCase):

    def test_unclear_is_neither_used_in_place_nor_removed(self):
        move = objects.CrossCellMove.new()
        self.assertFalse(move.in_place)
        self.assertFalse(move.may_remove)

    def test_in_place(self):
        self.assertTrue(objects.CrossCellMove.new(shared=True).in_place)

    def test_may_remove(self):
        for shared, shared_path, expected in (
                (False, False, True), (False, True, False),
                (True, False, False), (None, False, False),
                (False, None, False)):
            move = objects.CrossCellMove.new(
                shared=shared, shared_path=shared_path)
            self.assertIs(expected, move.may_remove)

    def test_new_moves_have_lists_of_their_own(self):
        move = objects.CrossCellMove.new()
        move.blockers.append('reason')
        move.parts.objects.append(objects.LocalPart.new())
        other = objects.CrossCellMove.new()
        self.assertEqual([], other.blockers)
        self.assertEqual(0, len(other.parts))

    def test_get_move(self):
        move = objects.CrossCellMove.new(shared=True)
        instance = objects.Instance(
            migration_context=objects.MigrationContext(cross_cell=move))
        self.assertIs(move, cross_cell.find_move(instance))
        self.assertIs(move, cross_cell.get_move(instance))

    def test_get_move_of_earlier_release(self):
        for context in (None, objects.MigrationContext(),
                        objects.MigrationContext(cross_cell=None)):
            instance = objects.Instance(migration_context=context)
            self.assertIsNone(cross_cell.find_move(instance))
            self.assertFalse(cross_cell.get_move(instance).may_remove)

    def test_round_trip_in_migration_context(self):
        context = objects.MigrationContext(cross_cell=(
            objects.CrossCellMove.new(storage='qcow2')))
        context.cross_cell.parts.objects.append(objects.LocalPart.new(
            name='disk.local', kind='ephemeral', format='qcow2',
            image_id=uuids.image))
        primitive = context.obj_to_primitive()
        read = objects.MigrationContext.obj_from_primitive(primitive)
        self.assertEqual('disk.local', read.cross_cell.parts[0].name)
        self.assertEqual(uuids.image, read.cross_cell.parts[0].image_id)

    def test_older_migration_context(self):
        context = objects.MigrationContext(
            cross_cell=objects.CrossCellMove.new())
        primitive = context.obj_to_primitive(target_version='1.2')
        self.assertNotIn('cross_cell', primitive['nova_object.data'])
