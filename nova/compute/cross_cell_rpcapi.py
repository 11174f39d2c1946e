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

"""Client and server of the RPC API for moves between cells.

It has a namespace, and so a version, of its own: a host either has it or does
not, whatever the version of its compute RPC API is. A host without it cannot
take part in a move, as the first call to it finds out.
"""

import functools

from oslo_log import log as logging
import oslo_messaging as messaging

from nova.compute import cross_cell_storage
from nova.compute import rpcapi
from nova import conf
from nova import exception
from nova import exception_wrapper
from nova.i18n import _
from nova.objects import base as objects_base
from nova import rpc

CONF = conf.CONF
LOG = logging.getLogger(__name__)

_NAMESPACE = 'cross_cell'


class CrossCellAPI(object):
    """Client side of the RPC API for moves between cells.

    API version history:

        1.0 - Initial version.
    """

    def __init__(self):
        # What a host reads, also while it shuts down gracefully.
        target = messaging.Target(
            topic=rpcapi.RPC_TOPIC_ALT, namespace=_NAMESPACE, version='1.0')
        self.router = rpc.ClientRouter(rpc.get_client(
            target, serializer=objects_base.NovaObjectSerializer()))

    def _prepare(self, context, host):
        return self.router.client(context).prepare(
            server=host, version='1.0',
            call_monitor_timeout=CONF.rpc_response_timeout,
            timeout=rpcapi.get_cross_cell_resize_timeout())

    def _check(self, context, host, method, **kwargs):
        try:
            return self._prepare(context, host).call(
                context, method, **kwargs)
        except exception.MigrationPreCheckError:
            raise
        except messaging.MessagingTimeout:
            raise exception.MigrationPreCheckError(
                reason=_("Host '%s' does not answer.") % host)
        except Exception as e:
            raise exception.MigrationPreCheckError(reason=_(
                "Host '%(host)s' cannot check what the server has, or is too "
                "old to do so: %(error)s") % {'host': host, 'error': e}) from e

    def check_source(self, context, instance, migration, flavor):
        """Ask the host of a server what it has of the server.

        :param context: nova.context.RequestContext targeted at its cell
        :param instance: nova.objects.instance.Instance
        :param migration: nova.objects.migration.Migration
        :param flavor: nova.objects.flavor.Flavor that it will have
        :returns: nova.objects.cross_cell.CrossCellMove
        :raises nova.exception.MigrationPreCheckError: if the server has what
            cannot be carried, or the host cannot say
        """
        return self._check(
            context, migration.source_compute, 'check_source',
            instance=instance, migration=migration, flavor=flavor)

    def forget_check(self, context, instance, migration):
        """Have the host of a server forget that it was asked.

        :param context: nova.context.RequestContext targeted at its cell
        :param instance: nova.objects.instance.Instance
        :param migration: nova.objects.migration.Migration
        """
        try:
            self.router.client(context).prepare(
                server=migration.source_compute, version='1.0').call(
                    context, 'forget_check', instance=instance)
        except Exception as e:
            # There is an empty file more on that host.
            LOG.warning('Host %(host)s does not forget that the server was '
                        'to leave it: %(error)s',
                        {'host': migration.source_compute, 'error': e},
                        instance=instance)

    def check_destination(self, context, instance, migration, move, host=None):
        """Ask a host whether it can take what another has of a server.

        :param context: nova.context.RequestContext targeted at its cell
        :param instance: nova.objects.instance.Instance
        :param migration: nova.objects.migration.Migration
        :param move: what check_source() has returned
        :param host: name of the host (str); that of the migration by default
        :returns: nova.objects.cross_cell.CrossCellMove with what the hosts
            share
        :raises nova.exception.MigrationPreCheckError: if it cannot, or does
            not answer
        """
        return self._check(
            context, host or migration.dest_compute, 'check_destination',
            instance=instance, migration=migration, move=move)

    def abandon(self, context, host, instance, migration):
        """Ask the destination of a move to remove all that the move put there.

        Waits for a step of the move that is under way there.

        :param context: nova.context.RequestContext of the destination's cell
        :param host: name of the destination (str)
        :param instance: nova.objects.instance.Instance of that cell
        :param migration: nova.objects.migration.Migration of that cell
        :raises Exception: if it is not known that the guest is not there
        """
        self._prepare(context, host).call(
            context, 'abandon', instance=instance, migration=migration)

    def restore(self, context, host, instance, migration):
        """Ask the source of a failed move to make the server run there again.

        Waits for a step of the move that is under way there. The caller must
        know that the guest is not on the destination and will not be.

        :param context: nova.context.RequestContext of the source's cell
        :param host: name of the source (str)
        :param instance: nova.objects.instance.Instance of that cell
        :param migration: nova.objects.migration.Migration of that cell
        :raises oslo_messaging.MessagingTimeout: if the host does not answer
        :raises Exception: if the server could not be restored
        """
        self._prepare(context, host).call(
            context, 'restore', instance=instance, migration=migration)


class CrossCellRPCAPI(object):
    """Server side of the RPC API for moves between cells."""

    target = messaging.Target(namespace=_NAMESPACE, version='1.0')

    def __init__(self, host, moves, manager):
        """Initialize the endpoint.

        :param host: name of this host (str)
        :param moves: nova.compute.cross_cell.CrossCellMoves
        :param manager: nova.compute.manager.ComputeManager of this host
        """
        self.host = host
        self._moves = moves
        self._manager = manager

    @messaging.expected_exceptions(exception.MigrationPreCheckError)
    def check_source(self, context, instance, migration, flavor):
        return cross_cell_storage.check_source(
            self._manager, context, instance, flavor)

    def forget_check(self, context, instance):
        self._manager.driver.forget_local_state_check(context, instance)

    @messaging.expected_exceptions(exception.MigrationPreCheckError)
    def check_destination(self, context, instance, migration, move):
        return self._moves.check_destination(
            context, instance, migration, functools.partial(
                cross_cell_storage.check_destination, self._manager, context,
                instance, move))

    @messaging.expected_exceptions(exception.InstanceInvalidState)
    @exception_wrapper.wrap_exception(
        service='compute', binary='nova-compute')
    def abandon(self, context, instance, migration):
        self._moves.abandon(context, instance, migration)

    @messaging.expected_exceptions(exception.InstanceInvalidState)
    @exception_wrapper.wrap_exception(
        service='compute', binary='nova-compute')
    def restore(self, context, instance, migration):
        self._moves.restore(context, instance, migration)
