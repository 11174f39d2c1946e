# SPDX-License-Identifier: Apache-2.0

"""./run tests: which of the tests of the tool and the lab run."""

import shutil

import pytest

from tool.layout import Layout
from tool.layout import PROJECT
from tool import tests

CASES = '''import pytest


def test_short():
    pass


@pytest.mark.whole
def test_long():
    pass
'''


@pytest.mark.parametrize('everything, names', [
    (False, {'test_short'}),
    pytest.param(
        True, {'test_short', 'test_long'}, marks=pytest.mark.whole)])
def test_what_takes_long_is_run_if_all_is_asked_for(
    tmp_path, everything, names
):
    shutil.copy(PROJECT.root / 'pyproject.toml', tmp_path)
    for name in ('tool', 'lab', 'devstack'):
        (tmp_path / 'tests' / name).mkdir(parents=True)
    (tmp_path / 'tests/tool/test_it.py').write_text(CASES)
    outcome = tests._pytest(Layout(tmp_path), everything)
    assert outcome.good
    assert {name.split()[0].rpartition('.')[2]
            for name in outcome.status} == names
