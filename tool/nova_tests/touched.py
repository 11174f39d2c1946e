# SPDX-License-Identifier: Apache-2.0

"""Which tests of a module a diff touches."""

import ast
import collections
import pathlib

from tool.checks import whitespace


def _lines(node):
    """Numbers of the lines of a statement, decorators included."""
    parts = [node, *getattr(node, 'decorator_list', [])]
    first = min(parts, key=lambda part: part.lineno)
    return set(range(first.lineno, node.end_lineno + 1))


def _names(source, lines):
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


def tests(repo, path, *revisions):
    """Tests of a module that a diff touches.

    :param repo: the repository, with the module as it is after the diff
    :param path: of the module, relative to the tree
    :param revisions: what git compares
    :returns: names of classes and, as "Class.method", of test methods; ''
        stands for the whole module
    """
    diff = repo.raw('diff', '--unified=0', *revisions, '--', path)
    return _names(pathlib.Path(repo.tree, path).read_bytes(), {
        at_new + offset + 1
        for _, _, at_new, count in whitespace.groups(diff)
        for offset in range(max(count, 1))
    })
