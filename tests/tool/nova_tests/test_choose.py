# SPDX-License-Identifier: Apache-2.0

"""Which tests of Nova stand for what the series touches."""

import ast
import pathlib
import re
import tomllib

import pytest

from tool import git
from tool.layout import PROJECT
from tool.nova_tests import choose
from tool.nova_tests import stestr
from tool import series


@pytest.fixture
def nova(tmp_path):
    for path in (
        'nova/virt/libvirt/driver.py',
        'nova/tests/unit/virt/libvirt/test_driver.py',
        'nova/tests/unit/virt/libvirt/test_driver_disks.py',
        'nova/tests/unit/virt/libvirt/test_drivers.py',
        'nova/tests/unit/virt/libvirt/cpu/test_api.py',
        'nova/tests/functional/libvirt/test_rescue.py',
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_a_module_has_the_tests_of_its_name(nova):
    assert choose.unit_by_name(nova, 'nova/virt/libvirt/driver.py') == {
        'nova.tests.unit.virt.libvirt.test_driver',
        'nova.tests.unit.virt.libvirt.test_driver_disks',
    }
    assert choose.unit_by_name(nova, 'nova/virt/libvirt/cpu.py') == {
        'nova.tests.unit.virt.libvirt.cpu.test_api',
    }


def test_test_modules_stand_for_themselves(nova):
    found, without = choose.tests(nova, [
        'nova/tests/functional/libvirt/test_rescue.py',
        'nova/tests/unit/virt/libvirt/test_drivers.py',
        'nova/tests/unit/virt/libvirt/test_gone.py',
        'doc/source/index.rst',
    ])
    assert found == {
        'unit': {'nova.tests.unit.virt.libvirt.test_drivers'},
        'functional': {'nova.tests.functional.libvirt.test_rescue'},
    }
    assert without == []


def test_of_test_modules_a_part_can_be_wanted(nova):
    path = 'nova/tests/functional/libvirt/test_rescue.py'
    found, _ = choose.tests(nova, [path], {path: {'Case', 'Other.test_it'}})
    assert found['functional'] == {
        'nova.tests.functional.libvirt.test_rescue.Case',
        'nova.tests.functional.libvirt.test_rescue.Other.test_it',
    }


def test_the_list_adds_to_the_names(nova):
    found, _ = choose.tests(nova, ['nova/virt/libvirt/driver.py'])
    assert 'nova.tests.unit.virt.test_virt_drivers' in found['unit']
    assert 'nova.tests.functional.libvirt.test_live_migration' in (
        found['functional']
    )


def test_the_list_can_stand_in_the_place_of_the_names(nova):
    for path in ('nova/db/main/api.py', 'nova/tests/unit/db/main/test_api.py'):
        (nova / path).parent.mkdir(parents=True, exist_ok=True)
        (nova / path).touch()
    assert choose.unit_by_name(nova, 'nova/db/main/api.py')
    found, without = choose.tests(nova, ['nova/db/main/api.py'])
    assert 'nova.tests.unit.db.main.test_api' not in found['unit']
    assert 'nova.tests.unit.db.main.test_api.InstanceTestCase' in found['unit']
    assert without == []


def test_a_module_that_no_tests_stand_for_is_told(nova):
    _, without = choose.tests(nova, ['nova/nothing/like_it.py'])
    assert without == ['nova/nothing/like_it.py']


def test_expressions_match_a_module_and_no_other():
    expression, = choose.regexes(['nova.tests.unit.test_a'])
    assert re.match(expression, 'nova.tests.unit.test_a.Case.test_it')
    assert not re.match(expression, 'nova.tests.unit.test_ab.Case.test_it')


def test_expressions_match_all_that_is_made_of_a_method():
    expression, = choose.regexes(['nova.tests.unit.test_a.Case.test_it'])
    for name in ('test_it', 'test_it_1_one', 'test_it(v2_30)'):
        assert re.match(expression, f'nova.tests.unit.test_a.Case.{name}')
    for name in ('Case.test_is', 'Cases.test_it'):
        assert not re.match(expression, f'nova.tests.unit.test_a.{name}')


def _touched_by_the_series():
    return {
        path
        for one in series.make_commits(
            git.Git(PROJECT.tree), PROJECT,
            git.Git(PROJECT.tree).commit('base'),
        )
        for path in git.Git(PROJECT.tree).lines(
            'diff', '--name-only', f'{one.commit}^', one.commit
        )
    }


def test_every_module_that_the_series_touches_has_tests():
    _, without = choose.tests(PROJECT.tree, _touched_by_the_series())
    assert without == []


def _defines(file, name, method=''):
    """Whether a module has a class with tests that begin with a name."""
    return any(
        isinstance(node, ast.ClassDef) and node.name == name and any(
            isinstance(part, ast.FunctionDef) and part.name.startswith(method)
            for part in node.body)
        for node in ast.parse(file.read_text()).body)


def test_every_name_in_the_list_is_there():
    text = pathlib.Path(choose.__file__).with_name('modules.toml')
    missing = []
    for suites in tomllib.loads(text.read_text()).values():
        for suite, names in suites.items():
            for name in names:
                module, *inside = re.split(r'\.(?=[A-Z])', name)
                path = PROJECT.tree / stestr.SUITES[suite].joinpath(
                    *module.split('.')
                )
                file = path.with_suffix('.py')
                if not path.is_dir() and not file.exists():
                    missing.append(name)
                elif inside and not _defines(file, *inside[0].split('.')):
                    missing.append(name)
    assert missing == []
