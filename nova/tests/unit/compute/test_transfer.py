# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
# http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

import dataclasses
from unittest import mock

import ddt
from keystoneauth1 import exceptions as ks_exc
from neutronclient.common import exceptions as neutron_exc
from oslo_limit import exception as limit_exc
from oslo_utils.fixture import uuidsentinel as uuids
import requests

from nova.compute import owner
from nova.compute import task_states
from nova.compute import transfer
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception
from nova import objects
from nova import test
from nova.tests.unit import fake_flavor
from nova.tests.unit import fake_instance


class _TestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.instance = fake_instance.fake_instance_obj(
            self.context, uuid=uuids.instance, project_id='old',
            user_id='user', host='host', node='node',
            vm_state=vm_states.ACTIVE)
        self.instance.system_metadata = {}
        self.instance.flavor = fake_flavor.fake_flavor_obj(self.context)
        self.instance.flavor.extra_specs = {}

    def _patch(self, name, **kwargs):
        patcher = mock.patch(name, autospec=True, **kwargs)
        self.addCleanup(patcher.stop)
        return patcher.start()


class JournalTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.journal = transfer._Journal(
            old_project='a', old_user='b', new_project='c', new_user='d',
            new_project_name='C', id=uuids.transfer)

    def test_round_trip(self):
        metadata = {'other': 'kept'}
        self.journal.write(metadata)
        self.assertEqual(self.journal, transfer._Journal.read(metadata))
        transfer._Journal.remove(metadata)
        self.assertEqual({'other': 'kept'}, metadata)

    def test_none(self):
        self.assertIsNone(transfer._Journal.read({'other': 'kept'}))

    def test_damaged(self):
        metadata = {}
        self.journal.write(metadata)
        del metadata['transfer_new_user']
        self.assertIsNone(transfer._Journal.read(metadata))

    def test_is_of(self):
        request = transfer._Request('c', None, 'whatever', uuids.transfer)
        self.assertTrue(self.journal.is_of(request))
        for change in (
                {'project_id': 'x'}, {'user_id': 'd'}, {'transfer_id': None}):
            self.assertFalse(self.journal.is_of(request._replace(**change)))


class WritesTestCase(_TestCase):
    """What must not have changed when the row is written."""

    def setUp(self):
        super().setUp()
        self.update = self._patch(
            'nova.db.main.api.instance_update_with_system_metadata',
            return_value={'written': 'too'})
        self.revoke_consoles = self._patch(
            'nova.objects.ConsoleAuthToken.clean_console_auths_for_instance')
        self.journal = transfer._Journal(
            old_project='old', old_user='user', new_project='new',
            new_user='user')

    def _assert_compared(self, project):
        _, _, _, expected, edit = self.update.call_args.args
        self.assertEqual(
            {'project_id': project, 'user_id': 'user',
             'task_state': task_states.TRANSFERRING}, expected)
        # It is held for another transfer.
        metadata = {}
        dataclasses.replace(self.journal, id=uuids.rival).write(metadata)
        self.assertRaises(transfer._Lost, edit, metadata)

    def test_owner(self):
        old, new = self.journal.old, self.journal.new
        self.instance.obj_reset_changes(recursive=True)
        for before, after in ((old, new), (new, old)):
            transfer._set_owner(self.context, self.instance, self.journal,
                                before, after, 'Project', 'User')
            self._assert_compared(before.project_id)
            # It need not be read again.
            self.assertEqual(after.project_id, self.instance.project_id)
            self.assertEqual(
                {'written': 'too'}, self.instance.system_metadata)
            self.assertFalse(self.instance.obj_what_changed())

    def test_release(self):
        for now in (self.journal.old, self.journal.new):
            transfer._release(
                self.context, self.instance, now, self.journal)
            self._assert_compared(now.project_id)
        # Those of the former owner, who may have opened more meanwhile.
        self.revoke_consoles.assert_called_once_with(
            self.context, uuids.instance)

    def test_lost(self):
        self.update.side_effect = exception.InstanceUpdateConflict(
            instance_uuid=uuids.instance, expected='', actual='')
        self.assertRaises(
            transfer._Lost, transfer._release, self.context, self.instance,
            self.journal.new, self.journal)
        self.assertEqual({}, self.instance.system_metadata)


@ddt.ddt
class KeystoneTestCase(_TestCase):

    def setUp(self):
        super().setUp()
        self.get_adapter = self._patch('nova.utils.get_ksa_adapter')
        self.get = self.get_adapter.return_value.get
        self.answer = mock.create_autospec(requests.Response, instance=True)
        self.answer.status_code = 200
        self.get.return_value = self.answer

    def _ask(self, id='a b'):
        return transfer._ask_keystone(
            self.get_adapter.return_value, 'user', id)

    def test_known(self):
        self.answer.json.return_value = {'user': {'name': 'Alice'}}
        self.assertEqual('Alice', self._ask())
        self.get.assert_called_once_with('/users/a%20b')

    def test_without_a_name(self):
        self.answer.json.return_value = {'user': {}}
        self.assertIsNone(self._ask())

    @ddt.data({'enabled': False}, {'id': 'A B'})
    def test_disabled_or_another(self, found):
        self.answer.json.return_value = {'user': found}
        self.assertRaises(exception.TransferOwnerNotFound, self._ask)

    def test_unknown(self):
        self.answer.status_code = 404
        exc = self.assertRaises(exception.TransferOwnerNotFound, self._ask)
        self.assertIn('a b', exc.format_message())

    @ddt.data(300, 401, 403, 429, 500, 503)
    def test_does_not_say(self, status):
        self.answer.status_code = status
        self.assertRaises(exception.TransferServiceUnavailable, self._ask)

    @ddt.data({}, [], None, {'user': None}, {'user': 'Alice'})
    def test_strange_answer(self, body):
        self.answer.json.return_value = body
        self.assertRaises(exception.TransferServiceUnavailable, self._ask)

    def test_no_json(self):
        self.answer.json.side_effect = ValueError
        self.assertRaises(exception.TransferServiceUnavailable, self._ask)

    def _ask_for_owner(self, user_id):
        return transfer._ask_for_owner(
            self.context, transfer._Request('p', user_id, None, None))

    def test_owner(self):
        self.answer.json.side_effect = [
            {'project': {'name': 'P'}}, {'user': {'name': 'U'}}]
        self.assertEqual(
            (transfer.Owner('p', 'u'), 'P', 'U'), self._ask_for_owner('u'))
        # One connection, and one look for the endpoint, serves both.
        self.get_adapter.assert_called_once_with(
            'identity', ksa_auth=mock.ANY, min_version=(3, 0),
            max_version=(3, 'latest'))

    def test_owner_is_the_caller(self):
        self.context.user_id, self.context.user_name = 'c', 'C'
        self.answer.json.return_value = {'project': {}}
        self.assertEqual(
            (transfer.Owner('p', 'c'), None, 'C'), self._ask_for_owner(None))
        self.get.assert_called_once_with('/projects/p')

    @ddt.data(ks_exc.ConnectFailure, ks_exc.EndpointNotFound)
    def test_cannot_be_asked(self, error):
        self.get.side_effect = error
        self.assertRaises(exception.TransferServiceUnavailable,
                          self._ask_for_owner, 'u')

    def test_is_not_configured(self):
        self.get_adapter.side_effect = ks_exc.MissingRequiredOptions([])
        self.assertRaises(exception.TransferServiceUnavailable,
                          self._ask_for_owner, 'u')


@ddt.ddt
class PlacementTestCase(_TestCase):

    def setUp(self):
        super().setUp()
        self.client = self._patch(
            'nova.scheduler.client.report.report_client_singleton'
        ).return_value
        self.client.get_allocs_for_consumer.side_effect = self._found
        self.generation = 0
        self.owner = ('old', 'user')

    def _found(self, context, consumer):
        self.generation += 1
        return {
            'allocations': {uuids.provider: {
                'generation': 7, 'resources': {'VCPU': 2}}},
            'consumer_generation': self.generation,
            'project_id': self.owner[0], 'user_id': self.owner[1]}

    def _answer(self, status, text=''):
        answer = mock.create_autospec(requests.Response, instance=True)
        answer.status_code = status
        answer.text = text
        return answer

    def _follow(self):
        transfer._follow_in_placement(
            self.context, self.instance, transfer.Owner('new', 'user'))

    def test_written(self):
        self.client.put.return_value = self._answer(204)
        self._follow()
        self.client.put.assert_called_once_with(
            '/allocations/' + uuids.instance, {
                'allocations': {uuids.provider: {'resources': {'VCPU': 2}}},
                'consumer_generation': 1,
                'project_id': 'new', 'user_id': 'user',
            }, version='1.28', global_request_id=self.context.global_id)

    def test_nothing_to_write(self):
        self.owner = ('new', 'user')
        self._follow()
        self.client.put.assert_not_called()

    def test_read_again(self):
        conflict = self._answer(409, 'placement.concurrent_update')
        self.client.put.side_effect = [conflict, conflict, self._answer(204)]
        self._follow()
        self.assertEqual(
            [1, 2, 3], [call.args[1]['consumer_generation']
                        for call in self.client.put.call_args_list])

    def test_read_again_for_ever(self):
        self.client.put.return_value = self._answer(
            409, 'placement.concurrent_update')
        self.assertRaises(exception.TransferRefused, self._follow)
        self.assertEqual(5, self.client.put.call_count)

    @ddt.data((409, 'no room'), (400, 'bad'))
    @ddt.unpack
    def test_refused(self, status, text):
        self.client.put.return_value = self._answer(status, text)
        exc = self.assertRaises(exception.TransferRefused, self._follow)
        self.assertIn(text, exc.format_message())
        self.client.put.assert_called_once()

    def test_error(self):
        self.client.put.return_value = self._answer(500)
        self.assertRaises(exception.TransferServiceUnavailable, self._follow)

    @ddt.data(ks_exc.ConnectFailure(),
              exception.ConsumerAllocationRetrievalFailed(
                  consumer_uuid=uuids.instance, error='x'))
    def test_cannot_be_asked(self, error):
        self.client.get_allocs_for_consumer.side_effect = error
        self.assertRaises(exception.TransferServiceUnavailable, self._follow)


@ddt.ddt
class BlockingTestCase(_TestCase):

    def setUp(self):
        super().setUp()
        self.ports = []
        self.get_client = self._patch('nova.network.neutron.get_client')
        self.list_ports = self.get_client.return_value.list_ports
        self.list_ports.side_effect = lambda **_: {'ports': self.ports}
        self.bdms = self._patch(
            'nova.objects.BlockDeviceMappingList.get_by_instance_uuid',
            return_value=[])
        self.shares = self._patch(
            'nova.objects.ShareMappingList.get_by_instance_uuid',
            return_value=[])
        self.group = self._patch(
            'nova.objects.InstanceGroup.get_by_instance_uuid',
            side_effect=exception.InstanceGroupNotFound(group_uuid='x'))
        self.here = self._patch(
            'nova.objects.AggregateList.get_by_host', return_value=[])
        self.theirs = self._patch(
            'nova.objects.AggregateList.get_by_metadata', return_value=[])

    def _blocking(self):
        return list(transfer._blocking(self.context, self.instance, 'new'))

    def _ports(self):
        return list(transfer._other_ports(
            transfer._ask_for_ports(self.context, self.instance), 'new'))

    def test_nothing(self):
        self.assertEqual([], self._blocking())

    def test_no_ports(self):
        self.assertEqual([], self._ports())
        # The caller may have another role than that of an administrator.
        self.get_client.assert_called_once_with(self.context, admin=True)
        self.list_ports.assert_called_once_with(device_id=uuids.instance)

    def test_ports(self):
        self.ports = [
            {'id': 'p1', 'project_id': 'old'}, {'id': 'p2', 'tenant_id': 'x'},
            {'id': 'p3', 'project_id': 'new'}, {'id': 'p4'}]
        self.assertEqual(['port p1', 'port p2', 'port p4'], self._ports())

    @ddt.data(ks_exc.ConnectFailure, neutron_exc.ServiceUnavailable,
              neutron_exc.Unauthorized)
    def test_neutron_cannot_be_asked(self, error):
        self.list_ports.side_effect = error
        self.assertRaises(exception.TransferServiceUnavailable, self._ports)

    def test_block_devices(self):
        def bdm(**values):
            return objects.BlockDeviceMapping(**{
                'uuid': uuids.bdm, 'destination_type': 'local',
                'volume_id': None, 'encrypted': False,
                'encryption_secret_uuid': None, **values})

        self.bdms.return_value = [
            bdm(), bdm(destination_type='volume', volume_id='v'),
            bdm(destination_type='volume'),
            bdm(encrypted=True, encryption_secret_uuid=uuids.secret)]
        self.assertEqual(
            ['volume v', 'volume ' + uuids.bdm,
             'encryption secret ' + uuids.secret], self._blocking())

    def test_key_of_the_disk(self):
        self.instance.ephemeral_key_uuid = uuids.key
        self.assertEqual(['encryption secret ' + uuids.key], self._blocking())

    def test_shares(self):
        self.shares.return_value = [objects.ShareMapping(share_id=uuids.share)]
        self.assertEqual(['share ' + uuids.share], self._blocking())

    def test_server_group(self):
        self.group.side_effect = None
        self.group.return_value = objects.InstanceGroup(uuid=uuids.group)
        self.assertEqual(['server group ' + uuids.group], self._blocking())

    def test_tpm(self):
        self.instance.flavor.extra_specs = {
            'hw:tpm_version': '2.0', 'hw:tpm_model': 'tpm-crb'}
        self.assertEqual(['vTPM secret'], self._blocking())
        self.instance.system_metadata['vtpm_secret_uuid'] = 't'
        for security, expected in (
                ('user', ['vTPM secret t']), ('host', ['vTPM secret t']),
                ('deployment', [])):
            self.instance.flavor.extra_specs[
                'hw:tpm_secret_security'] = security
            self.assertEqual(expected, self._blocking())

    def test_accelerator(self):
        self.instance.flavor.extra_specs = {'accel:device_profile': 'gpu'}
        self.assertEqual(['accelerator gpu'], self._blocking())

    def _aggregate(self, name, **metadata):
        return objects.Aggregate(
            uuid=getattr(uuids, name), metadata=metadata)

    def test_aggregates_of_others(self):
        self.here.return_value = [
            self._aggregate('a', filter_tenant_id='x, y'),
            self._aggregate('b', other='new')]
        self.assertEqual(['host aggregate ' + uuids.a], self._blocking())

    @ddt.data('new', 'x, new')
    def test_one_aggregate_names_the_project(self, value):
        self.here.return_value = [
            self._aggregate('a', filter_tenant_id='x'),
            self._aggregate('b', filter_tenant_id_2=value)]
        self.assertEqual([], self._blocking())

    def test_aggregates_of_the_project_elsewhere(self):
        self.theirs.return_value = [
            self._aggregate('t', filter_tenant_id='new'),
            self._aggregate('u', other='new')]
        self.assertEqual([], self._blocking())
        self.flags(limit_tenants_to_placement_aggregate=True,
                   group='scheduler')
        self.assertEqual(['host aggregate ' + uuids.t], self._blocking())
        self.here.return_value = [
            self._aggregate('t', filter_tenant_id='new')]
        self.assertEqual([], self._blocking())

    def test_aggregate_is_required(self):
        self.flags(limit_tenants_to_placement_aggregate=True,
                   group='scheduler')
        self.assertEqual([], self._blocking())
        self.flags(placement_aggregate_required_for_tenants=True,
                   group='scheduler')
        self.assertEqual(['host aggregate'], self._blocking())

    @mock.patch('nova.objects.ComputeNode.get_by_host_and_nodename',
                autospec=True)
    def test_compute_service(self, mock_get):
        def old():
            return list(
                transfer._old_compute_service(self.context, self.instance))

        mock_get.return_value = objects.ComputeNode(stats=dict(owner.STATS))
        self.assertEqual([], old())
        for stats in ({}, None, {'failed_builds': '0'}):
            mock_get.return_value = objects.ComputeNode(stats=stats)
            self.assertIn('host', old()[0])
        mock_get.side_effect = exception.ComputeHostNotFound(host='host')
        self.assertIn('host', old()[0])


@ddt.ddt
class QuotaTestCase(_TestCase):

    def setUp(self):
        super().setUp()
        self.client = self._patch(
            'nova.scheduler.client.report.report_client_singleton'
        ).return_value
        self.client.get_allocs_for_consumer.return_value = {'allocations': {
            uuids.host: {'resources': {'VCPU': 2, 'CUSTOM_X': 1}},
            uuids.device: {'resources': {'CUSTOM_X': 3}}}}
        self.of_project = self._patch(
            'nova.objects.Quotas.get_all_by_project', return_value={})
        self._patch(
            'nova.objects.Quotas.get_default_class', return_value={})
        self.of_user = self._patch(
            'nova.objects.Quotas.get_all_by_project_and_user',
            return_value={})
        self.counts = {
            scope: {'instances': 4, 'cores': 7, 'ram': 300}
            for scope in ('project', 'user')}
        self.count = self._patch(
            'nova.objects.Quotas.count_as_dict',
            side_effect=lambda *_, **__: self.counts)
        self.unified = self._patch(
            'nova.limit.placement.enforce_num_instances_and_resources')
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')

    def _check(self, count=1, *limits):
        return transfer._check_quota(
            self.context, self.instance, transfer.Owner('new', 'user'), count,
            *limits)

    @ddt.data(0, 1)
    def test_unified_limits(self, count):
        self.assertIsNone(self._check(count))
        self.unified.assert_called_once_with(
            self.context, 'new', mock.ANY, count, count, delta_updates={
                'class:VCPU': 2 * count, 'class:CUSTOM_X': 4 * count})
        self.count.assert_not_called()

    def _use_legacy(self, **limits):
        self.flags(driver='nova.quota.DbQuotaDriver', group='quota')
        self.instance.flavor.vcpus = 2
        self.instance.flavor.memory_mb = 100
        self.of_project.return_value = {
            'instances': -1, 'cores': -1, 'ram': -1, **limits}

    def _assert_over(self, count, *words):
        exc = self.assertRaises(
            exception.TooManyInstances, self._check, count)
        for word in words:
            self.assertIn(word, exc.format_message())

    def test_legacy(self):
        for used, count in ((1, 1), (2, 0)):
            self._use_legacy(instances=used + 3)
            self.counts['project']['instances'] = 3 + used - count
            self._check(count)
            self.count.assert_called_with(
                self.context, 'instances', 'new', user_id=None)
            self.counts['project']['instances'] += 1
            self._assert_over(count, 'instances')
        # What it has does not matter.
        self.client.get_allocs_for_consumer.assert_not_called()
        self.unified.assert_not_called()

    def test_legacy_limits_are_read_once(self):
        """What is used is counted again, and no limits are limits, too."""
        for limits in ({}, {'instances': 5}):
            self._use_legacy(**limits)
            self.of_project.reset_mock()
            found = self._check(1)
            self.of_project.assert_called_once()
            self.assertEqual({
                ('project', name): limit for name, limit in limits.items()},
                self._check(0, found))
            self.of_project.assert_called_once()
        self.counts['project']['instances'] = 6
        self.assertRaises(exception.TooManyInstances, self._check, 0, found)

    def test_legacy_names_all_that_is_over(self):
        self._use_legacy(instances=9, cores=8, ram=399)
        self._assert_over(
            1, 'cores, ram', 'Requested 2, 100', 'used 7, 300 of 8, 399')

    def test_legacy_defaults(self):
        self._use_legacy()
        self.of_project.return_value = {}
        self.flags(instances=-1, cores=8, ram=-1, group='quota')
        self._assert_over(1, 'cores')

    def test_legacy_without_limits(self):
        self._use_legacy()
        self._check()
        self.count.assert_not_called()

    def test_legacy_of_the_user(self):
        self._use_legacy(instances=9)
        self.of_user.return_value = {'cores': 8, 'key_pairs': 0}
        self._assert_over(1, 'cores')
        self.of_user.assert_called_with(self.context, 'new', 'user')
        self.count.assert_called_once_with(
            self.context, 'instances', 'new', user_id='user')
        self.counts['user']['cores'] = 6
        self._check()

    def test_no_quotas(self):
        self.flags(driver='nova.quota.NoopQuotaDriver', group='quota')
        self.of_user.return_value = {'cores': 0}
        self._check()
        self.count.assert_not_called()

    def test_placement_cannot_be_asked(self):
        self.client.get_allocs_for_consumer.side_effect = (
            ks_exc.ConnectFailure())
        self.assertRaises(exception.TransferServiceUnavailable, self._check)

    def test_over(self):
        self.unified.side_effect = exception.TooManyInstances('VCPU')
        self.assertRaises(exception.OverQuota, self._check)

    @ddt.data(limit_exc.SessionInitError('x'), ks_exc.ConnectFailure(),
              exception.UsagesRetrievalFailed('x'))
    def test_cannot_be_asked(self, error):
        self.unified.side_effect = error
        self.assertRaises(exception.TransferServiceUnavailable, self._check)
