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

"""The transfer of a server to another project or user."""

from webob import exc

from nova.api.openstack import api_version_request
from nova.api.openstack import common
from nova.api.openstack.compute.schemas import server_transfer as schema
from nova.api.openstack import wsgi
from nova.api import validation
from nova.compute import api as compute
from nova.compute import transfer
from nova import exception
from nova.i18n import _
from nova.policies import server_transfer as policies


@validation.validated
class ServerTransferController(wsgi.Controller):
    def __init__(self):
        super().__init__()
        self.compute_api = compute.API()

    @wsgi.response(200)
    @wsgi.expected_errors((400, 403, 404, 409, 503))
    @wsgi.action('transfer')
    @validation.schema(schema.transfer, '2.106')
    @validation.response_body_schema(schema.transfer_response, '2.106')
    def _transfer(self, req, id, body):
        """Transfer a server to another project or user."""
        if not api_version_request.is_supported(req, '2.106'):
            # wsgi.api_version would answer 404, as for an unknown server.
            raise exc.HTTPBadRequest(
                explanation=_('There is no such action: %s') % 'transfer')

        context = req.environ['nova.context']
        # The policy may allow a role that is not an administrator's, and such
        # a caller finds the servers of its own project only.
        admin = context.elevated()
        instance = common.get_instance(
            self.compute_api, admin, id, expected_attrs=['flavor'])
        try:
            context.can(policies.BASE_POLICY_NAME,
                        target={'project_id': instance.project_id,
                                'user_id': instance.user_id})
        except exception.PolicyNotAuthorized:
            # A caller who cannot see the server must not learn that it exists.
            common.get_instance(self.compute_api, context, id)
            raise

        request = body['transfer']
        try:
            owner = transfer.transfer(
                admin, instance, request['project_id'],
                user_id=request.get('user_id'),
                from_project_id=request.get('from_project_id'),
                transfer_id=request.get('transfer_id'))
        except exception.OverQuota as e:
            raise exc.HTTPForbidden(explanation=e.format_message())
        except (
            exception.InstanceNotFound,
            exception.TransferOwnerNotFound,
        ) as e:
            raise exc.HTTPNotFound(explanation=e.format_message())
        except exception.TransferRefused as e:
            raise exc.HTTPConflict(explanation=e.format_message())
        except exception.TransferServiceUnavailable as e:
            raise exc.HTTPServiceUnavailable(explanation=e.format_message())

        return {'transfer': {'project_id': owner.project_id,
                             'user_id': owner.user_id}}
