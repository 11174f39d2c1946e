# SPDX-License-Identifier: Apache-2.0

"""A series as the checks take it."""

from tool.checks.checked import Checked
from tool import refresh
from tool import series


def built(tree):
    """The series of a tree as it lies in patches/."""
    made = series.make_commits(
        tree.git, tree.layout, tree.git.commit('base')
    )
    return Checked(tree.layout, tree.git, made)


def refreshed(tree):
    """The series of a tree, taken back from its commits."""
    refresh.refresh(tree.layout)
    return built(tree)
