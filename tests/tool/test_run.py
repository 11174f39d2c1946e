# SPDX-License-Identifier: Apache-2.0

"""The entry point, ./run, as far as it needs no installation."""

import os
import pathlib
import shutil

import pytest

from tests.tool import conftest

RUN = pathlib.Path(__file__).parents[2] / 'run'


@pytest.fixture
def bare(tmp_path):
    """A copy of the entry point, and a PATH with the least it can live on."""
    shutil.copy(RUN, tmp_path)
    shutil.copy(RUN.with_name('constraints.txt'), tmp_path)
    tools = tmp_path / 'bin'
    tools.mkdir()
    for name in ('bash', 'cat', 'dirname', 'env', 'flock', 'git', 'mkdir',
                 'readlink', 'rm', 'sha256sum'):
        (tools / name).symlink_to(shutil.which(name))
    return tmp_path


def _run_bare(bare):
    return conftest.shell(
        bare, './run', 'build', env={'PATH': str(bare / 'bin')}
    )


def test_a_missing_python_is_said_so(bare):
    done = _run_bare(bare)
    assert done.returncode == 1
    assert 'no Python 3.11 or newer found' in done.stderr


def _python(bare, name, code):
    """A command that answers as some Python would."""
    file = bare / 'bin' / name
    file.write_text(f'#!{shutil.which("bash")}\n{code}\n')
    file.chmod(0o755)


def test_a_python_that_is_too_old_is_none(bare):
    _python(bare, 'python3', 'exit 1')
    done = _run_bare(bare)
    assert done.returncode == 1
    assert 'no Python 3.11 or newer found' in done.stderr


def test_a_python_without_venv_is_said_so(bare):
    _python(
        bare, 'python3.12',
        'case $2 in *ensurepip*) exit 1;; '
        '*print*) echo python3.12-venv;; esac',
    )
    done = _run_bare(bare)
    assert done.returncode == 1
    assert 'apt install python3.12-venv' in done.stderr


def test_a_missing_git_is_said_so(bare):
    os.unlink(bare / 'bin/git')
    done = _run_bare(bare)
    assert done.returncode == 1
    assert 'git is missing: install it' in done.stderr


def test_an_installation_that_was_broken_off_is_made_anew(bare):
    broken = bare / '.tox/tox/bin'
    broken.mkdir(parents=True)
    (broken / 'python').write_text('')
    done = _run_bare(bare)
    assert 'no Python 3.11 or newer found' in done.stderr


def test_a_checkout_of_another_user_is_said_so(bare):
    (bare / '.tox').write_text('')
    done = _run_bare(bare)
    assert done.returncode == 1
    assert 'use a checkout of your own' in done.stderr
    assert done.stderr.count('\n') == 1
