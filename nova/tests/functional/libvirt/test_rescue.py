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

import os

from lxml import etree

from nova import context as nova_context
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import utils as libvirt_utils


class UnrescueTest(base.ServersTestBase):
    """Unrescue builds the guest from the database, not from a saved file."""

    CAST_AS_CALL = False
    microversion = 'latest'

    def setUp(self):
        super().setUp()
        self.start_compute('host1')
        self.conn = self.computes['host1'].driver._host.get_connection()
        self.server = self._create_server(networks='none')
        instance = objects.Instance.get_by_uuid(
            nova_context.get_admin_context(), self.server['id'])
        self.instance_dir = libvirt_utils.get_instance_path(instance)
        os.makedirs(self.instance_dir, exist_ok=True)

    def _write(self, name, content):
        with open(os.path.join(self.instance_dir, name), 'w') as f:
            f.write(content)

    def _guest_disks(self):
        """The guest's local disks, by file name, in the guest's order."""
        domain = self.conn.lookupByUUIDString(self.server['id'])
        paths = etree.fromstring(domain.XMLDesc(0)).xpath(
            'devices/disk/source/@file')
        return [os.path.basename(path) for path in paths]

    def test_no_file_is_written_and_the_guest_comes_back(self):
        before = self._guest_disks()
        self.assertEqual(['disk'], before)

        self._rescue_server(self.server)
        self.assertEqual(['disk.rescue', 'disk'], self._guest_disks())
        self.assertNotIn('unrescue.xml', os.listdir(self.instance_dir))

        self._write('disk.rescue', '')
        self._unrescue_server(self.server)
        self.assertEqual(before, self._guest_disks())
        self.assertNotIn('disk.rescue', os.listdir(self.instance_dir))

    def test_file_of_an_earlier_release_is_ignored_and_deleted(self):
        before = self._guest_disks()
        self._rescue_server(self.server)
        self._write('unrescue.xml', 'this is not the XML of a guest')

        self._unrescue_server(self.server)
        self.assertEqual(before, self._guest_disks())
        self.assertNotIn('unrescue.xml', os.listdir(self.instance_dir))

    def test_failure_keeps_every_disk(self):
        self._rescue_server(self.server)
        for name in ('disk', 'disk.rescue', 'unrescue.xml'):
            self._write(name, name)

        def fail(*args, **kwargs):
            raise fakelibvirt.make_libvirtError(
                fakelibvirt.libvirtError, 'no such machine',
                error_code=fakelibvirt.VIR_ERR_INTERNAL_ERROR)

        self.stub_out('nova.virt.libvirt.guest.Guest.create', fail)
        self.api.post_server_action(self.server['id'], {'unrescue': None})
        self._wait_for_state_change(self.server, 'ERROR')
        for name in ('disk', 'disk.rescue', 'unrescue.xml'):
            with open(os.path.join(self.instance_dir, name)) as f:
                self.assertEqual(name, f.read())
