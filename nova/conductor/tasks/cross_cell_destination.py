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


"""Find a host in another cell that can take a server.

The scheduler has chosen hosts by what it knows. Whether one can take the
server is only known once its ports are bound there and its resources claimed.
If not, nothing has happened to the guest yet, and the next host is tried.
"""

import copy

from oslo_log import log as logging
from oslo_serialization import jsonutils

from nova.compute import utils as compute_utils
from nova.conductor import cross_cell_rollback
from nova import context as nova_context
from nova import exception
from nova.i18n import _
from nova import objects
from nova.scheduler.client import report
from nova.scheduler import utils as scheduler_utils

LOG = logging.getLogger(__name__)

_OVER = ('cancelled', 'completed', 'confirmed', 'done', 'error', 'failed',
         'reverted')


class DestinationSearch(object):

    def __init__(self, target_context, instance, migration, request_spec,
                 selection, alternates):
        """Initialize the search for a destination.

        :param target_context: nova.context.RequestContext of the target cell
        :param instance: Instance object of the source cell
        :param migration: Migration object of the source cell
        :param request_spec: RequestSpec of the move
        :param selection: Selection whose resources the instance has
        :param alternates: list of Selection objects of the same cell, from
            which those that are tried are removed
        """
        self._target_context = target_context
        self._instance = instance
        self._context = instance._context
        self._migration = migration
        self._request_spec = request_spec
        self._selection = selection
        self._alternates = alternates
        self._reportclient = report.report_client_singleton()

    def find(self, prepare, undo):
        """Try one host after the other.

        Each is an event of the action.

        :param prepare: function that prepares a host. It gets the Selection,
            and raises MigrationPreCheckError if the host cannot take the
            server.
        :param undo: function that undoes what it has done outside of the host
        :returns: what it has returned for the host that can
        :raises nova.exception.MigrationPreCheckError: if the only host cannot
        :raises nova.exception.MaxRetriesExceeded: if none of several can
        """
        selection = self._selection
        is_only_one = not self._alternates
        while True:
            try:
                with compute_utils.EventReporter(
                        self._context, 'conductor_cross_cell_try_destination',
                        selection.service_host, self._instance.uuid):
                    return self._try(prepare, selection)
            except exception.MigrationPreCheckError as e:
                LOG.warning('Host %(host)s cannot take the server: %(error)s',
                            {'host': selection.service_host, 'error': e},
                            instance=self._instance)
                undo()
                self._leave()
                if is_only_one:
                    raise
                selection = self._claim_next(e)
            # Nobody wants it on another host either.
            cross_cell_rollback.check_not_deleted(self._instance)

    def _try(self, prepare, selection):
        # Others see from here on that the server may come to the host.
        self._migration.dest_compute = selection.service_host
        self._migration.dest_node = None
        self._migration.save()
        self._check_anti_affinity(selection, is_claimed=False)
        result = prepare(selection)
        self._migration.dest_node = selection.nodename
        self._migration.save()
        self._check_anti_affinity(selection, is_claimed=True)
        return result

    def _leave(self):
        cross_cell_rollback.abandon_at_dest(
            self._target_context, self._instance.uuid, self._migration.uuid)
        # What the instance has on the source is held by the migration.
        self._reportclient.delete_allocation_for_instance(
            self._context, self._instance.uuid, force=True)
        self._migration.dest_compute = None
        self._migration.dest_node = None
        self._migration.save()

    def _claim_next(self, error):
        """Claim the resources of the next host that has them."""
        while self._alternates:
            selection = self._alternates.pop(0)
            if not selection.allocation_request:
                return selection
            if scheduler_utils.claim_resources(
                    self._context.elevated(), self._reportclient,
                    self._request_spec, self._instance.uuid,
                    jsonutils.loads(selection.allocation_request),
                    selection.allocation_request_version):
                scheduler_utils.fill_provider_mapping(
                    self._request_spec, selection)
                return selection
        raise exception.MaxRetriesExceeded(reason=_(
            'None of the hosts of the other cell can take the server. The '
            'last error was: %s') % error) from error

    def _check_anti_affinity(self, selection, is_claimed):
        """Check that the host may have this member of a server group.

        The scheduler knows of no move that has begun since. This one is known
        to others from the time that its destination is recorded. Of two that
        meet, the one that was created later gives way, unless the other does
        not know that yet, since it was not recorded when that one looked.
        That one has recorded its node then, and will look once more.

        :param selection: Selection of the host
        :param is_claimed: whether the node of this move is recorded
        :raises nova.exception.MigrationPreCheckError: if it may not
        """
        try:
            group = objects.InstanceGroup.get_by_instance_uuid(
                self._context, self._instance.uuid)
        except exception.InstanceGroupNotFound:
            return
        if group.policy != 'anti-affinity':
            return
        members = set(group.members) - {self._instance.uuid}
        mappings = objects.InstanceMappingList.get_by_instance_uuids(
            self._context, list(members))
        there = [mapping.instance_uuid for mapping in mappings
                 if mapping.cell_mapping and self._is_there(
                     mapping, selection.service_host, is_claimed)]
        allowed = (group.rules or {}).get('max_server_per_host', 1)
        if len(there) >= int(allowed):
            raise exception.MigrationPreCheckError(reason=_(
                'the anti-affinity policy of its server group does not allow '
                'the server on host %(host)s, which has, or will have, '
                '%(members)s') % {'host': selection.service_host,
                                  'members': ', '.join(sorted(there))})

    def _is_there(self, mapping, host, is_claimed):
        """Whether another member is on a host, or has the right to come."""
        context = copy.copy(self._context)
        nova_context.set_target_cell(context, mapping.cell_mapping)
        try:
            member = objects.Instance.get_by_uuid(
                context, mapping.instance_uuid, expected_attrs=[])
        except exception.InstanceNotFound:
            return False
        if member.host == host:
            return True
        moves = objects.MigrationList.get_by_filters(
            context, {'instance_uuid': member.uuid, 'host': host})
        return any(
            move.dest_compute == host and move.status not in _OVER and (
                self._order(move) < self._order(self._migration) or
                not is_claimed and move.dest_node is not None)
            for move in moves)

    @staticmethod
    def _order(migration):
        return migration.created_at, migration.uuid
