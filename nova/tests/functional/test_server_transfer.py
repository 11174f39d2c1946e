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

"""The contract of the transfer of a server, in a cloud of two cells."""

import logging
import threading
from unittest import mock

import fixtures
from keystoneauth1 import exceptions as ks_exc
from neutronclient.common import exceptions as neutron_exc
from oslo_limit import fixture as limit_fixture
from oslo_utils.fixture import uuidsentinel as uuids
from oslo_utils import uuidutils
import sqlalchemy as sa

from nova.api.metadata import base as metadata
from nova.compute import api as compute
from nova.compute import task_states
from nova.compute import transfer
from nova.compute import vm_states
from nova import context as nova_context
from nova.db.main import api as db
from nova import exception
from nova.limit import local as local_limit
from nova import objects
from nova.scheduler.client import report
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.api import client
from nova.tests.functional import integrated_helpers
from nova.tests.unit import fake_crypto

POOL = 'pool'
TENANT = 'tenant'
OTHER = 'other'


class _Failed(Exception):
    """What is not expected anywhere."""


class _Died(BaseException):
    """The end of a process."""


class TransferTestCase(integrated_helpers.ProviderUsageBaseTestCase):

    compute_driver = 'fake.MediumFakeDriver'
    NUMBER_OF_CELLS = 2

    def setUp(self):
        super().setUp()
        self.keystone = self.useFixture(nova_fixtures.KeystoneFixture(
            projects=[POOL, TENANT, OTHER], users=['alice', 'bob']))
        for host, cell in (('host1', 'cell1'), ('host2', 'cell2')):
            self._start_compute(host, cell_name=cell)
        self.pool = self._api(POOL, 'alice')
        self.tenant = self._api(TENANT, 'bob')

    def _api(self, project, user, roles=('member', 'reader')):
        api = client.TestOpenStackClient(
            user, self.api_fixture.base_url, project_id=project,
            roles=list(roles))
        api.microversion = 'latest'
        return api

    def _server(self, api=None, **kwargs):
        api = api or self.pool
        server = {**self._build_server(networks='none'), **kwargs}
        server = api.post_server({'server': server})
        return self._wait_for_state_change(server, 'ACTIVE')

    def _transfer(self, server, api=None, **body):
        """Ask for a transfer.

        :returns: the status of the answer and its body, or its message
        """
        api = api or self.admin_api
        body.setdefault('project_id', TENANT)
        answer = api.api_post(
            '/servers/%s/action' % server['id'], {'transfer': body},
            check_response_status=[
                200, 400, 403, 404, 409, 500, 503])
        if answer.status == 200:
            return 200, answer.body['transfer']
        return answer.status, next(iter(answer.body.values()))['message']

    def _call(self, server, *args, **kwargs):
        """Transfer a server as the API does, in this thread."""
        admin = nova_context.RequestContext('admin', 'admin', is_admin=True)
        instance = compute.API().get(
            admin, server['id'], expected_attrs=['flavor'])
        return transfer.transfer(admin, instance, *args, **kwargs)

    def _open_console(self, server):
        self.pool.api_post(
            '/servers/%s/remote-consoles' % server['id'],
            {'remote_console': {'protocol': 'vnc', 'type': 'novnc'}})
        self.assertEqual(1, self._console_tokens())

    def _console_tokens(self):
        """How many consoles can be connected to."""
        number = 0
        for cell in self.cell_mappings.values():
            with nova_context.target_cell(
                    nova_context.get_admin_context(), cell) as cctxt:
                with db.get_context_manager(cctxt).reader.using(cctxt):
                    number += cctxt.session.execute(sa.text(
                        'select count(*) from console_auth_tokens')).scalar()
        return number

    def _steal(self, rival):
        """Let a rival act while placement is written."""
        put = report.SchedulerReportClient.put

        def steal(client, url, *args, **kwargs):
            patch.stop()
            rival()
            return put(client, url, *args, **kwargs)

        patch = mock.patch.object(report.SchedulerReportClient, 'put', steal)
        patch.start()

    def _add_port(self, server, project=POOL):
        self.neutron._ports[uuids.port] = {
            **self.neutron.port_2, 'id': uuids.port, 'project_id': project,
            'tenant_id': project, 'device_id': server['id']}

    def _instance(self, server):
        for cell in self.cell_mappings.values():
            with nova_context.target_cell(
                    nova_context.get_admin_context(), cell) as cctxt:
                for instance in objects.InstanceList.get_by_filters(
                        cctxt, {'uuid': server['id'], 'deleted': False},
                        expected_attrs=['system_metadata']):
                    return instance

    def _assert_owner(self, server, project, user, task_state=None):
        """All records name an owner, and only they see the server."""
        admin = nova_context.get_admin_context()
        instance = self._instance(server)
        mapping = objects.InstanceMapping.get_by_instance_uuid(
            admin, server['id'])
        spec = objects.RequestSpec.get_by_instance_uuid(admin, server['id'])
        consumer = self.placement.get(
            '/allocations/' + server['id'], version='1.28').body
        self.assertEqual(
            [(project, user)] * 4,
            [(each.project_id, each.user_id)
             for each in (instance, mapping, spec)] +
            [(consumer['project_id'], consumer['user_id'])])
        self.assertTrue(consumer['allocations'])
        self.assertEqual(task_state, instance.task_state)
        if task_state is None:
            self.assertEqual([], [
                key for key in instance.system_metadata
                if key.startswith('transfer_')])
        for name in (POOL, TENANT):
            api = self._api(name, 'anyone')
            found = server['id'] in [
                each['id'] for each in api.get_servers(detail=False)]
            self.assertEqual(name == project, found)
            self.assertEqual(
                200 if name == project else 404,
                api.api_get('/servers/' + server['id'],
                            check_response_status=[200, 404]).status)


class TestTransfer(TransferTestCase):

    def test_transfer(self):
        server = self._server()
        launched = self._instance(server).launched_at

        self.assertEqual(
            (200, {'project_id': TENANT, 'user_id': 'bob'}),
            self._transfer(server, user_id='bob'))

        self._assert_owner(server, TENANT, 'bob')
        instance = self._instance(server)
        self.assertEqual(launched, instance.launched_at)
        self.assertEqual(
            ('Tenant', 'Bob'),
            (instance.system_metadata['owner_project_name'],
             instance.system_metadata['owner_user_name']))
        self.assertEqual(
            ['/projects/tenant', '/users/bob'], self.keystone.asked)
        # The new owner has it at its disposal, the former one has not.
        self.assertEqual(404, self.pool.api_post(
            '/servers/%s/action' % server['id'], {'os-stop': None},
            check_response_status=[404]).status)
        self.tenant.post_server_action(server['id'], {'os-stop': None})
        self._wait_for_state_change(server, 'SHUTOFF')
        self.tenant.delete_server(server['id'])
        self._wait_until_deleted(server)

    def test_other_cell(self):
        server = self.admin_api.post_server({'server': self._build_server(
            networks='none', host='host2')})
        server = self._wait_for_state_change(server, 'ACTIVE')

        self.assertEqual(200, self._transfer(server)[0])

        self._assert_owner(server, TENANT, 'admin')

    def test_caller_becomes_the_user(self):
        server = self._server()
        self.assertEqual(
            (200, {'project_id': TENANT, 'user_id': 'admin'}),
            self._transfer(server))
        self.assertEqual(['/projects/tenant'], self.keystone.asked)

    def test_user_only(self):
        server = self._server()
        self.assertEqual(
            (200, {'project_id': POOL, 'user_id': 'bob'}),
            self._transfer(server, project_id=POOL, user_id='bob'))
        self._assert_owner(server, POOL, 'bob')

    def test_mark_is_cleared_by_the_host(self):
        server = self._server()
        self.assertEqual(200, self._transfer(server)[0])
        self._wait_for_assert(lambda: self.assertNotIn(
            'owner_to_refresh', self._instance(server).system_metadata))

    def test_states(self):
        for action, status in (
            ('os-stop', 'SHUTOFF'), ('pause', 'PAUSED'),
            ('suspend', 'SUSPENDED'), ('rescue', 'RESCUE'),
        ):
            server = self._server()
            self.admin_api.post_server_action(server['id'], {action: None})
            self._wait_for_state_change(server, status)
            self.assertEqual(200, self._transfer(server)[0])
            server = self._wait_for_state_change(server, status)
            self._assert_owner(server, TENANT, 'admin')

    def test_refused_states(self):
        server = self._server()
        self.admin_api.post_server_action(server['id'], {'shelve': None})
        self._wait_for_state_change(server, 'SHELVED_OFFLOADED')
        self.assertEqual(409, self._transfer(server)[0])

        server = self._server()
        instance = self._instance(server)
        for state in (vm_states.BUILDING, vm_states.ERROR, vm_states.RESIZED,
                      vm_states.SHELVED, vm_states.SOFT_DELETED):
            instance.vm_state = state
            instance.save()
            status, message = self._transfer(server)
            self.assertEqual(409, status)
            self.assertIn('its state is %s' % state, message)

    def test_records(self):
        server = self._server()
        self._transfer(server)
        action = self.admin_api.get_instance_actions(server['id'])[0]
        self.assertEqual(
            ('transfer', 'admin'), (action['action'], action['user_id']))
        detail = self.admin_api.api_get(
            '/servers/%s/os-instance-actions/%s' % (
                server['id'], action['request_id'])).body['instanceAction']
        self.assertEqual(
            ['Success'], [each['result'] for each in detail['events']])

    def test_notifications(self):
        server = self._server()
        self.notifier.reset()
        self._transfer(server, user_id='bob')
        sent = {
            each['event_type']: each['payload']['nova_object.data']
            for each in self.notifier.versioned_notifications
            if 'transfer' in each['event_type'] or
            each['event_type'] == 'instance.exists'}
        self.assertEqual(
            {'instance.transfer.start', 'instance.transfer.end',
             'instance.exists'}, set(sent))
        owners = {'from_project_id': POOL, 'from_user_id': 'alice',
                  'to_project_id': TENANT, 'to_user_id': 'bob'}
        for phase, owner in (
                ('start', (POOL, 'alice')), ('end', (TENANT, 'bob'))):
            data = sent['instance.transfer.' + phase]
            self.assertEqual(
                owners, {name: data[name] for name in owners})
            self.assertEqual(owner, (data['tenant_id'], data['user_id']))
        self.assertEqual(POOL, sent['instance.exists']['tenant_id'])

    def test_key_pair(self):
        public = fake_crypto.get_ssh_public_key()
        self.pool.post_keypair({'keypair': {
            'name': 'key', 'type': 'ssh', 'public_key': public}})
        for user, key in (('alice', 'key'), ('bob', None)):
            server = self._server(key_name='key')
            self._transfer(server, user_id=user)
            shown = self.admin_api.get_server(server['id'])
            self.assertEqual(key, shown['key_name'])
            instance = self._instance(server)
            self.assertEqual(
                1 if key else 0, len(instance.keypairs.objects))
            self.assertEqual(bool(key), instance.key_data is not None)

    def test_console_tokens_are_revoked(self):
        server = self._server()
        self._open_console(server)
        self._transfer(server)
        self.assertEqual(0, self._console_tokens())


class TestAfterwards(TransferTestCase):
    """What a server is to its projects after a transfer."""

    def test_listed_from_the_cells_of_the_project(self):
        self.flags(instance_list_per_project_cells=True, group='api')
        # Without a server in another cell, a listing asks all cells.
        other = self._wait_for_state_change(self.admin_api.post_server(
            {'server': self._build_server(networks='none', host='host2')}),
            'ACTIVE')
        self._transfer(other)
        server = self._server(
            api=self.admin_api, availability_zone='nova:host1')
        self.assertEqual(1, len(self.tenant.get_servers(detail=False)))

        self._transfer(server)

        self.assertEqual(
            {server['id'], other['id']},
            {each['id'] for each in self.tenant.get_servers(detail=False)})

    def test_former_project_is_refused(self):
        server = self._server()
        url = '/servers/%s' % server['id']
        self.pool.api_put(
            url + '/tags/seen', {}, check_response_status=[201])
        self._transfer(server)

        for path, status in (
                ('', 404), ('/os-volume_attachments', 404),
                ('/os-interface', 404), ('/os-instance-actions', 404),
                ('/metadata', 404), ('/tags', 403), ('/shares', 403)):
            self.assertEqual(status, self.pool.api_get(
                url + path, check_response_status=[403, 404]).status, path)
            self.tenant.api_get(url + path)
        for method in (self.pool.api_put, self.tenant.api_put):
            method(url + '/tags/mine', {}, check_response_status=[
                403 if method == self.pool.api_put else 201])
        self.assertEqual(
            ['mine', 'seen'],
            sorted(self.tenant.api_get(url + '/tags').body['tags']))

    def test_moves_keep_the_owner(self):
        server = self._server(
            api=self.admin_api, availability_zone='nova:host1')
        self._start_compute('host3', cell_name='cell1')
        self._transfer(server, user_id='bob')
        self.api = self.admin_api

        self._migrate_server(server)
        self._assert_owner(server, TENANT, 'bob')
        self._confirm_resize(server)
        self._assert_owner(server, TENANT, 'bob')
        self._live_migrate(server)
        self._assert_owner(server, TENANT, 'bob')

    def test_evacuation_keeps_the_owner(self):
        server = self._server(
            api=self.admin_api, availability_zone='nova:host1')
        self._start_compute('host3', cell_name='cell1')
        self._transfer(server, user_id='bob')
        self.api = self.admin_api

        self.computes['host1'].stop()
        self.api.put_service_force_down(
            self.computes['host1'].service_ref.uuid, True)
        self._evacuate_server(server)
        self._assert_owner(server, TENANT, 'bob')

    def test_unshelving_keeps_the_owner(self):
        server = self._server()
        self._transfer(server, user_id='bob')
        self.api = self.tenant
        self._shelve_server(server)
        self._unshelve_server(server)
        self._assert_owner(server, TENANT, 'bob')

    def test_key_is_not_handed_out(self):
        self.pool.post_keypair({'keypair': {
            'name': 'key', 'type': 'ssh',
            'public_key': fake_crypto.get_ssh_public_key()}})
        server = self._server(key_name='key')
        self.api = self.tenant
        self._transfer(server, user_id='bob')

        def keys():
            return metadata.get_metadata_by_instance_id(
                server['id'], '192.0.2.1').get_ec2_metadata(
                    'latest')['meta-data'].get('public-keys')

        self.assertIsNone(keys())
        self._rebuild_server(server, server['image']['id'])
        self.assertIsNone(keys())
        self.assertIsNone(self.api.get_server(server['id'])['key_name'])


class TestRules(TransferTestCase):

    def test_repeated(self):
        server = self._server()
        for attempt in range(2):
            self.assertEqual(
                (200, {'project_id': TENANT, 'user_id': 'bob'}),
                self._transfer(server, user_id='bob', from_project_id=POOL,
                               transfer_id=uuids.first))
        self._assert_owner(server, TENANT, 'bob')

    def test_repeated_when_nothing_answers(self):
        server = self._server()
        self._transfer(server, transfer_id=uuids.first)
        self.admin_api.post_server_action(server['id'], {'lock': None})
        self.keystone.error = ks_exc.ConnectFailure()
        with mock.patch(
                'nova.scheduler.client.report.SchedulerReportClient.get',
                side_effect=ks_exc.ConnectFailure):
            self.assertEqual(200, self._transfer(
                server, transfer_id=uuids.first)[0])
            self.assertEqual(200, self._transfer(server)[0])

    def test_losers(self):
        server = self._server()
        self._transfer(server, from_project_id=POOL, transfer_id=uuids.first)
        for project in (TENANT, OTHER):
            self.assertEqual(409, self._transfer(
                server, project_id=project, from_project_id=POOL,
                transfer_id=uuids.second)[0])
            # Without an id, a lost answer is not told from a lost race.
            self.assertEqual(409, self._transfer(
                server, project_id=project, from_project_id=POOL)[0])
        self.assertEqual(409, self._transfer(
            server, transfer_id=uuids.second)[0])
        self._assert_owner(server, TENANT, 'admin')

    def test_id_is_that_of_the_last_transfer(self):
        server = self._server()
        self._transfer(server, transfer_id=uuids.first)
        self._transfer(server, project_id=OTHER)
        self.assertEqual(200, self._transfer(
            server, transfer_id=uuids.first)[0])
        self._assert_owner(server, TENANT, 'admin')

    def test_user_changes_after_a_lost_answer(self):
        """The claimer still learns that it has won."""
        server = self._server()
        self._transfer(server, user_id='alice', transfer_id=uuids.first)
        for number in range(2):
            self.assertEqual(200, self._transfer(
                server, user_id='bob', transfer_id=uuids.second)[0])
        self.assertEqual(200, self._transfer(
            server, user_id='alice', from_project_id=POOL,
            transfer_id=uuids.first)[0])
        self._assert_owner(server, TENANT, 'bob')

    def test_host_is_told_by_a_repetition(self):
        """The process has died before it told it."""
        server = self._server()
        with mock.patch('nova.compute.guest_rpcapi.GuestAPI.refresh_owner',
                        autospec=True, side_effect=_Failed):
            self.assertEqual(200, self._transfer(
                server, transfer_id=uuids.first)[0])
        self.assertIn(
            'owner_to_refresh', self._instance(server).system_metadata)
        self._transfer(server, transfer_id=uuids.first)
        self._wait_for_assert(lambda: self.assertNotIn(
            'owner_to_refresh', self._instance(server).system_metadata))

    def test_journal_is_wiped(self):
        """Another process saves what it has read before."""
        server = self._server()
        stale = self._instance(server)
        stale.system_metadata['other'] = 'value'
        self._steal(stale.save)
        self.assertEqual(200, self._transfer(server)[0])
        self._assert_owner(server, TENANT, 'admin')

    def test_races(self):
        """A rival transfers the server while Keystone is asked."""
        server = self._server()

        def rival():
            self.keystone.before = lambda: None
            self.assertEqual(200, self._transfer(
                server, from_project_id=POOL, transfer_id=uuids.rival)[0])

        self.keystone.before = rival
        self.assertEqual(409, self._transfer(
            server, project_id=OTHER, from_project_id=POOL,
            transfer_id=uuids.first)[0])
        self._assert_owner(server, TENANT, 'admin')

    def test_changed_meanwhile(self):
        """Something else changes the server while Keystone is asked."""
        server = self._server()

        def change():
            self.keystone.before = lambda: None
            setattr(instance, name, value)
            instance.save()

        for name, value in (
                ('user_id', 'bob'), ('host', 'elsewhere'), ('locked', True),
                ('task_state', task_states.REBOOTING),
                ('vm_state', vm_states.ERROR)):
            instance = self._instance(server)
            before = getattr(instance, name)
            self.keystone.before = change
            status, message = self._transfer(server)
            self.assertEqual(409, status, name)
            self.assertIn('changed it meanwhile', message)
            self.assertEqual(POOL, self._instance(server).project_id)
            setattr(instance, name, before)
            instance.save()
        self.assertEqual(200, self._transfer(server)[0])

    def test_deleted_meanwhile(self):
        server = self._server()

        def rival():
            self.keystone.before = lambda: None
            self.pool.delete_server(server['id'])
            self._wait_until_deleted(server)

        self.keystone.before = rival
        self.assertIn(self._transfer(server)[0], (404, 409))
        self.assertIsNone(self._instance(server))
        self.assertEqual({}, self._get_allocations_by_server_uuid(
            server['id']))


class TestRefusals(TransferTestCase):

    def _assert_refused(self, status, server, *words, **body):
        answer = self._transfer(server, **body)
        self.assertEqual(status, answer[0], answer)
        for word in words:
            self.assertIn(word, answer[1])
        self._assert_owner(server, POOL, 'alice')
        return answer

    def test_unknown_owner(self):
        server = self._server()
        self._assert_refused(404, server, 'nobody', project_id='nobody')
        self._assert_refused(404, server, 'nobody', user_id='nobody')
        for path in ('/projects/tenant', '/users/bob'):
            self.keystone.known[path]['enabled'] = False
            self._assert_refused(
                404, server, path.split('/')[-1], user_id='bob')
            self.keystone.known[path]['enabled'] = True

    def test_keystone_that_ignores_case(self):
        server = self._server()
        self.keystone.known['/projects/TENANT'] = self.keystone.known[
            '/projects/tenant']
        self._assert_refused(404, server, 'TENANT', project_id='TENANT')

    def test_keystone_does_not_say(self):
        server = self._server()
        for status in (401, 403, 500, 503):
            self.keystone.status = status
            self._assert_refused(503, server)
        self.keystone.status = None
        self.keystone.error = ks_exc.ConnectFailure()
        self._assert_refused(503, server)

    def test_name_may_be_missing(self):
        server = self._server()
        self.keystone.known['/projects/tenant'] = {'id': TENANT}
        self.assertEqual(200, self._transfer(server)[0])

    def test_locked(self):
        server = self._server()
        self.admin_api.post_server_action(server['id'], {'lock': None})
        self._assert_refused(409, server, 'locked')

    def test_policy(self):
        server = self._server()
        for api in (self.pool, self._api(POOL, 'alice', ['manager'])):
            self._assert_refused(403, server, api=api)
        self.assertEqual(404, self._transfer(server, api=self.tenant)[0])

    def test_policy_of_another_role(self):
        self.policy.set_rules(
            {'os_compute_api:os-server-transfer': 'role:service'},
            overwrite=False)
        server = self._server()
        self.assertEqual(200, self._transfer(
            server, api=self._api(OTHER, 'pooler', ['service']))[0])
        self._assert_owner(server, TENANT, 'pooler')

    def test_port_of_the_target(self):
        server = self._server()
        self._add_port(server, TENANT)
        self.assertEqual(200, self._transfer(server)[0])

    def test_all_that_blocks(self):
        server = self._server()
        self._add_port(server)
        self.admin_api.post_server_volume(server['id'], {
            'volumeAttachment': {
                'volumeId': '6ca404f3-d844-4169-bb96-bc792f37de98'}})
        aggregate = self.admin_api.post_aggregate(
            {'aggregate': {'name': 'theirs'}})
        self.admin_api.add_host_to_aggregate(
            aggregate['id'], self._instance(server).host)
        self.admin_api.api_post(
            '/os-aggregates/%s/action' % aggregate['id'], {
                'set_metadata': {'metadata': {'filter_tenant_id': POOL}}})
        self._assert_refused(
            409, server, 'port %s' % uuids.port,
            'volume 6ca404f3-d844-4169-bb96-bc792f37de98',
            'host aggregate %s' % aggregate['uuid'])
        # Nothing blocks where the project stays.
        self.assertEqual(200, self._transfer(
            server, project_id=POOL, user_id='bob')[0])

    def test_server_group(self):
        group = self.pool.post_server_groups({
            'name': 'group', 'policy': 'anti-affinity'})
        server = self._build_server(networks='none')
        server = self.pool.post_server({
            'server': server,
            'os:scheduler_hints': {'group': group['id']}})
        server = self._wait_for_state_change(server, 'ACTIVE')
        self._assert_refused(409, server, 'server group %s' % group['id'])

    def test_old_compute_service(self):
        server = self._server()
        instance = self._instance(server)
        with nova_context.target_cell(
                nova_context.get_admin_context(),
                self.host_mappings[instance.host].cell_mapping) as cctxt:
            node = objects.ComputeNode.get_by_host_and_nodename(
                cctxt, instance.host, instance.node)
            node.stats = {
                key: value for key, value in node.stats.items()
                if key != 'server_transfer'}
            node.save()
        self._assert_refused(409, server, instance.host)
        self._run_periodics()
        self.assertEqual(200, self._transfer(server)[0])

    def test_name_is_taken(self):
        server = self._server(name='same')
        self._server(api=self.tenant, name='same')
        self.flags(osapi_compute_unique_server_name_scope='project')
        self._assert_refused(409, server, 'same')

    def _assert_nothing_begun(self, server):
        self.assertEqual(['create'], [
            action['action'] for action in
            self.admin_api.get_instance_actions(server['id'])])

    def test_quota(self):
        server = self._server()
        for resource in ('instances', 'cores', 'ram'):
            self.admin_api.update_quota(
                {resource: 0}, project_id=TENANT)
            self._assert_refused(403, server, resource)
            self.admin_api.update_quota(
                {resource: -1}, project_id=TENANT)
        self._assert_nothing_begun(server)
        with mock.patch(
                'nova.objects.Quotas.get_all_by_project', autospec=False,
                wraps=objects.Quotas.get_all_by_project) as get_limits:
            self.assertEqual(200, self._transfer(server)[0])
        get_limits.assert_called_once()

    def test_quota_of_the_user(self):
        server = self._server()
        # That of the caller does not matter.
        for user in ('bob', 'admin'):
            self.admin_api.update_quota(
                {'instances': 0}, project_id=TENANT, user_id=user)
        self._assert_refused(403, server, 'instances', user_id='bob')
        self.assertEqual(200, self._transfer(server, user_id='alice')[0])

    def test_quota_from_placement(self):
        self.flags(count_usage_from_placement=True, group='quota')
        self.test_quota()

    def _use_unified_limits(self, **limits):
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        registered = {
            local_limit.SERVER_METADATA_ITEMS: 128,
            local_limit.INJECTED_FILES: 5,
            local_limit.INJECTED_FILES_CONTENT: 10240,
            local_limit.INJECTED_FILES_PATH: 255,
            'servers': 9, 'class:VCPU': 99, 'class:MEMORY_MB': 99999,
            'class:DISK_GB': 999}
        self.limits = {TENANT: limits}
        self.useFixture(limit_fixture.LimitFixture(registered, self.limits))

    def test_unified_limits(self):
        self._use_unified_limits()
        self._server(api=self.tenant)
        server = self._server()
        for resource, used in (
                ('servers', 1), ('class:VCPU', 1), ('class:MEMORY_MB', 512)):
            self.limits[TENANT][resource] = used
            self._assert_refused(403, server, resource)
            self.limits[TENANT][resource] = 2 * used
        self._assert_nothing_begun(server)
        self.assertEqual(200, self._transfer(server)[0])

    def test_unified_limit_that_a_rival_has_used(self):
        self._use_unified_limits(servers=1)
        server = self._server()
        self._steal(lambda: self._server(api=self.tenant))
        self._assert_refused(403, server, 'servers')

    def test_quota_that_a_rival_has_used(self):
        """It creates a server after the quota was checked."""
        self.admin_api.update_quota({'instances': 1}, project_id=TENANT)
        server = self._server()
        self._steal(lambda: self._server(api=self.tenant))
        self._assert_refused(403, server, 'instances')
        events = self.admin_api.api_get(
            '/servers/%s/os-instance-actions/%s' % (
                server['id'], self.admin_api.get_instance_actions(
                    server['id'])[0]['request_id'])
        ).body['instanceAction']['events']
        self.assertEqual(['Error'], [each['result'] for each in events])

    def test_port_that_a_rival_attaches(self):
        """Its attach was allowed before the server was held."""
        server = self._server()
        self._steal(lambda: self._add_port(server))
        self._assert_refused(409, server, 'port %s' % uuids.port)

    def test_deleted_while_placement_is_written(self):
        server = self._server()

        def rival():
            self.pool.delete_server(server['id'])
            self._wait_until_deleted(server)

        self._steal(rival)
        self.assertIn(self._transfer(server)[0], (404, 409))
        self.assertEqual({}, self._get_allocations_by_server_uuid(
            server['id']))
        self.assertEqual([], self.tenant.get_servers())

    def test_placement_cannot_be_asked(self):
        server = self._server()
        seen = []

        def put(*args, **kwargs):
            seen.append(self._instance(server).project_id)
            raise ks_exc.ConnectFailure()

        with mock.patch(
                'nova.scheduler.client.report.SchedulerReportClient.put',
                side_effect=put):
            answer = self._transfer(server)
        self.assertEqual(503, answer[0])
        # It has never been another's.
        self.assertEqual([POOL], seen)
        self._assert_owner(server, POOL, 'alice')

    def test_settled_while_placement_is_written(self):
        server = self._server()
        self._steal(lambda: self.assertEqual(
            200, self._transfer(server, project_id=POOL)[0]))
        self._assert_refused(409, server, 'changed it meanwhile')

    def test_rival_transfers_it_while_a_repeated_call_follows(self):
        """The repeated call has read that it belongs to the pool."""
        server = self._server()
        follow = transfer._follow

        def steal(*args):
            patch.stop()
            self.assertEqual(200, self._transfer(server, user_id='bob')[0])
            return follow(*args)

        for request in ({}, {'transfer_id': uuids.transfer}):
            self.assertEqual(200, self._transfer(
                server, project_id=POOL, user_id='alice', **request)[0])
            patch = mock.patch.object(
                transfer, '_follow', autospec=True, side_effect=steal)
            patch.start()
            self.assertEqual(200, self._transfer(
                server, project_id=POOL, user_id='alice', **request)[0])
            self._assert_owner(server, TENANT, 'bob')

    def test_allocations_change_meanwhile(self):
        server = self._server()

        def rival():
            url = '/allocations/' + server['id']
            found = self.placement.get(url, version='1.28').body
            self.assertEqual(204, self.placement.put(
                url, found, version='1.28').status)

        self._steal(rival)
        self.assertEqual(200, self._transfer(server)[0])
        self._assert_owner(server, TENANT, 'admin')

    def test_neutron_cannot_be_asked(self):
        server = self._server()
        real = self.neutron.list_ports
        begin = transfer._ask_for_ports
        owners = []

        def ask(context, instance):
            owners.append(self._instance(server).project_id)
            return begin(context, instance)

        self.useFixture(
            fixtures.MonkeyPatch('nova.compute.transfer._ask_for_ports', ask))
        for good in (0, 1):
            self._answers = good

            def list_ports(*args, **kwargs):
                self._answers -= 1
                if self._answers < 0:
                    raise neutron_exc.ServiceUnavailable()
                return real(*args, **kwargs)

            with mock.patch.object(self.neutron, 'list_ports', list_ports):
                self.assertEqual(503, self._transfer(server)[0])
            self._assert_owner(server, POOL, 'alice')
        # The second look comes after the owner has changed.
        self.assertEqual([POOL, POOL, TENANT], owners)


class TestDeath(TransferTestCase):
    """A process that dies, or a database that fails, at each statement."""

    def _stop_at(self, number, error):
        """Make the n-th write of this thread, and all later ones, fail.

        :returns: a function that ends that, and says whether it has happened
        """
        seen = [0]
        thread = threading.get_ident()

        def listener(conn, cursor, statement, *args):
            if (threading.get_ident() == thread and
                    statement.split()[0] in ('INSERT', 'UPDATE', 'DELETE')):
                seen[0] += 1
                if seen[0] >= number:
                    raise error

        sa.event.listen(sa.Engine, 'before_cursor_execute', listener)

        def end():
            sa.event.remove(
                sa.Engine, 'before_cursor_execute', listener)
            return seen[0] >= number
        return end

    def _test(self, error, settle):
        """Transfer a server there and back until nothing fails any more.

        :param settle: whether an administrator settles what was left, or the
            same call is made again
        :returns: at how many statements it was stopped
        """
        server = self._server()
        # So many transfers log more than a test runner takes.
        logging.disable(logging.ERROR)
        self.addCleanup(logging.disable, logging.NOTSET)
        number = 0
        while True:
            number += 1
            # It is at home by a transfer too, so that each has the same way.
            self.assertEqual(200, self._transfer(
                server, project_id=POOL, user_id='alice')[0])
            transfer_id = uuidutils.generate_uuid()
            end = self._stop_at(number, error)
            try:
                self._call(server, TENANT, 'bob', POOL, transfer_id)
            except (_Died, Exception):
                pass
            if not end():
                self._assert_owner(server, TENANT, 'bob')
                return number - 1
            instance = self._instance(server)
            self.assertIn(
                instance.task_state, (None, task_states.TRANSFERRING))
            if settle:
                owner = (instance.project_id, instance.user_id)
                self.assertEqual(200, self._transfer(
                    server, project_id=owner[0])[0], number)
            else:
                owner = (TENANT, 'bob')
                self.assertEqual(200, self._transfer(
                    server, user_id='bob', from_project_id=POOL,
                    transfer_id=transfer_id)[0], number)
            self._assert_owner(server, *owner)

    def test_no_console_of_the_former_owner_is_left(self):
        """Nobody revokes its tokens if that is left for later."""
        server = self._server()
        self._open_console(server)

        with mock.patch('nova.compute.transfer._look_again',
                        autospec=True, side_effect=_Died()):
            self.assertRaises(_Died, self._call, server, TENANT)

        self.assertEqual(TENANT, self._instance(server).project_id)
        self.assertEqual(0, self._console_tokens())

    def test_what_was_attached_before_it_is_looked_at_again(self):
        """Whoever completes or settles a transfer has to look, too."""
        request = {'user_id': 'bob', 'transfer_id': uuids.transfer}
        for body in (request, {}):
            server = self._server()
            with mock.patch('nova.compute.transfer._look_again',
                            autospec=True, side_effect=_Died()):
                self.assertRaises(
                    _Died, self._call, server, TENANT, **request)
            self.assertEqual(TENANT, self._instance(server).project_id)
            self._add_port(server)

            status, message = self._transfer(server, **body)

            self.assertEqual(409, status)
            self.assertIn('port %s' % uuids.port, message)
            self._assert_owner(server, POOL, 'alice')
            self.neutron._ports.pop(uuids.port)

    def test_placement_follows_again(self):
        """A rival that has died had made it follow the former owner."""
        server = self._server()
        request = {'user_id': 'bob', 'transfer_id': uuids.transfer}
        with mock.patch('nova.compute.transfer._look_again',
                        autospec=True, side_effect=_Died()):
            self.assertRaises(_Died, self._call, server, TENANT, **request)
        url = '/allocations/' + server['id']
        consumer = self.placement.get(url, version='1.28').body
        self.assertEqual(204, self.placement.put(
            url, {**consumer, 'project_id': POOL, 'user_id': 'alice'},
            version='1.28').status)

        self.assertEqual(200, self._transfer(server, **request)[0])

        self._assert_owner(server, TENANT, 'bob')

    def _undo_beside_a_repetition(self, server, request, dies):
        """Have a transfer undone, and completed by the same call meanwhile.

        The undo has read the row, and has yet to write to placement.

        :param dies: whether the undo ends when it has written to placement
        """
        put = report.SchedulerReportClient.put

        def complete(client, *args, **kwargs):
            patch.stop()
            self.neutron._ports.pop(uuids.port)
            self.assertEqual(200, self._transfer(server, **request)[0])
            self._assert_owner(server, TENANT, 'bob')
            answer = put(client, *args, **kwargs)
            self.assertEqual(204, answer.status_code)
            if dies:
                raise _Died()
            return answer

        patch = mock.patch.object(
            report.SchedulerReportClient, 'put', complete)

        def attach():
            self._add_port(server)
            patch.start()

        self._steal(attach)
        return self._call(server, TENANT, **request)

    def test_same_call_completes_what_is_being_undone(self):
        """Whoever undoes it makes placement follow once more."""
        server = self._server()
        request = {'user_id': 'bob', 'transfer_id': uuids.transfer}
        self.assertEqual(
            (TENANT, 'bob'),
            self._undo_beside_a_repetition(server, request, dies=False))
        self._assert_owner(server, TENANT, 'bob')

    def test_undo_that_does_not_make_placement_follow(self):
        """The same call does so, or an administrator's."""
        request = {'user_id': 'bob', 'transfer_id': uuids.transfer}
        for body in (request, {}):
            server = self._server()
            self.assertRaises(
                _Died, self._undo_beside_a_repetition, server, request,
                dies=True)
            consumer = self.placement.get(
                '/allocations/' + server['id'], version='1.28').body
            self.assertEqual(
                (TENANT, POOL),
                (self._instance(server).project_id, consumer['project_id']))
            self.assertEqual(200, self._transfer(server, **body)[0])
            self._assert_owner(server, TENANT, 'bob')

    def _test_undo(self, settles):
        """Stop a transfer that a rival's attach causes to be undone."""
        server = self._server()
        logging.disable(logging.ERROR)
        self.addCleanup(logging.disable, logging.NOTSET)
        number, ended = 0, False
        while not ended:
            number += 1
            self._steal(lambda: self._add_port(server))
            stopped = self._stop_at(number, _Died())
            request = {'project_id': TENANT, 'user_id': 'bob',
                       'transfer_id': uuidutils.generate_uuid()}
            self.assertRaises(
                (_Died, exception.TransferRefused), self._call, server,
                **request)
            ended = not stopped()
            mock.patch.stopall()
            attached = uuids.port in self.neutron._ports
            if settles:
                request = {'project_id': self._instance(server).project_id}
            refused = attached and request['project_id'] == TENANT
            status, message = self._transfer(server, **request)
            self.assertEqual(409 if refused else 200, status, number)
            owner = self._instance(server)
            self.assertEqual(
                POOL if attached or settles else TENANT, owner.project_id,
                number)
            self._assert_owner(server, owner.project_id, owner.user_id)
            self.neutron._ports.pop(uuids.port, None)
            self._transfer(server, project_id=POOL, user_id='alice')
        self.assertGreater(number, 20)

    def test_same_call_after_it_was_being_undone(self):
        self._test_undo(settles=False)

    def test_administrator_settles_what_was_being_undone(self):
        self._test_undo(settles=True)

    def test_same_call_completes(self):
        self.assertGreater(self._test(_Died(), False), 15)

    def test_same_call_completes_after_a_database_error(self):
        error = sa.exc.OperationalError('', {}, Exception())
        self.assertGreater(self._test(error, False), 15)

    def test_administrator_settles(self):
        self.assertGreater(self._test(_Died(), True), 15)
