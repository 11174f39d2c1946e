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

"""What a guest tells on its serial console.

The guests of a cloud that can show them write lines such as::

    lab: image NAME boot BOOTID
    lab: disk DISK BYTES SERIAL
    lab: marker DISK TEXT           what an earlier guest wrote to the disk
    lab: wrote DISK TEXT            what this guest wrote to the disk
    lab: running from DISK
    lab: tick SECONDS               the guest's uptime, again and again

Each guest writes the marker ``IMAGE BOOTID`` to all of its disks as it boots.
Told to with ``markers``, it tells the markers of all its disks again.
"""

import contextlib
import dataclasses
import re

from lab import cloud as cloud_api
from lab import expect


@dataclasses.dataclass(frozen=True)
class Console:
    """What is on a console since the guest booted last."""

    text: str = ''

    def _find(self, pattern: str) -> list[str]:
        # The last line may not be whole yet.
        return re.findall(rf'^lab: {pattern}\r?\n', self.text, re.MULTILINE)

    def marker(self) -> str:
        """What the guest writes to its disks: its image and its boot id."""
        found = self._find(r'image (\S+) boot (\S+)')
        return ' '.join(found[-1]) if found else ''

    def image(self) -> str:
        """The name of the image that the guest booted."""
        return self.marker().partition(' ')[0]

    def running_from(self) -> str:
        """The disk with that image; empty if the guest is not up yet."""
        return ''.join(self._find(r'running from (.+?)')[-1:])

    def markers(self, disk: str) -> list[str]:
        """The markers that were on a disk before, the earliest first."""
        return self._find(rf'marker {disk} (.+?)')

    def wrote(self, disk: str) -> list[str]:
        """The markers that the guest itself wrote to a disk."""
        return self._find(rf'wrote {disk} (.+?)')

    def disk_sizes(self) -> dict[str, int]:
        """The bytes that each disk has which can be written to."""
        return {disk: int(size) for disk, size in re.findall(
            r'^lab: disk (\S+) (\d+) \S+\r?\n', self.text, re.MULTILINE)}

    def ticks(self) -> list[float]:
        """The uptimes that the guest told."""
        return [float(each) for each in self._find(r'tick ([\d.]+)')]


def look(cloud: cloud_api.Cloud, server_id: str) -> Console:
    """Look at the console of a guest.

    :raises lab.cloud.CannotTell: if there is no real guest
    """
    lines = cloud.console(server_id)
    boot = lines.rfind('lab: image ')
    return Console(lines[max(boot, 0):])


def wait_until_booted(
    cloud: cloud_api.Cloud, server_id: str, image: str,
    timeout: float = expect.TIMEOUT,
) -> Console:
    """Wait until a guest has booted an image and tells its uptime.

    :param image: name that the image has on the console
    :param timeout: seconds
    :returns: its console then
    :raises lab.cloud.CannotTell: if there is no real guest
    :raises lab.expect.Unexpected: if it does not come up in time
    """
    return expect.wait_for(
        f'guest of the image {image!r} that is up',
        lambda: look(cloud, server_id),
        lambda seen: seen.image() == image and bool(seen.ticks()),
        tell=lambda seen: repr(seen.text[-400:]), timeout=timeout)


def settle(cloud: cloud_api.Cloud, server_id: str, image: str) -> None:
    """Wait until a guest has booted an image, if the cloud has real guests.

    One that still boots does not heed the power button, so that Nova waits
    in vain for it to shut down, and has little memory to copy.

    :param image: name that the image has on the console
    :raises lab.expect.Unexpected: if it does not come up in time
    """
    with contextlib.suppress(cloud_api.CannotTell):
        wait_until_booted(cloud, server_id, image)


def check_boot(
    cloud: cloud_api.Cloud, server_id: str, markers: list[str]
) -> str:
    """Wait until a server's own guest has booted, and check its data.

    :param markers: what its disk must have from earlier, the earliest first
    :returns: the marker that it added
    :raises lab.cloud.CannotTell: if there is no real guest
    :raises lab.expect.Unexpected: if it has not booted since, or its disk
        has other markers
    """
    seen = expect.wait_for(
        'guest that has booted', lambda: look(cloud, server_id),
        lambda seen: bool(seen.ticks()) and seen.marker() not in markers,
        tell=lambda seen: repr(seen.text[-400:]))
    disk = 'vda'
    expect.equal('the disk it runs from', seen.running_from(), disk)
    expect.equal('the markers on its disk', seen.markers(disk), markers)
    expect.equal('what it wrote there', seen.wrote(disk), [seen.marker()])
    return seen.marker()
