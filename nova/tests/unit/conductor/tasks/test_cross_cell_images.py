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

from unittest import mock

from oslo_utils.fixture import uuidsentinel as uuids

from nova.conductor.tasks import cross_cell_images
from nova import context
from nova import exception
from nova.image import glance
from nova import objects
from nova import test
from nova.tests.unit import fake_instance


class PartImagesTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = context.RequestContext('user', 'project')
        self.move = objects.CrossCellMove.new(shared=False)
        for name in ('disk.eph0', 'disk.eph1'):
            self.move.parts.objects.append(objects.LocalPart.new(
                name=name, kind='ephemeral', format='qcow2'))
        self.instance = fake_instance.fake_instance_obj(
            self.context, display_name='server', system_metadata={},
            image_ref=uuids.image,
            expected_attrs=['flavor', 'system_metadata'])
        self.instance.migration_context = objects.MigrationContext(
            cross_cell=self.move)
        self.image_api = mock.create_autospec(glance.API, instance=True)
        self.image_api.create.side_effect = [
            {'id': uuids.first}, {'id': uuids.second}]
        self.images = cross_cell_images.PartImages(
            self.context, self.instance, self.image_api)

    def _created(self):
        return [call.args[1] for call in self.image_api.create.mock_calls]

    def test_create(self):
        self.instance.obj_reset_changes(recursive=True)
        self.images.create(self.move)
        self.assertEqual(
            [uuids.first, uuids.second],
            [part.image_id for part in self.move.parts])
        self.assertEqual(
            ['server-resize-temp-disk.eph0', 'server-resize-temp-disk.eph1'],
            [image['name'] for image in self._created()])
        for image in self._created():
            self.assertIs(True, image['os_hidden'])
        self.assertIn(
            'migration_context', self.instance.obj_what_changed())

    def test_nothing_to_carry(self):
        self.move.shared = True
        self.images.create(self.move)
        self.images.create(objects.CrossCellMove.new())
        self.image_api.create.assert_not_called()

    def test_delete_what_was_created(self):
        self.image_api.create.side_effect = [
            {'id': uuids.first}, exception.ImageQuotaExceeded(image_id='')]
        self.assertRaises(
            exception.ImageQuotaExceeded, self.images.create, self.move)
        self.images.delete()
        self.image_api.delete.assert_called_once_with(
            self.context, uuids.first)
        self.images.delete()
        self.image_api.delete.assert_called_once()

    @mock.patch('nova.objects.Instance.save')
    @mock.patch('nova.objects.MigrationContext.get_by_instance_uuid')
    def test_carry(self, get_context, save):
        get_context.return_value = objects.MigrationContext(
            cross_cell=self.move.obj_clone())
        get_context.return_value.cross_cell.parts[0].sha512 = 'digest'
        target = objects.Instance(
            uuid=self.instance.uuid,
            migration_context=objects.MigrationContext(
                migration_id=2, cross_cell=self.move.obj_clone()))
        cross_cell_images.carry(self.instance, target)
        self.assertEqual(
            'digest', target.migration_context.cross_cell.parts[0].sha512)
        self.assertEqual(2, target.migration_context.migration_id)
        save.assert_called_once_with()
