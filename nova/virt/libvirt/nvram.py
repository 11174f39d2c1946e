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

"""The UEFI variables of guests, which libvirt keeps in a file for each.

The file is named after the domain, so it has another name in another cell. It
is made of a template when a guest is started without one, and kept otherwise.
"""

import contextlib
import os

from lxml import etree
from oslo_log import log as logging
from oslo_utils import fileutils
from oslo_utils import units

from nova import exception
from nova.i18n import _
import nova.privsep.nvram
from nova.virt import images

LOG = logging.getLogger(__name__)

# Where libvirt keeps the files, whatever its configuration.
DIRECTORY = '/var/lib/libvirt/qemu/nvram'

_SUFFIXES = ('_VARS.fd', '_VARS.qcow2')

# What a file is called until it is complete.
_PART = '.part'

_CHUNK_SIZE = 4 * units.Mi


class Variables:
    """The UEFI variables of a guest that is defined, running or not."""

    def __init__(self, path, file_format, template, template_format):
        """Initialize what is known of the variables of a guest.

        :param path: of the file
        :param file_format: 'raw' or 'qcow2'
        :param template: path of what the file is made of, or None
        :param template_format: that of the template
        """
        self.path = path
        self.format = file_format
        self._template = template
        self._template_format = template_format

    def exist(self):
        """Whether there is a file yet (bool)."""
        try:
            nova.privsep.nvram.read(self.path, 0, 0)
            return True
        except FileNotFoundError:
            return False

    def save(self, path):
        """Copy the variables to a raw file.

        :param path: of the copy
        :raises FileNotFoundError: if there are none
        """
        with open(path, 'wb') as f:
            while chunk := nova.privsep.nvram.read(
                    self.path, f.tell(), _CHUNK_SIZE):
                f.write(chunk)
        if self.format != 'raw':
            original = path + '.' + self.format
            os.rename(path, original)
            with fileutils.remove_path_on_error(original):
                images.convert_image(original, path, self.format, 'raw')
            os.unlink(original)

    def restore(self, path):
        """Give the guest, which must not run, the variables of a raw file.

        :param path: of the file
        :raises nova.exception.MigrationError: if the firmware of the guest
            cannot use them
        """
        size, expected = os.path.getsize(path), self._template_size()
        if expected not in (None, size):
            raise exception.MigrationError(reason=_(
                'the UEFI variables have %(size)d bytes, those of the '
                'firmware of this host %(expected)d') % {
                    'size': size, 'expected': expected})
        if self.format == 'raw':
            self._install(path)
            return
        # The file has to stay raw, for whoever comes back to it after a crash.
        converted = path + '.' + self.format
        with fileutils.remove_path_on_error(converted):
            images.convert_image(path, converted, 'raw', self.format)
            self._install(converted)
        os.unlink(converted)

    def _install(self, path):
        part = self.path + _PART
        with open(path, 'rb') as f:
            while chunk := f.read(_CHUNK_SIZE):
                nova.privsep.nvram.write(part, f.tell() - len(chunk), chunk)
        nova.privsep.nvram.rename(part, self.path)

    def _template_size(self):
        if self._template is None:
            return None
        try:
            if self._template_format == 'raw':
                return os.path.getsize(self._template)
            return images.qemu_img_info(
                self._template, self._template_format).virtual_size
        except Exception as e:
            LOG.warning('The size of %(path)s is not known: %(error)s',
                        {'path': self._template, 'error': e})
            return None


def find(guest, name):
    """Find the UEFI variables of a guest.

    :param guest: nova.virt.libvirt.guest.Guest
    :param name: name of its domain (str)
    :returns: Variables, which need not exist yet; None if its firmware has
        none
    """
    firmware = etree.fromstring(guest.get_xml_desc()).find('os')
    nvram = firmware.find('nvram')
    if nvram is not None and nvram.text:
        template_format = nvram.get('templateFormat', 'raw')
        return Variables(
            nvram.text, nvram.get('format', 'raw'), nvram.get('template'),
            template_format)
    loader = firmware.find('loader')
    is_stateless = loader is not None and loader.get('stateless') == 'yes'
    if firmware.get('firmware') == 'efi' and not is_stateless:
        # libvirt before 8.6.0 selects the firmware when a guest is started.
        return Variables(_paths(name)[0], 'raw', None, None)
    return None


def remove(name):
    """Remove the UEFI variables of a guest that is not defined any more.

    :param name: name of the domain that it had (str)
    """
    for path in _paths(name):
        for it in (path, path + _PART):
            with contextlib.suppress(FileNotFoundError):
                nova.privsep.nvram.remove(it)


def _paths(name):
    return [os.path.join(DIRECTORY, name + suffix) for suffix in _SUFFIXES]
