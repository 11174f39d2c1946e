# SPDX-License-Identifier: Apache-2.0

"""The unit tests that a commit brings or changes."""

import ast
import collections
import pathlib

from tool.checks import whitespace
from tool.nova_tests import choose
from tool.nova_tests import stestr

# Lines from which on a module's tests take minutes: of such a one only what
# the commit touches is run.
_HUGE = 4000


def _lines(node):
    """Numbers of the lines of a statement, decorators included."""
    parts = [node, *getattr(node, 'decorator_list', [])]
    first = min(parts, key=lambda part: part.lineno)
    return set(range(first.lineno, node.end_lineno + 1))


def _touched(source, lines):
    """Tests of a module that some lines of it are in.

    :param source: the module
    :param lines: line numbers, counted from 1
    :returns: names of test methods, as "Class.method", and of the classes
        whose lines are touched outside of those, with those of the classes
        that derive from them; '' stands for the whole module
    """
    texts = source.splitlines()
    lines = {line for line in lines if texts[line - 1:line] != [b'']}
    body = ast.parse(source).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    heirs = collections.defaultdict(set)
    for node in classes:
        for parent in node.bases:
            if isinstance(parent, ast.Name):
                heirs[parent.id].add(node.name)
    names = set()
    for node in classes:
        inside = lines & _lines(node)
        lines -= inside
        parts = set()
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and (
                part.name.startswith('test_') and inside & _lines(part)
            ):
                inside -= _lines(part)
                parts.add(f'.{part.name}')
        if inside:
            parts = {''}
        todo = [node.name]
        while todo:
            one = todo.pop()
            names |= {one + part for part in parts}
            todo += heirs[one]
    # An import serves the tests that are there already.
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            lines -= _lines(node)
    return names if names and not lines else {''}


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
            diff = repo.raw(
                'diff', '--unified=0', f'{commit}^', commit, '--', path
            )
            tests = _touched(source, {
                at_new + offset + 1
                for _, _, at_new, count in whitespace.groups(diff)
                for offset in range(max(count, 1))
            })
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
