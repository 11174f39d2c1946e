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

"""What the libvirt driver finds out of a migration that it does not follow.

libvirt migrates a guest from daemon to daemon, so it goes on when the
nova-compute service that asked for it has ended or has lost it.
"""

import os
import shutil
import tempfile
import time

from oslo_log import log as logging
from oslo_utils import fileutils

from nova import exception
from nova import objects
from nova.virt import hardware
from nova.virt.libvirt import utils as libvirt_utils

try:
    import libvirt
except ImportError:
    # The unit tests do without it, the driver does not start without it.
    libvirt = None

LOG = logging.getLogger(__name__)

# An aborted job ends in a moment. One that cannot be aborted any more, because
# the guest already runs on the destination, may take as long as it needs.
_JOB_END_TIMEOUT = 5


def end_job(host, instance):
    """Abort the migration job of a guest and wait for its end.

    :param host: nova.virt.libvirt.host.Host
    :param instance: the Instance whose guest may have such a job
    :returns: whether the guest has no job any more (bool)
    """
    try:
        guest = host.get_guest(instance)
    except exception.InstanceNotFound:
        return True

    aborted = False
    deadline = time.monotonic() + _JOB_END_TIMEOUT
    while _is_active(guest.get_job_info()):
        if not aborted:
            aborted = True
            try:
                guest.abort_job()
            except libvirt.libvirtError as e:
                LOG.warning('The migration job cannot be aborted: %s', e,
                            instance=instance)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _is_active(job_info):
    return job_info.type in (libvirt.VIR_DOMAIN_JOB_BOUNDED,
                             libvirt.VIR_DOMAIN_JOB_UNBOUNDED)


def rebuild_migrate_data(drvr, instance, is_on_other_host):
    """Find out anew what the end of a live migration needs to know.

    :param drvr: the LibvirtDriver
    :param instance: the Instance that is, or was, live-migrated
    :param is_on_other_host: a function that takes what
        check_instance_shared_storage_remote takes, and returns whether the
        other host of the migration sees that file (bool). None if the
        instance is deleted, so that nothing needs to be preserved
    :returns: LibvirtLiveMigrateData
    """
    data = objects.LibvirtLiveMigrateData()
    data.instance_relative_path = libvirt_utils.get_instance_path(
        instance, relative=True)
    data.is_shared_instance_path = (
        is_on_other_host is not None and
        is_instance_path_shared(instance, is_on_other_host))
    backend = drvr.image_backend.backend()
    data.is_shared_block_storage = (
        backend.is_shared_block_storage() or
        data.is_shared_instance_path and backend.is_file_in_instance_path())
    data.block_migration = not (
        data.is_shared_block_storage or data.is_shared_instance_path)

    network_info = instance.get_network_info()
    if network_info:
        data.vifs = objects.migrate_data.VIFMigrateData.\
            create_skeleton_migrate_vifs(network_info)
    if hardware.get_vtpm_constraint(instance.flavor, instance.image_meta):
        # A rollback at the destination removes the secret because these are
        # set, it needs none of the values.
        data.vtpm_secret_uuid = None
        data.vtpm_secret_value = None
    if drvr._get_all_assigned_mediated_devices(instance):
        data.target_mdevs = {}
    return data


def is_instance_path_shared(instance, is_on_other_host, instance_dir=None):
    """Whether this host and another have one directory for an instance.

    :param instance_dir: the directory, if it is not the usual one (str)
    :returns: True if they have, or if one of them does not have it, so that
        nothing may or need be removed
    """
    usual_dir = libvirt_utils.get_instance_path(instance)
    instance_dir = instance_dir or usual_dir
    if not os.path.exists(instance_dir):
        return True
    # A host whose shared file system is not mounted, or is mounted elsewhere,
    # does not see the file below either.
    if not is_on_other_host({'filename': instance_dir}):
        return True
    descriptor, path = tempfile.mkstemp(dir=instance_dir)
    os.close(descriptor)
    try:
        return is_on_other_host({'filename': path})
    finally:
        fileutils.delete_if_exists(path)


def remove_leftover_directory(instance, migrate_data, is_on_source):
    """Remove the directory of an instance from its destination.

    :param migrate_data: LibvirtLiveMigrateData
    :param is_on_source: a function as in rebuild_migrate_data()
    """
    instance_dir = libvirt_utils.get_instance_path_at_destination(
        instance, migrate_data)
    if instance_dir != libvirt_utils.get_instance_path(instance):
        LOG.error('The directory %s, which the source names, is not that of '
                  'the instance', instance_dir, instance=instance)
        return
    if is_instance_path_shared(instance, is_on_source, instance_dir):
        LOG.warning('The directory %s is not removed, because the source may '
                    'have the same', instance_dir, instance=instance)
        return
    shutil.rmtree(instance_dir)
