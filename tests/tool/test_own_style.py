# SPDX-License-Identifier: Apache-2.0

"""The style of the tool's and the lab's own code: Nova's."""

import sys

from tests.tool import conftest
from tool.layout import PROJECT


def test_own_code_passes_hacking():
    done = conftest.shell(
        PROJECT.root, sys.executable, '-m', 'flake8', 'tool', 'lab', 'tests'
    )
    assert done.stdout == ''
    assert done.returncode == 0
