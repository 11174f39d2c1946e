# SPDX-License-Identifier: Apache-2.0

"""The unit tests that a commit brings or changes."""

import pathlib

from tool.nova_tests import choose
from tool.nova_tests import stestr
from tool.nova_tests import touched

# Lines from which on a module has hundreds of tests: of such a one only what
# the commit touches is run.
_HUGE = 1000


def chosen(repo, commit, paths):
    """A commit's own unit tests.

    :param repo: the repository, with the commit checked out
    :param commit: its id
    :param paths: the files that it touches
    :returns: the dotted names of their modules, and shell patterns for the
        ids of the tests
    """
    names = []
    patterns = []
    for path in paths:
        file = pathlib.Path(repo.tree) / path
        if choose.suite_of(path) != 'unit' or not file.is_file():
            continue
        source = file.read_bytes()
        name = choose.module(path)
        names.append(name)
        tests = {''}
        if source.count(b'\n') > _HUGE:
            tests = touched.tests(repo, path, f'{commit}^', commit)
        # Decorators make several tests of one, with longer names.
        patterns += [f'{name}.{test}*' for test in sorted(tests)]
    return names, patterns


def problems(repo, commit, paths):
    """What fails of a commit's own unit tests.

    :returns: how many passed, and what is wrong, one text for each thing
    """
    modules, patterns = chosen(repo, commit, paths)
    if not modules:
        return 0, []
    outcome = stestr.run_modules(pathlib.Path(repo.tree), modules, patterns)
    found = [
        f'{name}\n{text}' for name, text in sorted(outcome.details.items())
    ]
    if outcome.died:
        found.append(outcome.died)
    return outcome.count('passed'), found
