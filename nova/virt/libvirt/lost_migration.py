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

"""What the libvirt driver knows of a live migration that it does not follow.

libvirt migrates a guest from daemon to daemon, so it goes on when the
nova-compute service that asked for it has ended or has lost it.
"""

import os
import tempfile
import time

from oslo_log import log as logging
from oslo_utils import fileutils
from oslo_utils import uuidutils

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
# the guest already runs on the destination, may take as long as it needs: it
# is not waited for when the service starts.
_JOB_END_TIMEOUT = 30


def end_job(host, instance, operation=None):
    """Abort the migration job of a guest and wait for its end.

    :param host: nova.virt.libvirt.host.Host
    :param instance: the Instance whose guest may have such a job
    :param operation: Future of what migrates the guest, which may have yet to
        make the job. None if that has ended with an earlier nova-compute
    :returns: whether the guest has no job any more, nor will have (bool)
    """
    if operation:
        operation.cancel()
    try:
        guest = host.get_guest(instance)
    except exception.InstanceNotFound:
        guest = None

    aborted = False
    deadline = time.monotonic() + _JOB_END_TIMEOUT
    while True:
        is_active = guest is not None and _is_active(guest.get_job_info())
        if not is_active and (operation is None or operation.done()):
            return True
        if is_active and not aborted:
            aborted = True
            try:
                guest.abort_job()
            except libvirt.libvirtError as e:
                LOG.warning('The migration job can not be aborted: %s', e,
                            instance=instance)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def _is_active(job_info):
    return job_info.type in (libvirt.VIR_DOMAIN_JOB_BOUNDED,
                             libvirt.VIR_DOMAIN_JOB_UNBOUNDED)


def rebuild_migrate_data(drvr, instance, is_on_other_host):
    """Find out anew what the end of a live migration needs to know.

    :param drvr: the LibvirtDriver
    :param instance: the Instance that is, or was, live-migrated
    :param is_on_other_host: a function that takes what
        check_instance_shared_storage_remote takes, and returns whether the
        other host of the migration sees that file (bool)
    :returns: LibvirtLiveMigrateData
    """
    data = objects.LibvirtLiveMigrateData()
    data.instance_relative_path = libvirt_utils.get_instance_path(
        instance, relative=True)
    data.is_shared_instance_path = is_instance_path_shared(
        instance, is_on_other_host)
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


def is_instance_path_shared(instance, is_on_other_host):
    """Whether this host and another have one directory for an instance.

    :returns: True if they have, or if one of them does not have it, so that
        nothing may or need be removed
    """
    instance_dir = libvirt_utils.get_instance_path(instance)
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


def list_instance_dirs(instances_path):
    """List the instances that have a directory.

    :param instances_path: the directory of their directories (str)
    :returns: set of UUIDs
    """
    return {name for name in os.listdir(instances_path)
            if uuidutils.is_uuid_like(name)}
