# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
# http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What a compute service does about a change of an instance's owner.

An attach of a port, a volume or a share sets no task state, so the instance
may be transferred to another project meanwhile. The transfer changes the owner
and then looks for what is attached. An attach first makes visible what it
attaches, and then looks at the owner. Whichever comes second sees the other.

The hypervisor has a record of the owner as well. A transfer marks the instance
until that record has been updated: a host that is down delays nothing.
"""

import time

from oslo_log import log as logging
from oslo_utils import excutils

from nova.compute import task_states
from nova.compute import vm_states
from nova import exception
from nova import objects

LOG = logging.getLogger(__name__)

MARK = 'owner_to_refresh'
"""Key in the system metadata of an instance whose hypervisor is still to be
told who owns it."""

STATS = {'server_transfer': '1'}
"""What a compute service that does all this adds to the statistics of its
nodes. An older service overwrites them without it."""

LOOKS = 10
"""How often to look whether a transfer that is under way has ended."""

PAUSE = 0.5
"""Seconds between two such looks."""


def check_unchanged(context, instance, take_back):
    """Check that an instance still belongs to the project it belonged to.

    While a transfer to another project is under way, it may yet be undone
    because of what has just been attached, so wait for its end.

    :param context: RequestContext of the attach, of any project
    :param instance: the Instance as it was when the attach was allowed
    :param take_back: called without arguments before anything is raised, to
        detach what has been made visible
    :raises nova.exception.InstanceInvalidState: if it belongs to another
        project now
    :raises nova.exception.InstanceNotFound: if it was deleted
    """
    try:
        for look in range(LOOKS):
            now = objects.Instance.get_by_uuid(
                context.elevated(), instance.uuid, expected_attrs=[])
            if now.project_id == instance.project_id:
                return
            if now.task_state != task_states.TRANSFERRING:
                break
            if look < LOOKS - 1:
                time.sleep(PAUSE)
        raise exception.InstanceInvalidState(
            attr='task_state', instance_uuid=instance.uuid,
            state=task_states.TRANSFERRING, method='attach')
    except Exception:
        with excutils.save_and_reraise_exception():
            LOG.info('Detaching what was being attached when the owner of '
                     'the instance changed, or could not be read',
                     instance=instance)
            take_back()


def refresh(context, instance, driver):
    """Update the hypervisor's record of the owner of an instance.

    What was made for the former owner since the owner has changed is revoked.
    A suspended guest gets the owner with which it was saved when it resumes,
    so the mark stays until then.

    :param context: RequestContext of an administrator
    :param instance: the Instance, with its present owner
    :param driver: nova.virt.driver.ComputeDriver of the host
    """
    objects.ConsoleAuthToken.clean_console_auths_for_instance(
        context, instance.uuid)
    driver.refresh_instance_owner(context, instance)
    if instance.vm_state == vm_states.SUSPENDED:
        return
    # Saving writes all of the system metadata, so it is read just before.
    now = objects.Instance.get_by_uuid(
        context, instance.uuid, expected_attrs=['system_metadata'])
    if (now.task_state != task_states.TRANSFERRING and
            (now.project_id, now.user_id) == (
                instance.project_id, instance.user_id) and
            now.system_metadata.pop(MARK, None)):
        # None in a list is compared, and alone is not.
        now.save(expected_task_state=[now.task_state])
        instance.system_metadata.pop(MARK, None)


def refresh_if_marked(context, instance, driver):
    """Update the hypervisor's record of the owner where that is still due.

    A failure is logged: the mark stays, and the next start of the service
    tries again.

    :param context: RequestContext of an administrator
    :param instance: the Instance
    :param driver: nova.virt.driver.ComputeDriver of the host
    """
    if MARK not in instance.system_metadata:
        return
    try:
        refresh(context, instance, driver)
    except Exception:
        LOG.exception('Failed to update the owner in the hypervisor',
                      instance=instance)
