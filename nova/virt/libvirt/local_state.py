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

"""What a host has of a server that moves to another cell, or comes from it.

No host of one cell talks to one of another. What they do not share travels
through the image service: the root disk as a snapshot, and each of the other
parts, which are named in nova.objects.cross_cell.CrossCellMove, as an image of
its own.
"""

import glob
import hashlib
import os
import re
import shutil
import time

from oslo_log import log as logging
from oslo_utils import fileutils
from oslo_utils import units
from oslo_utils import uuidutils

from nova.compute import utils as compute_utils
import nova.conf
from nova import exception
from nova.i18n import _
from nova import objects
from nova.objects import cross_cell
from nova.storage import rbd_utils
from nova import utils
from nova.virt import configdrive
from nova.virt import driver
from nova.virt import hardware
from nova.virt import images
from nova.virt.libvirt import blockinfo
from nova.virt.libvirt import imagebackend
from nova.virt.libvirt import nvram
from nova.virt.libvirt.storage import lvm
from nova.virt.libvirt import utils as libvirt_utils

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

_MARKER = 'cross-cell-'

# The other host names these. They become names of files and images here.
_MARKER_PATTERN = re.compile(_MARKER + '[0-9a-f]{32}')
_PART_PATTERNS = {
    'ephemeral': re.compile(r'disk\.(local|eph[0-9]{1,3})'),
    'config': re.compile(r'disk\.config'),
    'nvram': re.compile(r'nvram'),
}

_ROOT = 'disk'
_SWAP = 'disk.swap'
_NVRAM = 'nvram'

# How often a directory is removed. On NFS it can take more than once.
_REMOVE_ATTEMPTS = 5

_CHUNK_SIZE = 4 * units.Mi


class _Raw(imagebackend.Flat):
    """A file whose format is known, whatever its guest has written to it."""

    def _get_driver_format(self):
        return 'raw'


class LocalState:
    """The part of a server that is on the storage of this host."""

    def __init__(self, libvirt_driver, context, instance):
        """Look at a server on a host. Nothing is done yet.

        :param libvirt_driver: nova.virt.libvirt.driver.LibvirtDriver
        :param context: nova.context.RequestContext
        :param instance: nova.objects.instance.Instance
        """
        self._driver = libvirt_driver
        self._context = context
        self._instance = instance
        self._path = libvirt_utils.get_instance_path(instance)
        # Where a resize keeps what a revert needs.
        self._kept_path = self._path + '_resize'
        # Where the UEFI variables wait for a guest that gets them.
        self._nvram_path = os.path.join(self._path, _NVRAM)

    # On the source host, before the guest is stopped

    def describe(self, block_device_info):
        """Say what this host has of the server.

        :param block_device_info: the block devices of the server
        :returns: nova.objects.cross_cell.CrossCellMove
        """
        move = objects.CrossCellMove.new(storage=_storage())
        move.blockers.extend(self._cannot_leave(block_device_info))
        if not move.blockers:
            self._describe_parts(block_device_info, move)
        if not move.blockers:
            self.remove_markers()
            move.marker = _MARKER + uuidutils.generate_uuid(dashed=False)
            fileutils.ensure_tree(self._path)
            os.close(_create(os.path.join(self._path, move.marker)))
        return move

    def _cannot_leave(self, block_device_info):
        if self._driver._get_vpmems(self._instance):
            yield _('it has persistent memory')
        if hardware.get_vtpm_constraint(
                self._instance.flavor, self._instance.image_meta):
            yield _('it has an emulated TPM')
        if (driver.block_device_info_get_encrypted_disks(block_device_info) or
                self._instance.ephemeral_key_uuid):
            yield _('it has encrypted local disks')

    def _describe_parts(self, block_device_info, move):
        mapping = blockinfo.get_disk_info(
            CONF.libvirt.virt_type, self._instance, self._instance.image_meta,
            block_device_info)['mapping']
        for name in mapping:
            if not _PART_PATTERNS['ephemeral'].fullmatch(name):
                continue
            image = self._image(name)
            if CONF.libvirt.virt_type not in ('kvm', 'qemu'):
                move.blockers.append(
                    _('the ephemeral disks of its virt type are not carried'))
            elif not image.exists():
                move.blockers.append(
                    _('%s is not in the storage of this host') % name)
            else:
                move.parts.objects.append(objects.LocalPart.new(
                    name=name, kind='ephemeral', format='qcow2'))
        # Without one, it is made anew.
        if (configdrive.required_by(self._instance) and
                self._image('disk.config').exists()):
            move.parts.objects.append(objects.LocalPart.new(
                name='disk.config', kind='config', format='raw'))
        variables = self._find_variables()
        if variables and variables.exist():
            move.parts.objects.append(objects.LocalPart.new(
                name=_NVRAM, kind='nvram', format='raw'))

    def _find_variables(self):
        try:
            guest = self._driver._host.get_guest(self._instance)
        except exception.InstanceNotFound:
            return None
        return nvram.find(guest, self._instance.name)

    def remove_markers(self):
        """Remove the file by which the other host sees a shared directory."""
        for path in glob.glob(os.path.join(
                glob.escape(self._path), _MARKER + '*')):
            fileutils.delete_if_exists(path)

    # On the destination, before the guest is stopped

    def examine(self, move, check_wanted):
        """Find out what is shared, and remove what an earlier move left.

        :param move: nova.objects.cross_cell.CrossCellMove of the other host
        :param check_wanted: function that is called before anything is removed
            and raises an exception if the marker may be gone by now
        """
        _validate(move)
        if self._driver.instance_exists(self._instance):
            move.blockers.append(_('it has a guest of the server already'))
            return
        mine = _storage()
        if move.marker is not None:
            move.shared_path = self._has(move.marker)
        if _is_rbd(move.storage) and _is_rbd(mine):
            move.shared = _is_same_pool(move.storage, mine)
        elif move.shared_path and (move.storage != mine or mine == 'lvm'):
            move.blockers.append(
                _('it shares the directory of the server, but not the kind '
                  'of its disks'))
            return
        else:
            move.shared = move.shared_path
        if not move.in_place and CONF.glance.verify_glance_signatures:
            move.blockers.append(
                _('it accepts signed images only, a snapshot has no '
                  'signature'))
            return
        check_wanted()
        self._remove_leftovers(move, mine)

    def _has(self, marker):
        """Whether the directory of the server has a file.

        A network file system may know of no file that another host has just
        made, but it does not make what is there.

        :param marker: name of the file (str)
        :returns: bool; None if that could not be found out
        """
        try:
            try:
                os.mkdir(self._path)
            except FileExistsError:
                pass
            else:
                os.rmdir(self._path)
                return False
            path = os.path.join(self._path, marker)
            try:
                os.close(_create(path))
            except FileExistsError:
                return True
            os.unlink(path)
            return False
        except OSError as e:
            LOG.warning('Cannot find out whether %(path)s is shared: '
                        '%(error)s', {'path': self._path, 'error': e},
                        instance=self._instance)
            return None

    def _remove_leftovers(self, move, mine):
        """Remove what an earlier move left here.

        There is no guest that has it. What the other host may have, too, is
        not removed but keeps the server from coming here.
        """
        if move.shared_path is False:
            self._remove_directories()
        elif move.shared_path is None and os.path.exists(self._path):
            move.blockers.append(
                _('it has a directory of the server, and cannot say whose it '
                  'is'))
        elif os.path.exists(self._kept_path):
            move.blockers.append(
                _('it has %s, which another move has not come back for') %
                self._kept_path)
        if _is_rbd(mine):
            if move.shared is False:
                self._remove_rbd_images()
            elif move.shared is None and any(
                    self._image(name).exists() for name in self._names(move)):
                move.blockers.append(
                    _('it has disks of the server, and cannot say whose they '
                      'are'))
        elif mine == 'lvm' and self._driver._lvm_disks(self._instance):
            # Another host can have the same volume group.
            move.blockers.append(
                _('its volume group has disks of the server'))

    # On the source host, once the guest is stopped

    def export(self, move):
        """Put the parts that are not shared into their images.

        :param move: nova.objects.cross_cell.CrossCellMove whose parts have
            images; sizes and digests are set
        """
        self.remove_markers()
        for part in move.parts:
            if part.kind == 'nvram':
                self._export_variables(part, move)
            elif not move.in_place:
                self._export(part)

    def _export_variables(self, part, move):
        """Put the UEFI variables where the destination gets the disks from.

        They are on the host itself, whatever the hosts share.
        """
        fileutils.ensure_tree(self._path)
        # Whatever has its real name is given to a guest, on this host too if
        # the move fails.
        path = self._nvram_path + '.part'
        with fileutils.remove_path_on_error(path):
            self._find_variables().save(path)
            if not move.in_place:
                self._upload(part, path)
            else:
                part.size, part.sha512 = _measure(path)
                if not _is_rbd(move.storage):
                    os.rename(path, self._nvram_path)
                    return
                self._image(_NVRAM).import_file(self._instance, path, _NVRAM)
        os.unlink(path)

    def _export(self, part):
        image = self._image(part.name)
        if part.kind == 'config' and image.is_file_in_instance_path():
            self._upload(part, image.path)
            return
        directory = CONF.libvirt.snapshots_directory
        fileutils.ensure_tree(directory)
        path = os.path.join(directory, '%s_%s' % (
            self._instance.uuid, part.name))
        with fileutils.remove_path_on_error(path):
            image.snapshot_extract(path, part.format)
            self._upload(part, path)
        os.unlink(path)

    def _upload(self, part, path):
        part.size, part.sha512 = _measure(path)
        with open(path, 'rb') as f, compute_utils.disk_ops_semaphore:
            self._driver._image_api.update(
                self._context, part.image_id,
                {'disk_format': part.format, 'container_format': 'bare'}, f,
                purge_props=False)

    # On the destination, before the guest is made

    def take_over(self, move):
        """Have the parts here for a guest to be made.

        :param move: nova.objects.cross_cell.CrossCellMove
        :raises nova.exception.MigrationError: if a part is not what the
            other host has sent
        """
        _validate(move)
        if not move.in_place:
            fileutils.ensure_tree(self._path)
            for part in move.parts:
                self._import(part)
        elif _is_rbd(move.storage):
            self._keep_rbd_images(move)
        else:
            self._keep_directory()
        if move.in_place:
            self._take_variables(move)

    def _take_variables(self, move):
        for part in move.parts:
            if part.kind != 'nvram':
                continue
            if _is_rbd(move.storage):
                fileutils.ensure_tree(self._path)
                self._image(_NVRAM).snapshot_extract(self._nvram_path, 'raw')
            _verify(part, self._nvram_path)

    def _import(self, part):
        path = os.path.join(self._path, part.name + '.part')
        self._driver._image_api.download(
            self._context, part.image_id, dest_path=path)
        _verify(part, path)
        if part.kind == 'nvram':
            os.rename(path, self._nvram_path)
            return
        if part.format == 'qcow2':
            # The digest says who made it, not that it refers to no other
            # file of this host.
            images.get_image_format(path).safety_check()
        image = self._image(part.name)
        if isinstance(image, imagebackend.Qcow2):
            os.rename(_convert(path, part.format, 'qcow2'), image.path)
            return
        path = _convert(path, part.format, 'raw')
        if isinstance(image, imagebackend.Rbd):
            image.import_file(self._instance, path, part.name)
            os.unlink(path)
        elif isinstance(image, imagebackend.Lvm):
            lvm.create_volume(
                image.vg, image.lv, os.path.getsize(path),
                sparse=image.sparse)
            images.convert_image(
                path, image.path, 'raw', 'raw', run_as_root=True)
            os.unlink(path)
        else:
            _Raw(self._instance, part.name).resolve_driver_format()
            os.rename(path, image.path)

    def _keep_directory(self):
        """Keep the directory for a revert, and go on with a copy of it."""
        if os.path.exists(self._kept_path):
            # This has been tried before, and not ended.
            shutil.rmtree(self._path, ignore_errors=True)
        else:
            os.rename(self._path, self._kept_path)
        fileutils.ensure_tree(self._path)
        for name in sorted(os.listdir(self._kept_path)):
            path = os.path.join(self._kept_path, name)
            if (name != _SWAP and not name.startswith(_MARKER) and
                    os.path.isfile(path)):
                libvirt_utils.copy_image(path, os.path.join(self._path, name))

    def _keep_rbd_images(self, move):
        """Keep what the images have now for a revert."""
        for name in self._names(move):
            image = self._image(name)
            if image.exists():
                image.remove_snap(
                    libvirt_utils.RESIZE_SNAPSHOT_NAME, ignore_errors=True)
                # spawn() makes that of the root disk.
                if name != _ROOT:
                    image.create_snap(libvirt_utils.RESIZE_SNAPSHOT_NAME)

    def give_variables(self, guest):
        """Give a new guest the UEFI variables that it had elsewhere, if any.

        :param guest: nova.virt.libvirt.guest.Guest, which has not been started
        :raises nova.exception.MigrationError: if its firmware cannot use them
        """
        if not os.path.exists(self._nvram_path):
            return
        variables = nvram.find(guest, self._instance.name)
        if variables and not self._has_other_firmware():
            variables.restore(self._nvram_path)
        os.unlink(self._nvram_path)

    def _has_other_firmware(self):
        """Whether a resize has changed what the firmware has to enforce."""
        image_meta = self._instance.image_meta
        return self._instance.old_flavor is not None and (
            hardware.get_secure_boot_constraint(
                self._instance.old_flavor, image_meta) !=
            hardware.get_secure_boot_constraint(
                self._instance.flavor, image_meta))

    # When it ends

    def give_back(self, move):
        """Have what the hosts share as it was before the move.

        Either host can do so, as long as no guest uses it.

        :param move: nova.objects.cross_cell.CrossCellMove
        """
        self.remove_markers()
        if not move.in_place:
            return
        if not _is_rbd(move.storage):
            if os.path.exists(self._kept_path):
                _remove_directory(self._path)
                os.rename(self._kept_path, self._path)
            # Those of this host have not changed.
            for path in (self._nvram_path, self._nvram_path + '.part'):
                fileutils.delete_if_exists(path)
            return
        self._remove_rbd_variables()
        for name in self._names(move):
            image = self._image(name)
            if image.exists():
                try:
                    image.rollback_to_snap(libvirt_utils.RESIZE_SNAPSHOT_NAME)
                except exception.SnapshotNotFound:
                    continue
                image.remove_snap(libvirt_utils.RESIZE_SNAPSHOT_NAME)

    def revert(self):
        """Have on the source host what the server had before its move.

        :returns: whether it was a move across cells (bool)
        """
        move = cross_cell.find_move(self._instance)
        if move is not None:
            self.give_back(move)
        return move is not None

    def discard(self, move):
        """Have nothing of the server on the destination any more.

        What the hosts share is given back by the source host, which knows
        whether its guest uses it.

        :param move: nova.objects.cross_cell.CrossCellMove
        """
        if self._driver.instance_exists(self._instance):
            self._driver._destroy(self._instance)
            self._driver._undefine_domain(self._instance)
        self._remove_own(move)

    def release(self, move):
        """Have nothing of the server on the source host any more.

        :param move: nova.objects.cross_cell.CrossCellMove
        """
        if move.in_place and not _is_rbd(move.storage):
            _remove_directory(self._kept_path)
        elif move.in_place:
            self._remove_rbd_variables()
            for name in self._names(move):
                image = self._image(name)
                if image.exists():
                    image.remove_snap(
                        libvirt_utils.RESIZE_SNAPSHOT_NAME, ignore_errors=True)
        self._remove_own(move)

    def _remove_own(self, move):
        """Remove what no other host has."""
        if any(part.kind == 'nvram' for part in move.parts):
            nvram.remove(self._instance.name)
        if move.shared is False:
            if CONF.libvirt.images_type == 'rbd':
                self._remove_rbd_images()
            elif CONF.libvirt.images_type == 'lvm':
                lvm.remove_volumes(self._driver._lvm_disks(self._instance))
        if move.shared_path is False:
            self._remove_directories()

    def _remove_rbd_images(self):
        rbd_utils.RBDDriver().cleanup_volumes(
            lambda name: name.startswith(self._instance.uuid))

    def _remove_rbd_variables(self):
        image = self._image(_NVRAM)
        if image.exists():
            image.driver.remove_image(image.rbd_name)

    def _remove_directories(self):
        for path in (self._path, self._kept_path):
            _remove_directory(path)

    def _names(self, move):
        return [_ROOT, _SWAP] + [
            part.name for part in move.parts if part.kind != 'nvram']

    def _image(self, name):
        image_type = (self._driver._get_disk_config_image_type()
                      if name == 'disk.config' else None)
        return self._driver.image_backend.by_name(
            self._instance, name, image_type)


def _storage():
    """What holds the disks of servers on this host (str)."""
    kind = CONF.libvirt.images_type
    if kind == 'default':
        kind = 'qcow2' if CONF.use_cow_images else 'raw'
    if kind == 'raw':
        kind = 'flat'
    if kind == 'rbd':
        try:
            rbd = rbd_utils.RBDDriver()
            kind = 'rbd:%s/%s' % (rbd.get_fsid(), rbd.pool)
        except Exception as e:
            LOG.warning('Cannot find out which Ceph cluster this is: %s', e)
    return kind


def _is_rbd(storage):
    return storage.partition(':')[0] == 'rbd'


def _is_same_pool(storage, other):
    """Whether two Ceph pools are one (bool), None if one is not known."""
    return storage == other if ':' in storage and ':' in other else None


def _validate(move):
    """Refuse what no host of this release says of a server.

    :param move: nova.objects.cross_cell.CrossCellMove of another host
    :raises nova.exception.MigrationPreCheckError: if it is not valid
    """
    names = [part.name for part in move.parts]
    valid = len(names) == len(set(names)) and all(
        _PART_PATTERNS[part.kind].fullmatch(part.name) for part in move.parts)
    if move.marker is not None:
        valid = valid and _MARKER_PATTERN.fullmatch(move.marker)
    if not valid:
        raise exception.MigrationPreCheckError(
            reason=_('the source host names what no server has'))


def _create(path):
    """Create a file that is not there yet."""
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)


def _measure(path):
    """The size of a file in bytes, and its SHA-512."""
    digest = hashlib.sha512()
    size = 0
    with open(path, 'rb') as f, compute_utils.disk_ops_semaphore:
        while chunk := f.read(_CHUNK_SIZE):
            digest.update(chunk)
            size += len(chunk)
            # Green threads do not take turns by themselves.
            utils.cooperative_yield()
    return size, digest.hexdigest()


def _verify(part, path):
    if _measure(path) != (part.size, part.sha512):
        raise exception.MigrationError(reason=_(
            '%s is not what the source host has sent') % part.name)


def _convert(path, from_format, to_format):
    """Have a file in another format.

    :param path: of the file; if it is converted, it is not there any more
    :param from_format: what it is, rather than what it looks like
    :param to_format: what it has to be
    :returns: path of the file to use
    """
    if from_format == to_format:
        return path
    converted = '%s.%s' % (path, to_format)
    images.convert_image(path, converted, from_format, to_format)
    os.unlink(path)
    return converted


def _remove_directory(path):
    for attempt in range(_REMOVE_ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.exists(path):
            return
        time.sleep(0.2)
    raise exception.MigrationError(
        reason=_('Cannot remove the directory %s') % path)
