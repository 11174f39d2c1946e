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
import stat
from unittest import mock

import ddt
import fixtures

from nova import exception
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.virt.libvirt import guest as libvirt_guest
from nova.virt.libvirt import nvram


@ddt.ddt
class NVRAMTestCase(test.NoDBTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(nova_fixtures.PrivsepFixture())
        self.root = self.useFixture(fixtures.TempDir()).path
        self.useFixture(fixtures.MockPatchObject(
            nvram, 'DIRECTORY', self.root))
        # Several of them make a file.
        self.useFixture(fixtures.MockPatchObject(nvram, '_CHUNK_SIZE', 3))

    def _write(self, name, content):
        with open(os.path.join(self.root, name), 'wb') as f:
            f.write(content)
        return f.name

    def _read(self, name):
        with open(os.path.join(self.root, name), 'rb') as f:
            return f.read()

    def _find(self, firmware):
        guest = mock.create_autospec(libvirt_guest.Guest, instance=True)
        guest.get_xml_desc.return_value = '<domain>%s</domain>' % firmware
        return nvram.find(guest, 'instance-1')

    def _find_file(self, name, attributes=''):
        return self._find('<os><nvram %s>%s</nvram></os>' % (
            attributes, os.path.join(self.root, name)))

    @ddt.data(
        ("<os/>", None),
        ("<os firmware='efi'><loader stateless='yes'/></os>", None),
        ("<os firmware='efi'><nvram template='x'>/a</nvram></os>",
         ('/a', 'raw')),
        ("<os><nvram format='qcow2'>/a</nvram></os>", ('/a', 'qcow2')))
    @ddt.unpack
    def test_find(self, firmware, expected):
        variables = self._find(firmware)
        self.assertEqual(
            expected, variables and (variables.path, variables.format))

    def test_find_where_firmware_is_selected_late(self):
        self.assertEqual(
            os.path.join(self.root, 'instance-1_VARS.fd'),
            self._find("<os firmware='efi'><loader secure='no'/></os>").path)

    def test_exist(self):
        variables = self._find_file('a')
        self.assertFalse(variables.exist())
        self._write('a', b'')
        self.assertTrue(variables.exist())

    def test_save_and_restore(self):
        self._write('a', b'variables')
        self._write('template', b'template!')
        copy = os.path.join(self.root, 'copy')
        self._find_file('a').save(copy)
        self.assertEqual(b'variables', self._read('copy'))
        self._write('b', b'leftover of another guest')
        self._find_file('b', "template='%s/template'" % self.root).restore(
            copy)
        self.assertEqual(b'variables', self._read('b'))
        self.assertEqual(0o600, stat.S_IMODE(os.stat(
            os.path.join(self.root, 'b')).st_mode))
        self.assertNotIn('b.part', os.listdir(self.root))

    def test_no_symbolic_link_is_followed(self):
        """The directory belongs to the user that QEMU runs as."""
        secret = self._write('secret', b'of the host')
        for name in ('a', 'b.part'):
            os.symlink(secret, os.path.join(self.root, name))
        copy = os.path.join(self.root, 'copy')
        self.assertRaises(OSError, self._find_file('a').save, copy)
        self.assertEqual(b'', self._read('copy'))
        self._find_file('b').restore(self._write('copy', b'variables'))
        self.assertEqual(b'of the host', self._read('secret'))
        self.assertFalse(os.path.islink(os.path.join(self.root, 'b')))
        self.assertEqual(b'variables', self._read('b'))

    @mock.patch('os.fchown', autospec=True)
    def test_owner(self, fchown):
        self._find_file('b').restore(self._write('copy', b'variables'))
        directory = os.stat(self.root)
        fchown.assert_called_once_with(
            mock.ANY, directory.st_uid, directory.st_gid)

    def test_restore_to_other_firmware(self):
        copy = self._write('copy', b'variables')
        self._write('template', b'of another size')
        self.assertRaises(
            exception.MigrationError, self._find_file(
                'b', "template='%s/template'" % self.root).restore, copy)
        self.assertNotIn('b', os.listdir(self.root))

    def test_restore_to_unknown_firmware(self):
        self._find_file('b', "template='%s/template'" % self.root).restore(
            self._write('copy', b'variables'))
        self.assertEqual(b'variables', self._read('b'))

    def test_other_format(self):
        """The copy is raw, whatever the file is."""
        def convert(source, dest, in_format, out_format):
            self._write(dest, self._read(source).replace(
                in_format.encode(), out_format.encode()))

        self._write('a', b'qcow2 variables')
        copy = os.path.join(self.root, 'copy')
        with mock.patch('nova.virt.images.convert_image', autospec=True,
                        side_effect=convert):
            self._find_file('a', "format='qcow2'").save(copy)
            self.assertEqual(b'raw variables', self._read('copy'))
            self._find_file('b', "format='qcow2'").restore(copy)
        self.assertEqual(b'qcow2 variables', self._read('b'))
        # It can be done again.
        self.assertEqual(b'raw variables', self._read('copy'))
        self.assertEqual({'a', 'b', 'copy'}, set(os.listdir(self.root)))

    def test_remove(self):
        for name in ('instance-1_VARS.fd', 'instance-1_VARS.qcow2',
                     'instance-1_VARS.fd.part', 'instance-1_VARS.qcow2.part',
                     'instance-10_VARS.fd'):
            self._write(name, b'variables')
        for _ in range(2):
            nvram.remove('instance-1')
            self.assertEqual(['instance-10_VARS.fd'], os.listdir(self.root))
