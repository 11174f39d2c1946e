# SPDX-License-Identifier: Apache-2.0

"""What the bench reads from consoles."""

import threading
import time

import pytest

from lab.real.bench import ticks


def told(text):
    return f'lab: {len(text)} {text}\r\n'.encode()


def line(uptime):
    return told(f'tick {uptime:.2f}')


def boot(image, name):
    return b'SeaBIOS\r\n' + told(f'boot image {image} boot {name}')


def uptimes(found):
    return [tick.uptime for tick in found]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'console.log'


def test_ticks_are_told_once_with_their_boot(path):
    log = ticks.Log(path)
    assert log.read(1.0) == []
    path.write_bytes(line(1) + boot('rescue', 'x') + line(2))
    assert log.read(2.0) == [
        ticks.Tick(2.0, 1.0, '', ''), ticks.Tick(2.0, 2.0, 'rescue', 'x')]
    assert log.read(3.0) == []


def test_line_that_comes_in_parts(path):
    log = ticks.Log(path)
    found = []
    with path.open('wb', buffering=0) as file:
        for number in boot('disk', 'x') + line(12.5) + line(12.6):
            file.write(bytes([number]))
            found += log.read(1.0)
    assert found == [
        ticks.Tick(1.0, 12.5, 'disk', 'x'), ticks.Tick(1.0, 12.6, 'disk', 'x')]


def test_line_that_is_not_whole(path):
    log = ticks.Log(path)
    path.write_bytes(line(11.5) + line(11.6).replace(b'11', b'1') + line(11.7))
    assert uptimes(log.read(1.0)) == [11.5, 11.7]


def test_guest_that_is_started_again(path):
    log = ticks.Log(path)
    for name in ('x', 'y'):
        with path.open('wb', buffering=0) as file:
            file.write(boot('disk', name))
            log.read(1.0)
            file.write(line(3))
            assert log.read(2.0) == [ticks.Tick(2.0, 3.0, 'disk', name)]


def test_two_hosts_write_to_one_log(path):
    log = ticks.Log(path)
    with path.open('wb', buffering=0) as source:
        source.write(boot('rescue', 'x') + line(1))
        log.read(1.0)
        with path.open('wb', buffering=0) as destination:
            source.write(line(2))
            assert log.read(2.0) == [ticks.Tick(2.0, 2.0, 'rescue', 'x')]
            found = []
            for number in range(30):
                destination.write(line(3 + number)[:7])
                found += log.read(3.0)
                destination.write(line(3 + number)[7:])
                found += log.read(3.0)
    assert found == [
        ticks.Tick(3.0, 3.0 + number, '', '') for number in range(30)]


def test_watcher_stamps_ticks_of_all_logs(tmp_path):
    paths = [tmp_path / 'a', tmp_path / 'b']
    begun = time.monotonic()
    with ticks.Watcher([*paths, paths[0]]) as watcher:
        for number, path in enumerate(paths):
            path.write_bytes(line(number))
            while len(watcher.since(begun)) == number:
                time.sleep(0.001)
        seen = watcher.since(begun)
        assert uptimes(seen) == [0, 1]
        assert begun < seen[0].arrival < seen[1].arrival < time.monotonic()
        assert watcher.since(seen[0].arrival) == seen[1:]


def test_watcher_waits_for_the_guest(path):
    begun = time.monotonic()
    with ticks.Watcher([path]) as watcher, path.open(
            'wb', buffering=0) as file:
        file.write(boot('disk', 'x') + line(1))
        first = watcher.wait_for_boot('disk', begun)
        assert (first.boot, first.uptime) == ('x', 1)
        # What was seen earlier, and the same boot, do not count.
        file.truncate(0)
        file.seek(0)
        file.write(boot('disk', 'x') + line(2) + boot('disk', 'y') + line(3))
        assert watcher.wait_for_boot('disk', begun, 'x').uptime == 3
        later = threading.Timer(0.1, lambda: file.write(
            b''.join(line(4 + number) for number in range(30))))
        later.start()
        assert uptimes(watcher.settle()) == list(range(4, 34))
        later.join()


@pytest.mark.parametrize('seen, count', [
    ([], 0),
    ([(5, ''), (6, ''), (7, '')], 3),
    ([(5, 'x'), (6, ''), (7, '')], 3),
    ([(5, ''), (6, ''), (1, '')], 2),
    ([(5, 'x'), (6, 'y')], 1),
    ([(5, ''), (6, 'y')], 1),
])
def test_ticks_of_the_same_boot(seen, count):
    found = [ticks.Tick(0.0, uptime, '', name) for uptime, name in seen]
    assert ticks.same_boot(found) == found[:count]


def test_longest_gap_is_less_the_guests_own_sleep():
    def arrived(*moments):
        return [ticks.Tick(moment, 0.0, '', '') for moment in moments]

    assert ticks.longest_gap(arrived(1, 1.1, 3.2, 3.3)) == pytest.approx(2)
    assert ticks.longest_gap(arrived(1, 1.05)) == 0


def test_longest_pause_is_that_of_the_guests_clock():
    def stopped(*late, slow=0.0):
        return [
            ticks.Tick(number / 10 * (1 + slow) + late, number / 10, '', '')
            for number, late in enumerate(late)]

    before, after = [0] * 15, [0.3] * 15
    assert ticks.longest_pause(stopped(*before, *after)) == (
        pytest.approx(0.3))
    # some ticks are late, but the guest has run
    assert ticks.longest_pause(
        stopped(*before, 0.9, 0.8, *before)) == pytest.approx(0)
    assert ticks.longest_pause(
        stopped(*before, 0.9, 0.8, *after)) == pytest.approx(0.3)
    # its clock is slow
    assert ticks.longest_pause(
        stopped(*[0] * 500, slow=0.001)) == pytest.approx(0, abs=0.002)
    assert ticks.longest_pause(stopped(*before[:3])) == 0
