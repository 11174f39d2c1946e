# SPDX-License-Identifier: Apache-2.0

"""What is checked: the series as it is in patches/, and its commits."""

import dataclasses

from tool import git
from tool.layout import Layout
from tool.patch import Patch
from tool import series


@dataclasses.dataclass(frozen=True)
class Checked:
    """The series.

    :ivar repo: the repository of the tree
    :ivar made: the commits made of the patches, in order
    """

    layout: Layout
    repo: git.Git
    made: list[series.Made]

    def patches(self) -> list[tuple[str, Patch]]:
        """Each patch with its file name."""
        return [
            (one.name, series.load(self.layout, one.name))
            for one in self.made
        ]

    def paths(self, commit: str) -> list[str]:
        """Files that a commit touches."""
        return self.repo.lines(
            'diff', '--name-only', '--no-renames', f'{commit}^', commit
        )
