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

from unittest import mock

import ddt
from oslo_utils.fixture import uuidsentinel as uuids
import webob

from nova.api.openstack import api_version_request
from nova.api.openstack import common
from nova.api.openstack.compute import server_transfer
from nova.compute import transfer
from nova import exception
from nova.policies import server_transfer as policies
from nova import test
from nova.tests.unit.api.openstack import fakes
from nova.tests.unit import fake_instance


class ServerTransferTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.controller = server_transfer.ServerTransferController()
        self.req = fakes.HTTPRequest.blank('', version='2.106')
        self.context = self.req.environ['nova.context']
        self.instance = fake_instance.fake_instance_obj(
            self.context, uuid=uuids.server, project_id=uuids.old_project,
            user_id=uuids.old_user)
        patcher = mock.patch.object(
            common, 'get_instance', autospec=True, return_value=self.instance)
        self.mock_get = patcher.start()
        self.addCleanup(patcher.stop)
        patcher = mock.patch.object(
            transfer, 'transfer', autospec=True,
            return_value=transfer.Owner(uuids.new_project, uuids.new_user))
        self.mock_transfer = patcher.start()
        self.addCleanup(patcher.stop)
        patcher = mock.patch.object(self.context, 'can', autospec=True)
        self.mock_can = patcher.start()
        self.addCleanup(patcher.stop)

    def _transfer(self, body=None):
        if body is None:
            body = {'transfer': {'project_id': uuids.new_project}}
        return self.controller._transfer(self.req, uuids.server, body=body)


@ddt.ddt
class ServerTransferControllerTest(ServerTransferTestCase):

    def test_transfer(self):
        answer = self._transfer()

        self.assertEqual(
            {'transfer': {'project_id': uuids.new_project,
                          'user_id': uuids.new_user}}, answer)
        self.assertEqual(200, self.controller._transfer.wsgi_codes(self.req))
        self.mock_transfer.assert_called_once_with(
            mock.ANY, self.instance, uuids.new_project, user_id=None,
            from_project_id=None, transfer_id=None)
        # It has been targeted at the cell, where there is one.
        admin = self.mock_get.call_args.args[1]
        self.assertIs(admin, self.mock_transfer.call_args.args[0])
        self.assertEqual(self.context.user_id, admin.user_id)

    def test_transfer_with_all_properties(self):
        self._transfer({'transfer': {
            'project_id': uuids.new_project,
            'user_id': uuids.new_user,
            'from_project_id': uuids.old_project,
            'transfer_id': uuids.transfer}})

        self.mock_transfer.assert_called_once_with(
            mock.ANY, self.instance, uuids.new_project,
            user_id=uuids.new_user, from_project_id=uuids.old_project,
            transfer_id=uuids.transfer)

    def test_server_is_found_in_any_project(self):
        """A caller without the admin role needs an elevated look-up."""
        self.assertFalse(self.context.is_admin)

        self._transfer()

        self.mock_get.assert_called_once_with(
            self.controller.compute_api, mock.ANY, uuids.server,
            expected_attrs=['flavor'])
        self.assertTrue(self.mock_get.call_args.args[1].is_admin)

    def test_target_of_the_policy_is_the_owner_of_the_server(self):
        self._transfer()

        self.mock_can.assert_called_once_with(
            policies.BASE_POLICY_NAME,
            target={'project_id': uuids.old_project,
                    'user_id': uuids.old_user})

    def test_nothing_is_transferred_against_the_policy(self):
        self.mock_can.side_effect = exception.PolicyNotAuthorized(
            action=policies.BASE_POLICY_NAME)

        self.assertRaises(exception.PolicyNotAuthorized, self._transfer)

        self.mock_transfer.assert_not_called()

    def test_server_stays_hidden_from_those_who_cannot_see_it(self):
        self.mock_can.side_effect = exception.PolicyNotAuthorized(
            action=policies.BASE_POLICY_NAME)

        def find(compute_api, context, server_id, **kwargs):
            if context.is_admin:
                return self.instance
            raise webob.exc.HTTPNotFound()

        self.mock_get.side_effect = find

        self.assertRaises(webob.exc.HTTPNotFound, self._transfer)

        self.mock_transfer.assert_not_called()

    def test_policy_is_not_asked_about_an_unknown_server(self):
        self.mock_get.side_effect = webob.exc.HTTPNotFound()

        self.assertRaises(webob.exc.HTTPNotFound, self._transfer)

        self.mock_can.assert_not_called()
        self.mock_transfer.assert_not_called()

    @ddt.data(
        (exception.OverQuota(overs='cores'), webob.exc.HTTPForbidden),
        (exception.TooManyInstances(
            overs='cores', req='2', used='19', allowed='20'),
         webob.exc.HTTPForbidden),
        (exception.InstanceNotFound(instance_id=uuids.server),
         webob.exc.HTTPNotFound),
        (exception.TransferOwnerNotFound(
            kind='Project', id=uuids.new_project), webob.exc.HTTPNotFound),
        (exception.TransferRefused(
            server_id=uuids.server, reason='it is locked.'),
         webob.exc.HTTPConflict),
        (exception.TransferServiceUnavailable(
            service='Keystone', reason='it answered 500.'),
         webob.exc.HTTPServiceUnavailable),
    )
    @ddt.unpack
    def test_error_becomes_an_answer(self, error, answer):
        self.mock_transfer.side_effect = error

        exc = self.assertRaises(answer, self._transfer)

        self.assertEqual(error.format_message(), exc.explanation)

    @ddt.data({'transfer': {'project_id': uuids.new_project}},
              {'transfer': None})
    def test_earlier_microversion_has_no_such_action(self, body):
        self.req.api_version_request = (
            api_version_request.APIVersionRequest('2.105'))

        exc = self.assertRaises(
            webob.exc.HTTPBadRequest, self._transfer, body)

        self.assertEqual('There is no such action: transfer', exc.explanation)
        self.mock_get.assert_not_called()
        self.mock_transfer.assert_not_called()


@ddt.ddt
class ServerTransferSchemaTest(ServerTransferTestCase):

    @ddt.data('p', '0' * 255, 'default', uuids.project, uuids.project.upper(),
              '4e9b6e46b85745f2b8ace5bce4717350')
    def test_project_id(self, project_id):
        self._transfer({'transfer': {'project_id': project_id,
                                     'from_project_id': project_id}})

        self.mock_transfer.assert_called_once_with(
            mock.ANY, self.instance, project_id, user_id=None,
            from_project_id=project_id, transfer_id=None)

    @ddt.data('', '0' * 256, 'a/b', 'a b', 'a_b', 'a.b', '..', 'p\n', '\np',
              'pröject', 'a%2Fb', 'p?domain_id=d', None, 1, True, ['p'],
              {'id': 'p'})
    def test_bad_project_id(self, project_id):
        for body in ({'project_id': project_id},
                     {'project_id': 'p', 'from_project_id': project_id}):
            self.assertRaises(exception.ValidationError, self._transfer,
                              {'transfer': body})
        self.mock_transfer.assert_not_called()

    @ddt.data('u', '0' * 255, uuids.user, 'a' * 64, 'cn=Jo,ou=people',
              'jo@example.org', 'jö', 'a_b', 'a%2Fb', 'a?b#c')
    def test_user_id(self, user_id):
        self._transfer({'transfer': {'project_id': 'p', 'user_id': user_id}})

        self.mock_transfer.assert_called_once_with(
            mock.ANY, self.instance, 'p', user_id=user_id,
            from_project_id=None, transfer_id=None)

    @ddt.data('', '0' * 256, 'a/b', '/', 'a b', 'a\tb', 'u\n', '\nu',
              'a\u00a0b', None, 1, False, ['u'], {'id': 'u'})
    def test_bad_user_id(self, user_id):
        self.assertRaises(
            exception.ValidationError, self._transfer,
            {'transfer': {'project_id': 'p', 'user_id': user_id}})
        self.mock_transfer.assert_not_called()

    @ddt.data('', 'first', '7a4b5c1e-8f0d-4a3c-9d38', uuids.transfer + '0',
              None, 1, [uuids.transfer])
    def test_bad_transfer_id(self, transfer_id):
        self.assertRaises(
            exception.ValidationError, self._transfer,
            {'transfer': {'project_id': 'p', 'transfer_id': transfer_id}})
        self.mock_transfer.assert_not_called()

    @ddt.data({},
              {'transfer': None},
              {'transfer': {}},
              {'transfer': 'p'},
              {'transfer': ['p']},
              {'transfer': {'user_id': 'u'}},
              {'transfer': {'project_id': 'p', 'force': True}},
              {'transfer': {'project_id': 'p', 'project': 'p'}},
              {'transfer': {'project_id': 'p'}, 'lock': None})
    def test_bad_body(self, body):
        self.assertRaises(exception.ValidationError, self._transfer, body)
        self.mock_transfer.assert_not_called()
