# SPDX-License-Identifier: Apache-2.0

"""Scenarios are declared, found and chosen; the documents have them right."""

import ast
import pathlib
import re

import pytest

from lab.needs import EMBEDDED
from lab.needs import Need
from lab import scenarios
from lab.scenarios.cross_cell import faults as cross_cell_faults
from lab.scenarios.rescue import faults
from lab.words import roles
from tool import console

ROOT = pathlib.Path(__file__).parents[2]
KNOWN = scenarios.load()
UNRESCUE = {
    'rescue-and-unrescue', 'rescued-again', 'rescued-before-upgrade',
    'rescued-stays-off-after-power-cut'}


def test_scenario_is_declared_with_what_it_shows_and_needs():
    @scenarios.scenario(capability=2, needs={Need.UEFI})
    def open_the_door(scene):
        """The door opens.

        And closes.
        """

    assert open_the_door.name == 'open-the-door'
    assert open_the_door.title == 'The door opens'
    assert open_the_door.capability == 2
    assert open_the_door.needs == {Need.UEFI}


def test_all_have_a_title_and_a_known_capability():
    assert all(each.title for each in KNOWN.values())
    assert {each.capability for each in KNOWN.values()} == set(
        scenarios.CAPABILITIES)


def test_groups_are_modules_and_packages():
    assert KNOWN['live-migrate-rescued'].groups == (
        'rescue', 'live-migration')
    assert KNOWN['hypervisor-killed'].groups == ('rescue', 'faults')
    assert KNOWN['resize'].groups == ('resize',)


@pytest.mark.parametrize('what, meant', [
    (['refuse-source'], {'refuse-source'}),
    (['1'], UNRESCUE),
    (['unrescue'], UNRESCUE),
    (['refuse-*n'], {'refuse-destination'}),
    (['12', 'refuse-source'], {
        'audit-during-move', 'audit-without-a-cell', 'evacuate',
        'refuse-source'}),
    # A name that is also that of its group.
    (['resize'], {name for name, each in KNOWN.items()
                  if each.capability == 6}),
    ([], set(KNOWN)),
])
def test_what_is_meant(what, meant):
    assert set(scenarios.choose(what, KNOWN)) == meant


def test_group_has_the_groups_in_it():
    assert {each.capability for each in scenarios.choose(
        ['rescue'], KNOWN).values()} == {1, 2, 3, 15}


def test_chosen_ones_keep_their_order():
    chosen = scenarios.choose(['refuse-source', 'evacuate'], KNOWN)
    assert list(chosen) == [name for name in KNOWN if name in chosen]


@pytest.mark.parametrize('what, advice', [
    ('live-migrate-rescue', 'live-migrate-rescued'),
    ('cross-sell', 'cross-cell'),
    ('zzz', './run scenarios --list'),
    ('21', './run scenarios --list'),
    ('zzz-*', './run scenarios --list'),
])
def test_what_means_nothing_is_a_problem(what, advice):
    with pytest.raises(console.Problem) as problem:
        scenarios.choose(['refuse-source', what], KNOWN)
    assert problem.value.code == 2
    assert repr(what) in str(problem.value) and advice in str(problem.value)


def test_listing_is_by_capability_with_needs():
    lines = scenarios.listing(KNOWN).splitlines()
    first = lines.index(' 7  Resize and cold migration across cells')
    those = [name for name, each in KNOWN.items() if each.capability == 7]
    assert [line.split()[0] for line in lines[first + 1:][:len(those)]] == (
        those)
    (line,) = [line for line in lines if ' rescued-boot-from-volume ' in line]
    assert line.endswith(' [real guests, volumes]')


def test_two_of_one_name_are_refused(monkeypatch):
    monkeypatch.setattr(
        faults, 'SCENARIOS', (
            scenarios.Scenario('resize', 'Another', print, 6),))
    with pytest.raises(ValueError, match="'resize'"):
        scenarios.load()


def test_no_scenario_goes_on_when_the_cloud_lacks_something():
    # What needs something declares it. To try and see would leave a step ok
    # in which nothing was looked at.
    for directory in ('scenarios', 'words'):
        for path in (ROOT / 'lab' / directory).rglob('*.py'):
            names = {node.id for node in ast.walk(ast.parse(path.read_text()))
                     if isinstance(node, ast.Name)}
            assert not names & {'Lacking', 'suppress'}, path
            assert 'suppress' not in path.read_text(), path


def table(path, number=0):
    """The rows of a list-table of a document, each a list of texts."""
    text = re.findall(
        r'^\.\. list-table::\n(?:   .*\n|\n)+', path.read_text(),
        re.MULTILINE)[number]
    rows = []
    for line in text.splitlines():
        begin, cell = line[:7], line[7:].replace('``', '')
        if begin == '   * - ':
            rows.append([cell])
        elif begin == '     - ':
            rows[-1].append(cell)
        elif rows and cell:
            rows[-1][-1] += f' {cell}'
    return rows


@pytest.mark.parametrize('number, played', [
    (1, faults.FAULTS), (2, cross_cell_faults.FAULTS)])
def test_the_tables_of_faults_are_those_of_the_scenarios(number, played):
    head, *rows = table(ROOT / 'lab' / 'README.rst', number)
    assert head == ['fault', 'scenario', 'end']
    assert rows == [
        [fault.what, fault.scenario.name, fault.end] for fault in played]


def test_the_table_of_roles_is_that_of_the_scenario():
    head, *rows = table(ROOT / 'lab' / 'README.rst')
    assert head == ['call', 'least role']
    assert rows == [[call.what, call.role] for call in roles.CALLS]


def test_the_table_of_capabilities_says_what_scenarios_show():
    head, *rows = table(ROOT / 'README.rst')
    assert head == ['#', 'capability', 'today']
    found = scenarios.by_capability(KNOWN.values())
    titles = {int(number): (title, today) for number, title, today in rows}
    assert list(titles) == list(range(1, len(titles) + 1))
    for number, (title, today) in titles.items():
        those = found.get(number, [])
        if those:
            assert title == scenarios.CAPABILITIES[number]
        # Without real guests, services and the like.
        anywhere = any(each.needs <= EMBEDDED for each in those)
        assert bool(re.search(r'\bshown\b', today)) == bool(those), today
        assert ('shown in one process' in today) == anywhere, today
