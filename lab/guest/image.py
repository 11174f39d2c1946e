# SPDX-License-Identifier: Apache-2.0

"""Images of guests that report on their disks on the console.

Built from Debian's cloud kernel, busybox and GRUB, without root and without
installing anything. The guest has no root file system: kernel and ramdisk
are all there is, so that it is up within seconds without KVM.

The layout of a disk::

    0        MBR, two partitions
    512      GRUB for a BIOS
    512 KiB  markers: lines of text, padded with NUL
    576 KiB  label: 'lab-image' and the name of the image
    1 MiB    the partition: the kernel, then the ramdisk, no file system
    the end  another partition, 1 MiB, FAT: GRUB for UEFI, which boots
             kernel and ramdisk from the first one

Other disks have markers in the same place. init.sh is all that the guest
does; lab.guest.console describes what it prints.
"""

from collections import abc
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import zlib

from tool import console

_KERNEL = 'linux-image-cloud-amd64'
_BUSYBOX = 'busybox-static'
_GRUB = 'grub-pc-bin'
_GRUB_UEFI = 'grub-efi-amd64-bin'

_PACKAGES = [
    _KERNEL,
    _BUSYBOX,
    _GRUB,
    _GRUB_UEFI,
    # It makes a file system and puts files there without mounting it.
    'mtools',
    # grub-mkimage, and a library of it that not every system has.
    'grub-common',
    'libdevmapper1.02.1',
]

_MODULES = [
    'virtio_pci',
    'virtio_blk',
    'virtio_net',
    # SCSI disks and CD-ROMs, and a config drive on the IDE bus. The drivers
    # of the devices come first: loading the last one waits for the disks.
    'sd_mod',
    'sr_mod',
    'virtio_scsi',
    'ata_piix',
    # The power button.
    'button',
    'evdev',
    # UEFI variables.
    'efivarfs',
]
"""What the guest loads, in this order; their dependencies come along."""

_APPLETS = [
    'dd', 'dmesg', 'insmod', 'ip', 'mkdir', 'mount', 'poweroff', 'sh', 'stty',
    'tail', 'tr', 'udhcpc', 'usleep',
]

_SECTOR = 512
_MIB = 1 << 20
_MARKERS = 512 << 10
_LABEL = 576 << 10
_PARTITION = _MIB
_BLANK_SIZE = 2 * _MIB
_UEFI_PARTITION = _MIB

_TIMEOUT = 600
"""Seconds that a tool may take, a download included."""

_INIT = pathlib.Path(__file__).with_name('init.sh')
"""Everything that a guest does."""

_ADDRESS = pathlib.Path(__file__).with_name('address.sh')
"""What a guest does with the lease that it gets by DHCP."""

_GRUB_CONFIG = """\
linux{bits} 0+{kernel} console=ttyS0 quiet panic=1 lab={name}
initrd{bits} {kernel}+{ramdisk}
boot
"""
"""No file system: files are given as first sector + number of sectors.

On a BIOS by the 16-bit protocol, as QEMU uses it itself: with the 32-bit one
the kernel takes 1.5 s longer to begin without KVM.
"""


class CannotBuild(console.Problem):
    """The images cannot be built; the message says what to try."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Where the images are."""

    kernel: pathlib.Path
    ramdisk: pathlib.Path

    blank: pathlib.Path
    """The disk to go with kernel and ramdisk, qcow2."""

    disk: pathlib.Path
    """A whole disk, qcow2, that a BIOS and UEFI boot."""

    rescue: pathlib.Path
    """Another whole disk, qcow2, that a BIOS and UEFI boot."""

    @classmethod
    def inside(cls, directory: pathlib.Path) -> 'Images':
        return cls(
            directory / 'kernel',
            directory / 'ramdisk',
            directory / 'blank.qcow2',
            directory / 'disk.qcow2',
            directory / 'rescue.qcow2',
        )

    def complete(self) -> bool:
        return all(
            getattr(self, field.name).is_file()
            for field in dataclasses.fields(self))


def build(directory: pathlib.Path) -> Images:
    """Build the images, unless they were built from the same sources.

    :param directory: where they are to be, and nothing else
    :raises CannotBuild: if a package or a tool is missing
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    packages = _packages()
    recipe = json.dumps({
        'recipe': hashlib.sha256(
            b''.join(path.read_bytes() for path in (
                pathlib.Path(__file__), _INIT, _ADDRESS))).hexdigest(),
        'packages': packages,
    }, indent=1)
    final = directory / 'images'
    with _locked(directory / 'lock'):
        if _recipe(final) == recipe and Images.inside(final).complete():
            return Images.inside(final)
        # Whoever left these was killed, or still had the lock.
        for left in directory.glob('building-*'):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(
            prefix='building-', dir=directory,
        ) as building:
            work = pathlib.Path(building)
            new = work / 'new'
            new.mkdir()
            _build(_unpack(work, packages), work, Images.inside(new))
            (new / 'recipe').write_text(recipe)
            if final.exists():
                final.rename(work / 'old')
            new.rename(final)
    return Images.inside(final)


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> abc.Iterator[None]:
    """Hold a lock, at most until this process ends."""
    with path.open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recipe(images: pathlib.Path) -> str | None:
    """What the images in a directory were made from, if there are any."""
    try:
        return (images / 'recipe').read_text()
    except FileNotFoundError:
        return None


def _run(
    argv: abc.Sequence[str | os.PathLike[str]], advice: str,
    cwd: pathlib.Path | None = None, env: dict[str, str] | None = None,
) -> str:
    """Run a tool.

    :param advice: what the user may try if it fails
    :returns: what it printed
    :raises CannotBuild: if it fails
    """
    try:
        return subprocess.run(
            argv, cwd=cwd, env=os.environ | {'LC_ALL': 'C'} | (env or {}),
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=True, timeout=_TIMEOUT).stdout
    except FileNotFoundError:
        reason = 'there is no such program'
    except subprocess.TimeoutExpired:
        reason = f'it took more than {_TIMEOUT} s'
    except subprocess.CalledProcessError as exc:
        # The reason is in the last line, in apt's case behind 'E: '.
        lines = exc.stderr.strip().splitlines()
        reason = lines[-1] if lines else f'it exited with {exc.returncode}'
    tool = ' '.join(os.path.basename(word) for word in argv[:2])
    raise CannotBuild(
        f'the guest images need {tool}, which failed ({reason}): {advice}')


def _packages() -> dict[str, str]:
    """The packages to build from, with the versions that apt would take."""
    # Each version is a paragraph, and the first is the one to take.
    shown = _run(
        ['apt-cache', 'show', '--no-all-versions', *_PACKAGES],
        "run 'apt-get update' on a Debian system for amd64")
    found = {}
    for paragraph in shown.strip().split('\n\n'):
        fields = dict(re.findall(r'^([\w-]+): (.*)$', paragraph, re.M))
        name, version = fields['Package'], fields['Version']
        if name == _KERNEL:
            # It is empty and depends on the one of this version.
            depends = re.match(r'(\S+) \(= (\S+)\)', fields['Depends'])
            if not depends:
                raise CannotBuild(
                    f'{name} {version} depends on no kernel of its version: '
                    "run 'apt-get update'")
            name, version = depends.groups()
        found[name] = version
    return found


def _unpack(work: pathlib.Path, packages: dict[str, str]) -> pathlib.Path:
    """Download packages and unpack them into one tree.

    :returns: the tree
    """
    tree = work / 'tree'
    # As the user that we are: apt's own may not look into the directory.
    _run(
        ['apt-get', 'download', '--quiet',
         '--option', 'APT::Sandbox::User=', '--option', 'Acquire::Retries=2',
         *(f'{name}={version}' for name, version in packages.items())],
        "run 'apt-get update' and check the network", work)
    for package in sorted(work.glob('*.deb')):
        _run(
            ['dpkg-deb', '-x', package, tree],
            'check the space left on the disk')
    return tree


def _one(tree: pathlib.Path, pattern: str) -> pathlib.Path:
    """The file of a package that matches a pattern."""
    found = sorted(tree.glob(pattern))
    if not found:
        raise CannotBuild(
            f'the packages of the guest images have no {pattern}: use '
            "Debian's own, of release 12")
    return found[0]


def _build(tree: pathlib.Path, work: pathlib.Path, images: Images) -> None:
    """Build the images from the tree of the packages."""
    shutil.copyfile(_one(tree, 'boot/vmlinuz-*'), images.kernel)
    images.ramdisk.write_bytes(_ramdisk(tree))

    label = {_LABEL: b'lab-image kernel\n'}
    _write_image(images.blank, _BLANK_SIZE, label, work)
    _write_disk('disk', images.disk, images, tree, work)
    _write_disk('rescue', images.rescue, images, tree, work)


def _ramdisk(tree: pathlib.Path) -> bytes:
    """The ramdisk. Not compressed: that would take the guest longer."""
    device = stat.S_IFCHR | 0o600, b'', os.makedev(5, 1)
    entries: dict[str, tuple[int, bytes, int]] = {
        'bin': (stat.S_IFDIR | 0o755, b'', 0),
        'dev': (stat.S_IFDIR | 0o755, b'', 0),
        'dev/console': device,
        'modules': (stat.S_IFDIR | 0o755, b'', 0),
        'init': (stat.S_IFREG | 0o755, _INIT.read_bytes(), 0),
        'address': (stat.S_IFREG | 0o755, _ADDRESS.read_bytes(), 0),
        'bin/busybox': (
            stat.S_IFREG | 0o755, _one(tree, 'bin/busybox').read_bytes(), 0),
    }
    for applet in _APPLETS:
        entries[f'bin/{applet}'] = stat.S_IFLNK | 0o777, b'busybox', 0
    for number, path in enumerate(_modules(tree)):
        entries[f'modules/{number:02}-{path.name}'] = (
            stat.S_IFREG | 0o644, path.read_bytes(), 0)
    return _cpio(entries)


def _modules(tree: pathlib.Path) -> list[pathlib.Path]:
    """The modules of the kernel that the guest loads, in order."""
    found = {
        path.stem.replace('-', '_'): path
        for path in tree.glob('lib/modules/*/kernel/**/*.ko')}
    builtin = {
        pathlib.PurePath(line).stem.replace('-', '_')
        for line in _one(
            tree, 'lib/modules/*/modules.builtin').read_text().splitlines()}
    order: dict[str, pathlib.Path] = {}

    def add(name: str) -> None:
        if name in order or name in builtin:
            return
        if name not in found:
            raise CannotBuild(
                f'the kernel of the guest images has no module {name}: use '
                "Debian's own, of release 12")
        # There is no modules.dep before depmod has run.
        depends = re.search(rb'\0depends=([^\0]*)\0', found[name].read_bytes())
        for other in depends[1].decode().split(',') if depends else []:
            if other:
                add(other.replace('-', '_'))
        order[name] = found[name]

    for name in _MODULES:
        add(name)
    return list(order.values())


def _cpio(entries: dict[str, tuple[int, bytes, int]]) -> bytes:
    """An archive in the format newc, the same each time.

    :param entries: mode, content and device number by path
    """
    archive = bytearray()
    for inode, (path, (mode, content, device)) in enumerate(
        (entries | {'TRAILER!!!': (0, b'', 0)}).items(), start=1,
    ):
        name = path.encode() + b'\0'
        fields = [
            inode, mode, 0, 0, 1, 0, len(content), 0, 0,
            os.major(device), os.minor(device), len(name), 0]
        archive += b'070701' + b''.join(b'%08X' % field for field in fields)
        archive += name + bytes(-(len(archive) + len(name)) % 4)
        archive += content + bytes(-len(content) % 4)
    return bytes(archive)


def _sectors(path: pathlib.Path) -> int:
    """How many sectors a file takes."""
    return -(-path.stat().st_size // _SECTOR)


def _write_disk(
    name: str, path: pathlib.Path, images: Images, tree: pathlib.Path,
    work: pathlib.Path,
) -> None:
    """Write a whole disk that boots kernel and ramdisk.

    :param name: the name of the image
    """
    kernel, ramdisk = _sectors(images.kernel), _sectors(images.ramdisk)
    config = {'name': name, 'kernel': kernel, 'ramdisk': ramdisk}
    core = _core(
        tree, work, 'i386-pc', ['biosdisk', 'part_msdos', 'linux16'],
        _GRUB_CONFIG.format(bits=16, **config)).read_bytes()
    if _SECTOR + len(core) > _MARKERS:
        raise CannotBuild(
            f'GRUB takes {len(core)} bytes and does not fit before the '
            "markers: use Debian's own, of release 12")
    uefi = _core(
        tree, work, 'x86_64-efi', ['part_msdos', 'linux'],
        _GRUB_CONFIG.format(bits='', **config))
    length = -(-(kernel + ramdisk) * _SECTOR // _MIB) * _MIB
    boot = _one(tree, 'usr/lib/grub/i386-pc/boot.img').read_bytes()[:440]
    _write_image(path, _PARTITION + length + _UEFI_PARTITION, {
        0: boot + struct.pack('<IH', zlib.crc32(name.encode()), 0)
        + _entry(0x80, 0x83, _PARTITION, length)
        + _entry(0, 0xef, _PARTITION + length, _UEFI_PARTITION)
        + bytes(32) + b'\x55\xaa',
        # Where boot.img looks for it and where it looks for its own rest.
        _SECTOR: core,
        _LABEL: f'lab-image {name}\n'.encode(),
        _PARTITION: images.kernel.read_bytes(),
        _PARTITION + kernel * _SECTOR: images.ramdisk.read_bytes(),
        _PARTITION + length: _uefi_partition(uefi, tree, work),
    }, work)


def _entry(flags: int, kind: int, start: int, length: int) -> bytes:
    """A partition in the table of the MBR."""
    # Addresses by cylinder, head and sector are beyond their range.
    return struct.pack(
        '<B3sB3sII', flags, b'\xfe\xff\xff', kind, b'\xfe\xff\xff',
        start // _SECTOR, length // _SECTOR)


def _core(
    tree: pathlib.Path, work: pathlib.Path, platform: str,
    modules: abc.Sequence[str], config: str,
) -> pathlib.Path:
    """GRUB with all that it needs to boot the partition.

    :param platform: as GRUB names it
    :param config: what it does
    """
    script, core = work / f'{platform}.cfg', work / f'{platform}.core'
    script.write_text(config)
    libraries = _one(tree, '**/libdevmapper.so.1.02.1').parent
    _run(
        [tree / 'usr/bin/grub-mkimage', '--format', platform,
         '--directory', tree / 'usr/lib/grub' / platform,
         '--prefix', '(,msdos1)', '--config', script, '--output', core,
         *modules],
        'build on Debian 12, for amd64',
        env={'LD_LIBRARY_PATH': str(libraries)})
    return core


def _uefi_partition(
    loader: pathlib.Path, tree: pathlib.Path, work: pathlib.Path
) -> bytes:
    """What UEFI looks for on a disk that it has not booted before.

    :param loader: the program that it is to run
    """
    partition = work / 'uefi'
    partition.write_bytes(bytes(_UEFI_PARTITION))
    for command in (
        # UEFI does not mind the geometry: it must but give the size.
        ['mformat', '-t', '1', '-h', '64', '-s', '32', '-N', '0', '::'],
        ['mmd', '::/EFI', '::/EFI/BOOT'],
        ['mcopy', str(loader), '::/EFI/BOOT/BOOTX64.EFI'],
    ):
        _run(
            [tree / 'usr/bin/mtools', '-c', command[0], '-i', partition,
             *command[1:]],
            'build on Debian 12, for amd64', env={'SOURCE_DATE_EPOCH': '0'})
    return partition.read_bytes()


def _write_image(
    path: pathlib.Path, size: int, content: dict[int, bytes],
    work: pathlib.Path,
) -> None:
    """Write an image in the format qcow2.

    :param content: what is on the disk, by offset
    """
    raw = work / 'raw'
    with raw.open('wb') as file:
        for offset, data in content.items():
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    _run(
        ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, path],
        'install qemu-utils and check the space left on the disk')
