# SPDX-License-Identifier: Apache-2.0

"""./run check: what must hold for the series as it is in patches/."""

from collections import abc
from concurrent import futures
import contextlib
import dataclasses
import os
import pathlib
import queue
import time

import psutil

from tool import build
from tool.checks import backport
from tool.checks.checked import Checked
from tool.checks import companion
from tool.checks import memory
from tool.checks import message
from tool.checks import notes
from tool.checks import numbers
from tool.checks import overlay
from tool.checks import pep8
from tool.checks import requirements
from tool.checks import unit_tests
from tool.checks import whitespace
from tool import console
from tool.console import Problem
from tool import git
from tool.layout import Layout
from tool.layout import NOVA
from tool import series
from tool import worktree


@dataclasses.dataclass(frozen=True)
class _Check:
    """A check of the series as a whole.

    :ivar find: returns what is wrong, one text for each thing
    """

    title: str
    find: abc.Callable[[Checked], list[str]]

    def run(self, checked: Checked) -> tuple[str, list[str]]:
        """Returns the title as it is shown in the end, and what is wrong."""
        with console.console.status(self.title):
            return self.title, self.find(checked)


@dataclasses.dataclass(frozen=True)
class _CheckEach:
    """A check of each commit alone; what has passed once is remembered.

    :ivar name: of what is remembered
    :ivar find: takes the repository, with the commit checked out, what is
        checked, the commit, and the files of it to look at; returns what was
        done, in a few words, and what is wrong
    :ivar paths: takes what is checked and the commit; returns these files
    """

    title: str
    name: str
    find: abc.Callable[
        [git.Git, Checked, series.Made, list[str]], tuple[str, list[str]]]
    paths: abc.Callable[[Checked, series.Made], list[str]] = (
        lambda checked, one: checked.paths(one.commit))

    def run(self, checked: Checked) -> tuple[str, list[str]]:
        """Returns the title as it is shown in the end, and what is wrong."""
        known = memory.Memory(checked.layout, self.name)
        todo = [
            (one, paths) for one in checked.made
            for paths in [self.paths(checked, one)]
            if not known.knows(checked.repo, one.commit, paths)
        ]
        found = []
        for one, paths, wrong in self._look_at(checked, todo):
            if not wrong:
                known.keep(checked.repo, one.commit, paths)
            found += [
                f'{checked.layout.patch(one.name)}: {text}' for text in wrong]
        before = len(checked.made) - len(todo)
        title = self.title
        if before:
            title += (
                f' ({before} of {len(checked.made)} are unchanged since they '
                'passed)')
        return title, found

    def _look_at(
        self, checked: Checked,
        todo: abc.Sequence[tuple[series.Made, list[str]]],
    ) -> abc.Iterator[tuple[series.Made, list[str], list[str]]]:
        """Looks at one commit on each core, and shows each when it is done.

        :param todo: the commits, each with the files of it to look at
        :yields: the commits in their order, each with these files and what is
            wrong
        """
        cores = min(len(todo), os.cpu_count() or 1)
        trees: queue.SimpleQueue[git.Git] = queue.SimpleQueue()

        def look(each: tuple[series.Made, list[str]]) -> list[str]:
            one, paths = each
            begun = time.monotonic()
            repo = trees.get()
            try:
                repo('checkout', '--quiet', '--detach', one.commit)
                done, wrong = self.find(repo, checked, one, paths)
            finally:
                trees.put(repo)
            console.line(
                f'          {one.name}: {"FAILED" if wrong else done}',
                time.monotonic() - begun)
            return wrong

        with contextlib.ExitStack() as stack:
            for number in range(cores):
                trees.put(stack.enter_context(worktree.at(
                    checked.layout, checked.repo, f'check{number}', 'base')))
            status = stack.enter_context(console.console.status(self.title))
            pool = futures.ThreadPoolExecutor(max(cores, 1))
            stack.callback(_end, pool)
            for number, ((one, paths), wrong) in enumerate(
                    zip(todo, pool.map(look, todo)), 1):
                status.update(f'{self.title}: {number} of {len(todo)}')
                yield one, paths, wrong


def _end(pool: futures.Executor) -> None:
    """End a pool with what its threads have started.

    Ctrl-C does not reach all of that.
    """
    pool.shutdown(wait=False, cancel_futures=True)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    pool.shutdown()


def _files_for_pep8(checked: Checked, one: series.Made) -> list[str]:
    return pep8.to_check(
        checked.repo, one.commit, checked.made[-1].commit,
        checked.paths(one.commit))


def _pep8(
    repo: git.Git, checked: Checked, one: series.Made, paths: list[str]
) -> tuple[str, list[str]]:
    return f'{len(paths)} files', pep8.problems(
        repo, paths, checked.layout.cache / pathlib.Path(repo.tree).name)


def _unit_tests(
    repo: git.Git, checked: Checked, one: series.Made, paths: list[str]
) -> tuple[str, list[str]]:
    passed, found = unit_tests.problems(repo, one.commit, paths)
    return f'{passed} passed', found


_BELONGS = _Check('every new file belongs to one commit', overlay.belongs)

_CHECKS = (
    _Check('patches apply without fuzz or offset', overlay.applies),
    _BELONGS,
    _Check("commit messages follow Nova's rules", message.check),
    _Check('numbers are the next ones of the release', numbers.check),
    _Check('no change of white space alone', whitespace.check),
    _Check('release notes (reno)', notes.check),
    _Check("constraints.txt meets Nova's requirements", requirements.check),
    _CheckEach("each commit passes Nova's pep8", 'pep8', _pep8,
               _files_for_pep8),
)
_SLOW = (
    _CheckEach(
        'each commit passes its own unit tests', 'unit_tests', _unit_tests),
)

_BACKPORT = tuple(
    _Check('each patch is there, or left out with a reason', backport.check)
    if check is _BELONGS else check for check in _CHECKS)

_COMPANION = (
    _Check('patches apply without fuzz or offset', overlay.applies),
    _Check('every patch is in the series', overlay.belongs),
    _Check("commit messages follow OpenStack's rules", message.check),
    _Check('no change of white space alone', whitespace.check),
    _Check('release notes (reno)', notes.check),
)


def _style(
    repo: git.Git, checked: Checked, one: series.Made, paths: list[str]
) -> tuple[str, list[str]]:
    return f'{len(paths)} files', companion.style(
        checked.layout, repo, paths)


def _tests_of_companion(
    repo: git.Git, checked: Checked, one: series.Made, paths: list[str]
) -> tuple[str, list[str]]:
    tree = pathlib.Path(repo.tree)
    outcome = companion.run_tests(
        checked.layout, tree,
        companion.unit_tests(tree, paths))
    found = [
        f'{name}\n{text}' for name, text in sorted(outcome.details.items())]
    if outcome.died:
        found.append(outcome.died)
    return f'{outcome.count("passed")} passed', found


def _checks(
    layout: Layout, quick: bool
) -> tuple[_Check | _CheckEach, ...]:
    """What there is to check of the series of a project."""
    if layout.project == NOVA:
        return (_BACKPORT if layout.whole else _CHECKS) + (
            () if quick else _SLOW)
    # What has passed has done so with the other companions as they were.
    others = '-'.join(
        series.tree_of(git.Git(tree), 'HEAD')
        for tree in companion.others(layout))
    return _COMPANION + (_CheckEach(
        "each commit passes its project's style checks",
        f'style-{others}', _style),) + (() if quick else (_CheckEach(
            'each commit passes its own unit tests',
            f'unit_tests-{others}', _tests_of_companion),))


def _prepare(layout: Layout) -> Checked:
    """Builds what is checked.

    :raises Problem: if the series cannot even be built
    """
    if layout.project != NOVA:
        for name in layout.companions:
            build.build(layout.of(name))
    else:
        build.build(layout)
    repo = git.Git(layout.tree)
    made = series.make_commits(repo, layout, repo.commit('base'))
    if not made:
        raise Problem('There are no patches yet: nothing to check.')
    return Checked(layout, repo, made)


def run(layout: Layout, quick: bool = False) -> int:
    """Runs the checks, and prints each with its time and result.

    :param quick: leave out the tests of each commit
    :returns: the exit code
    """
    checked = _prepare(layout)
    checks = _checks(layout, quick)
    failed = 0
    for check in checks:
        begun = time.monotonic()
        title, found = check.run(checked)
        failed += bool(found)
        console.ended(
            'FAILED' if found else 'ok', time.monotonic() - begun, title)
        for text in found:
            console.line('          ' + text.replace('\n', '\n            '))
    if failed:
        console.line(f'{failed} of {len(checks)} checks failed.')
    else:
        console.line(f'All {len(checks)} checks passed.')
    return 1 if failed else 0
