# SPDX-License-Identifier: Apache-2.0

"""How long a server is out, and how long it takes, to change cells.

Beside a cold migration within its cell, of the same server. Its disk is full
of data, which is copied unless the hosts share it. Also how often the image
service is asked for something.
"""

from collections import abc
import contextlib
import dataclasses
import os
import time

from lab.real.bench import disks
from lab.real.bench import durations
from lab.real.bench import setting
from lab.real.bench import ticks
from lab.real import cloud as real
from lab.real.lab import Lab
from lab.real.services import ceph
from lab.real.services import glance
from lab.words import expect
from lab.words import scene as scenes
from lab.words import server as servers
from lab.words import steps
from tool import console

_AIM = {False: 1.3, True: 1.05}
"""What a move to another cell is to take at most, of one within a cell.

By whether the hosts share the disks.
"""

_TIMEOUT = 600.0
"""Seconds that a move may take."""

_PAUSE = 0.25
"""Seconds between two looks at a server that moves."""


@dataclasses.dataclass(frozen=True)
class _Measured:
    """What a move has shown."""

    #: seconds between the last tick of a guest and the first of the next one
    outage: float
    #: seconds from the request until it can be confirmed
    wall: float
    #: how often the image service was asked for something
    requests: int


class _Bench:
    """A server that runs, and what is measured on it.

    :param server: one whose disk is full, in the first cell
    :param watcher: hears its guests
    """

    def __init__(
        self, lab: Lab, cloud: real.RealCloud, server: servers.Server,
        watcher: ticks.Watcher,
    ):
        self._lab = lab
        self._server = server
        self._watcher = watcher
        self._home = server.host()
        self._destinations = {
            'cell': next(
                host for host in cloud.hosts() if host != self._home),
            'cross': cloud.other_cell_hosts()[0]}

    def there_and_back(self, case: str) -> list[_Measured]:
        """Move the server twice, so that it is where it was.

        :param case: one of durations.CROSS_CELL
        """
        return [self._move(host)
                for host in (self._destinations[case], self._home)]

    def _move(self, host: str) -> _Measured:
        last = self._watcher.settle()[-1]
        earlier = glance.requests(self._lab)
        begun = time.monotonic()
        self._server.ask_migration(host)
        expect.wait_for(
            'end of the move', self._server.look,
            lambda seen: seen.status == 'VERIFY_RESIZE'
            and seen.task_state is None,
            lambda seen: seen.status in ('ACTIVE', 'SHUTOFF', 'ERROR')
            and seen.task_state is None,
            lambda seen: f'{seen.status} with task {seen.task_state} on '
            f'{seen.compute_host}', _TIMEOUT, longest_pause=_PAUSE)
        wall = time.monotonic() - begun
        first = self._watcher.wait_for_boot('disk', begun, last.boot)
        expect.equal('the host of the server', self._server.host(), host)
        disks.check_full(self._lab, self._server)
        self._server.arrive()
        self._server.confirm()
        last = ticks.same_boot(
            [last, *self._watcher.since(last.arrival)])[-1]
        return _Measured(
            ticks.longest_gap([last, first]), wall,
            glance.requests(self._lab) - earlier)


def _need_log(lab: Lab, cloud: real.RealCloud) -> None:
    """Check that a request for images is seen in the log.

    :raises tool.console.Problem: if it is not
    """
    earlier = glance.requests(lab)
    list(cloud.connect().image.images())
    try:
        expect.wait_for(
            'request in the log', lambda: glance.requests(lab),
            lambda seen: seen > earlier, timeout=10)
    except expect.Unexpected as exc:
        raise console.Problem(
            'the image service of this lab does not log what it is asked '
            'for: end it with ./run lab down, and start another one') from exc


@contextlib.contextmanager
def _booted(lab: Lab, cloud: real.RealCloud) -> abc.Iterator[_Bench]:
    """A server with a full disk, whose guest runs.

    :raises tool.console.Problem: if a step fails
    """
    source = cloud.hosts()[0]
    with contextlib.ExitStack() as stack:
        flavor = stack.enter_context(disks.flavor(cloud))
        with setting.step(f'boot a server on {source}'):
            quiet = steps.Teller(cloud.has, quiet=True)
            server = scenes.Scene(cloud, quiet).boot(source, flavor=flavor)
            stack.callback(setting.delete, server)
        hosts = [*cloud.hosts(), *cloud.other_cell_hosts()]
        watcher = stack.enter_context(ticks.Watcher(
            lab.server_directory(host, server.id) / 'console.log'
            for host in (hosts[:1] if lab.settings.shared else hosts)))
        with setting.step(f'fill its disk with {disks.SIZE} GiB'):
            server.stop()
            disks.fill(lab, source, server.id)
        with setting.step('start it again'):
            begun = time.monotonic()
            server.start(source)
            watcher.wait_for_boot('disk', begun)
        yield _Bench(lab, cloud, server, watcher)


def _report(
    lab: Lab, measured: abc.Mapping[str, abc.Sequence[_Measured]],
    facts: abc.Mapping[str, object],
) -> None:
    aim = _AIM[lab.settings.shared]
    samples = {
        f'{case}_{what}': [getattr(each, what) for each in seen]
        for what in ('outage', 'wall') for case, seen in measured.items()}
    requests = {
        case: [each.requests for each in seen]
        for case, seen in measured.items()}
    kind = '-shared' if lab.settings.shared else ''
    durations.report(
        lab.where.bench / f'cross-cell{kind}.json', samples,
        {**facts, 'aim': aim, 'image_requests': requests}, aim)
    for case, counts in requests.items():
        # Without shared disks, what is copied goes through it.
        aimed = (' (aim: 0)' if lab.settings.shared and case == 'cross'
                 else '')
        console.console.print(
            f'Requests to the image service, {durations.CROSS_CELL[case]}: '
            f'{sum(counts)} in {len(counts)} moves{aimed}')


def run(lab: Lab, rounds: int, cases: abc.Collection[str]) -> int:
    """Measure, and report the result. Returns the exit code.

    :param rounds: how often to move the server there and back in each case
    :param cases: names of what to measure; all of durations.CROSS_CELL if
        none
    :raises tool.console.Problem: if a step fails
    """
    setting.need_series(lab)
    if ceph.wanted(lab):
        raise console.Problem(
            'the bench compares moves of one disk, and the cells of a lab '
            'with Ceph store disks differently: end it with ./run lab down, '
            'and start one without --with')
    order = [case for case in durations.CROSS_CELL
             if not cases or case in cases]
    measured: dict[str, list[_Measured]] = {case: [] for case in order}
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(real.RealCloud(lab))
        _need_log(lab, cloud)
        facts = setting.facts(
            lab, cloud.hosts()[0], rounds=rounds, ephemeral_bytes=disks.BYTES)
        bench = stack.enter_context(_booted(lab, cloud))
        for case in order:
            with setting.step(
                    f'move it {durations.CROSS_CELL[case]}, so that the '
                    'hosts have the images'):
                bench.there_and_back(case)
        for number in range(1, rounds + 1):
            for case in order:
                text = f'round {number}: {durations.CROSS_CELL[case]}'
                with setting.step(text):
                    seen = bench.there_and_back(case)
                measured[case] += seen
                for each in seen:
                    console.console.print(
                        f'{"":13}outage {each.outage:.2f} s, wall time '
                        f'{each.wall:.2f} s, {each.requests} image requests')
            order.append(order.pop(0))
    facts['load_average']['end'] = os.getloadavg()
    _report(lab, measured, facts)
    return 0
