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

"""The disks of a rescued server, and how they move to another host.

The guest of a rescued server does not show all that the server owns. A legacy
rescue attaches the rescue disk and the root disk and leaves the ephemeral
disks, the swap disk, the config drive and the volumes out, and it gives the
disks other device names than the block device mappings do. So a live
migration, which asks the guest for its disks, would leave some behind, and
would take a disk that stands under the device name of a volume for that
volume. What is here tells the disks apart by what they are, and carries those
that no block job copies.
"""

import glob
import os
import re
import tempfile

from keystoneauth1 import exceptions as ks_exc
from lxml import etree
from oslo_concurrency import processutils
from oslo_log import log as logging
from oslo_utils import fileutils

from nova.compute import vm_states
import nova.conf
from nova import exception
from nova.i18n import _
from nova.objects import fields
from nova import utils
from nova.virt import driver
from nova.virt.libvirt import blockinfo
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import imagecache
from nova.virt.libvirt import utils as libvirt_utils

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

RESCUE_IMAGE_ID = 'rescue_image_id'
"""Key in the system_metadata of a rescued instance: the id of the image that
its rescue disk was made from, which no other record tells."""

# What the guest of a server has of its firmware, and the types of it. Each is
# kept in the system_metadata from rescue to unrescue, with this prefix.
_FIRMWARE = {
    'os_loader': str, 'os_loader_type': str, 'os_loader_readonly': bool,
    'os_loader_secure': bool, 'os_firmware_secure': bool,
    'os_nvram': str, 'os_nvram_template': str}
_FIRMWARE_SMM = 'rescue_os_smm'
_PREFIX = 'rescue_'

# All that a server may own in its instance directory. What is not here, such
# as disk.info or the console log, belongs to the host. Nor is
# disk.swap.rescue, which a stable device rescue makes but no guest has.
_SERVER_FILE = re.compile(
    r'disk(\.local|\.swap|\.eph\d+)|'
    r'(disk|disk\.config|kernel|ramdisk)(\.rescue)?')

# What a file in the image cache may be named, such as the hash of the id of
# an image or ephemeral_1_default.
_CACHE_FILE = re.compile(r'[A-Za-z0-9][\w.-]*', re.ASCII)


def is_rescued(instance):
    """Whether the guest of an Instance runs from a rescue disk."""
    return instance.vm_state == vm_states.RESCUED


def record(instance, image_id, guest_config):
    """Record what no other record says when an instance is rescued.

    :param image_id: the id of the image that its rescue disk is made from
    :param guest_config: LibvirtConfigGuest of the guest before the rescue, or
        None if there is none. If that is a rescue guest, what is recorded
        already is kept.
    """
    if not runs_from_rescue_disk(guest_config):
        forget(instance)
        for name in _FIRMWARE:
            value = getattr(guest_config, name, None)
            if value is not None:
                instance.system_metadata[_PREFIX + name] = str(value)
        if guest_config is not None and any(
                isinstance(feature, vconfig.LibvirtConfigGuestFeatureSMM)
                for feature in guest_config.features):
            instance.system_metadata[_FIRMWARE_SMM] = 'True'
    instance.system_metadata[RESCUE_IMAGE_ID] = image_id


def forget(instance):
    """Remove what record has recorded."""
    for key in (RESCUE_IMAGE_ID, _FIRMWARE_SMM,
                *(_PREFIX + name for name in _FIRMWARE)):
        instance.system_metadata.pop(key, None)


def get_guest_before_rescue(instance, rescue_guest_config):
    """Restore what the guest of a rescued instance had of its firmware.

    The rescue guest has what its image asked for, and a choice made anew may
    be of other files, which the UEFI variables of the server do not fit.

    :param rescue_guest_config: LibvirtConfigGuest of the rescue guest, or None
    :returns: a LibvirtConfigGuest in which only the firmware is of use. For an
        instance that was rescued by an earlier release it is read from the
        unrescue.xml, or is that of the rescue guest.
    """
    config = vconfig.LibvirtConfigGuest()
    if RESCUE_IMAGE_ID in instance.system_metadata:
        for name, kind in _FIRMWARE.items():
            value = instance.system_metadata.get(_PREFIX + name)
            if value is not None:
                setattr(config, name, value == 'True' if kind is bool
                        else value)
        if _FIRMWARE_SMM in instance.system_metadata:
            config.features.append(vconfig.LibvirtConfigGuestFeatureSMM())
        return config
    try:
        with open(os.path.join(libvirt_utils.get_instance_path(instance),
                               'unrescue.xml')) as f:
            config.parse_str(f.read())
    except FileNotFoundError:
        return rescue_guest_config
    return config


def has_leftovers(instance):
    """Whether a rescue has made disks that are still there, as far as is known

    Only the directory of the instance is looked at. To find images in RBD
    without a record of the rescue takes a list of the whole pool.
    """
    return (RESCUE_IMAGE_ID in instance.system_metadata or bool(glob.glob(
        os.path.join(libvirt_utils.get_instance_path(instance), '*.rescue'))))


def runs_from_rescue_disk(guest_config):
    """Whether one of the disks of a guest was made by a rescue.

    :param guest_config: LibvirtConfigGuest, or None if there is no guest
    """
    return guest_config is not None and any(
        (disk.source_path or disk.source_name or '').endswith('.rescue')
        for disk in guest_config.devices
        if isinstance(disk, vconfig.LibvirtConfigGuestDisk))


def volume_devices(disks, block_device_mapping):
    """Find the volumes among the disks of a rescue guest.

    The serial of a disk tells: it is the id of the volume, or the serial that
    the connection_info has kept from an earlier volume. A LUN has no serial,
    but only a volume is a LUN.

    :param disks: the disks of the guest (list of LibvirtConfigGuestDisk)
    :param block_device_mapping: the volumes of the instance (list of
        DriverVolumeBlockDevice)
    :returns: target device names, without /dev/ (set of str)
    """
    serials = set()
    for vol in block_device_mapping:
        serials.add(vol.volume_id)
        serials.add((vol['connection_info'] or {}).get('serial'))
    serials.discard(None)
    return {disk.target_dev for disk in disks
            if disk.serial in serials or disk.source_device == 'lun'}


def get_disk_config(drvr, instance, guest_config, block_device_info):
    """Complete the config of a rescue guest to all disks of the server.

    :param drvr: the LibvirtDriver
    :param instance: the rescued Instance
    :param guest_config: LibvirtConfigGuest of the running rescue guest
    :param block_device_info: block device info of the instance (dict or None)
    :returns: a LibvirtConfigGuest with the local disks of the rescue guest
        followed by those that it leaves out, and a block device info without
        volumes, for no disk of the config is one
    """
    disks = [device for device in guest_config.devices
             if isinstance(device, vconfig.LibvirtConfigGuestDisk)]
    volumes = volume_devices(
        disks, driver.block_device_info_get_mapping(block_device_info))
    config = vconfig.LibvirtConfigGuest()
    config.name = guest_config.name
    config.os_type = guest_config.os_type
    config.devices = [disk for disk in disks if disk.target_dev not in volumes]

    attached_paths = {disk.source_path for disk in config.devices}
    disk_info = blockinfo.get_disk_info(
        CONF.libvirt.virt_type, instance, instance.image_meta,
        block_device_info)
    for name in disk_info['mapping']:
        if not _SERVER_FILE.fullmatch(name):
            continue
        image_type = None
        if name == 'disk.config':
            image_type = drvr._get_disk_config_image_type()
        disk = drvr._get_guest_disk_config(
            instance, name, disk_info['mapping'], instance.flavor,
            image_type=image_type)
        if disk.source_path in attached_paths:
            continue
        # A hard reboot makes a disk that is missing, so none is lost. One
        # that has no path is not on this host.
        if disk.source_path and os.path.exists(disk.source_path):
            config.devices.append(disk)

    if block_device_info:
        block_device_info = dict(block_device_info, block_device_mapping=[])
    return config, block_device_info


def offer(migrate_data):
    """Record at the destination that it can receive a rescued server.

    A source that cannot read the offer returns a migrate_data without the
    field, or fails to load it.

    :param migrate_data: LibvirtLiveMigrateData that the source is to complete
    """
    migrate_data.rescue_files = {}


def check_answer(migrate_data):
    """Check at the destination that the source has read the offer.

    :param migrate_data: LibvirtLiveMigrateData, as the source returned it
    :raises nova.exception.MigrationPreCheckError: if it has not
    """
    if 'rescue_files' not in migrate_data:
        raise exception.MigrationPreCheckError(reason=_(
            'The nova-compute service of the source is of a release that '
            'cannot live-migrate a rescued server.'))


def check_source(instance, guest, block_device_info, migrate_data):
    """Plan at the source what a live migration has to carry.

    Sets ``migrate_data.rescue_files``.

    :param instance: the rescued Instance
    :param guest: the running rescue guest (nova.virt.libvirt.guest.Guest)
    :param block_device_info: block device info of the instance (dict or None)
    :param migrate_data: LibvirtLiveMigrateData, of which it is already known
        which storage is shared
    :raises nova.exception.MigrationPreCheckError: if the destination has made
        no offer, or if the server has a disk, or UEFI variables, that can not
        be carried
    """
    if 'rescue_files' not in migrate_data:
        # The destination passes this on. It does not know a newer exception.
        raise exception.MigrationPreCheckError(reason=_(
            'The nova-compute service of the destination is of a release that '
            'cannot live-migrate a rescued server.'))
    _check_firmware(instance, guest)

    migrate_data.rescue_files = {}
    if migrate_data.is_shared_instance_path:
        return

    disks = guest.get_all_disks()
    volumes = volume_devices(
        disks, driver.block_device_info_get_mapping(block_device_info))
    copied_by_block_job = set()
    for disk in disks:
        if disk.target_dev in volumes:
            continue
        if disk.source_type == 'block' and migrate_data.block_migration:
            raise exception.MigrationPreCheckError(reason=_(
                'The disk %s of the rescued server is a logical volume of '
                'its host. A live migration carries files only.'
            ) % disk.source_path)
        if not (disk.readonly or disk.shareable):
            copied_by_block_job.add(disk.source_path)

    instance_dir = os.path.join(
        CONF.instances_path, migrate_data.instance_relative_path)
    for name in os.listdir(instance_dir):
        path = os.path.join(instance_dir, name)
        if _SERVER_FILE.fullmatch(name) and path not in copied_by_block_job:
            migrate_data.rescue_files[name] = os.path.getsize(path)


def _check_firmware(instance, guest):
    """Check that libvirt will migrate the UEFI variables.

    libvirt migrates what the guest has, and a rescue guest has what the rescue
    image asks for. The file is libvirt's own: not even a shared instance
    directory has it.

    :raises nova.exception.MigrationPreCheckError: if the server has variables
        that its rescue guest does not have
    """
    image_meta = instance.image_meta
    domain = etree.fromstring(guest.get_xml_desc())
    firmware = image_meta.properties.get('hw_firmware_type')
    if firmware is None and (libvirt_utils.get_arch(image_meta) ==
                             fields.Architecture.AARCH64):
        firmware = fields.FirmwareType.UEFI
    if (firmware == fields.FirmwareType.UEFI and
            not image_meta.properties.get('hw_firmware_stateless') and
            domain.find('os/nvram') is None):
        raise exception.MigrationPreCheckError(reason=_(
            'The rescue guest has no UEFI variables, so those of the server '
            'would stay behind. Unrescue the server, or rescue it with an '
            'image that asks for UEFI.'))


def add_backing_sizes(drvr, disk_info):
    """Complete what the source knows of its disks by their backing files.

    :param drvr: the LibvirtDriver
    :param disk_info: as _get_instance_disk_info_from_config returns it (list
        of dict); each that has a backing_file gets its size as backing_size
    """
    for info in disk_info:
        if info['backing_file']:
            path = os.path.join(
                drvr.image_cache_manager.cache_dir, info['backing_file'])
            if os.path.exists(path):
                info['backing_size'] = os.path.getsize(path)


def check_received(instance, disk_info, migrate_data):
    """Check at the destination what the source says before it is used.

    The source names files that the destination then writes, and a host to
    copy them from. A source that is not to be trusted must not be able to
    write anything else.

    :param instance: the rescued Instance
    :param disk_info: as get_instance_disk_info returned it on the source
        (list of dict), or None if there is no block migration
    :param migrate_data: LibvirtLiveMigrateData, as check_source left it
    :raises nova.exception.MigrationPreCheckError: if the source has not said
        what has to be carried, or if it names what cannot belong to the
        server
    """
    check_answer(migrate_data)
    path = libvirt_utils.get_instance_path(instance, relative=True)
    if migrate_data.instance_relative_path != path:
        _refuse(migrate_data.instance_relative_path)
    if ('migration' in migrate_data and
            migrate_data.migration.instance_uuid != instance.uuid):
        _refuse(migrate_data.migration.instance_uuid)
    if (instance.host.startswith('-') or
            not libvirt_utils.is_valid_hostname(instance.host)):
        _refuse(instance.host)
    for name in migrate_data.rescue_files:
        if not _SERVER_FILE.fullmatch(name):
            _refuse(name)
    for info in disk_info or []:
        directory, name = os.path.split(info['path'])
        if (os.path.basename(directory) != os.path.basename(path) or
                not _SERVER_FILE.fullmatch(name)):
            _refuse(info['path'])
        if info['backing_file'] and not _CACHE_FILE.fullmatch(
                info['backing_file']):
            _refuse(info['backing_file'])
        if info['type'] not in ('raw', 'qcow2'):
            _refuse(info['type'])
        for key in ('virt_disk_size', 'disk_size', 'backing_size'):
            if not isinstance(info.get(key, 0), int):
                _refuse(info[key])


def _refuse(value):
    LOG.error('The source of a live migration says %r', value)
    raise exception.MigrationPreCheckError(reason=_(
        'The source names what cannot belong to the rescued server.'))


def fetch(drvr, context, instance, instance_dir, disk_info, migrate_data):
    """Bring to the destination what no block job copies.

    Runs on the destination before the guest moves. None of it changes
    meanwhile, for the rescue guest does not write to it.

    A caller that does not wait any longer rolls back, which removes the
    directory and kills the process that copies to it. What is copied goes
    through a directory of this call in it, so nothing of this call gets into
    the one that a retry makes.

    :param drvr: the LibvirtDriver
    :param context: RequestContext
    :param instance: the rescued Instance
    :param instance_dir: its new, empty directory on this host (str)
    :param disk_info: as get_instance_disk_info returned it on the source
        (list of dict), or None if there is no block migration
    :param migrate_data: LibvirtLiveMigrateData; check_received has passed it
    :raises nova.exception.MigrationPreCheckError: if there is no room for it
        here
    :raises nova.exception.PreLiveMigrationStopped: if the copy was stopped
    :raises oslo_concurrency.processutils.ProcessExecutionError: if a file
        cannot be copied from the source
    """
    disk_info = disk_info or []
    _check_room(drvr, instance_dir, disk_info, migrate_data)
    with tempfile.TemporaryDirectory(
            dir=instance_dir, prefix='rescue-', suffix='.part',
            ignore_cleanup_errors=True) as part_dir:
        migration = (
            migrate_data.migration if 'migration' in migrate_data else None)
        with drvr.copy_tracker.track(
                migration, part_dir,
                _bytes_to_copy(disk_info, migrate_data)) as copy:
            copier = _Copier(drvr, instance, part_dir, copy)
            _fetch(copier, context, instance_dir, disk_info, migrate_data)


def _bytes_to_copy(disk_info, migrate_data):
    """How much is copied, unless the image service lacks an image (int)."""
    return sum(migrate_data.rescue_files.values()) + sum(
        info.get('backing_size', 0) for info in disk_info
        if _is_formatted_by_nova(info['backing_file']))


def _is_formatted_by_nova(backing_file):
    """Whether a backing file is of an ephemeral or swap disk, not an image.

    :param backing_file: its name in the image cache, '' for none
    """
    return backing_file.startswith(('ephemeral', 'swap'))


def _fetch(copier, context, instance_dir, disk_info, migrate_data):
    instance = copier.instance
    types = {os.path.basename(info['path']): info['type']
             for info in disk_info}
    for name in sorted(migrate_data.rescue_files):
        path = os.path.join(instance_dir, name)
        # A cold migration does not compress this type either.
        copier.copy(path, path, compression=types.get(name) != 'qcow2')
    image_ids = {
        'disk': instance.image_ref,
        'disk.rescue': instance.system_metadata.get(RESCUE_IMAGE_ID)}
    for info in disk_info:
        if not info['backing_file']:
            continue
        name = os.path.basename(info['path'])
        path = os.path.join(instance_dir, name)
        if name in image_ids:
            _cache_backing_file(copier, context, path, info, image_ids[name])
        elif _is_formatted_by_nova(info['backing_file']):
            _flatten(copier, path, info)


def _check_room(drvr, instance_dir, disk_info, migrate_data):
    """Check that the destination can hold the server before any is copied.

    No flavor, and so no scheduler, counts the rescue disk.

    :raises nova.exception.MigrationPreCheckError: if there is less space than
        what arrives takes up
    """
    needed = sum(migrate_data.rescue_files.values())
    in_cache = {}
    for info in disk_info:
        backing_file = info['backing_file']
        if os.path.basename(info['path']) not in migrate_data.rescue_files:
            needed += info['disk_size']
        if _is_formatted_by_nova(backing_file):
            # Copied, and then merged into the disk.
            needed += 2 * info.get('backing_size', 0)
        elif backing_file and not os.path.exists(os.path.join(
                drvr.image_cache_manager.cache_dir, backing_file)):
            in_cache[backing_file] = info.get('backing_size', 0)
    needed += sum(in_cache.values())
    stats = os.statvfs(instance_dir)
    free = stats.f_bavail * stats.f_frsize
    if needed > free:
        raise exception.MigrationPreCheckError(reason=_(
            'The files of the rescued server take up %(needed)d bytes, but '
            'the destination has only %(free)d bytes free.'
        ) % {'needed': needed, 'free': free})


def _flatten(copier, path, info):
    """Make an ephemeral or swap disk that has no backing file.

    Nova formats the backing file of such a disk on each host anew. The one
    that this host has, or would make, is not the one that the disk was written
    on. So the disk takes up what is in the backing file at the source. If it
    is one that the block job copies, then the job puts on top of that what the
    disk itself has at the source.

    :param path: the disk on this host; made if it was not copied (str)
    :param info: its entry in what get_instance_disk_info returned (dict),
        which has no backing file from then on
    """
    backing_file = path + '.backing'
    copier.copy(
        os.path.join(copier.drvr.image_cache_manager.cache_dir,
                     info['backing_file']),
        backing_file)
    try:
        if os.path.exists(path):
            processutils.execute(
                'qemu-img', 'rebase', '-f', 'qcow2', '-u', '-F', 'raw',
                '-b', backing_file, path)
        else:
            libvirt_utils.create_image(
                path, 'qcow2', info['virt_disk_size'],
                backing_file=backing_file, safe=True)
        processutils.execute(
            'qemu-img', 'rebase', '-f', 'qcow2', '-b', '', path)
    finally:
        fileutils.delete_if_exists(backing_file)
    info['backing_file'] = ''


def _cache_backing_file(copier, context, path, info, image_id):
    """Put the backing file of a disk in the image cache of this host.

    A file in the cache is named after the image it was made from, so the name
    tells whether an image is the right one. Any other must not get there
    under that name: all servers of this image on this host would run from it.

    :param image_id: the image that the disk should be of, or None if it is
        not known (str)
    """
    instance = copier.instance
    cache_name = info['backing_file']

    def fetch_image(target, **kwargs):
        copier.tracked.check_not_stopped()
        try:
            if image_id is None or (
                    imagecache.get_cache_fname(image_id) != cache_name):
                raise exception.ImageNotFound(image_id=image_id)
            libvirt_utils.fetch_image(
                context, target, image_id,
                trusted_certs=instance.trusted_certs)
        except (exception.ImageNotFound, exception.GlanceConnectionFailed,
                ks_exc.ConnectFailure) as e:
            # Any other error is a refusal: an image that was deactivated, or
            # whose signature is not valid. Nor can what the source has be
            # verified.
            if instance.trusted_certs:
                raise
            LOG.warning(
                'The image %(image)s is not to be had, so it is copied from '
                '%(host)s: %(error)s',
                {'image': image_id, 'host': instance.host, 'error': e},
                instance=instance)
            copier.tracked.progress.add(info.get('backing_size', 0))
            copier.copy(target, target)

    copier.drvr.image_backend.by_name(instance, path).cache(
        fetch_func=fetch_image, filename=cache_name,
        size=info['virt_disk_size'])


class _Copier:
    """Copies files of a rescued server from its source.

    :ivar drvr: the LibvirtDriver
    :ivar instance: the Instance
    :ivar tracked: the nova.virt.libvirt.copytracker.Copy of all the files
    """

    def __init__(self, drvr, instance, part_dir, tracked):
        """Copy by way of a directory.

        :param part_dir: where files are until they are complete (str)
        """
        self.drvr = drvr
        self.instance = instance
        self.tracked = tracked
        self._part_dir = part_dir

    def copy(self, src, dest, compression=True):
        """Copy a file from the source, whole or not at all.

        The process that copies is killed when the instance directory is
        removed on this host, and when the copy is stopped.
        """
        self.tracked.check_not_stopped()
        part = os.path.join(self._part_dir, os.path.basename(dest))
        try:
            libvirt_utils.copy_image(
                src=src, dest=part, host=self.instance.host, receive=True,
                on_execute=self._on_execute, on_completion=self._on_completion,
                compression=compression)
            # The source deletes its own when the guest has moved.
            with open(part, 'rb') as copied:
                utils.tpool_wrap(os).fsync(copied.fileno())
            os.rename(part, dest)
        finally:
            fileutils.delete_if_exists(part)
        size = os.path.getsize(dest)
        self.tracked.progress.complete(size)
        LOG.info('Copied %(bytes)d bytes from %(host)s to %(path)s',
                 {'bytes': size, 'host': self.instance.host, 'path': dest},
                 instance=self.instance)

    def _on_execute(self, process):
        self.drvr.job_tracker.add_job(self.instance, process.pid)
        self.tracked.on_execute(process)

    def _on_completion(self, process):
        self.tracked.on_completion(process)
        self.drvr.job_tracker.remove_job(self.instance, process.pid)
