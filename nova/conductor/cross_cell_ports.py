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

"""Ports with resource requests that are moved to another cell.

What placement has given a port on the destination is stored in the binding of
the port to that host, before the host is asked for anything. The hosts read it
there. The source keeps its own binding until the resize is confirmed, so a
revert finds there what placement still holds for the migration.
"""

from nova.compute import utils as compute_utils
from nova import exception
from nova.i18n import _
from nova.network import constants


def get_port_profiles(context, instance, request_spec, network_api):
    """Get the binding profiles of ports for the host that was scheduled.

    :param context: context targeted at the target cell
    :param instance: Instance object of the target cell
    :param request_spec: RequestSpec object, with the resource providers of the
        host, as fill_provider_mapping() sets them for each candidate
    :param network_api: nova.network.neutron.API
    :returns: dict of binding profiles by the ID of the port; ports without a
        resource request are not in it
    """
    mapping = request_spec.get_request_group_mapping()
    if not mapping:
        return {}
    profiles = {}
    for vif in instance.get_network_info():
        allocation = network_api.get_binding_profile_allocation(
            context, vif['id'], mapping)
        if allocation:
            profiles[vif['id']] = dict(
                vif['profile'] or {}, **{constants.ALLOCATION: allocation})
    return profiles


def set_requested_devices(context, instance, request_spec, report_client):
    """Let the claim take PCI devices of what placement has given the ports.

    :param context: context targeted at the target cell
    :param instance: Instance object of the target cell; its PCI requests are
        changed, but not saved
    :param request_spec: RequestSpec object, see get_port_profiles()
    :param report_client: nova.scheduler.client.report.SchedulerReportClient
    :raises: MigrationPreCheckError if the physical function is not known
    """
    mapping = request_spec.get_request_group_mapping()
    if not mapping or not instance.pci_requests:
        return
    try:
        compute_utils.update_pci_request_with_placement_allocations(
            context, report_client, instance.pci_requests.requests, mapping)
    except (exception.AmbiguousResourceProviderForPCIRequest,
            exception.UnexpectedResourceProviderNameForPCIRequest) as e:
        raise exception.MigrationPreCheckError(
            reason=_('The device of a port cannot be found: %s') % e)
