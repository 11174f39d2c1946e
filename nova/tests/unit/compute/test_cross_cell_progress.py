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

import contextlib
from unittest import mock

import fixtures
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import units

from nova.compute import cross_cell_progress
from nova.compute import task_states
from nova import context as nova_context
from nova import exception
from nova.image import transfers
from nova import objects
from nova.objects import cross_cell
from nova import test


class ShownTestCase(test.NoDBTestCase):
    """What is saved while images are transferred."""

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        move = objects.CrossCellMove.new()
        move.parts.objects = [
            objects.LocalPart.new(
                name='disk.eph0', kind='ephemeral', format='qcow2',
                image_id=uuids.eph0, size=100),
            objects.LocalPart.new(
                name='disk.eph1', kind='ephemeral', format='qcow2',
                image_id=uuids.eph1, size=500),
            objects.LocalPart.new(
                name='disk.config', kind='config', format='raw',
                image_id=uuids.config, size=0)]
        self.instance = objects.Instance(
            self.context, uuid=uuids.instance,
            flavor=objects.Flavor(root_gb=4, ephemeral_gb=4),
            migration_context=objects.MigrationContext(cross_cell=move))
        self.move = move
        self.save = self.useFixture(fixtures.MockPatchObject(
            cross_cell_progress, 'save', autospec=True)).mock
        self.timer = self.useFixture(fixtures.MockPatch(
            'oslo_service.loopingcall.FixedIntervalLoopingCall',
            autospec=True)).mock

    def _show(self):
        """Look at the transfers as the timer does."""
        self.timer.call_args.args[0]()

    def _assert_saved(self, *progress, task_state):
        self.assertEqual([
            mock.call(self.context, uuids.instance, each, task_state)
            for each in progress], self.save.mock_calls)

    @staticmethod
    @contextlib.contextmanager
    def _transferred(image_id, fraction):
        transfer, _size = transfers._watched[image_id]
        with transfer.measured(lambda: fraction):
            yield

    def test_exporting(self):
        with cross_cell_progress.exporting(
                self.context, self.instance, uuids.snapshot):
            self._show()
            with self._transferred(uuids.snapshot, 0.5):
                self._show()
                # Nothing has changed.
                self._show()
            self._show()
            with self._transferred(uuids.eph0, 0.5):
                self._show()
                # Something is repeated.
                with self._transferred(uuids.eph0, 0.1):
                    self._show()
            with self._transferred(uuids.eph1, 1), \
                    self._transferred(uuids.config, 1):
                self._show()
        self._assert_saved(
            12, 24, 31, 50, task_state=task_states.RESIZE_MIGRATING)

    def test_importing(self):
        snapshot = objects.ImageMeta(id=uuids.snapshot, size=400)
        with cross_cell_progress.importing(
                self.context, self.instance, snapshot):
            with self._transferred(uuids.eph0, 1):
                self._show()
            with self._transferred(uuids.eph1, 0.5):
                self._show()
            with self._transferred(uuids.snapshot, 1):
                self._show()
        self._assert_saved(
            55, 67, 100, task_state=task_states.RESIZE_FINISH)

    def test_root_disk_of_unknown_size(self):
        self.instance.flavor.root_gb = 0
        with mock.patch.object(
                transfers, 'watch', autospec=True,
                wraps=transfers.watch) as watch:
            with cross_cell_progress.exporting(
                    self.context, self.instance, uuids.snapshot):
                self.assertEqual(
                    units.Gi, watch.call_args.args[0][uuids.snapshot])

    def test_at_intervals(self):
        with cross_cell_progress.exporting(self.context, self.instance, None):
            timer = self.timer.return_value
            timer.start.assert_called_once_with(interval=5)
            timer.stop.assert_not_called()
        timer.stop.assert_called_once_with()
        timer.wait.assert_called_once_with()

    def test_ends_with_the_step(self):
        def fail():
            with cross_cell_progress.exporting(
                    self.context, self.instance, None):
                raise test.TestingException()

        self.assertRaises(test.TestingException, fail)
        self.timer.return_value.stop.assert_called_once_with()
        self.assertEqual({}, transfers._watched)

    def test_nothing_is_transferred(self):
        for part in self.move.parts:
            part.image_id = None
        for showing in (cross_cell_progress.exporting,
                        cross_cell_progress.importing):
            with showing(self.context, self.instance, None):
                pass
        # An earlier release has begun the move.
        self.instance.migration_context = None
        self.assertIsNone(cross_cell.find_move(self.instance))
        with cross_cell_progress.importing(
                self.context, self.instance, objects.ImageMeta()):
            pass
        self.timer.assert_not_called()


class SaveTestCase(test.TestCase):

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.instance = objects.Instance(
            self.context, uuid=uuids.instance, user_id='user',
            project_id='project', progress=0,
            task_state=task_states.RESIZE_MIGRATING, display_name='old')
        self.instance.create()

    def _save(self):
        cross_cell_progress.save(
            self.context, uuids.instance, 42, task_states.RESIZE_MIGRATING)

    def test_nothing_else_is_saved(self):
        other = objects.Instance.get_by_uuid(self.context, uuids.instance)
        other.display_name = 'new'
        other.save()
        self._save()
        # Whoever has an older copy goes on with that.
        self.instance.task_state = task_states.RESIZE_MIGRATED
        self.instance.save(expected_task_state=task_states.RESIZE_MIGRATING)
        found = objects.Instance.get_by_uuid(self.context, uuids.instance)
        self.assertEqual(
            ('new', task_states.RESIZE_MIGRATED, 42),
            (found.display_name, found.task_state, found.progress))

    def test_too_late(self):
        for task_state in (task_states.RESIZE_MIGRATED, task_states.DELETING,
                           None):
            self.instance.task_state = task_state
            self.instance.save()
            self._save()
            found = objects.Instance.get_by_uuid(self.context, uuids.instance)
            self.assertEqual(0, found.progress)
        self.instance.destroy()
        self._save()
        self.assertNotIn('is not saved', self.stdlog.logger.output)

    def test_fails(self):
        for error in (test.TestingException,
                      exception.CellTimeout):
            with mock.patch.object(
                    objects.Instance, 'save', autospec=True,
                    side_effect=error):
                self._save()
        self.assertEqual(
            2, self.stdlog.logger.output.count('is not saved'))
