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

"""Client and server of the RPC API about the guests of a host.

It has a namespace, and so a version, of its own: a host either has it or does
not, whatever the version of its compute RPC API is.
"""

from oslo_log import log as logging
import oslo_messaging as messaging
from oslo_utils import uuidutils

from nova.compute import owner
from nova.compute import power_state
from nova.compute import rpcapi
from nova import exception
from nova import objects
from nova import rpc

LOG = logging.getLogger(__name__)

_NAMESPACE = 'guest'


class GuestAPI(object):
    """Client side of the guest RPC API.

    API version history:

        1.0 - Initial version.
        1.1 - Add stop_pre_live_migration().
        1.2 - Add refresh_owner().
    """

    def __init__(self):
        # What a host reads, also while it shuts down gracefully.
        self.router = rpc.ClientRouter(rpc.get_client(messaging.Target(
            topic=rpcapi.RPC_TOPIC_ALT, namespace=_NAMESPACE, version='1.2')))

    def get_power_state(self, context, host, instance_uuid):
        """Ask a host for the state of a guest.

        :param context: nova.context.RequestContext
        :param host: name of the host (str)
        :param instance_uuid: UUID of the instance whose guest it is (str)
        :returns: one of nova.compute.power_state, NOSTATE if the host does
            not have the guest
        :raises nova.exception.GuestStateUnknown: if the host does not answer,
            fails to find out, or is too old to be asked
        """
        cctxt = self.router.client(context).prepare(
            server=host, version='1.0')
        try:
            state = cctxt.call(
                context, 'get_power_state', instance_uuid=instance_uuid)
        except Exception as e:
            raise exception.GuestStateUnknown(
                uuid=instance_uuid, host=host, reason=e) from e
        if state not in power_state.STATE_MAP:
            raise exception.GuestStateUnknown(
                uuid=instance_uuid, host=host,
                reason='its answer %r is not a power state' % (state,))
        return state

    def refresh_owner(self, context, instance):
        """Ask the host of an instance to update the owner of its guest.

        Does not wait for it.

        :param context: nova.context.RequestContext of an administrator
        :param instance: nova.objects.instance.Instance
        """
        self.router.client(context).prepare(
            server=instance.host, version='1.2').cast(
                context, 'refresh_owner', instance_uuid=instance.uuid)

    def stop_pre_live_migration(self, context, migration):
        """Ask the destination of a live migration to stop preparing for it.

        Does not wait for it. A destination that does not get the request, or
        is too old for it, prepares to the end, which costs time only.

        :param context: nova.context.RequestContext
        :param migration: nova.objects.migration.Migration
        """
        try:
            self.router.client(context).prepare(
                server=migration.dest_compute, version='1.1').cast(
                    context, 'stop_pre_live_migration',
                    migration_uuid=migration.uuid)
        except Exception as e:
            LOG.warning('The destination %(host)s goes on preparing for the '
                        'live migration %(migration)s: %(error)s',
                        {'host': migration.dest_compute,
                         'migration': migration.uuid, 'error': e},
                        instance_uuid=migration.instance_uuid)


class GuestRPCAPI(object):
    """Server side of the guest RPC API."""

    target = messaging.Target(namespace=_NAMESPACE, version='1.2')

    def __init__(self, host, driver):
        """Initialize the endpoint.

        :param host: name of this host (str)
        :param driver: nova.virt.driver.ComputeDriver of this host
        """
        self._host = host
        self._driver = driver

    @messaging.expected_exceptions(exception.InvalidUUID)
    def get_power_state(self, context, instance_uuid):
        if not uuidutils.is_uuid_like(instance_uuid):
            raise exception.InvalidUUID(uuid=instance_uuid)
        return find_power_state(
            self._driver, objects.Instance(uuid=instance_uuid))

    def refresh_owner(self, context, instance_uuid):
        instance = objects.Instance.get_by_uuid(
            context, instance_uuid,
            expected_attrs=['flavor', 'info_cache', 'system_metadata'])
        if instance.host == self._host:
            owner.refresh_if_marked(context, instance, self._driver)

    @messaging.expected_exceptions(
        exception.InvalidUUID, exception.MigrationNotFound)
    def stop_pre_live_migration(self, context, migration_uuid):
        if not uuidutils.is_uuid_like(migration_uuid):
            raise exception.InvalidUUID(uuid=migration_uuid)
        migration = objects.Migration.get_by_uuid(context, migration_uuid)
        # It is queued if its source is about to begin.
        if (migration.is_live_migration and
                migration.dest_compute == self._host and
                migration.status in ('queued', 'preparing')):
            self._driver.stop_pre_live_migration(migration)


def find_power_state(driver, instance):
    """Find the state of a guest on this host.

    :param driver: nova.virt.driver.ComputeDriver of this host
    :param instance: nova.objects.instance.Instance
    :returns: one of nova.compute.power_state, NOSTATE if this host does not
        have the guest
    """
    try:
        return driver.get_info(instance, use_cache=False).state
    except exception.InstanceNotFound:
        return power_state.NOSTATE
