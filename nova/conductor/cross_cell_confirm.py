#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Automatic confirm of resizes and cold migrations across cells.

Nova-compute confirms those within its cell. One across cells needs the API
database, which only a conductor outside of the cells has.
"""

from oslo_log import log as logging

from nova.compute import task_states
from nova.compute import vm_states
from nova import conf
from nova import context as nova_context
from nova import exception
from nova import objects

CONF = conf.CONF
LOG = logging.getLogger(__name__)


def poll_unconfirmed(context, compute_api):
    """Confirm what has waited for longer than resize_confirm_window.

    :param context: admin context
    :param compute_api: nova.compute.api.API
    """
    if (CONF.api_database.connection is None or
            not CONF.conductor.cross_cell_poll_interval or
            not CONF.resize_confirm_window):
        return
    results = nova_context.scatter_gather_skip_cell0(
        context, objects.MigrationList.get_unconfirmed_cross_cell,
        CONF.resize_confirm_window)
    for cell_uuid, migrations in results.items():
        if nova_context.is_cell_failure_sentinel(migrations):
            LOG.warning('Cell %s did not say what cross-cell resizes are to '
                        'be confirmed there.', cell_uuid)
            continue
        for migration in migrations:
            try:
                _confirm(cell_uuid, migration, compute_api)
            except Exception:
                LOG.exception(
                    'Cross-cell resize %s of instance %s could not be '
                    'confirmed. It will be tried again.', migration.uuid,
                    migration.instance_uuid)


def _confirm(cell_uuid, migration, compute_api):
    # A context, and a request ID, for each of them.
    context = nova_context.get_admin_context()
    mapping = objects.InstanceMapping.get_by_instance_uuid(
        context, migration.instance_uuid)
    if mapping.cell_mapping.uuid != cell_uuid:
        LOG.debug('Instance %s is not in the cell of its unconfirmed resize '
                  '%s.', migration.instance_uuid, migration.uuid)
        return
    nova_context.set_target_cell(context, mapping.cell_mapping)
    instance = objects.Instance.get_by_uuid(
        context, migration.instance_uuid,
        expected_attrs=['metadata', 'system_metadata'])
    # Anything else is a request under way, or was reset by an administrator.
    if (instance.vm_state != vm_states.RESIZED or
            instance.task_state not in (None, task_states.RESIZE_CONFIRMING)):
        return
    LOG.info('Automatically confirming cross-cell resize %s.', migration.uuid,
             instance=instance)
    try:
        compute_api.confirm_resize(context, instance, migration=migration)
    except exception.ServiceUnavailable:
        LOG.info('Source host %s is down. The confirm will be tried again.',
                 migration.source_compute, instance=instance)
    except exception.InstanceInvalidState as e:
        LOG.info('Another request was faster: %s', e, instance=instance)
