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

"""Which compute hosts can live-migrate a rescued server."""

from keystoneauth1 import exceptions as ks_exc
import os_traits
from oslo_log import log as logging

from nova.compute import vm_states
from nova import exception
from nova.i18n import _
from nova import objects

LOG = logging.getLogger(__name__)

LIVE_MIGRATE_TRAIT = os_traits.normalize_name('COMPUTE_LIVE_MIGRATE_RESCUED')
"""Trait of the nodes whose driver has ``supports_live_migrate_rescued``."""

MIN_COMPUTE_LIVE_MIGRATE = 75
"""The first nova-compute service version that reports the trait."""


def check_live_migrate(context, reportclient, instance, host, role):
    """Check that a host can take its part in live-migrating an instance.

    The trait alone does not tell, because it stays on the resource provider
    when a compute service goes back to an earlier release.

    :param context: RequestContext, targeted at the cell of the host
    :param reportclient: SchedulerReportClient, to read the traits with
    :param instance: the Instance to migrate; if it is not rescued there is
        nothing to check
    :param host: name of the compute host (str)
    :param role: the part of the host in the migration, 'source' or
        'destination', for the message
    :raises nova.exception.LiveMigrateRescuedNotSupported: if the host cannot
    :raises nova.exception.ComputeHostNotFound: if the host has no node
    """
    if instance.vm_state != vm_states.RESCUED:
        return

    if host == instance.host:
        node = objects.ComputeNode.get_by_host_and_nodename(
            context, host, instance.node)
    else:
        node = objects.ComputeNode.get_first_node_by_host_for_old_compat(
            context, host)
    reason = _why_not(context, reportclient, node)
    if reason:
        raise exception.LiveMigrateRescuedNotSupported(
            role=role, node=node.hypervisor_hostname, reason=reason)


def _why_not(context, reportclient, node):
    service = objects.Service.get_by_compute_host(context, node.host)
    if service.version < MIN_COMPUTE_LIVE_MIGRATE:
        return _('its nova-compute service is not upgraded yet')
    try:
        traits = reportclient.get_provider_traits(context, node.uuid).traits
    except (exception.ResourceProviderTraitRetrievalFailed,
            ks_exc.ClientException) as e:
        LOG.warning('Failed to get the traits of compute node %s: %s',
                    node.uuid, e)
        return _('placement does not tell its traits, try again later')
    if LIVE_MIGRATE_TRAIT not in traits:
        return _('its virt driver does not have the capability')
    return None
