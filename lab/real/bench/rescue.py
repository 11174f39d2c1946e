# SPDX-License-Identifier: Apache-2.0

"""How long a rescued guest is out while its host is emptied.

Measured by the ticks of the guest: as the released Nova allows it, with the
series, and with libvirt alone, which is the floor; also with the series when
the server has a full ephemeral disk, which is not attached to the rescued
guest.
"""

from collections import abc
import concurrent.futures
import contextlib
import functools
import json
import os
import shutil
import subprocess
import time
from typing import Any

import libvirt
from lxml import etree

from lab.real.bench import disks
from lab.real.bench import figures
from lab.real.bench import setting
from lab.real.bench import ticks
from lab.real import cloud as real
from lab.real.lab import Lab
from lab.real import namespaces
from lab.real.services import nova
from lab.real import topology
from lab.words import client
from lab.words import expect
from lab.words import scene as scenes
from lab.words import server as servers
from lab.words import steps
from tool import console

_TIMEOUT = 600.0
"""Seconds that a migration, or a look at a disk, may take.

Nova compresses what it copies, which takes a busy machine minutes.
"""

_FLAGS = (
    libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE | libvirt.VIR_MIGRATE_PERSIST_DEST)
"""What Nova migrates with."""

_Measured = tuple[float, float, float]
"""Seconds of outage, of pause, and of the whole, as in `figures.Sample`."""


def _disks(domain: libvirt.virDomain) -> dict[str, str]:
    """The files of a domain's disks by name of the device."""
    return {
        disk.find('target').get('dev'): disk.find('source').get('file')
        for disk in etree.fromstring(domain.XMLDesc(0)).iterfind(
            "devices/disk[@device='disk']")}


def _make_disk(path: str, source: str, destination: str) -> None:
    """Create the file that a disk is copied to, as Nova does."""
    seen = json.loads(subprocess.check_output(
        [*namespaces.enter(source), 'qemu-img', 'info', '--force-share',
         '--output=json', path],
        timeout=_TIMEOUT))
    subprocess.run(
        [*namespaces.enter(destination), 'qemu-img', 'create', '-q',
         '-f', 'qcow2', '-b', seen['full-backing-filename'],
         '-F', seen['backing-filename-format'], path,
         str(seen['virtual-size'])], check=True, timeout=_TIMEOUT)


def _move(
    lab: Lab, server_id: str, source: str, destination: str
) -> float:
    """Migrate a guest with libvirt, without Nova.

    libvirt's own limit for the last pause is 300 ms. Nova starts with 50 ms
    and raises it step by step, so its guests can be out for less.

    :returns: how long the migration took, in seconds
    """
    address = topology.host(destination).address
    flags = _FLAGS
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: f'tcp://{address}'}
    with lab.hypervisor(source) as hypervisor:
        domain = hypervisor.lookupByUUIDString(server_id)
        if not lab.settings.shared:
            disks = _disks(domain)
            flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(disks)
            lab.server_directory(destination, server_id).mkdir(exist_ok=True)
            for path in disks.values():
                _make_disk(path, source, destination)
        begun = time.monotonic()
        domain.migrateToURI3(
            f'qemu+tcp://{address}/system', parameters, flags)
        return time.monotonic() - begun


class _Bench:
    """A server in rescue, and what is measured on it.

    Each measurement leaves it in rescue, on one of two hosts.
    """

    def __init__(
        self, lab: Lab, cloud: real.RealCloud, server: servers.Server,
        watcher: ticks.Watcher,
    ):
        self._lab = lab
        self._cloud = cloud
        self._hosts = cloud.hosts()[:2]
        self._server = server
        self._watcher = watcher
        #: longest times without a tick while nothing was done, in seconds
        self.rest: list[float] = []

    def _rest(self) -> ticks.Tick:
        """Wait while the guest runs undisturbed. Returns its last tick."""
        seen = self._watcher.settle()
        self.rest.append(ticks.longest_gap(seen))
        return seen[-1]

    def _where(self) -> tuple[str, str]:
        """The host of the server, and the other one."""
        source = self._server.host()
        return source, next(host for host in self._hosts if host != source)

    def _check_place(self, host: str) -> None:
        for name in self._hosts:
            guest = self._cloud.guest(name, self._server.id)
            expect.equal(
                f'whether the guest runs on {name}',
                guest is not None and guest.running, name == host)

    def _migrate(self, host: str, microversion: str, status: str) -> None:
        self._server.ask_live_migration(host, microversion)
        # Long pauses between two looks would show in the result.
        expect.wait_for(
            'migration', self._server.migration,
            lambda seen: seen['status'] == 'completed',
            lambda seen: seen['status'] in ('failed', 'error', 'cancelled'),
            lambda seen: seen['status'], _TIMEOUT,
            longest_pause=ticks.INTERVAL)
        seen = self._server.wait_for_status(status)
        expect.equal('the host of the server', seen.compute_host, host)

    def _check_ran_on(self, seen: abc.Sequence[ticks.Tick]) -> None:
        if ticks.same_boot(seen) != list(seen):
            raise expect.Unexpected(
                'the guest: expected it to run on, but it was started again')

    def _measure(self, migrate: abc.Callable[[], float]) -> _Measured:
        """Measure the outage of the guest while it migrates.

        :param migrate: migrates it, and returns how long that took, in
            seconds
        :raises lab.words.expect.Unexpected: if it did not run on
        """
        before = self._rest()
        wall = migrate()
        self._watcher.settle()
        seen = [before, *self._watcher.since(before.arrival)]
        self._check_ran_on(seen)
        return ticks.longest_gap(seen), ticks.longest_pause(seen), wall

    def again(self) -> dict[str, _Measured]:
        """As the released Nova allows it: unrescue, move, rescue again.

        Its migration while not in rescue is measured, too.
        """
        _, destination = self._where()
        last = self._rest()
        begun = time.monotonic()
        self._server.unrescue()
        # A guest that is booting ignores the request to power off, which
        # Nova makes every ten seconds only: waiting is quicker.
        self._watcher.wait_for_boot('disk', begun)
        moved = time.monotonic()
        self._migrate(destination, client.RELEASED, 'ACTIVE')
        wall = time.monotonic() - moved
        active = self._watcher.since(moved - 2 * ticks.INTERVAL)
        self._server.rescue()
        first = self._watcher.wait_for_boot('rescue', begun, last.boot)
        self._check_place(destination)
        self._check_ran_on(active)
        last = ticks.same_boot(
            [last, *self._watcher.since(last.arrival)])[-1]
        gap = ticks.longest_gap([last, first])
        return {
            'again': (gap, gap, first.arrival - begun),
            'active': (ticks.longest_gap(active),
                       ticks.longest_pause(active), wall)}

    def series(self) -> dict[str, _Measured]:
        """With the series: in rescue."""
        _, destination = self._where()

        def migrate() -> float:
            begun = time.monotonic()
            self._migrate(
                destination, client.LIVE_MIGRATE_RESCUED, 'RESCUE')
            return time.monotonic() - begun

        measured = self._measure(migrate)
        self._check_place(destination)
        return {'series': measured}

    def ephemeral(self) -> dict[str, _Measured]:
        """With the series, and an ephemeral disk full of data."""
        measured = self.series()['series']
        disks.check_full(self._lab, self._server)
        return {'ephemeral': measured}

    def floor(self) -> dict[str, _Measured]:
        """With libvirt alone, there and back, while Nova is not running."""
        source, destination = self._where()
        with self._without_computes():
            move = functools.partial(_move, self._lab, self._server.id)
            measured = self._measure(lambda: move(source, destination))
            self._check_place(destination)
            move(destination, source)
            if not self._lab.settings.shared:
                shutil.rmtree(self._lab.server_directory(
                    destination, self._server.id))
        self._check_place(source)
        self._server.wait_for_status('RESCUE')
        return {'floor': measured}

    @contextlib.contextmanager
    def _without_computes(self) -> abc.Iterator[None]:
        """Kill nova-compute on the two hosts, and start it at the end."""
        computes = [topology.compute(host) for host in self._hosts]
        for compute in computes:
            self._lab.supervisor.kill(nova.compute(self._lab, compute).name)
        try:
            yield
        finally:
            # Together: each waits for the other one.
            with concurrent.futures.ThreadPoolExecutor() as pool:
                list(pool.map(
                    functools.partial(nova.start_compute, self._lab),
                    computes))


@contextlib.contextmanager
def _rescued(
    lab: Lab, cloud: real.RealCloud, flavor: str | None = None
) -> abc.Iterator[_Bench]:
    """A server in rescue, whose images both hosts have.

    :param flavor: id of a flavor with an ephemeral disk, which is filled
    :raises tool.console.Problem: if a step fails
    """
    source, *_ = hosts = cloud.hosts()[:2]
    which = 'a server with an ephemeral disk' if flavor else 'a server'
    with contextlib.ExitStack() as stack:
        with setting.step(f'boot {which} on {source} and rescue it'):
            begun = time.monotonic()
            quiet = steps.Teller(cloud.has, quiet=True)
            server = scenes.Scene(cloud, quiet).boot(source, flavor=flavor)
            stack.callback(setting.delete, server)
            watcher = stack.enter_context(ticks.Watcher(
                lab.server_directory(host, server.id) / 'console.log'
                for host in hosts))
            bench = _Bench(lab, cloud, server, watcher)
            server.rescue()
            watcher.wait_for_boot('rescue', begun)
        if flavor:
            with setting.step(f'fill the disk with {disks.SIZE} GiB'):
                disks.fill(lab, source, server.id)
        with setting.step('move it once, so that both hosts have the images'):
            bench.series()
        bench.rest.clear()
        yield bench


def _take_rounds(
    variants: list[abc.Callable[[], dict[str, _Measured]]], rounds: int
) -> list[figures.Sample]:
    """Measure variants round by round, each time in another order.

    :raises tool.console.Problem: if one fails
    """
    samples = []
    for number in range(1, rounds + 1):
        for variant in variants:
            text = (f'round {number}: '
                    f'{figures.VARIANTS[variant.__name__]}')
            with setting.step(text):
                measured = variant()
            for name, seen in measured.items():
                outage, pause, wall = seen
                samples.append(
                    figures.Sample(name, number, outage, pause, wall))
                console.console.print(
                    f'{"":13}{figures.VARIANTS[name]}: outage {outage:.2f} '
                    f's, pause {pause:.2f} s, wall time {wall:.2f} s')
        variants.append(variants.pop(0))
    return samples


def _report(
    lab: Lab, samples: list[figures.Sample], facts: dict[str, Any]
) -> None:
    kind = 'shared' if lab.settings.shared else 'block'
    where = lab.where.bench
    where.mkdir(exist_ok=True)
    found = figures.document(samples, facts)
    written = where / f'{kind}.json'
    written.write_text(json.dumps(found, indent=1) + '\n')
    title = (f'Live migration of a rescued server, {facts["rounds"]} rounds, '
             + ('shared storage' if lab.settings.shared
                else 'local disks copied'))
    figures.plot(samples, title, where / f'{kind}.svg')
    console.console.print(figures.table(samples))
    for line in figures.words(found):
        console.console.print(line)
    console.console.print(f'Written: {written} and {kind}.svg')


def run(lab: Lab, rounds: int, cases: abc.Collection[str]) -> int:
    """Measure, and report the result. Returns the exit code.

    :param cases: names of what to measure; all of figures.CASES if none
    :raises tool.console.Problem: if a step fails
    """
    setting.need_series(lab)
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(real.RealCloud(lab))
        facts = setting.facts(
            lab, cloud.hosts()[0], rounds=rounds,
            ephemeral_bytes=disks.BYTES)
        cases = cases or figures.CASES
        benches = []
        variants = []
        if set(cases) - {'ephemeral'}:
            bench = stack.enter_context(_rescued(lab, cloud))
            benches.append(bench)
            variants += [bench.again, bench.series, bench.floor]
        if 'ephemeral' in cases:
            flavor = stack.enter_context(disks.flavor(cloud))
            bench = stack.enter_context(_rescued(lab, cloud, flavor))
            benches.append(bench)
            variants.append(bench.ephemeral)
        samples = _take_rounds(
            [each for each in variants if each.__name__ in cases], rounds)
    facts['load_average']['end'] = os.getloadavg()
    facts['rest'] = [seen for bench in benches for seen in bench.rest]
    _report(lab, samples, facts)
    return 0
