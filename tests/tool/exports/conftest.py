# SPDX-License-Identifier: Apache-2.0

"""What the exports are tried on: two patches, and someone who takes them."""

import pytest

from tests.tool import conftest
from tool import git


@pytest.fixture
def exporter(tmp_path, monkeypatch):
    """Whoever exports, with a git identity."""
    config = tmp_path / 'gitconfig'
    config.write_text('[user]\nname = Ann\nemail = ann@example.org\n')
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', str(config))
    for name in ('AUTHOR', 'COMMITTER'):
        for what in ('NAME', 'EMAIL'):
            monkeypatch.delenv(f'GIT_{name}_{what}', raising=False)


def unpacked(where):
    """The unpacked source archive of what the series stands on."""
    for path, text in conftest.BASE.items():
        (where / path).parent.mkdir(parents=True, exist_ok=True)
        (where / path).write_text(text)
    return where


@pytest.fixture
def nova(exporter, tmp_path):
    """A checkout of what the series stands on, not made by the tool."""
    repo = git.Git(unpacked(tmp_path / 'their nova'), own=True)
    repo('-c', 'init.defaultBranch=master', 'init', '--quiet')
    repo('add', '--all')
    repo('commit', '--quiet', '--message=Theirs')
    return repo


@pytest.fixture
def topical(two):
    """Two patches, each a topic of its own."""
    series = two.layout.patches / 'series'
    first, second = [
        line for line in series.read_text().splitlines()
        if not line.startswith('#')
    ]
    series.write_text(
        f'# Topic fixes: what stands alone\n{first}\n'
        f'# Topic feature\n{second}\n')
    return two
