# SPDX-License-Identifier: Apache-2.0

"""Remembers which commits have passed a check, by what they hold.

A result counts again only for the same trees of the commit and its parent,
checked by the same code with the same packages. Failures are not kept.
"""

from collections import abc
import hashlib
import pathlib
import platform

from tool import git
from tool.layout import Layout

_CHECKERS = ('checks', 'nova_tests')


def _digest_of_checkers(layout: Layout) -> bytes:
    """A digest of the code that checks, and of the packages it uses."""
    digest = hashlib.sha256(platform.python_version().encode())
    home = pathlib.Path(__file__).parents[1]
    for name in _CHECKERS:
        for file in sorted((home / name).rglob('*.py')):
            digest.update(file.read_bytes())
    digest.update((layout.root / 'constraints.txt').read_bytes())
    return digest.digest()


class Memory:
    """What a check has found good.

    :param name: of the check
    """

    def __init__(self, layout: Layout, name: str):
        self._home = layout.cache / 'checks' / name
        self._checkers = _digest_of_checkers(layout)

    def _file(
        self, repo: git.Git, commit: str, paths: abc.Iterable[str]
    ) -> pathlib.Path:
        trees = repo(
            'rev-parse', f'{commit}^{{tree}}', f'{commit}^^{{tree}}')
        what = '\n'.join([trees, *paths])
        key = hashlib.sha256(self._checkers + what.encode()).hexdigest()
        return self._home / key

    def knows(
        self, repo: git.Git, commit: str, paths: abc.Iterable[str]
    ) -> bool:
        """Whether a commit with this content has passed before.

        :param paths: the files of it that are looked at
        """
        return self._file(repo, commit, paths).exists()

    def keep(
        self, repo: git.Git, commit: str, paths: abc.Iterable[str]
    ) -> None:
        """Note that a commit has passed.

        :param paths: the files of it that were looked at
        """
        self._home.mkdir(parents=True, exist_ok=True)
        self._file(repo, commit, paths).touch()
