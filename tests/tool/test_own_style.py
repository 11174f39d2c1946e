# SPDX-License-Identifier: Apache-2.0

"""The style of this repository's own code: Nova's, with types."""

import pathlib
import sys

from tests.tool import conftest
from tool.layout import PROJECT

SHELLCHECK = pathlib.Path(sys.executable).with_name('shellcheck')


def _passes(*command):
    done = conftest.shell(PROJECT.root, *map(str, command))
    assert done.returncode == 0, done.stdout + done.stderr


def test_own_code_passes_hacking():
    _passes(sys.executable, '-m', 'flake8', 'tool', 'lab', 'tests')


def test_types_of_own_code_fit(tmp_path):
    _passes(
        sys.executable, '-m', 'mypy', '--cache-dir', tmp_path, 'tool', 'lab')


def test_own_shell_passes_shellcheck():
    _passes(SHELLCHECK, '--external-sources', 'run', '.ci/run',
            'devstack/settings', 'devstack/plugin.sh',
            'tests/devstack/stack.sh',
            *sorted(PROJECT.root.glob('lab/guest/*.sh')))
