# SPDX-License-Identifier: Apache-2.0

"""./run upstream: Nova's whole suites with the series and without it."""

import hashlib
import json
import os
import platform
import re

import rich.table

from tool import build
from tool import console
from tool.console import Problem
from tool import git
from tool.nova_tests import stestr
from tool import series
from tool import tree
from tool import worktree

# How many tests are run, and their results kept, at a time: each round
# costs some fifteen seconds before its first test.
_ROUND = {'unit': 3000, 'functional': 400}

# Status of a test that was to run but of which no result came.
_LOST = 'lost'


class _Results:
    """What is known of a suite of a tree, kept from one run to the next.

    :param tree: the id of the tree in git
    :param suite: "unit" or "functional"
    :ivar status: status of each test, by its id
    :ivar done: the tests that have run, by the ids they are listed under; a
        test with scenarios has one such, and a result for each scenario
    """

    def __init__(self, layout, tree, suite):
        pins = (layout.root / 'constraints.txt').read_bytes()
        key = hashlib.sha256(
            f'{tree} {suite} {platform.python_version()}'.encode() + pins
        ).hexdigest()[:20]
        self.home = layout.cache / 'upstream' / key
        self.home.mkdir(parents=True, exist_ok=True)
        self.status = {}
        self.done = set()
        for file in sorted(self.home.glob('*.json')):
            self._take(json.loads(file.read_text()))

    def _take(self, record):
        self.done |= set(record['tests'])
        self.status |= record['status']

    def add(self, tests, outcome):
        """Takes in and keeps what a round of tests came to."""
        heard = {re.sub(r'\(.*', '', name) for name in outcome.status}
        lost = {
            name: _LOST for name in tests
            if re.sub(r'\(.*', '', name) not in heard
        }
        record = {'tests': tests, 'status': outcome.status | lost}
        file = self.home / f'{len(list(self.home.glob("*.json"))):04}.json'
        new = file.with_suffix('.new')
        new.write_text(json.dumps(record, indent=1))
        os.replace(new, file)
        self._take(record)


def _listed(repo, suite, only):
    """Ids of the tests of a suite that match an expression."""
    with console.step(f'{suite} tests listed') as said:
        try:
            names = stestr.ids(repo.tree, suite)
        except RuntimeError as error:
            raise Problem(f'stestr cannot list the tests: {error}') from None
        names = [name for name in names if re.search(only, name)]
        said.append(f'{len(names)} {suite} tests listed')
    return names


def _run(layout, repo, what, commit, suite, only):
    """Runs what has not been run yet of a suite of a commit.

    :param what: how the commit is called
    :returns: status of each test that matches, by its id
    """
    results = _Results(layout, series.tree_of(repo, commit), suite)
    with worktree.at(layout, repo, f'upstream-{what}', commit) as checkout:
        names = _listed(checkout, suite, only)
        todo = [name for name in names if name not in results.done]
        if len(todo) < len(names):
            console.line(f'{what}: {len(names) - len(todo)} have run before')
        while todo:
            tests, todo = todo[:_ROUND[suite]], todo[_ROUND[suite]:]
            outcome = stestr.run(
                checkout.tree, suite, f'{what}, {suite}', only=tests,
                total=len(tests),
            )
            if outcome.died:
                raise Problem(outcome.died)
            results.add(tests, outcome)
            console.line(
                f'{what}, {suite}: {len(names) - len(todo)} of {len(names)} '
                'have run'
            )
    return {
        name: status for name, status in results.status.items()
        if re.search(only, name)
    }


def _bad(status):
    return status in ('failed', _LOST)


def _steady(layout, repo, commit, suite, names):
    """Those of some failures of a commit that fail a second time too."""
    if not names:
        return []
    with worktree.at(layout, repo, 'upstream-again', commit) as checkout:
        outcome = stestr.run(
            checkout.tree, suite, 'once more', total=len(names),
            regexes=[f'^{re.escape(name)}$' for name in names],
        )
    return [name for name in names if _bad(outcome.status.get(name, _LOST))]


def compare(base, patched):
    """The difference between the results of two trees.

    :param base: status of each test on the base, by its id
    :param patched: the same with the series
    :returns: ids by what they are: "regressions", "failing on both",
        "mended", "new" and "gone"
    """
    found = {
        'regressions': [], 'failing on both': [], 'mended': [], 'new': [],
        'gone': [],
    }
    for name in sorted(base.keys() | patched.keys()):
        before, after = base.get(name), patched.get(name)
        if _bad(after):
            kind = 'failing on both' if _bad(before) else 'regressions'
            found[kind].append(name)
        elif after is None:
            found['gone'].append(name)
        elif before is None:
            found['new'].append(name)
        elif _bad(before):
            found['mended'].append(name)
    return found


def _show(results, differences):
    """Prints the numbers of each suite, and the names that matter."""
    table = rich.table.Table('tests')
    for suite in results:
        table.add_column(suite, justify='right')
    for place, what in enumerate(('base', 'with the series')):
        table.add_row(
            what, *(str(len(pair[place])) for pair in results.values())
        )
    for kind in next(iter(differences.values())):
        table.add_row(
            kind, *(str(len(found[kind])) for found in differences.values())
        )
    console.console.print(table)
    for suite, found in differences.items():
        for kind, names in found.items():
            if kind == 'new':
                continue
            for name in names:
                console.line(f'{kind}: {name}')


def run(layout, suites, only=''):
    """Runs suites on the base and on the patched tree, and compares them.

    What has run before, in an earlier call too, is not run again.

    :param only: an expression that the ids of the tests are to match
    :returns: the exit code
    """
    build.build(layout)
    repo = git.Git(layout.tree)
    commits = {
        'base': repo.commit('base'), 'patched': repo.commit(tree.BUILT)
    }
    results, differences = {}, {}
    for suite in suites:
        results[suite] = [
            _run(layout, repo, what, commit, suite, only)
            for what, commit in commits.items()
        ]
        found = compare(*results[suite])
        unsure = found['regressions']
        found['regressions'] = _steady(
            layout, repo, commits['patched'], suite, unsure
        )
        found['unsteady'] = sorted(set(unsure) - set(found['regressions']))
        differences[suite] = found
    if not any(status for pair in results.values() for status in pair):
        raise Problem(f'No test matches {only!r}.')
    _show(results, differences)
    return 1 if any(found['regressions'] for found in differences.values()) \
        else 0
