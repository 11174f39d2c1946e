# SPDX-License-Identifier: Apache-2.0

"""The series of other projects, beside that of Nova."""

import shutil

import pytest

from tests.tool import conftest
from tool import build
from tool import check
from tool.checks import companion as checks
from tool import commands
from tool.console import Problem
from tool.layout import PROJECT
from tool.layout import RELEASE
from tool import refresh
from tool import tests

SHOWN = f'companions/{conftest.COMPANION}/patches'


@pytest.fixture
def constraints(companion):
    (companion.layout.root / 'constraints.txt').write_text('one==1\n')


def test_the_companions_are_those_with_a_pin(companion):
    assert companion.layout.companions == [conftest.COMPANION]
    assert PROJECT.companions == [
        'openstacksdk', 'python-openstackclient', 'tempest']


def test_a_tree_goes_to_patches_and_comes_back(companion):
    head = companion.git.commit('HEAD')
    root = companion.layout.root
    first = root / SHOWN / '0001-First.patch'
    assert '+Server\n' in first.read_text()
    assert 'Adds: ' not in first.read_text()
    assert not (root / 'doc').exists()
    assert (root / SHOWN / 'series').read_text().endswith(
        '0001-First.patch\n0002-Second.patch\n')
    shutil.rmtree(companion.path)
    assert build.build(companion.layout) == head
    assert companion.git('log', '-1', '--format=%s', 'base') == (
        'python-client 1.0')
    assert refresh.refresh(companion.layout) == []


def test_nova_and_a_companion_do_not_touch_each_other(companion):
    nova = companion.layout.of('nova')
    build.build(nova)
    tree = conftest.Tree(nova)
    tree.write('nova/virt/rescue.py', 'NAME = 1\n')
    tree.commit()
    before = conftest.snapshot(nova.root / 'companions')
    refresh.refresh(nova)
    assert conftest.snapshot(nova.root / 'companions') == before
    companion.write('client/server.py', 'NAME = 3\n')
    companion.commit('Third\n\nWhy.\n')
    assert refresh.refresh(companion.layout) == [
        f'new      {SHOWN}/0003-Third.patch', f'changed  {SHOWN}/series']
    assert tree.subjects() == ['Change the manager']
    assert companion.subjects() == ['First', 'Second', 'Third']


def test_a_patch_of_a_companion_adds_no_file_of_the_overlay(companion):
    patch = companion.layout.patches / '0001-First.patch'
    patch.write_text(patch.read_text().replace(
        '---\n', '---\nAdds: doc/source/rescue.rst\n', 1))
    with pytest.raises(Problem, match=f'{SHOWN}/0001-First.patch adds'):
        build.build(companion.layout)


def test_what_is_refused_names_the_command_for_the_companion(companion):
    patch = companion.layout.patches / '0001-First.patch'
    patch.write_text(patch.read_text().replace('NAME = 2', 'NAME = 4'))
    companion.write('client/server.py', 'MINE = 1\n')
    with pytest.raises(
            Problem, match='./run build python-client --force'):
        build.build(companion.layout)


def test_a_patch_that_does_not_apply_is_mended_in_a_tree_of_its_own(
        companion):
    layout = companion.layout
    patch = layout.patches / '0001-First.patch'
    patch.write_text(patch.read_text().replace('-NAME = 1', '-NAME = 0'))
    with pytest.raises(Problem) as caught:
        build.build(layout)
    said = str(caught.value)
    assert f'{SHOWN}/0001-First.patch does not apply' in said
    assert './run refresh python-client --mend' in said
    assert layout.mend == layout.build / 'mend.python-client'
    command = next(
        line for line in said.splitlines() if 'git apply --reject' in line)
    conftest.shell(layout.root, 'bash', '-c', command)
    mend = conftest.Tree(layout)
    mend.path, mend.git.tree = layout.mend, layout.mend
    (layout.mend / 'client/server.py.rej').unlink()
    mend.write('client/server.py', 'NAME = 2\n')
    mend.commit('First\n\nWhy.\n')
    refresh.refresh(layout, mend=True)
    assert not layout.mend.exists()
    build.build(layout)
    assert companion.subjects() == ['First', 'Second']


def _checked(companion, capsys, **options):
    capsys.readouterr()
    code = check.run(companion.layout, **options)
    return code, capsys.readouterr().out


def test_a_companion_is_checked_by_its_own_rules(
        companion, constraints, capsys):
    code, said = _checked(companion, capsys)
    assert code == 0, said
    assert 'All 7 checks passed.' in said
    assert '0001-First.patch: 1 passed' in said


@pytest.mark.parametrize('text, where', [
    ('import sys\nimport os\nNAME = 2\n', 'hacking: ./client/server.py'),
    ('NAME = 3\n', 'client.tests.unit.test_server.Server.test_name'),
])
def test_what_is_wrong_with_a_companion_is_found(
        companion, constraints, capsys, text, where):
    companion.write('client/server.py', text)
    companion.commit(conftest.MESSAGE.replace('1' * 40, '3' * 40))
    refresh.refresh(companion.layout)
    code, said = _checked(companion, capsys)
    assert code == 1
    assert where in said


def test_hooks_leave_out_what_the_project_excludes(companion):
    companion.write('doc/source/conf.py', 'import sys\nimport os\n')
    assert checks.style(
        companion.layout, companion.git, ['doc/source/conf.py']) == []


@pytest.mark.parametrize('path, module', [
    ('client/server.py', {'client.tests.unit.test_server'}),
    ('client/tests/unit/test_server.py', {'client.tests.unit.test_server'}),
    ('client/none.py', set()),
    ('client/tests/unit/fakes.py', set()),
    ('doc/source/index.rst', set()),
])
def test_modules_have_the_unit_tests_of_their_name(companion, path, module):
    assert checks.unit_tests(companion.path, [path]) == module


def test_unit_tests_may_be_the_only_tests(companion):
    test = companion.path / 'client/tests/unit/test_server.py'
    test.rename(companion.path / 'client/tests/test_server.py')
    shutil.rmtree(companion.path / 'client/tests/unit')
    assert checks.unit_tests(companion.path, ['client/server.py']) == {
        'client.tests.test_server'}


def test_a_project_without_hooks_is_checked_by_flake8(companion):
    (companion.path / '.pre-commit-config.yaml').unlink()
    companion.write('client/server.py', 'import sys\nimport os\n')
    (found,) = checks.style(
        companion.layout, companion.git, ['client/server.py'])
    assert 'client/server.py' in found


def test_the_unit_tests_of_a_companion_are_run(companion, capsys):
    assert tests.run(companion.layout.of('nova'), ['python-client']) == 0
    assert capsys.readouterr().out.endswith('1 passed, 0 failed\n')


def test_tests_that_cannot_be_imported_do_not_pass(companion):
    companion.write('client/server.py', 'import nothing_\n')
    outcome = checks.run_tests(
        companion.layout, companion.path, {'client.tests.unit.test_server'})
    assert not outcome.good


class _Args:
    projects = ()
    force = mend = False
    release = RELEASE


def test_without_a_name_all_are_built_and_what_is_there_refreshed(
        companion, monkeypatch, capsys):
    monkeypatch.setattr(commands, 'PROJECT', companion.layout.of('nova'))
    shutil.rmtree(companion.path)
    build.build(companion.layout.of('nova'))
    capsys.readouterr()
    assert commands.refresh(_Args()) == 0
    assert SHOWN not in capsys.readouterr().out
    assert commands.build(_Args()) == 0
    assert companion.subjects() == ['First', 'Second']
    capsys.readouterr()
    assert commands.refresh(_Args()) == 0
    assert SHOWN in capsys.readouterr().out


def test_a_name_chooses_what_is_built(companion, monkeypatch):
    monkeypatch.setattr(commands, 'PROJECT', companion.layout.of('nova'))
    args = _Args()
    args.projects = ['python-client']
    commands.build(args)
    assert not companion.layout.of('nova').tree.exists()
