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

"""Show and stop what a destination copies before a guest moves to it.

The source waits for one RPC call meanwhile, which may take hours. So the
progress is saved in the Migration, where the API finds it, and the request to
stop comes in another call.

All of it is in memory: when the process has ended, nobody waits for the copy.
"""

import contextlib
import os
import threading
import time

from oslo_log import log as logging
from oslo_service import loopingcall

import nova.conf
from nova import exception

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)


class CopyTracker:
    """The copies that this host makes for incoming live migrations."""

    def __init__(self):
        self._lock = threading.Lock()
        # Keyed by the uuid of the migration, which is another in a retry.
        self._copies = {}
        self._stopped_early = {}

    @contextlib.contextmanager
    def track(self, migration, directory, total):
        """Track a copy for as long as the context lasts.

        :param migration: the Migration, or None if the source has not sent
            it. The copy can then neither be seen nor stopped
        :param directory: where files are until they are complete (str)
        :param total: how much will be copied, as far as is known (bytes)
        :returns: context manager of a Copy
        :raises nova.exception.PreLiveMigrationStopped: if the copy was
            stopped, in place of the error that this may have caused
        """
        progress = _Progress(migration, directory, total)
        copy = Copy(migration, progress)
        self._begin(copy)
        try:
            with progress.shown():
                yield copy
                copy.check_not_stopped()
        except Exception:
            copy.check_not_stopped()
            raise
        finally:
            self._end(copy)

    def stop(self, migration):
        """Stop the copy for a migration, whether or not it has begun.

        :param migration: the Migration
        """
        with self._lock:
            copy = self._copies.get(migration.uuid)
            if copy is None:
                self._forget_old()
                self._stopped_early[migration.uuid] = time.monotonic()
        if copy is not None:
            copy.stop()

    def _begin(self, copy):
        if copy.migration is None:
            return
        with self._lock:
            self._forget_old()
            self._copies[copy.migration.uuid] = copy
            stopped = self._stopped_early.pop(copy.migration.uuid, None)
        if stopped is not None:
            copy.stop()

    def _end(self, copy):
        if copy.migration is None:
            return
        with self._lock:
            self._copies.pop(copy.migration.uuid, None)

    def _forget_old(self):
        # By then the source has given up its call, if it ever made one.
        oldest = time.monotonic() - CONF.long_rpc_timeout
        self._stopped_early = {
            uuid: stopped for uuid, stopped in self._stopped_early.items()
            if stopped > oldest}


class Copy:
    """One or more files that are copied, one at a time.

    :ivar migration: the Migration that they are copied for, or None
    :ivar progress: its _Progress
    """

    def __init__(self, migration, progress):
        self.migration = migration
        self.progress = progress
        self._is_stopped = False
        self._process = None

    def stop(self):
        """Kill the process that copies, and begin no other."""
        self._is_stopped = True
        process = self._process
        if process is not None:
            process.kill()

    def check_not_stopped(self):
        """Raise an exception if the copy was stopped.

        :raises nova.exception.PreLiveMigrationStopped: if so
        """
        if self._is_stopped:
            raise exception.PreLiveMigrationStopped(
                migration_uuid=self.migration.uuid,
                instance_uuid=self.migration.instance_uuid)

    def on_execute(self, process):
        """Note the process that copies a file.

        :param process: subprocess.Popen
        """
        self._process = process
        # stop() looks for the process only once, which may have been before.
        if self._is_stopped:
            process.kill()

    def on_completion(self, process):
        """Note that a process has ended.

        :param process: subprocess.Popen
        """
        self._process = None


class _Progress:
    """How much is copied, in the Migration."""

    def __init__(self, migration, directory, total):
        # Changes that the source has not saved are not saved here either.
        self._migration = migration and migration.obj_clone()
        if self._migration:
            self._migration.obj_reset_changes()
        self._directory = directory
        self._total = total
        self._complete = 0
        self._processed = 0

    @contextlib.contextmanager
    def shown(self):
        """Save the progress at intervals, and once more at the end."""
        if not self._migration:
            yield
            return
        timer = loopingcall.FixedIntervalLoopingCall(self._show)
        timer.start(interval=CONF.libvirt.live_migration_monitor_interval)
        try:
            yield
        finally:
            timer.stop()
            # From here on the source saves its own figures.
            timer.wait()
        self._show()

    def add(self, size):
        """Add a file that was not expected to be copied.

        :param size: its size in bytes
        """
        self._total += size

    def complete(self, size):
        """Count a file as complete.

        :param size: its size in bytes
        """
        self._complete += size

    def _show(self):
        try:
            self._save()
        except Exception as e:
            # The copy goes on although its progress is not shown.
            LOG.warning('The progress of the live migration %(migration)s is '
                        'not saved: %(error)s',
                        {'migration': self._migration.uuid, 'error': e},
                        instance_uuid=self._migration.instance_uuid)

    def _save(self):
        # A file that is just being renamed is found in neither place.
        self._processed = max(
            self._processed,
            min(self._complete + self._in_progress(), self._total))
        self._migration.disk_total = self._total
        self._migration.disk_processed = self._processed
        self._migration.disk_remaining = self._total - self._processed
        self._migration.save()

    def _in_progress(self):
        size = 0
        # rsync copies to a hidden file, and renames that.
        with (contextlib.suppress(FileNotFoundError),
              os.scandir(self._directory) as entries):
            for entry in entries:
                size += entry.stat().st_size
        return size
