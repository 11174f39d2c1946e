# SPDX-License-Identifier: Apache-2.0

"""./run export wheel."""

import base64
import csv
import hashlib
import io
import os
import pathlib
import sys
import sysconfig
import venv
import zipfile

import pytest

from tests.tool import conftest
from tool.console import Problem
from tool.exports import wheel
from tool import git
from tool.layout import PROJECT
from tool import release

# The package of each project.
PACKAGES = {
    'nova': 'nova', 'openstacksdk': 'openstack',
    'python-openstackclient': 'openstackclient', 'tempest': 'tempest',
}


@pytest.fixture
def repository(two):
    """The series' own repository, of one commit."""
    repo = git.Git(two.layout.root)
    (two.layout.root / '.gitignore').write_text('/build/\n/.cache/\n')
    repo('init', '--quiet')
    repo('add', '--all')
    repo('commit', '--quiet', '--message=One')
    return repo


def test_a_wheel_holds_what_is_committed(two, repository, tmp_path):
    two.write('setup.py', (
        'import os\nfrom setuptools import find_packages, setup\n'
        "setup(name='nova', version=os.environ['PBR_VERSION'],\n"
        "      packages=['nova', 'nova.virt'])\n"))
    two.commit('Third\n\nWhy.\n')
    two.write('nova/virt/driver.py', 'not committed')
    wheel.export([two.layout], tmp_path / 'out')
    (found,) = (tmp_path / 'out').iterdir()
    assert found.name == 'nova-34.0.0+series1-py3-none-any.whl'
    with zipfile.ZipFile(found) as held:
        assert held.read('nova/virt/driver.py') == (
            b'ONE = 1\nTWO = 22\nTHREE = 3\n')
        assert held.read('nova/virt/rescue.py') == b'NAME = "disk.rescue"\n'
    assert len(two.git.lines('worktree', 'list')) == 1


def test_several_are_written_together_or_not_at_all(
        two, repository, companion, tmp_path):
    companion.write('setup.py', 'raise SystemExit("no such thing")\n')
    companion.commit('Third\n\nWhy.\n')
    with pytest.raises(Problem, match='no such thing'):
        wheel.export([two.layout, companion.layout], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_each_commit_of_the_repository_is_a_later_version(two, repository):
    assert wheel.version(two.layout) == '34.0.0+series1'
    repository('commit', '--quiet', '--allow-empty', '--message=Two')
    assert wheel.version(two.layout) == '34.0.0+series2'


def test_what_cannot_be_built_leaves_nothing(two, repository, tmp_path):
    two.write('setup.py', 'raise SystemExit("no such thing")\n')
    two.commit('Third\n\nWhy.\n')
    with pytest.raises(Problem, match='no such thing'):
        wheel.export([two.layout], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_without_a_repository_there_is_no_version(two, tmp_path):
    conftest.shell(two.layout.root, 'rm', '-rf', '.git')
    with pytest.raises(Problem, match='not a whole clone'):
        wheel.version(two.layout)


@pytest.fixture(scope='module')
def wheels(tmp_path_factory):
    """The wheels of this repository, by their projects."""
    where = tmp_path_factory.mktemp('wheels')
    wheel.export([PROJECT.of(name) for name in PACKAGES], where)
    return {
        name: next(where.glob(f'{name.replace("-", "_")}-*.whl'))
        for name in PACKAGES}


@pytest.fixture(scope='module')
def environment(wheels, tmp_path_factory):
    """A new environment with the pinned dependencies and the wheels."""
    where = tmp_path_factory.mktemp('environment')
    venv.create(where)
    (purelib,) = where.glob('lib/*/site-packages')
    (purelib / 'pinned.pth').write_text(sysconfig.get_path('purelib') + '\n')
    done = _pip(where, 'install', '--no-deps', '--no-index', '--no-compile',
                *wheels.values())
    assert done.returncode == 0, done.stderr
    return where


def _pip(environment, *words):
    return conftest.shell(
        '/', sys.executable, '-m', 'pip', '--python', environment,
        '--disable-pip-version-check', *words)


def _type(environment, command, *words):
    """Types a command of the environment; what it prints."""
    env = {
        name: value for name, value in os.environ.items()
        if name != 'PYTHONPATH'}
    done = conftest.shell('/', environment / 'bin' / command, *words, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.whole
@pytest.mark.parametrize('project', PACKAGES)
def test_a_wheel_holds_its_package_as_committed(wheels, project):
    repo = git.Git(PROJECT.of(project).tree)
    with zipfile.ZipFile(wheels[project]) as held:
        for line in repo.lines(
                'ls-tree', '-r', 'HEAD', '--', PACKAGES[project]):
            head, path = line.split('\t')
            kind, blob = head.split()[1:]
            data = held.read(path)
            assert hashlib.sha1(
                b'%s %d\0%s' % (kind.encode(), len(data), data),
                usedforsecurity=False).hexdigest() == blob, path


@pytest.mark.whole
@pytest.mark.parametrize('project', PACKAGES)
def test_the_record_of_a_wheel_is_right(wheels, project):
    with zipfile.ZipFile(wheels[project]) as held:
        (record,) = (
            name for name in held.namelist()
            if name.endswith('.dist-info/RECORD'))
        listed = {
            name: digest for name, digest, _ in csv.reader(
                io.StringIO(held.read(record).decode()))}
        assert listed.pop(record) == ''
        assert {record, *listed} == set(held.namelist())
        for name, digest in listed.items():
            hashed = hashlib.sha256(held.read(name)).digest()
            assert digest == 'sha256=' + base64.urlsafe_b64encode(
                hashed).rstrip(b'=').decode(), name


@pytest.mark.whole
def test_the_wheels_fit_the_pinned_dependencies(environment):
    assert _pip(environment, 'check').stdout == (
        'No broken requirements found.\n')


@pytest.mark.whole
def test_nova_runs_from_its_wheel(environment):
    assert _type(environment, 'nova-compute', '--version') == (
        f'{release.read(PROJECT).version}\n')
    where = pathlib.Path(_type(
        environment, 'python', '-c',
        'from nova.virt.libvirt import rescue; print(rescue.__file__)'))
    assert where.is_relative_to(environment)


@pytest.mark.whole
def test_the_command_line_runs_from_its_wheel(environment):
    version = wheel.version(PROJECT.of('python-openstackclient'))
    assert _type(environment, 'openstack', '--version') == (
        f'openstack {version}\n')
    assert 'usage: openstack server transfer' in _type(
        environment, 'openstack', 'server', 'transfer', '--help')
