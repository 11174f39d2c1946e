# SPDX-License-Identifier: Apache-2.0

"""Numbers that upstream gives out: those of a tree, and of the series."""

import re

import pytest

from tests.tool.checks.conftest import refreshed
from tests.tool import conftest
from tool import build
from tool.checks import numbers as check
from tool import git
from tool.layout import PROJECT
from tool import numbers

BASE = {
    **conftest.BASE,
    'nova/api/openstack/api_version_request.py':
        "_MIN_API_VERSION = '2.1'\n_MAX_API_VERSION = '2.9'\n",
    'nova/objects/service.py': 'SERVICE_VERSION = 74\n',
    'nova/compute/manager.py':
        'class ComputeManager:\n'
        "    target = messaging.Target(version='6.5')\n\n\n"
        'class _ComputeV5Proxy:\n'
        "    target = messaging.Target(version='5.13')\n",
    'nova/objects/data.py':
        "class Data:\n    # 1.1: something\n    VERSION = '1.1'\n\n\n"
        "class Other:\n    VERSION = '2.0'\n",
    'nova/tests/fake.py': "class Fake:\n    VERSION = '1.0'\n",
}
FACTS = 'microversion = "2.9"\nservice_version = 74\n'
TABLE = (
    '[microversion]\nsomething = "2.10"\n'
    '[service_version]\nfirst = "75"\nsecond = "76"\n'
    '[objects]\nData = "1.2"\n')


def _edit(tree, path, old, new):
    assert old in tree.read(path)
    tree.write(path, tree.read(path).replace(old, new))


@pytest.fixture
def tree(tmp_path):
    """The tree of two commits that take the numbers of TABLE."""
    layout = conftest.project(tmp_path / 'project', BASE)
    layout.facts.write_text(FACTS)
    build.build(layout)
    tree = conftest.Tree(layout)
    _edit(tree, 'nova/objects/service.py', '74', '75')
    _edit(tree, 'nova/objects/data.py', '1.1', '1.2')
    tree.commit('First\n\nWhy.\n')
    _edit(tree, 'nova/objects/service.py', '75', '76')
    _edit(tree, 'nova/api/openstack/api_version_request.py', '2.9', '2.10')
    tree.commit('Second\n\nWhy.\n')
    return tree


def _found(tree, table=TABLE):
    """What the check finds, with that table."""
    checked = refreshed(tree)
    tree.layout.numbers.write_text(table)
    return check.check(checked)


def test_all_numbers_of_a_tree_are_read(tree):
    assert numbers.of(tree.git, 'base') == {
        'microversion': '2.9', 'service_version': '74',
        'rpc.ComputeManager': '6.5', 'rpc._ComputeV5Proxy': '5.13',
        'objects.Data': '1.1', 'objects.Other': '2.0'}


def test_numbers_of_the_table_pass(tree):
    assert _found(tree) == []


def test_each_commit_is_looked_at(tree):
    (found,) = _found(tree, TABLE.replace('second = "76"\n', ''))
    assert found == (
        'releases/34.0.0/numbers.toml: the service version is to become 75, '
        'but the commits make it 75 in patches/0001-First.patch, 76 in '
        'patches/0002-Second.patch: correct the table, or the commits in '
        'build/nova')


def test_a_number_that_nobody_listed_is_found(tree):
    _edit(tree, 'nova/compute/manager.py', '5.13', '5.14')
    tree.commit('Third\n\nWhy.\n')
    (found,) = _found(tree)
    assert 'the RPC version of _ComputeV5Proxy is to become nothing else' in (
        found)
    assert '5.14 in patches/0003-Third.patch' in found


def test_a_number_that_is_dropped_is_found(tree):
    tree.write('nova/objects/data.py', "class Data:\n    VERSION = '1.2'\n")
    tree.commit('Third\n\nWhy.\n')
    (found,) = _found(tree)
    assert 'the version of Other' in found
    assert 'make it nothing in patches/0003-Third.patch' in found


def test_a_module_that_is_deleted_drops_its_numbers(tree):
    (tree.path / 'nova/objects/data.py').unlink()
    tree.commit('Third\n\nWhy.\n')
    assert len(_found(tree)) == 2


def test_a_new_class_takes_nothing_of_upstream(tree):
    tree.write('nova/objects/new.py', "class New:\n    VERSION = '1.0'\n")
    tree.commit('Third\n\nWhy.\n')
    assert _found(tree) == []


def test_a_number_that_no_commit_takes_is_found(tree):
    (found,) = _found(tree, TABLE + '[rpc]\nComputeManager = "6.6"\n')
    assert 'is to become 6.6, but the commits make it nothing' in found


def test_an_object_may_take_several_versions(tree):
    _edit(tree, 'nova/objects/data.py', "'1.2'", "'1.3'")
    tree.commit('Third\n\nWhy.\n')
    assert _found(tree, TABLE.replace('"1.2"', '["1.2", "1.3"]')) == []


def test_a_number_that_is_left_out_is_found(tree):
    _edit(tree, 'nova/objects/service.py', '76', '78')
    tree.commit('Third\n\nWhy.\n')
    (found,) = _found(
        tree, TABLE.replace('second = "76"', 'second = "76"\nthird = "78"'))
    assert found == (
        'releases/34.0.0/numbers.toml: the service version is 76, but the '
        'series takes 78')


def test_a_microversion_that_is_not_the_next_is_found_with_the_command(tree):
    _edit(tree, 'nova/api/openstack/api_version_request.py', '2.10', '2.11')
    tree.commit('Third\n\nWhy.\n')
    tree.git('reset', '--quiet', '--soft', 'HEAD^')
    tree.git('commit', '--quiet', '--amend', '--message=Second\n\nWhy.')
    (found,) = _found(tree, TABLE.replace('2.10', '2.11'))
    assert found == (
        'releases/34.0.0/numbers.toml: the microversion is 2.9, but the '
        'series takes 2.11: move those of the series with ./run renumber '
        '2.10')


def test_facts_that_are_not_those_of_the_release_are_found(tree):
    tree.layout.facts.write_text(FACTS.replace('74', '73'))
    assert _found(tree) == [
        'releases/34.0.0/facts.toml: the service version is 73, but the '
        'release has 74']


@pytest.mark.parametrize('value, steps, expected', [
    ('74', 1, '75'), ('2.9', 1, '2.10'), ('1.14', 1, '1.15'),
    ('2.105', 3, '2.108')])
def test_the_number_after_another(value, steps, expected):
    assert numbers.after(value, steps) == expected


def test_a_number_that_upstream_has_given_away_is_not_the_next():
    wanted = {'microversion': ['2.105', '2.106'], 'objects.Data': ['1.15']}
    standing = {'microversion': '2.104', 'objects.Data': '1.14'}
    assert numbers.not_next(standing, wanted) == {}
    assert numbers.not_next({**standing, 'microversion': '2.105'}, wanted) == {
        'microversion':
            'the microversion is 2.105, but the series takes 2.105'}
    assert numbers.not_next({'microversion': '2.104'}, wanted) == {
        'objects.Data':
            'the version of Data is missing, but the series takes 1.15'}


def test_a_microversion_is_known_by_what_takes_it():
    for name in ('live-migrate-rescued', 'transfer'):
        assert numbers.microversion(PROJECT, name) in (
            numbers.taken(PROJECT)['microversion'])


def test_hosts_of_the_series_claim_nothing_by_a_number():
    """Another release would take it for what it means by that number."""
    claims = {
        name for name in numbers.taken(PROJECT)
        if name != 'microversion' and not name.endswith('Payload')}
    # EventType is of notifications, and a MigrationList is not sent to hosts.
    # What LibvirtLiveMigrateData stands for is left to the release:
    # nova/tests/unit/objects/test_migrate_data_releases.py. Hosts take part in
    # a move across cells if they have the RPC namespace; what else a
    # MigrationContext of another release holds is nothing to them.
    assert claims == {
        'objects.EventType', 'objects.LibvirtLiveMigrateData',
        'objects.MigrationContext', 'objects.MigrationList'}


def test_hosts_of_another_release_are_believed_nothing_by_a_number():
    """Its number may stand for something else than that of the series."""
    diff = git.Git(PROJECT.tree).lines(
        'diff', 'base', '--', 'nova', ':!nova/tests')
    assert len(diff) > 1000
    assert [line for line in diff if re.search(
        r'^\+.*(minimum_version|MIN_COMPUTE|can_send_version|SERVICE_VERSION'
        r'|service\.version|has_version)', line)] == []
