# SPDX-License-Identifier: Apache-2.0

"""Which tests of Nova stand for what the series touches."""

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


def test_the_list_adds_to_the_names(nova):
    found, _ = choose.tests(nova, ['nova/virt/libvirt/driver.py'])
    assert 'nova.tests.unit.virt.test_virt_drivers' in found['unit']
    assert 'nova.tests.functional.libvirt.test_live_migration' in (
        found['functional']
    )


def test_a_module_that_no_tests_stand_for_is_told(nova):
    _, without = choose.tests(nova, ['nova/nothing/like_it.py'])
    assert without == ['nova/nothing/like_it.py']


def test_expressions_match_a_module_and_no_other():
    expression, = choose.regexes(['nova.tests.unit.test_a'])
    assert re.match(expression, 'nova.tests.unit.test_a.Case.test_it')
    assert not re.match(expression, 'nova.tests.unit.test_ab.Case.test_it')


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


def test_every_name_in_the_list_is_there():
    text = pathlib.Path(choose.__file__).with_name('modules.toml')
    missing = []
    for suites in tomllib.loads(text.read_text()).values():
        for suite, names in suites.items():
            for name in names:
                path = PROJECT.tree / stestr.SUITES[suite].joinpath(
                    *name.split('.')
                )
                if not path.is_dir() and not path.with_suffix('.py').exists():
                    missing.append(name)
    assert missing == []
