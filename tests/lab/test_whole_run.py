# SPDX-License-Identifier: Apache-2.0

"""All scenarios, on the embedded cloud, and what was shown of them."""

import pathlib
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from lab.needs import EMBEDDED
from lab import scenarios

ROOT = pathlib.Path(__file__).parents[2]
KNOWN = scenarios.load()

# Seconds. One core needs seven minutes, and may be shared with other tests.
_TIMEOUT = 1200

#: Where all can be shown without real guests.
WHOLE = (1, 2, 12, 13, 14, 16, 17, 18)

RUN = (
    'from tool import environments, __main__; import sys; '
    'environments.enter = lambda *args: None; '
    'sys.exit(__main__.main(sys.argv[1:]))')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The finished process, and its report by the name of the scenario."""
    directory = tmp_path_factory.mktemp('run')
    done = subprocess.run(
        [sys.executable, '-c', RUN, 'scenarios', '--log', directory / 'log',
         '--report', directory / 'report.xml'],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=_TIMEOUT)
    suite = ElementTree.parse(directory / 'report.xml').getroot()
    return done, {case.get('name'): case for case in suite}


def steps(case):
    return case.find('system-out').text.splitlines()[1:]


@pytest.mark.timeout(_TIMEOUT)
def test_all_pass_or_are_skipped(run):
    done, report = run
    assert done.returncode == 0, done.stdout
    assert done.stderr == ''
    skipped = sum(not each.needs <= EMBEDDED for each in KNOWN.values())
    assert re.search(
        rf'^{len(KNOWN) - skipped} passed .*, 0 failed, {skipped} skipped in ',
        done.stdout, re.MULTILINE)
    assert list(report) == list(KNOWN)


@pytest.mark.timeout(_TIMEOUT)
@pytest.mark.parametrize('name', KNOWN)
def test_scenario(run, name):
    done, report = run
    shown = done.stdout.split(f'\n{name}: ')[-1].split('\n\n')[0]
    case = report[name]
    assert case.find('failure') is None, shown
    needs = sorted(need.value for need in KNOWN[name].needs - EMBEDDED)
    skipped = case.find('skipped')
    assert (skipped is not None) == bool(needs), shown
    assert bool(steps(case)) == (not needs), shown
    if needs:
        assert skipped.get('message') == 'needs ' + ' and '.join(needs)


@pytest.mark.timeout(_TIMEOUT)
@pytest.mark.parametrize('name', [
    name for name, each in KNOWN.items() if each.needs <= EMBEDDED])
def test_no_step_is_ok_in_which_nothing_happened(run, name):
    for step in steps(run[1][name]):
        assert re.fullmatch(
            r'ok check: .+ \[(did .+; )?compared .+\]'
            r'|ok action: .+ \[(did|compared) .+\]'
            r'|skipped check: .+ \[needs (real guests|a network service)\]',
            step), step


def test_what_must_be_shown_in_one_process():
    for capability in WHOLE:
        assert not [name for name, each in KNOWN.items()
                    if each.capability == capability
                    and not each.needs <= EMBEDDED]
    assert sum(each.capability == 3 and not each.needs
               for each in KNOWN.values()) >= 9
