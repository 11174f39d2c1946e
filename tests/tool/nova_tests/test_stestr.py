# SPDX-License-Identifier: Apache-2.0

"""Running tests with stestr, tried on a tree with a few of its own."""

import os
import subprocess
import sys

import pytest

from tool.nova_tests import choose
from tool.nova_tests import stestr

TESTS = '''
import os
import unittest


class Cases(unittest.TestCase):
    def test_passes(self):
        pass

    def test_fails(self):
        self.assertEqual(1, 2, 'one is not two')

    def test_raises(self):
        raise RuntimeError('broken')

    @unittest.skip('not here')
    def test_is_skipped(self):
        pass

    @unittest.expectedFailure
    def test_is_known_to_fail(self):
        self.fail()

    @unittest.expectedFailure
    def test_passes_unexpectedly(self):
        pass
'''

CLEAN = '''
import unittest


class Clean(unittest.TestCase):
    def test_one(self):
        pass

    def test_two(self):
        pass
'''

DIES = '''
import os
import unittest


class Dies(unittest.TestCase):
    def test_dies(self):
        os._exit(7)
'''

HANGS = '''
import threading
import unittest


class Hangs(unittest.TestCase):
    def test_hangs(self):
        threading.Event().wait()
'''


@pytest.fixture
def nova(tmp_path):
    home = tmp_path / 'nova/tests/unit/virt'
    home.mkdir(parents=True)
    for package in (home, *list(home.parents)[:3]):
        (package / '__init__.py').touch()
    (home / 'test_cases.py').write_text(TESTS)
    (home / 'test_clean.py').write_text(CLEAN)
    return tmp_path


def _run(tree, *modules, **kwargs):
    names = [f'nova.tests.unit.virt.{name}' for name in modules]
    return stestr.run(
        tree, 'unit', 'title', regexes=choose.regexes(names), **kwargs
    )


def test_each_test_has_its_status(nova):
    outcome = _run(nova, 'test_cases')
    assert {
        name.rpartition('.')[2]: status
        for name, status in outcome.status.items()
    } == {
        'test_passes': 'passed',
        'test_fails': 'failed',
        'test_raises': 'failed',
        'test_is_skipped': 'skipped',
        'test_is_known_to_fail': 'passed',
        'test_passes_unexpectedly': 'failed',
    }
    assert not outcome.good
    text = outcome.details['nova.tests.unit.virt.test_cases.Cases.test_fails']
    assert 'one is not two' in text


def test_failures_are_named_as_they_happen(nova, capsys):
    _run(nova, 'test_cases')
    assert 'FAILED nova.tests.unit.virt.test_cases.Cases.test_raises' in (
        capsys.readouterr().out
    )


def test_a_run_without_failures_is_good(nova):
    outcome = _run(nova, 'test_clean')
    assert outcome.good
    assert outcome.count('passed') == 2
    assert outcome.died is None


def test_tests_can_be_chosen_by_their_ids(nova):
    names = stestr.ids(nova, 'unit')
    assert len(names) == 8
    one = [name for name in names if name.endswith('test_one')]
    outcome = stestr.run(nova, 'unit', 'title', only=one)
    assert list(outcome.status) == one


def test_a_run_of_nothing_is_not_good(nova):
    outcome = _run(nova, 'test_none')
    assert not outcome.good
    assert 'after 0 tests' in outcome.died


def test_a_module_that_cannot_be_imported_is_not_passed_over(nova):
    (nova / 'nova/tests/unit/virt/test_bad.py').write_text('import nothing_\n')
    outcome = _run(nova, 'test_clean')
    assert not outcome.good
    assert 'nothing_' in outcome.died
    with pytest.raises(RuntimeError, match='nothing_'):
        stestr.ids(nova, 'unit')


def test_a_worker_that_dies_is_not_passed_over(nova):
    (nova / 'nova/tests/unit/virt/test_dies.py').write_text(DIES)
    outcome = _run(nova, 'test_dies', 'test_clean')
    assert not outcome.good


def test_a_run_that_hangs_is_ended(nova, monkeypatch):
    monkeypatch.setattr(stestr, '_STUCK', 5)
    (nova / 'nova/tests/unit/virt/test_hangs.py').write_text(HANGS)
    outcome = _run(nova, 'test_hangs', 'test_clean')
    hanging = 'nova.tests.unit.virt.test_hangs.Hangs.test_hangs'
    assert [
        name for name, status in outcome.status.items() if status == 'failed'
    ] == [hanging]
    assert outcome.count('passed') == 2
    assert 'no test has started or ended for 5 s' in outcome.died
    assert not outcome.good


def test_the_users_own_settings_do_not_reach_the_tests(monkeypatch, tmp_path):
    monkeypatch.setenv('OS_CLOUD', 'mine')
    monkeypatch.setenv('PYTHONPATH', '/mine')
    env = stestr.environment(tmp_path)
    assert 'OS_CLOUD' not in env
    assert env['PYTHONPATH'].split(os.pathsep) == [
        str(tmp_path), str(stestr.STARTUP)]
    assert env['OS_NOVA_DISABLE_EVENTLET_PATCHING'] == 'False'


def _say(tmp_path, program, *options):
    """What a program prints in the environment of Nova's tests.

    :param options: of Python
    """
    return subprocess.run(
        [sys.executable, *options, '-c', program],
        env=stestr.environment(tmp_path), check=True, text=True,
        capture_output=True).stdout.strip()


def test_garbage_is_collected_less_often(tmp_path):
    program = 'import gc; print(gc.get_threshold()[0])'
    assert int(_say(tmp_path, program)) > int(_say(tmp_path, program, '-I'))


def test_yaml_is_read_by_libyaml(tmp_path):
    program = """if True:
        import yaml
        print(yaml.safe_load('{a: [1, yes, null]}'))
        try:
            yaml.safe_load('!!python/name:os.system')
        except yaml.YAMLError:
            print('refused, by', yaml.SafeLoader.__name__)
        """
    usual = _say(tmp_path, program, '-I')
    assert usual == "{'a': [1, True, None]}\nrefused, by SafeLoader"
    assert _say(tmp_path, program) == usual.replace(
        'SafeLoader', 'CSafeLoader')


def test_databases_share_the_statements_that_are_compiled(tmp_path):
    program = """if True:
        import sqlalchemy
        from sqlalchemy.dialects.sqlite import base
        compiled = []
        class Compiler(base.SQLiteCompiler):
            def visit_select(self, *args, **kwargs):
                compiled.append(1)
                return super().visit_select(*args, **kwargs)
        base.SQLiteDialect.statement_compiler = Compiler
        table = sqlalchemy.table('t', sqlalchemy.column('a'))
        for number in range(3):
            engine = sqlalchemy.create_engine('sqlite://')
            with engine.connect() as connection:
                connection.exec_driver_sql('CREATE TABLE t (a)')
                connection.execute(table.insert().values(a=number))
                print(connection.execute(
                    table.select().where(table.c.a == number)).scalar())
        print(len(compiled), 'compiled')
        """
    assert _say(tmp_path, program, '-I') == '0\n1\n2\n3 compiled'
    assert _say(tmp_path, program) == '0\n1\n2\n1 compiled'


CLEAN_MODULE = 'nova.tests.unit.virt.test_clean'


def test_tests_of_a_module_are_chosen_by_patterns(nova, capsys):
    (nova / 'nova/tests/unit/virt/test_bad.py').write_text('import nothing_\n')
    outcome = stestr.run_modules(
        nova, [CLEAN_MODULE], [f'{CLEAN_MODULE}.Clean.test_o*'])
    assert outcome.status == {f'{CLEAN_MODULE}.Clean.test_one': 'passed'}
    assert outcome.good
    assert not capsys.readouterr().out


@pytest.mark.parametrize('source', ['import nothing_\n', DIES])
def test_a_module_that_cannot_be_run_is_not_passed_over(nova, source):
    (nova / 'nova/tests/unit/virt/test_bad.py').write_text(source)
    bad = 'nova.tests.unit.virt.test_bad'
    outcome = stestr.run_modules(
        nova, [CLEAN_MODULE, bad], [f'{CLEAN_MODULE}.*', f'{bad}.*'])
    assert not outcome.good
    assert outcome.died or outcome.details


def test_patterns_that_match_nothing_are_not_good(nova):
    outcome = stestr.run_modules(nova, [CLEAN_MODULE], ['nova.none.*'])
    assert not outcome.good
    assert 'after 0 tests' in outcome.died
