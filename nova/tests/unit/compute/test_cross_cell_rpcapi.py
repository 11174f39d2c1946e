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

from unittest import mock

import ddt
import oslo_messaging as messaging
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import cross_cell
from nova.compute import cross_cell_rpcapi
from nova.compute import rpcapi
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.tests.unit import fake_instance


@ddt.ddt
class CrossCellRPCAPITestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.notifier = self.useFixture(
            nova_fixtures.NotificationFixture(self))
        self.context = nova_context.get_admin_context()
        self.moves = mock.create_autospec(
            cross_cell.CrossCellMoves, instance=True)
        self.manager = mock.Mock()
        self.endpoint = cross_cell_rpcapi.CrossCellRPCAPI(
            'host', self.moves, self.manager)
        self.arguments = {
            'instance': fake_instance.fake_instance_obj(
                self.context, uuid=uuids.instance),
            'migration': objects.Migration(uuid=uuids.migration)}

    @ddt.data('abandon', 'restore')
    def test_request(self, name):
        getattr(self.endpoint, name)(self.context, **self.arguments)
        getattr(self.moves, name).assert_called_once_with(
            self.context, self.arguments['instance'],
            self.arguments['migration'])

    def test_forget_check(self):
        self.endpoint.forget_check(self.context, mock.sentinel.instance)
        forget = self.manager.driver.forget_local_state_check
        forget.assert_called_once_with(self.context, mock.sentinel.instance)

    @ddt.data('abandon', 'restore')
    def test_server_is_elsewhere(self, name):
        getattr(self.moves, name).side_effect = exception.InstanceInvalidState(
            instance_uuid=uuids.instance, attr='host', state='x', method='y')
        exc = self.assertRaises(
            messaging.ExpectedException, getattr(self.endpoint, name),
            self.context, **self.arguments)
        self.assertIs(exception.InstanceInvalidState, exc.exc_info[0])


@ddt.ddt
class CrossCellAPITestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.api = cross_cell_rpcapi.CrossCellAPI()
        self.client = mock.create_autospec(
            messaging.rpc.client.RPCClient, instance=True)
        self.api.router.default_client = self.client
        self.flags(rpc_response_timeout=10, long_rpc_timeout=60)

    @ddt.data('abandon', 'restore')
    def test_request(self, name):
        """The host may have to wait long for the lock of the instance."""
        instance = objects.Instance(uuid=uuids.instance)
        migration = objects.Migration(uuid=uuids.migration)
        getattr(self.api, name)(self.context, 'host', instance, migration)
        self.client.prepare.assert_called_once_with(
            server='host', version='1.0', call_monitor_timeout=10, timeout=60)
        self.flags(cross_cell_resize_timeout=7200)
        getattr(self.api, name)(self.context, 'host', instance, migration)
        self.assertEqual(7200, self.client.prepare.call_args.kwargs['timeout'])
        self.client.prepare.return_value.call.assert_called_with(
            self.context, name, instance=instance, migration=migration)

    @mock.patch('nova.rpc.get_client', autospec=True)
    def test_host_may_be_shutting_down(self, mock_client):
        cross_cell_rpcapi.CrossCellAPI()
        target = mock_client.call_args.args[0]
        self.assertEqual(rpcapi.RPC_TOPIC_ALT, target.topic)
        self.assertEqual('cross_cell', target.namespace)


class CrossCellAPIChecksTestCase(test.NoDBTestCase):
    """What conductor hears of hosts that can, or cannot, take part."""

    def setUp(self):
        super().setUp()
        self.context = nova_context.RequestContext('user', 'project')
        self.api = cross_cell_rpcapi.CrossCellAPI()
        router = mock.patch.object(self.api, 'router', autospec=True)
        self.prepare = router.start().client.return_value.prepare
        self.addCleanup(router.stop)
        self.call = self.prepare.return_value.call
        self.instance = objects.Instance(uuid=uuids.instance)
        self.migration = objects.Migration(
            source_compute='a', dest_compute='b')
        self.flavor = objects.Flavor()

    def _check_source(self):
        return self.api.check_source(
            self.context, self.instance, self.migration, self.flavor)

    def test_check_source(self):
        self.assertIs(self.call.return_value, self._check_source())
        self.assertEqual('a', self.prepare.call_args.kwargs['server'])
        self.call.assert_called_once_with(
            self.context, 'check_source', instance=self.instance,
            migration=self.migration, flavor=self.flavor)

    def test_check_destination(self):
        move = objects.CrossCellMove.new()
        self.assertIs(self.call.return_value, self.api.check_destination(
            self.context, self.instance, self.migration, move))
        self.assertEqual('b', self.prepare.call_args.kwargs['server'])
        self.call.assert_called_once_with(
            self.context, 'check_destination', instance=self.instance,
            migration=self.migration, move=move)

    def test_alternate_destination(self):
        self.api.check_destination(
            self.context, self.instance, self.migration,
            objects.CrossCellMove.new(), host='c')
        self.assertEqual('c', self.prepare.call_args.kwargs['server'])

    def test_refused(self):
        self.call.side_effect = exception.MigrationPreCheckError(reason='no')
        exc = self.assertRaises(
            exception.MigrationPreCheckError, self._check_source)
        self.assertIs(self.call.side_effect, exc)

    def test_does_not_answer(self):
        self.call.side_effect = messaging.MessagingTimeout()
        exc = self.assertRaises(
            exception.MigrationPreCheckError, self._check_source)
        self.assertIn("Host 'a' does not answer", str(exc))

    def test_too_old(self):
        self.call.side_effect = messaging.RemoteError('UnsupportedVersion')
        exc = self.assertRaises(
            exception.MigrationPreCheckError, self._check_source)
        self.assertIn('too old', str(exc))

    def test_forget_check_is_best_effort(self):
        self.call.side_effect = messaging.MessagingTimeout()
        self.api.forget_check(self.context, self.instance, self.migration)
        self.call.assert_called_once_with(
            self.context, 'forget_check', instance=self.instance)
