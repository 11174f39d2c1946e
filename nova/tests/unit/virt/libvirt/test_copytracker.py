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

import os
import threading
from unittest import mock

import fixtures
from oslo_concurrency import processutils
from oslo_utils.fixture import uuidsentinel as uuids

from nova import context
from nova import exception
from nova import objects
from nova import test
from nova.virt.libvirt import copytracker


class CopyTrackerTestBase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.tracker = copytracker.CopyTracker()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.saved = []
        self.on_save = lambda: None
        self.stub_out('nova.objects.Migration.save',
                      lambda migration: self._save(migration))
        self.migration = self._migration(uuids.migration)

    def _migration(self, uuid):
        migration = objects.Migration(
            context.get_admin_context(), id=1, uuid=uuid,
            instance_uuid=uuids.instance, status='preparing')
        migration.obj_reset_changes()
        return migration

    def _save(self, migration):
        self.saved.append(migration.obj_get_changes())
        migration.obj_reset_changes()
        self.on_save()

    def _track(self, total=100):
        return self.tracker.track(self.migration, self.directory, total)

    def _write(self, name, size):
        with open(os.path.join(self.directory, name), 'wb') as f:
            f.write(b'x' * size)

    def _assert_saved(self, total, processed):
        self.assertEqual(
            {'disk_total': total, 'disk_processed': processed,
             'disk_remaining': total - processed}, self.saved[-1])


class ProgressTest(CopyTrackerTestBase):
    """What the Migration says while files are copied."""

    def setUp(self):
        super().setUp()
        self.timer = self.useFixture(fixtures.MockPatch(
            'oslo_service.loopingcall.FixedIntervalLoopingCall',
            autospec=True)).mock

    def test_files_one_after_the_other(self):
        with self._track() as copy:
            copy.progress._show()
            self._assert_saved(100, 0)
            # A file that rsync has not renamed yet.
            self._write('.disk.Xq3b', 20)
            copy.progress._show()
            self._assert_saved(100, 20)
            os.unlink(os.path.join(self.directory, '.disk.Xq3b'))
            copy.progress.complete(60)
            self._write('disk.config', 10)
            copy.progress._show()
            self._assert_saved(100, 70)
            os.unlink(os.path.join(self.directory, 'disk.config'))
            copy.progress.complete(40)
        self._assert_saved(100, 100)

    def test_never_goes_back_nor_beyond_the_end(self):
        with self._track() as copy:
            self._write('disk', 90)
            copy.progress._show()
            # It was renamed, but is not counted as complete yet.
            os.unlink(os.path.join(self.directory, 'disk'))
            copy.progress._show()
            self._assert_saved(100, 90)
            copy.progress.complete(120)
        self._assert_saved(100, 100)

    def test_file_that_was_not_foreseen(self):
        with self._track() as copy:
            copy.progress.add(50)
            copy.progress.complete(50)
        self._assert_saved(150, 50)

    def test_at_intervals(self):
        self.flags(live_migration_monitor_interval=7, group='libvirt')
        with self._track() as copy:
            self.timer.assert_called_once_with(copy.progress._show)
            timer = self.timer.return_value
            timer.start.assert_called_once_with(interval=7)
            timer.stop.assert_not_called()
        timer.stop.assert_called_once_with()
        timer.wait.assert_called_once_with()

    def test_saves_nothing_else(self):
        """Least of all the status, which is the source's."""
        self.migration.status = 'error'
        with self._track():
            pass
        for changes in self.saved:
            self.assertEqual(
                {'disk_total', 'disk_processed', 'disk_remaining'},
                set(changes))
        self.assertEqual({'status'}, self.migration.obj_what_changed())

    def test_cannot_be_saved(self):
        def on_save():
            raise exception.MigrationNotFound(migration_id=1)

        self.on_save = on_save
        with self._track() as copy:
            copy.progress._show()

    def test_directory_is_gone(self):
        os.rmdir(self.directory)
        with self._track() as copy:
            copy.progress._show()
        self._assert_saved(100, 0)
        os.mkdir(self.directory)

    def test_nothing_is_saved_after_a_failure(self):
        def fail():
            with self._track() as copy:
                copy.progress.complete(100)
                raise test.TestingException

        self.assertRaises(test.TestingException, fail)
        self.assertNotIn(
            100, [changes['disk_processed'] for changes in self.saved])

    def test_source_has_not_sent_the_migration(self):
        with self.tracker.track(None, self.directory, 100) as copy:
            copy.progress.add(1)
            copy.progress.complete(1)
            copy.check_not_stopped()
        self.assertEqual([], self.saved)


class ThreadTest(CopyTrackerTestBase):
    """The progress is shown by a thread of its own."""

    def test_while_it_is_copied(self):
        self.flags(live_migration_monitor_interval=1, group='libvirt')
        shown = threading.Event()

        def on_save():
            if len(self.saved) == 2:
                shown.set()

        self.on_save = on_save
        with self._track():
            self._write('disk', 30)
            self.assertTrue(shown.wait(60))
            self._assert_saved(100, 30)


class StopTest(CopyTrackerTestBase):
    """What is stopped, and what is not."""

    def _stop(self, migration=None):
        self.tracker.stop(migration or self.migration)

    def _assert_nothing_kept(self):
        self.assertEqual({}, self.tracker._copies)
        self.assertEqual({}, self.tracker._stopped_early)

    def test_process_is_killed(self):
        def copy_for_an_hour():
            with self._track() as copy:
                def on_execute(process):
                    copy.on_execute(process)
                    threading.Timer(0.1, self._stop).start()

                processutils.execute(
                    'sleep', '3600', on_execute=on_execute,
                    on_completion=copy.on_completion)

        self.assertRaises(
            exception.PreLiveMigrationStopped, copy_for_an_hour)
        self._assert_nothing_kept()

    def test_process_that_is_just_starting(self):
        process = mock.Mock(spec_set=['kill'])
        with self._track() as copy:
            self._stop()
            copy.on_execute(process)
            process.kill.assert_called_once_with()
            self.assertRaises(
                exception.PreLiveMigrationStopped, copy.check_not_stopped)
            copy._is_stopped = False

    def test_process_that_has_ended(self):
        """Its id may be that of another process by now."""
        process = mock.Mock(spec_set=['kill'])
        with self._track() as copy:
            copy.on_execute(process)
            copy.on_completion(process)
            self._stop()
            process.kill.assert_not_called()
            copy._is_stopped = False

    def _copy(self):
        with self._track() as copy:
            copy.check_not_stopped()

    def test_stopped_before_it_begins(self):
        self._stop()
        self.assertRaises(exception.PreLiveMigrationStopped, self._copy)
        self._assert_nothing_kept()
        self._copy()

    def test_stopped_after_the_last_file(self):
        def copy():
            with self._track():
                self._stop()

        self.assertRaises(exception.PreLiveMigrationStopped, copy)
        self._assert_nothing_kept()

    def test_later_migration_of_the_instance(self):
        self._stop(self._migration(uuids.earlier))
        self._copy()
        with self._track() as copy:
            self._stop(self._migration(uuids.earlier))
            copy.check_not_stopped()

    def test_migration_that_never_comes(self):
        self.flags(long_rpc_timeout=60)
        self._stop(self._migration(uuids.earlier))
        with mock.patch('time.monotonic', autospec=True,
                        return_value=copytracker.time.monotonic() + 61):
            self._copy()
        self._assert_nothing_kept()

    def test_error_of_a_copy_that_was_not_stopped(self):
        def copy():
            with self._track():
                raise processutils.ProcessExecutionError

        self.assertRaises(processutils.ProcessExecutionError, copy)
        self._assert_nothing_kept()
