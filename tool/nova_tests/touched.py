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


def _named_in(node):
    """All names and attributes that the code of a node has."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def _users(classes, helper):
    """The test methods of some classes that use a method, by way of others.

    :param helper: the name of the method
    :returns: their names
    """
    methods = [
        part for node in classes for part in node.body
        if isinstance(part, ast.FunctionDef)
    ]
    found = {helper}
    while True:
        more = {
            method.name for method in methods
            if not found.isdisjoint(_named_in(method))
        } - found
        if not more:
            return {name for name in found if name.startswith('test_')}
        found |= more


def _names(source, lines):
    """Tests of a module that some lines of it concern.

    :param source: the module
    :param lines: line numbers, counted from 1
    :returns: names of test methods that the lines are in, or in a method that
        they use, as "Class.method", and of the classes whose lines are touched
        elsewhere, with those of the classes that derive from them; '' stands
        for the whole module
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
            if not isinstance(part, ast.FunctionDef) or not (
                inside & _lines(part)
            ):
                continue
            users = {part.name} if part.name.startswith('test_') else (
                _users(classes, part.name))
            if users:
                inside -= _lines(part)
                parts |= {f'.{name}' for name in users}
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
    return _names(pathlib.Path(repo.tree, path).read_bytes(), {
        at_new + offset + 1
        for _, _, at_new, count in whitespace.groups_of(repo, path, *revisions)
        for offset in range(max(count, 1))
    })
