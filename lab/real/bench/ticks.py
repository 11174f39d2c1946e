# SPDX-License-Identifier: Apache-2.0

"""What the ticks of a guest show: when it ran, and when it was out.

A guest writes its uptime to its console ten times a second, and names its
image and itself when it boots.
"""

from collections import abc
import dataclasses
import itertools
import os
import pathlib
import re
import threading
import time

from lab.guest import console as guests
from lab.words import expect

INTERVAL = 0.1
"""Seconds that a guest sleeps between two ticks."""

_POLL = 0.01

_AROUND = 10
"""How many ticks before and after a moment are compared."""

_SETTLED = 30
"""Ticks that a guest must show before and after what is measured."""

_LINE = re.compile(r'boot image (\S+) boot (\S+)|tick ([\d.]+)')


@dataclasses.dataclass(frozen=True)
class Tick:
    """A sign of life of a guest."""

    #: seconds on this machine's monotonic clock
    arrival: float
    #: seconds that the guest has run, by its own clock
    uptime: float
    #: name of the image that booted; empty if the log begins later than that
    image: str
    #: id of the boot; empty if the log begins later than that
    boot: str


class Log:
    """A console log that several guests may write to, one after the other.

    QEMU truncates the log when it starts, and remembers its own offset. On
    shared storage the QEMU of the source goes on writing far from the start,
    and that of the destination writes from the start. So what has been read
    is replaced by NULs: whatever else is there is new.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._end = -1
        self._open = b''
        self._image = self._boot = ''

    def read(self, arrival: float) -> list[Tick]:
        """The ticks that are new."""
        try:
            file = self._path.open('r+b', buffering=0)
        except FileNotFoundError:
            return []
        with file:
            runs = list(re.finditer(rb'[^\0]+', file.read()))
            for run in runs:
                os.pwrite(file.fileno(), bytes(len(run[0])), run.start())
        found: list[Tick] = []
        for run in runs:
            if run.start() != self._end:
                self._open = b''
                self._image = self._boot = ''
            self._end = run.end()
            found += self._parse(self._open + run[0], arrival)
        return found

    def _parse(self, text: bytes, arrival: float) -> abc.Iterator[Tick]:
        whole, newline, self._open = text.rpartition(b'\n')
        lines = guests.lines((whole + newline).decode(errors='replace'))
        for line in filter(None, map(_LINE.fullmatch, lines)):
            if line[3] is None:
                self._image, self._boot = line[1], line[2]
            else:
                yield Tick(
                    arrival, float(line[3]), self._image, self._boot)


class Watcher:
    """Reads the logs of a guest and stamps its ticks, as a context manager.

    :param paths: the console logs, one for each host that does not share it
    """

    def __init__(self, paths: abc.Iterable[pathlib.Path]):
        self._logs = [Log(path) for path in dict.fromkeys(paths)]
        self._ticks: list[Tick] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> 'Watcher':
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_POLL):
            now = time.monotonic()
            # Two logs have ticks of one boot: it has just migrated.
            self._ticks += sorted(
                (tick for log in self._logs for tick in log.read(now)),
                key=lambda tick: tick.uptime)

    def since(self, moment: float) -> list[Tick]:
        """The ticks that arrived after a moment, in their order."""
        return list(reversed(list(itertools.takewhile(
            lambda tick: tick.arrival > moment, reversed(self._ticks)))))

    def settle(self) -> list[Tick]:
        """Wait until the guest has ticked for a while from now on.

        :raises lab.words.expect.Unexpected: if it does not
        """
        begun = time.monotonic()
        return expect.wait_for(
            'ticks of the guest', lambda: self.since(begun),
            lambda seen: len(seen) >= _SETTLED,
            show=lambda seen: str(len(seen)))

    def wait_for_boot(self, image: str, begun: float, but: str = '') -> Tick:
        """The first tick of a guest that was started from an image.

        :param begun: when it can have been started at the earliest
        :param but: an earlier boot, which does not count
        :raises lab.words.expect.Unexpected: if there is none in time
        """
        return expect.wait_for(
            f'tick of a guest from the image {image}',
            lambda: [tick for tick in self.since(begun)
                     if tick.image == image and tick.boot != but],
            bool, show=lambda seen: 'none', longest_pause=INTERVAL)[0]


def same_boot(ticks: abc.Sequence[Tick]) -> list[Tick]:
    """The ticks up to the moment when the guest is started again."""
    found = list(ticks[:1])
    for before, tick in itertools.pairwise(ticks):
        if tick.uptime <= before.uptime or (
                tick.boot and tick.boot != before.boot):
            break
        found.append(tick)
    return found


def longest_pause(ticks: abc.Sequence[Tick]) -> float:
    """Seconds of the longest standstill of the guest's clock.

    A tick that is late because the machine is busy does not count: those
    around it are in time. Nor does a clock that is slow: only the ticks around
    each moment are compared.

    :param ticks: those of one boot; 0 if there are too few
    """
    late = [tick.arrival - tick.uptime for tick in ticks]
    return max(
        (min(late[place:place + _AROUND]) - min(late[place - _AROUND:place])
         for place in range(_AROUND, len(late) - _AROUND + 1)),
        default=0.0)


def longest_gap(ticks: abc.Iterable[Tick]) -> float:
    """Seconds between the two consecutive ticks that are farthest apart.

    The time that a guest sleeps between two ticks is subtracted.
    """
    gap = max(after.arrival - before.arrival
              for before, after in itertools.pairwise(ticks))
    return max(0.0, gap - INTERVAL)
