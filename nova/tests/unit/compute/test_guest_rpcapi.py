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
from oslo_messaging.rpc import dispatcher
from oslo_utils.fixture import uuidsentinel as uuids

from nova.compute import guest_rpcapi
from nova.compute import power_state
from nova.compute import rpcapi
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import test
from nova.virt import driver
from nova.virt import hardware


@ddt.ddt
class GuestRPCAPITestCase(test.NoDBTestCase):
    """The answers of a host."""

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.driver = mock.create_autospec(driver.ComputeDriver, instance=True)
        self.endpoint = guest_rpcapi.GuestRPCAPI('host', self.driver)

    def test_guest_is_here(self):
        self.driver.get_info.return_value = hardware.InstanceInfo(
            state=power_state.PAUSED)
        self.assertEqual(
            power_state.PAUSED,
            self.endpoint.get_power_state(self.context, uuids.instance))
        instance = self.driver.get_info.call_args.args[0]
        self.assertEqual(uuids.instance, instance.uuid)
        self.assertIs(
            False, self.driver.get_info.call_args.kwargs['use_cache'])

    def test_guest_is_not_here(self):
        self.driver.get_info.side_effect = exception.InstanceNotFound(
            instance_id=uuids.instance)
        self.assertEqual(
            power_state.NOSTATE,
            self.endpoint.get_power_state(self.context, uuids.instance))

    def test_hypervisor_does_not_answer(self):
        self.driver.get_info.side_effect = exception.HypervisorUnavailable(
            host='host')
        self.assertRaises(
            exception.HypervisorUnavailable, self.endpoint.get_power_state,
            self.context, uuids.instance)

    def test_not_a_uuid(self):
        for value in ('../x', None, {'uuid': uuids.instance}):
            exc = self.assertRaises(
                messaging.ExpectedException, self.endpoint.get_power_state,
                self.context, value)
            self.assertIs(exception.InvalidUUID, exc.exc_info[0])
        self.driver.get_info.assert_not_called()

    @mock.patch('nova.compute.owner.refresh_if_marked', autospec=True)
    @mock.patch('nova.objects.Instance.get_by_uuid', autospec=True)
    def test_refresh_owner(self, mock_get, mock_refresh):
        mock_get.return_value.host = 'host'
        self.endpoint.refresh_owner(self.context, uuids.instance)
        mock_refresh.assert_called_once_with(
            self.context, mock_get.return_value, self.driver)
        self.assertEqual(uuids.instance, mock_get.call_args.args[1])

    @mock.patch('nova.compute.owner.refresh_if_marked', autospec=True)
    @mock.patch('nova.objects.Instance.get_by_uuid', autospec=True)
    def test_refresh_owner_of_an_instance_that_has_left(
            self, mock_get, mock_refresh):
        mock_get.return_value.host = 'other'
        self.endpoint.refresh_owner(self.context, uuids.instance)
        mock_refresh.assert_not_called()

    def _stop_pre_live_migration(self, **kwargs):
        migration = objects.Migration(**dict({
            'uuid': uuids.migration, 'instance_uuid': uuids.instance,
            'migration_type': 'live-migration', 'status': 'preparing',
            'source_compute': 'source', 'dest_compute': 'host'}, **kwargs))
        with mock.patch.object(
                objects.Migration, 'get_by_uuid', autospec=True,
                return_value=migration) as mock_get:
            self.endpoint.stop_pre_live_migration(
                self.context, uuids.migration)
        mock_get.assert_called_once_with(self.context, uuids.migration)
        return migration

    @ddt.data('queued', 'preparing')
    def test_stop_pre_live_migration(self, status):
        migration = self._stop_pre_live_migration(status=status)
        self.driver.stop_pre_live_migration.assert_called_once_with(migration)

    @ddt.data({'dest_compute': 'other'}, {'status': 'running'},
              {'status': 'cancelled'}, {'migration_type': 'resize'})
    def test_stop_pre_live_migration_that_is_not_under_way_here(self, wrong):
        self._stop_pre_live_migration(**wrong)
        self.driver.stop_pre_live_migration.assert_not_called()

    @mock.patch('nova.objects.Migration.get_by_uuid', autospec=True)
    def test_stop_pre_live_migration_without_a_record(self, mock_get):
        mock_get.side_effect = exception.MigrationNotFound(
            migration_id=uuids.migration)
        exc = self.assertRaises(
            messaging.ExpectedException, self.endpoint.stop_pre_live_migration,
            self.context, uuids.migration)
        self.assertIs(exception.MigrationNotFound, exc.exc_info[0])
        self.driver.stop_pre_live_migration.assert_not_called()

    @mock.patch('nova.objects.Migration.get_by_uuid', autospec=True)
    def test_stop_pre_live_migration_not_a_uuid(self, mock_get):
        for value in ('../x', None, {'uuid': uuids.migration}):
            exc = self.assertRaises(
                messaging.ExpectedException,
                self.endpoint.stop_pre_live_migration, self.context, value)
            self.assertIs(exception.InvalidUUID, exc.exc_info[0])
        mock_get.assert_not_called()

    def test_driver_with_nothing_to_stop(self):
        self.assertIsNone(driver.ComputeDriver.stop_pre_live_migration(
            self.driver, objects.Migration()))


class GuestAPITestCase(test.NoDBTestCase):
    """What the caller makes of the answer, or of none."""

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.api = guest_rpcapi.GuestAPI()
        self.client = mock.create_autospec(
            messaging.rpc.client.RPCClient, instance=True)
        self.api.router.default_client = self.client
        self.call = self.client.prepare.return_value.call

    def _get_power_state(self):
        return self.api.get_power_state(self.context, 'host', uuids.instance)

    def test_answer(self):
        self.call.return_value = power_state.RUNNING
        self.assertEqual(power_state.RUNNING, self._get_power_state())
        self.client.prepare.assert_called_once_with(
            server='host', version='1.0')
        self.call.assert_called_once_with(
            self.context, 'get_power_state', instance_uuid=uuids.instance)

    @mock.patch('nova.rpc.get_client', autospec=True)
    def test_host_may_be_shutting_down(self, mock_client):
        guest_rpcapi.GuestAPI()
        self.assertEqual(
            rpcapi.RPC_TOPIC_ALT, mock_client.call_args.args[0].topic)

    def test_no_answer(self):
        self.call.side_effect = messaging.MessagingTimeout
        exc = self.assertRaises(
            exception.GuestStateUnknown, self._get_power_state)
        self.assertIn('host', str(exc))

    def test_host_without_the_namespace(self):
        # What the dispatcher of a host of an earlier release raises.
        class Endpoint:
            target = messaging.Target(version='6.5')

        self.call.side_effect = messaging.UnsupportedVersion(
            '1.0', method='get_power_state')
        old = dispatcher.RPCDispatcher(
            [Endpoint()], None, dispatcher.DefaultRPCAccessPolicy)
        self.assertRaises(
            messaging.UnsupportedVersion, old.dispatch, mock.Mock(
                client_timeout=0, ctxt={}, message={
                    'method': 'get_power_state', 'namespace': 'guest',
                    'version': '1.0',
                    'args': {'instance_uuid': uuids.instance}}))
        self.assertRaises(exception.GuestStateUnknown, self._get_power_state)

    def test_answer_is_not_a_power_state(self):
        for answer in (None, 'running', 1000):
            self.call.return_value = answer
            self.assertRaises(
                exception.GuestStateUnknown, self._get_power_state)

    def test_refresh_owner(self):
        instance = objects.Instance(uuid=uuids.instance, host='host')
        self.api.refresh_owner(self.context, instance)
        self.client.prepare.assert_called_once_with(
            server='host', version='1.2')
        self.client.prepare.return_value.cast.assert_called_once_with(
            self.context, 'refresh_owner', instance_uuid=uuids.instance)

    def test_stop_pre_live_migration(self):
        self.api.stop_pre_live_migration(self.context, objects.Migration(
            uuid=uuids.migration, instance_uuid=uuids.instance,
            dest_compute='dest'))
        self.client.prepare.assert_called_once_with(
            server='dest', version='1.1')
        self.client.prepare.return_value.cast.assert_called_once_with(
            self.context, 'stop_pre_live_migration',
            migration_uuid=uuids.migration)

    def test_stop_pre_live_migration_without_a_message_queue(self):
        self.client.prepare.return_value.cast.side_effect = (
            messaging.MessageDeliveryFailure)
        self.api.stop_pre_live_migration(self.context, objects.Migration(
            uuid=uuids.migration, instance_uuid=uuids.instance,
            dest_compute='dest'))

    @mock.patch('oslo_messaging.get_rpc_client', autospec=True)
    def test_cell_of_the_host(self, mock_client):
        """From the API, the host's cell has a message queue of its own."""
        self.client.call_monitor_timeout = None
        self.context.mq_connection = mock.sentinel.cell
        self.api.refresh_owner(
            self.context, objects.Instance(uuid=uuids.instance, host='host'))
        self.assertIs(mock.sentinel.cell, mock_client.call_args.args[0])
        mock_client.return_value.prepare.assert_called_once_with(
            server='host', version='1.2')
