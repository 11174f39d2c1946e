# SPDX-License-Identifier: Apache-2.0

"""The guest images, in QEMU without KVM."""

from collections import abc
import contextlib
import dataclasses
import hashlib
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest

from lab.guest import console as guests
from lab.guest import image as guest_image
from lab.words import expect

ROOT = pathlib.Path(__file__).parents[2]
MARKERS = slice(512 << 10, 576 << 10)
UEFI = pathlib.Path('/usr/share/OVMF')

BOOT = re.compile(r'boot image (\S+) boot ([0-9a-f-]{36})')
TICK = re.compile(r'tick ([0-9.]+)')


@pytest.fixture(scope='session')
def images(
    tmp_path_factory: pytest.TempPathFactory,
) -> guest_image.Images:
    return guest_image.build(tmp_path_factory.mktemp('guest-images'))


class Guest:
    """A guest that runs, and what it has printed."""

    def __init__(self, directory: pathlib.Path, *args: str):
        if not shutil.which('qemu-system-x86_64'):
            pytest.fail(
                'the guest images are tested in QEMU: install '
                'qemu-system-x86')
        self._monitor = directory / 'monitor'
        self._text = ''
        self._process = subprocess.Popen(
            ['qemu-system-x86_64', '-accel', 'tcg', '-m', '128',
             '-display', 'none', '-serial', 'stdio',
             '-monitor', f'unix:{self._monitor},server=on,wait=off', *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._text += line.decode(errors='replace')

    def lines(self) -> list[str]:
        """What it has told, but the ticks."""
        return [line for line in guests.lines(self._text)
                if not TICK.fullmatch(line)]

    def facts(self) -> list[str]:
        """What it has told of itself and its disks when it had booted."""
        *facts, last = [
            line.removeprefix('boot ') for line in self.lines()
            if line.startswith('boot ')]
        assert last == f'told {len(facts)}'
        return facts

    def markers(self, word: str = 'boot') -> dict[str, list[str]]:
        """What it has told of its markers, by disk.

        :param word: what its answer began with
        """
        return guests.parse(self._text, word).markers

    def ticks(self) -> list[float]:
        found = map(TICK.fullmatch, guests.lines(self._text))
        return [float(tick[1]) for tick in found if tick]

    def _wait(self, what: str, look: abc.Callable[[], object]) -> None:
        expect.wait_for(
            what, look, bool, lambda seen: self._process.poll() is not None,
            lambda seen: self._text[-2000:])

    def wait_for(self, line: str) -> None:
        self._wait(f'the line {line!r}', lambda: line in self.lines())

    def wait_until_up(self) -> str:
        """Wait until it has seen to its disks.

        :returns: the boot ID
        """
        self._wait('ticks', self.ticks)
        return self.image()[1]

    def image(self) -> tuple[str, str]:
        """The names of the image and of the boot."""
        found, = filter(None, map(BOOT.fullmatch, self.lines()))
        return found[1], found[2]

    def enter(self, line: str) -> None:
        """Enter a line on the console."""
        self._process.stdin.write(f'{line}\n'.encode())
        self._process.stdin.flush()

    def monitor(self, command: str) -> None:
        """Have QEMU do something."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self._monitor))
            monitor.sendall(f'{command}\n'.encode())
            # The answer ends with a prompt, as does the greeting.
            told = b''
            while told.count(b'(qemu) ') < 2:
                told += monitor.recv(4096) or b'(qemu) ' * 2

    def wait_until_off(self) -> None:
        expect.wait_for(
            'power off', self._process.poll,
            lambda status: status is not None, timeout=20)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()


@dataclasses.dataclass
class Lab:
    """Disks made of the images, and guests that run of them."""

    images: guest_image.Images
    directory: pathlib.Path
    stack: contextlib.ExitStack

    def disk(self, image: pathlib.Path) -> str:
        """A disk of an image, larger than the image. As QEMU names it."""
        path = self.directory / f'{len(list(self.directory.iterdir()))}.qcow2'
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'qcow2',
             '-b', image, path, '1G'], check=True)
        return f'file={path},format=qcow2'

    def start(self, *args: str, nic: str = 'none') -> Guest:
        guest = Guest(self.directory, '-nic', nic, *args)
        self.stack.callback(guest.kill)
        return guest

    def uefi(self) -> list[str]:
        """UEFI with variables of its own, as arguments of QEMU."""
        own = self.directory / 'variables'
        shutil.copyfile(UEFI / 'OVMF_VARS_4M.fd', own)
        return [
            '-drive', 'if=pflash,unit=0,readonly=on,format=raw,'
            f'file={UEFI / "OVMF_CODE_4M.fd"}',
            '-drive', f'if=pflash,unit=1,format=raw,file={own}',
            '-m', '256']

    def start_disks(
        self, *disks: str, boot: int = 0, args: abc.Iterable[str] = (),
    ) -> Guest:
        """Start a guest with virtio disks, whose serials are their numbers.

        :param boot: the number of the one to boot
        :param args: what QEMU is told besides
        """
        args = [*args]
        for number, disk in enumerate(disks):
            device = f'virtio-blk-pci,drive=disk{number},serial={number}'
            if number == boot:
                device += ',bootindex=0'
            args += [
                '-drive', f'{disk},if=none,id=disk{number}',
                '-device', device]
        return self.start(*args)


@pytest.fixture
def lab(
    images: guest_image.Images, tmp_path: pathlib.Path,
) -> abc.Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield Lab(images, tmp_path, stack)


def test_kernel_and_ramdisk(lab):
    # As Nova starts it, which names other consoles, too.
    guest = lab.start(
        '-kernel', str(lab.images.kernel), '-initrd', str(lab.images.ramdisk),
        '-append', 'root=/dev/vda console=tty0 console=ttyS0 console=hvc0',
        '-drive', f'{lab.disk(lab.images.blank)},if=virtio',
        nic='user,model=virtio,net=10.9.8.0/24,dhcpstart=10.9.8.7')
    boot = guest.wait_until_up()
    assert guest.image() == ('kernel', boot)
    assert 'disk vda 1073741824 -' in guest.facts()
    assert f'marker vda kernel {boot}' in guest.facts()
    assert 'running from vda' in guest.facts()
    guest.wait_for('address 10.9.8.7')


def test_kernel_without_disk(lab):
    guest = lab.start(
        '-kernel', str(lab.images.kernel), '-initrd', str(lab.images.ramdisk),
        '-append', 'console=ttyS0')
    guest.wait_until_up()
    assert 'running from ramdisk' in guest.facts()


def test_ticks_rise(lab):
    guest = lab.start_disks(lab.disk(lab.images.disk))
    expect.wait_for('20 ticks', guest.ticks, lambda seen: len(seen) >= 20)
    ticks = guest.ticks()
    assert ticks == sorted(set(ticks))
    # Ten in a second, if the machine has nothing else to do.
    assert ticks[-1] - ticks[0] >= 0.1 * (len(ticks) - 1)


def test_markers_survive(lab):
    disk = lab.disk(lab.images.disk)
    guest = lab.start_disks(disk)
    first = guest.wait_until_up()
    assert guest.image()[0] == 'disk'
    assert guest.markers() == {'vda': [f'disk {first}']}
    guest.enter(r'mark  two words, a \n and a %s')
    guest.wait_for(r'wrote vda two words, a \n and a %s')
    # Not a clean end: what is said to be written is written.
    guest.kill()

    guest = lab.start_disks(disk)
    second = guest.wait_until_up()
    assert second != first
    wanted = [
        f'disk {first}', r'two words, a \n and a %s', f'disk {second}']
    assert guest.markers() == {'vda': wanted}
    guest.enter('mark another')
    guest.wait_for('wrote vda another')
    guest.enter('tell again')
    guest.wait_for(f'again told {len(guest.facts()) + 1}')
    assert guest.markers('again') == {'vda': [*wanted, 'another']}


def test_rescue(lab):
    disk, rescue = lab.disk(lab.images.disk), lab.disk(lab.images.rescue)
    guest = lab.start_disks(disk)
    first = guest.wait_until_up()
    guest.kill()

    guest = lab.start_disks(rescue, disk)
    second = guest.wait_until_up()
    assert guest.image() == ('rescue', second)
    uptime, = [fact for fact in guest.facts() if 'uptime ' in fact]
    assert [fact for fact in guest.facts() if ' sr0 ' not in fact] == [
        f'image rescue boot {second}',
        uptime,
        'disk vda 1073741824 0',
        f'marker vda rescue {second}',
        'disk vdb 1073741824 1',
        f'marker vdb disk {first}',
        f'marker vdb rescue {second}',
        'disk vdb holds disk',
        'running from vda',
    ]
    guest.kill()

    guest = lab.start_disks(disk)
    third = guest.wait_until_up()
    assert guest.image()[0] == 'disk'
    assert guest.markers() == {
        'vda': [f'disk {first}', f'rescue {second}', f'disk {third}']}


def test_rescue_from_the_last_disk(lab):
    guest = lab.start_disks(
        lab.disk(lab.images.disk), lab.disk(lab.images.rescue), boot=1)
    guest.wait_until_up()
    assert guest.image()[0] == 'rescue'
    assert 'disk vda holds disk' in guest.facts()
    assert 'running from vdb' in guest.facts()


def test_rescue_with_uefi(lab):
    uefi = lab.uefi()
    disk, rescue = lab.disk(lab.images.disk), lab.disk(lab.images.rescue)
    guest = lab.start_disks(disk, args=uefi)
    first = guest.wait_until_up()
    assert guest.image()[0] == 'disk'
    assert guest.markers() == {
        'vda': [f'disk {first}'], 'uefi': [f'disk {first}']}
    assert 'running from vda' in guest.facts()
    guest.kill()

    # Booted by name of the file: to UEFI the disk is new.
    guest = lab.start_disks(rescue, disk, args=uefi)
    second = guest.wait_until_up()
    assert guest.image()[0] == 'rescue'
    both = [f'disk {first}', f'rescue {second}']
    assert guest.markers() == {
        'vda': [f'rescue {second}'], 'vdb': both, 'uefi': both}
    assert 'running from vda' in guest.facts()
    guest.kill()

    guest = lab.start_disks(disk, args=lab.uefi())
    third = guest.wait_until_up()
    assert guest.markers() == {
        'vda': [*both, f'disk {third}'], 'uefi': [f'disk {third}']}


def test_other_buses(lab):
    guest = lab.start(
        '-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=a,serial=one',
        '-drive', f'{lab.disk(lab.images.disk)},if=none,id=a',
        '-drive', f'{lab.disk(lab.images.rescue)},if=ide',
        '-boot', 'order=c')
    boot = guest.wait_until_up()
    name = guest.image()[0]
    assert 'disk sda 1073741824 one' in guest.facts()
    for disk, held in ('sda', 'disk'), ('sdb', 'rescue'):
        assert f'marker {disk} {name} {boot}' in guest.facts()
        assert (
            f'running from {disk}' if held == name
            else f'disk {disk} holds {held}') in guest.facts()


def test_where_markers_go(lab):
    """Onto what is writable and large enough, and nowhere else on it."""
    volume = bytearray(b'\xaa' * (1 << 20))
    volume[MARKERS] = bytes(64 << 10)
    full = bytearray(volume)
    full[MARKERS] = (b'x' * 1023 + b'\n') * 64
    contents = {
        'vdb': bytes(volume),
        'vdc': bytes(full),
        'vdd': bytes(1 << 19),
        'vde': bytes(1 << 20),
    }
    disks = []
    for name, content in contents.items():
        path = lab.directory / name
        path.write_bytes(content)
        fixed = 'on' if name == 'vde' else 'off'
        disks.append(f'file={path},format=raw,readonly={fixed}')
    guest = lab.start_disks(lab.disk(lab.images.disk), *disks)
    boot = guest.wait_until_up()
    assert guest.lines()[:3] == [
        f'wrote vda disk {boot}',
        f'wrote vdb disk {boot}',
        'failed vdc is full',
    ]
    assert [fact for fact in guest.facts() if 'marker' not in fact][2:-1] == [
        'disk vda 1073741824 0',
        'disk vdb 1048576 1',
        'disk vdc 1048576 2',
        'disk vdd 524288 3',
        'disk vde read-only',
        'disk sr0 read-only',
    ]
    assert guest.markers()['vdc'] == ['x' * 1023] * 64
    guest.enter('mark ' + 'y' * 700)
    guest.wait_for(f'wrote vdb {"y" * 700}')
    guest.enter('poweroff')
    guest.wait_until_off()
    volume[MARKERS] = f'disk {boot}\n{"y" * 700}\n'.encode().ljust(
        64 << 10, b'\0')
    contents['vdb'] = bytes(volume)
    for name, content in contents.items():
        assert (lab.directory / name).read_bytes() == content, name


def test_attached_disk(lab):
    (lab.directory / 'volume').write_bytes(bytes(1 << 20))
    guest = lab.start_disks(lab.disk(lab.images.disk))
    guest.wait_until_up()
    guest.monitor(
        f'drive_add 0 file={lab.directory / "volume"},format=raw,if=none,'
        'id=volume')
    guest.monitor('device_add virtio-blk-pci,drive=volume')

    def look() -> list[str]:
        # It takes the guest a moment to see it.
        guest.enter('mark attached')
        return guest.lines()

    expect.wait_for(
        'a marker', look, lambda seen: 'wrote vdb attached' in seen)


def test_unknown_command(lab):
    guest = lab.start_disks(lab.disk(lab.images.disk))
    guest.wait_until_up()
    guest.enter('dance')
    guest.wait_for('failed unknown command dance')


@pytest.mark.parametrize(
    'command', ['system_powerdown', 'sendkey ctrl-alt-delete'])
def test_power_off(lab, command):
    guest = lab.start_disks(lab.disk(lab.images.disk))
    guest.wait_until_up()
    guest.monitor(command)
    guest.wait_until_off()
    guest.wait_for('power off')


def test_small(images):
    for path in images.blank, images.disk, images.rescue:
        told = subprocess.run(
            ['qemu-img', 'info', path], check=True, capture_output=True,
            text=True).stdout
        assert 'file format: qcow2' in told
        size = re.search(r'virtual size: .* \((\d+) bytes\)', told)
        assert 1 << 20 < int(size[1]) <= 64 << 20


@pytest.fixture
def no_download(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A system where apt knows the packages, and cannot fetch them."""
    config = tmp_path / 'apt.conf'
    config.write_text(f'Dir::Bin::Methods "{tmp_path}/none";\n')
    monkeypatch.setenv('APT_CONFIG', str(config))


def _identities(images: guest_image.Images) -> dict[str, tuple[int, int]]:
    return {
        name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for name, path in vars(images).items()}


def _contents(images: guest_image.Images) -> dict[str, str]:
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in vars(images).items()}


def test_not_built_twice(images, no_download):
    before = _identities(images)
    assert guest_image.build(images.disk.parents[1]) == images
    assert _identities(images) == before


def test_another_recipe_is_built(images, tmp_path, no_download):
    shutil.copytree(images.disk.parent, tmp_path / 'images')
    recipe = tmp_path / 'images' / 'recipe'
    recipe.write_text(recipe.read_text().replace('cloud', 'dirt'))
    with pytest.raises(guest_image.CannotBuild):
        guest_image.build(tmp_path)


def test_failing_download(tmp_path, no_download):
    with pytest.raises(guest_image.CannotBuild) as told:
        guest_image.build(tmp_path / 'directory')
    assert re.fullmatch(
        r'the guest images need apt-get download, which failed \(.+\): run '
        "'apt-get update' and check the network", str(told.value))
    assert [path.name for path in (tmp_path / 'directory').iterdir()] == [
        'lock']


def test_missing_tool(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(
        guest_image.CannotBuild, match='apt-cache .*no such program',
    ):
        guest_image.build(tmp_path)


#: Builds, and is killed when all images are there but the build is not over.
KILLED_BUILD = """
import os, pathlib, signal, sys
from lab.guest import image as guest_image
from tool import console

write = pathlib.Path.write_text

def write_or_die(path, *args, **kwargs):
    if path.name == 'recipe':
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, *args, **kwargs)

pathlib.Path.write_text = write_or_die
guest_image.build(pathlib.Path(sys.argv[1]))
"""


def test_killed_build(images, tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', KILLED_BUILD, tmp_path], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    left, = tmp_path.glob('building-*')
    assert (left / 'new' / 'rescue.qcow2').exists()
    assert not (tmp_path / 'images').exists()

    again = guest_image.build(tmp_path)
    assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'images', 'lock']
    # The same each time, but for being elsewhere.
    assert _contents(again) == _contents(images)
