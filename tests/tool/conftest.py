# SPDX-License-Identifier: Apache-2.0

"""A small project to try the tool on: a base of a few files, no patches."""

import gzip
import hashlib
import io
import pathlib
import subprocess
import tarfile

import pytest

from tool import build
from tool import git
from tool.layout import Layout
from tool import refresh

# Stands for Nova; a module and a text long enough for hunks to be apart.
BASE = {
    'setup.py': 'from setuptools import setup\n'
    "setup(name='nova', version='34.0.0', packages=[])\n",
    'PKG-INFO': 'Metadata-Version: 2.1\nName: nova\nVersion: 34.0.0\n',
    'nova/__init__.py': '',
    'nova/compute/manager.py': ''.join(
        f'def step_{number}():\n    return {number}\n\n\n'
        for number in range(20)
    ),
    'nova/virt/driver.py': 'ONE = 1\nTWO = 2\nTHREE = 3\n',
    'doc/source/index.rst': 'Title\n=====\n\nText.\n',
    'tools/run.sh': '#!/bin/sh\necho hello\n',
}

MESSAGE = (
    'Change the manager\n\nIt was wrong.\n\nCloses-Bug: #1\n'
    'Change-Id: I' + '1' * 40 + '\n'
)


def archive(files):
    """The bytes of a source archive of some files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for path, text in files.items():
            info = tarfile.TarInfo(f'nova-34.0.0/{path}')
            info.size = len(text.encode())
            info.mode = 0o755 if path.endswith('.sh') else 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


def project(root, files=None):
    """A project below a directory, with its base at hand."""
    layout = Layout(root)
    data = archive(files or BASE)
    layout.cache.mkdir(parents=True)
    (layout.cache / 'nova-34.0.0.tar.gz').write_bytes(data)
    layout.base.parent.mkdir(parents=True)
    layout.base.write_text(
        'nova==34.0.0 \\\n    --hash=sha256:'
        + hashlib.sha256(data).hexdigest() + '\n'
    )
    return layout


COMPANION = 'python-client'

# Stands for a companion, with what configures its checks.
BASE_OF_COMPANION = {
    'PKG-INFO': 'Metadata-Version: 2.1\nName: python-client\nVersion: 1.0\n',
    '.pre-commit-config.yaml': (
        'repos:\n  - repo: somewhere\n    hooks:\n'
        '      - id: trailing-whitespace\n'
        '      - id: hacking\n        exclude: ^doc/\n'
    ),
    'pyproject.toml': '[tool.setuptools]\n',
    'tox.ini': '[flake8]\nselect = H\n',
    'client/__init__.py': '',
    'client/server.py': 'NAME = 1\n',
    'client/tests/__init__.py': '',
    'client/tests/unit/__init__.py': '',
    'client/tests/unit/test_server.py': (
        'import unittest\n\nfrom client import server\n\n\n'
        'class Server(unittest.TestCase):\n    def test_name(self):\n'
        '        self.assertEqual(1, server.NAME)\n'
    ),
    'doc/source/index.rst': 'Title\n=====\n\nText.\n',
}


def add_companion(layout, files=None):
    """Adds a companion to a project, with its base at hand.

    :returns: its Layout
    """
    layout = layout.of(COMPANION)
    data = archive(files or BASE_OF_COMPANION)
    layout.cache.mkdir(parents=True, exist_ok=True)
    (layout.cache / 'python_client-1.0.tar.gz').write_bytes(data)
    layout.home.mkdir(parents=True)
    layout.base.write_text(
        'python-client==1.0 \\\n    --hash=sha256:'
        + hashlib.sha256(data).hexdigest() + '\n'
    )
    return layout


class Tree:
    """The tree of a project, as a developer works in it."""

    def __init__(self, layout):
        self.layout = layout
        self.path = layout.tree
        self.git = git.Git(layout.tree)

    def write(self, path, text, executable=False):
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if executable else 0o644)

    def read(self, path):
        return (self.path / path).read_text()

    def commit(self, message=MESSAGE):
        self.git('add', '--all')
        self.git(
            'commit', '--quiet', '--allow-empty-message', '--cleanup=verbatim',
            '--message', message,
        )
        return self.git.commit('HEAD')

    def subjects(self):
        return self.git.lines('log', '--reverse', '--format=%s', 'base..HEAD')


@pytest.fixture
def layout(tmp_path):
    return project(tmp_path / 'project')


@pytest.fixture
def tree(layout):
    """The tree of a project without patches."""
    build.build(layout)
    return Tree(layout)


@pytest.fixture
def companion(layout):
    """The tree of a companion with two patches, beside a Nova without any."""
    layout = add_companion(layout)
    build.build(layout)
    tree = Tree(layout)
    tree.write('client/server.py', 'NAME = 2\n')
    test = 'client/tests/unit/test_server.py'
    tree.write(test, tree.read(test).replace('(1,', '(2,'))
    tree.write('doc/source/server.rst', 'Server\n')
    tree.commit(
        'First\n\nWhy.\n\nCloses-Bug: #1\nChange-Id: I' + '1' * 40 + '\n')
    tree.write('doc/source/server.rst', 'Server, two\n')
    tree.commit(
        'Second\n\nWhy.\n\nCloses-Bug: #1\nChange-Id: I' + '2' * 40 + '\n')
    refresh.refresh(layout)
    return tree


@pytest.fixture
def two(tree):
    """The tree of a project with two patches and two additions."""
    tree.write('nova/virt/driver.py', 'ONE = 1\nTWO = 22\nTHREE = 3\n')
    manager = tree.read('nova/compute/manager.py')
    tree.write('nova/compute/manager.py', manager.replace('10\n', '100\n'))
    tree.write('nova/virt/rescue.py', 'NAME = "rescue"\n')
    tree.commit('First\n\nWhy.\n\nChange-Id: I' + '1' * 40 + '\n')
    tree.write('nova/virt/rescue.py', 'NAME = "disk.rescue"\n')
    tree.write('doc/source/rescue.rst', 'Rescue\n')
    tree.commit('Second\n\nWhy.\n\nChange-Id: I' + '2' * 40 + '\n')
    refresh.refresh(tree.layout)
    return tree


@pytest.fixture
def stuck(two):
    """The tree of a project whose third patch of four does not apply.

    It edits what the first patch has come to write otherwise. It also adds a
    file, which the fourth edits.
    """
    two.write('nova/virt/driver.py', 'ONE = 1\nTWO = 23\nTHREE = 3\n')
    two.write('doc/source/third.rst', 'Third\n\n\n\n\n\n\n\nEnd\n')
    two.commit('Third\n\nWhy.\n')
    two.write('doc/source/third.rst', 'Third\n\n\n\n\n\n\n\nThe end\n')
    two.commit('Fourth\n\nWhy.\n')
    refresh.refresh(two.layout)
    first = two.layout.patches / '0001-First.patch'
    first.write_text(first.read_text().replace('TWO = 22', 'TWO = 21'))
    return two


def snapshot(root, without=('build', '.cache')):
    """All that is in a directory: path -> content, mode and link target."""
    found = {}
    for file in sorted(pathlib.Path(root).rglob('*')):
        path = file.relative_to(root)
        if path.parts[0] in without or file.is_dir():
            continue
        found[str(path)] = (
            file.readlink() if file.is_symlink()
            else (file.read_bytes(), file.stat().st_mode)
        )
    return found


def shell(directory, *command, **env):
    """Runs a command as a user would; its output and exit code."""
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False,
        **env,
    )
    return done
