# SPDX-License-Identifier: Apache-2.0

"""./run tests: the tool's and the lab's tests, and Nova's that matter."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

from tool import build
from tool.checks import companion
from tool import console
from tool.console import Problem
from tool import git
from tool.nova_tests import choose
from tool.nova_tests import stestr
from tool.nova_tests import touched


def _pytest(layout, everything):
    """Runs the tests of the tool and of the lab.

    Those of tests/machine need packages of the system; `./run lab smoke` runs
    them.

    :param everything: also those that are marked "whole"
    :returns: the Outcome
    """
    outcome = stestr.Outcome()
    env = {
        name: value for name, value in os.environ.items()
        if not name.startswith(('OS_', 'NOVA_', 'GIT_', 'PYTHON', 'PYTEST'))
    }
    env['PYTHONPATH'] = os.pathsep.join(
        map(str, (layout.root, layout.tree, stestr.STARTUP)))
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / 'report.xml'
        done = subprocess.run(
            [
                sys.executable, '-m', 'pytest', '--quiet',
                '--numprocesses=logical', '--dist=loadfile',
                f'--junitxml={report}',
                *([] if everything else ['-m', 'not whole']),
                'tests/tool', 'tests/lab', 'tests/devstack',
            ],
            cwd=layout.root, env=env, stdin=subprocess.DEVNULL, check=False,
        )
        if report.exists():
            cases = xml.etree.ElementTree.parse(report).iter('testcase')
            for number, case in enumerate(cases):
                name = f'{case.get("classname")}.{case.get("name")} {number}'
                if {'failure', 'error'} & {child.tag for child in case}:
                    outcome.status[name] = 'failed'
                elif case.find('skipped') is not None:
                    outcome.status[name] = 'skipped'
                else:
                    outcome.status[name] = 'passed'
    if done.returncode not in (0, 1) or not outcome.status:
        outcome.died = f'pytest ended with {done.returncode}.'
    return outcome


def touched_paths(repo):
    """Files that the tree changes against its base, committed or not."""
    paths = repo.lines('diff', '--name-only', '--no-renames', 'base')
    return paths + repo.lines('ls-files', '--others', '--exclude-standard')


def _stestr(layout, suite):
    """Runs what a suite of Nova has for the files that the series touches.

    :returns: the Outcome
    :raises Problem: if a module has no tests
    """
    repo = git.Git(layout.tree)
    paths = touched_paths(repo)
    # Of tests that Nova has, those that the series did not touch run for the
    # modules that they are named after, or that modules.toml names them for.
    had = set(repo.lines(
        'ls-tree', '-r', '--name-only', 'base', str(stestr.SUITES[suite])))
    names, without = choose.tests(layout.tree, paths, {
        path: touched.tests(repo, path, 'base')
        for path in had.intersection(paths) if choose.suite_of(path)})
    if without:
        raise Problem(
            f'No unit tests are known for {", ".join(without)}: name them in '
            'tool/nova_tests/modules.toml.'
        )
    if not names[suite]:
        return stestr.Outcome()
    return stestr.run(
        layout.tree, suite, f'{suite} tests of Nova',
        regexes=choose.regexes(names[suite]),
    )


def _companion(layout):
    """Runs the unit tests of a companion for what its series touches.

    :returns: the Outcome
    """
    for name in layout.companions:
        build.build(layout.of(name))
    paths = touched_paths(git.Git(layout.tree))
    return companion.run_tests(
        layout, layout.tree, companion.unit_tests(layout.tree, paths))


def _report(title, outcome, seconds):
    """Prints what a part came to, and all that its failures said."""
    for name, text in sorted(outcome.details.items()):
        console.line(f'\n{"=" * 70}\nFAILED {name}\n{text}\n')
    if outcome.died:
        console.line(f'{title}: {outcome.died}')
    console.line(
        f'{title}: {outcome.count("passed")} passed, '
        f'{outcome.count("failed")} failed, '
        f'{outcome.count("skipped")} skipped',
        seconds,
    )


def run(layout, parts, everything=False):
    """Runs the tests and prints their number, alone on the last line.

    :param parts: names of what to run: "tool", a suite of Nova or a companion
    :param everything: run also those tests of the tool that take long
    :returns: the exit code
    """
    build.build(layout)
    outcomes = []
    for part in parts:
        start = time.monotonic()
        if part == 'tool':
            title, outcome = 'Tool and lab', _pytest(layout, everything)
        elif part in layout.companions:
            title, outcome = part, _companion(layout.of(part))
        else:
            title, outcome = f'Nova, {part}', _stestr(layout, part)
        _report(title, outcome, time.monotonic() - start)
        outcomes.append(outcome)
    passed = sum(outcome.count('passed') for outcome in outcomes)
    failed = sum(outcome.count('failed') for outcome in outcomes)
    died = sum(1 for outcome in outcomes if outcome.died)
    console.line(f'{passed} passed, {failed + died} failed')
    return 1 if failed or died or not passed else 0
