# SPDX-License-Identifier: Apache-2.0

"""What a guest reports on its serial console.

To ``tell WORD``, a real guest answers::

    lab: LENGTH WORD image NAME boot BOOTID
    lab: LENGTH WORD uptime SECONDS
    lab: LENGTH WORD disk DISK BYTES SERIAL
    lab: LENGTH WORD marker DISK TEXT
    lab: LENGTH WORD marker uefi TEXT           if UEFI has booted it
    lab: LENGTH WORD disk DISK holds NAME       an image other than that
    lab: LENGTH WORD disk DISK read-only
    lab: LENGTH WORD running from DISK
    lab: LENGTH WORD told COUNT                 the number of these lines

It reports the same, with ``boot`` for the word, when it has booted and has
written the marker ``NAME BOOTID`` to all of its disks and to a UEFI variable.
From then on it prints its uptime ten times a second, as
``lab: LENGTH tick SECONDS``.

A console can lose or repeat characters of a busy guest. So LENGTH is the
length of what follows, and COUNT the number of lines: if an answer is not
whole, it is asked for again.
"""

from collections import abc
import dataclasses
import re
from typing import Any
import uuid

from lab import cloud as cloud_api
from lab.words import expect

UEFI = 'uefi'
"""Stands for a disk where the markers in UEFI variables are meant."""

_LINE = re.compile(r'^lab: (\d+) (.+?)\r?\n', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class State:
    """A guest and its disks, as it sees them at one moment."""

    #: what it writes to its disks as it boots: its image and its boot id
    marker: str = ''
    #: seconds
    uptime: float = 0.0
    #: the disk that has the image it booted
    running_from: str = ''
    #: bytes of each disk that it can write to, by the disk's name
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    #: markers on each of these disks, and in UEFI, the earliest first
    markers: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    @property
    def image(self) -> str:
        """The name of the image that it booted."""
        return self.marker.partition(' ')[0]


def lines(text: str) -> list[str]:
    """The lines on a console that are whole."""
    return [line for length, line in _LINE.findall(text)
            if int(length) == len(line)]


def parse(text: str, word: str) -> State | None:
    """Read what a guest reports about itself.

    :param text: what is on the console
    :param word: what the answer begins with
    :returns: None if the answer is not whole
    """
    answer = [line.removeprefix(f'{word} ') for line in lines(text)
              if line.startswith(f'{word} ')]
    if not answer or answer[-1] != f'told {len(answer) - 1}':
        return None
    facts = ''.join(f'{line}\n' for line in answer)

    def find(pattern: str) -> list[Any]:
        return re.findall(rf'^{pattern}$', facts, re.MULTILINE)

    ((image, boot),) = find(r'image (\S+) boot (\S+)')
    ((uptime),) = find(r'uptime ([\d.]+)')
    ((running_from),) = find(r'running from (.+)')
    sizes = {disk: int(size)
             for disk, size in find(r'disk (\S+) (\d+) \S+')}
    markers: dict[str, list[str]] = {disk: [] for disk in sizes}
    for disk, marker in find(r'marker (\S+) (.+)'):
        markers.setdefault(disk, []).append(marker)
    return State(
        f'{image} {boot}', float(uptime), running_from, sizes, markers)


def _ask(cloud: cloud_api.Cloud, server_id: str) -> State | None:
    """Ask a guest once. None if it is not up, or its answer is not whole."""
    if not any(line.startswith('tick ')
               for line in lines(cloud.console(server_id))):
        return None
    # An earlier answer must not be taken for this one.
    word = uuid.uuid4().hex[:8]
    return parse(
        cloud.type(server_id, f'tell {word}', f' {word} told '), word)


def ask(
    cloud: cloud_api.Cloud, server_id: str, earlier: abc.Container[str] = (),
    timeout: float = expect.TIMEOUT,
) -> State:
    """Ask a guest for its state, once it is up.

    :param earlier: markers of guests that the server had before
    :param timeout: seconds
    :raises lab.needs.Lacking: if the cloud has no real guests
    :raises lab.words.expect.Unexpected: if it does not answer in time, or has
        not booted since
    """
    seen = expect.wait_for(
        'answer of the guest', lambda: _ask(cloud, server_id),
        lambda seen: seen is not None and seen.marker not in earlier,
        show=lambda seen: f'{seen}, and on the console '
        f'{cloud.console(server_id)[-400:]!r}', timeout=timeout)
    assert seen is not None
    return seen


def check_boot(
    cloud: cloud_api.Cloud, server_id: str, image: str, runs_from: str,
    markers: abc.Mapping[str, abc.Sequence[str]],
) -> str:
    """Wait until a guest has booted, and check the data on its disks.

    :param image: name of the image that it must have booted
    :param runs_from: the disk that it must have booted
    :param markers: what must be from earlier on each of the disks that it can
        write to, the earliest first, by the disk's name
    :returns: the marker that it has added to each
    :raises lab.needs.Lacking: if the cloud has no real guests
    :raises lab.words.expect.Unexpected: if it has not booted since, or has
        another image, other disks or other markers
    """
    seen = ask(
        cloud, server_id, {text for each in markers.values() for text in each})
    expect.equal('the image that the guest has booted', seen.image, image)
    expect.equal('the disk that it runs from', seen.running_from, runs_from)
    expect.equal(
        'the markers on its disks', seen.markers,
        {disk: [*earlier, seen.marker] for disk, earlier in markers.items()})
    return seen.marker


def check_own_boot(
    cloud: cloud_api.Cloud, server_id: str, markers: abc.Sequence[str],
) -> str:
    """Wait until the guest of a server with one disk has booted from it.

    :param markers: what must be on it from earlier, the earliest first
    :returns: the marker that the guest has added
    :raises lab.needs.Lacking: if the cloud has no real guests
    :raises lab.words.expect.Unexpected: as check_boot does
    """
    return check_boot(cloud, server_id, 'disk', 'vda', {'vda': markers})


def check_runs_on(
    cloud: cloud_api.Cloud, server_id: str, before: State
) -> None:
    """Check that a guest has not booted since, and has lost none of its data.

    :param before: what it reported then
    :raises lab.needs.Lacking: if the cloud has no real guests
    :raises lab.words.expect.Unexpected: if it has booted since, or has other
        disks or markers
    """
    after = ask(cloud, server_id)
    expect.equal('what has booted last', after.marker, before.marker)
    if after.uptime <= before.uptime:
        raise expect.Unexpected(
            f'the uptime: expected more than {before.uptime}, got '
            f'{after.uptime}')
    expect.equal(
        'the guest, but for its uptime',
        dataclasses.replace(after, uptime=before.uptime), before)
