# SPDX-License-Identifier: Apache-2.0

"""How the real cloud is broken, with nothing of a lab running."""

import contextlib
import signal
import subprocess
import sys
import types

from openstack import exceptions
import pytest

from lab.needs import Lacking
from lab.needs import Need
from lab.words import expect
from tests.lab.real import fakes
from tests.lab.real.fakes import BROKEN
from tests.lab.real.fakes import FULL_SPEED
from tests.lab.real.fakes import GONE
from tests.lab.real.fakes import OTHER
from tests.lab.real.fakes import PAUSED
from tests.lab.real.fakes import SERVER


@pytest.fixture
def faults(real):
    return real.faults


@pytest.fixture
def domain():
    return fakes.Domain()


def test_a_held_guest_moves_at_full_speed_afterwards(faults, domain):
    with faults._Held(domain):
        assert domain.speeds == [FULL_SPEED, 1]
    assert domain.speeds == [FULL_SPEED, 1, FULL_SPEED]


def test_a_held_guest_moves_at_full_speed_once_it_is_paused(faults, domain):
    with faults._Held(domain):
        domain.now = PAUSED
        expect.wait_for(
            'full speed', lambda: domain.speeds[-1], {FULL_SPEED}.__contains__)


def test_a_held_guest_that_has_gone(faults, domain):
    with faults._Held(domain) as held:
        domain.error = GONE
        held._watcher.join(expect.TIMEOUT)
        assert not held._watcher.is_alive()
    assert domain.speeds[-1] == 1


def test_a_held_guest_whose_libvirt_has_died(faults, domain):
    with faults._Held(domain) as held:
        domain.connected = False
        domain.error = BROKEN
        held._watcher.join(expect.TIMEOUT)
        assert not held._watcher.is_alive()
    assert domain.speeds[-1] == 1


def test_a_held_guest_that_cannot_be_let_go_is_told(faults, domain):
    with pytest.raises(fakes.Error):
        with faults._Held(domain):
            domain.error = BROKEN


def test_what_has_been_copied(faults, domain):
    with faults._Held(domain) as held:
        assert held.copied() == 0
        domain.job = {'memory_processed': 7}
        assert held.copied() == 7
        held.wait_until_running()


def test_what_has_been_copied_of_disks(faults, domain):
    with faults._Held(domain, 'disk') as held:
        domain.job = {'memory_processed': 7, 'disk_processed': 0}
        assert held.copied() == 0
        domain.job = {'memory_processed': 0, 'disk_processed': 8}
        assert held.copied() == 8
        held.wait_until_running()


def test_a_disk_is_filled_but_for_the_rest(faults, tmp_path, monkeypatch):
    free = types.SimpleNamespace(f_bavail=300, f_frsize=4096)
    monkeypatch.setattr(faults.os, 'statvfs', {tmp_path: free}.__getitem__)
    faults._Disk(tmp_path).fill()
    taken = sum(path.stat().st_blocks * 512 for path in tmp_path.iterdir())
    assert taken == 300 * 4096 - faults._LEFT


@contextlib.contextmanager
def process(*words):
    with subprocess.Popen(
            [sys.executable, '-c', 'print(flush=True); input()', *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        running.stdout.readline()
        yield running
        running.kill()


def test_only_the_incoming_guest_is_killed(faults):
    with process('-uuid', SERVER) as source, \
            process('-uuid', OTHER, '-incoming', 'defer') as other:
        assert not faults._kill_incoming(SERVER)
        with process('-uuid', SERVER, '-incoming', 'defer') as incoming:
            assert faults._kill_incoming(SERVER)
            assert incoming.wait(expect.TIMEOUT) == -signal.SIGKILL
        assert source.poll() is None and other.poll() is None


@pytest.mark.parametrize('ask', [
    lambda inflict: inflict.copy_held('node2'),
    lambda inflict: inflict.new_disk('node2'),
    lambda inflict: inflict.migration_held('any', 'disks').__enter__(),
])
@pytest.mark.parametrize('how', [{'shared': True}, {'extras': ['ceph']}])
def test_only_disks_in_local_files_have_faults_of_them(seen, ask, how):
    with pytest.raises(Lacking) as lacking:
        ask(seen(**how).faults)
    assert lacking.value.need is Need.LOCAL_DISKS


def test_disks_in_local_files_have_faults_of_them(seen):
    seen().faults.copy_held('node2')
    seen().faults.new_disk('node2')


def test_host_is_forced_up_once_its_evacuations_are_over(
    seen, monkeypatch
):
    asked = []

    def update(service, forced):
        asked.append((service, forced))
        if len(asked) < 3:
            raise exceptions.BadRequestException('evacuations remain')

    found = seen()
    compute = types.SimpleNamespace(update_service_forced_down=update)
    monkeypatch.setattr(
        found, 'connect', lambda: types.SimpleNamespace(compute=compute))
    found.faults._force_up('the service')
    assert asked == [('the service', False)] * 3
