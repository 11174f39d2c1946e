# SPDX-License-Identifier: Apache-2.0

"""The numbers that Nova gives out, one after the other, to its changes.

Microversions, service versions, and the versions of RPC interfaces and of
versioned objects belong to upstream. Where upstream has given a number of the
series to another change, the patches may well apply, but the code is wrong.
"""

import ast
from collections import abc
import functools
import tomllib

from tool import git
from tool.layout import Layout
from tool import series

MICROVERSION = 'microversion'

_BY_CLASS = ('rpc', 'objects')

_HOLDS_NUMBERS = (
    r"^(SERVICE_VERSION|_MAX_API_VERSION) = |^ +VERSION = ['\"]"
    r'|^ +target = messaging\.Target\(')

_CONSTANTS = {
    'SERVICE_VERSION': 'service_version', '_MAX_API_VERSION': MICROVERSION}

_MODULES = ('nova/*.py', ':!nova/tests')


def title(number: str) -> str:
    """A number as its users call it.

    :param number: such as "service_version" or "objects.Instance"
    """
    kind, _, cls = number.partition('.')
    return {
        'rpc': f'the RPC version of {cls}',
        'objects': f'the version of {cls}',
    }.get(kind, 'the ' + kind.replace('_', ' '))


def _table(layout: Layout) -> dict[str, dict[str, str | list[str]]]:
    if not layout.numbers.exists():
        return {}
    return tomllib.loads(layout.numbers.read_text())


def taken(layout: Layout) -> dict[str, list[str]]:
    """What the series takes of each number, in the order of its commits."""
    found: dict[str, list[str]] = {}
    for kind, entries in _table(layout).items():
        for key, value in entries.items():
            name = f'{kind}.{key}' if kind in _BY_CLASS else kind
            found.setdefault(name, []).extend(
                [value] if isinstance(value, str) else value)
    return found


def microversion(layout: Layout, name: str) -> str:
    """The microversion that something of the series has in the table."""
    value = _table(layout)[MICROVERSION][name]
    assert isinstance(value, str)
    return value


def after(value: str, steps: int = 1) -> str:
    """The number that Nova gives out next: 75 after 74, 2.105 after 2.104."""
    head, dot, last = value.rpartition('.')
    return f'{head}{dot}{int(last) + steps}'


def not_next(
    standing: abc.Mapping[str, str], wanted: abc.Mapping[str, list[str]]
) -> dict[str, str]:
    """Numbers of the series that are not the next ones of a tree.

    :param standing: the numbers of the tree
    :param wanted: those that the series takes
    :returns: what is wrong, by number
    """
    found = {}
    for name, values in wanted.items():
        last = standing.get(name)
        for value in values:
            if last is None or value != after(last):
                found[name] = (
                    f'{title(name)} is {last or "missing"}, but the series '
                    f'takes {value}')
                break
            last = value
    return found


def _constant(node: ast.expr) -> str | None:
    return str(node.value) if isinstance(node, ast.Constant) else None


def _in_class(cls: ast.ClassDef) -> abc.Iterator[tuple[str, str]]:
    for node in cls.body:
        if not isinstance(node, ast.Assign):
            continue
        target, value = node.targets[0], node.value
        if not isinstance(target, ast.Name):
            continue
        if target.id == 'VERSION' and (version := _constant(value)):
            yield f'objects.{cls.name}', version
        if target.id == 'target' and isinstance(value, ast.Call):
            for keyword in value.keywords:
                if keyword.arg == 'version' and (
                        version := _constant(keyword.value)):
                    yield f'rpc.{cls.name}', version


@functools.cache
def _in_module(source: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found.update(_in_class(node))
        elif isinstance(node, ast.Assign) and isinstance(
                node.targets[0], ast.Name):
            name = _CONSTANTS.get(node.targets[0].id)
            if name and (value := _constant(node.value)):
                found[name] = value
    return found


def _by_module(
    repo: git.Git, commit: str, paths: abc.Iterable[str] = _MODULES
) -> dict[str, dict[str, str]]:
    """The numbers of a tree, by the path of the module that has them."""
    done = repo.run(
        'grep', '--name-only', '-z', '--extended-regexp', _HOLDS_NUMBERS,
        commit, '--', *paths)
    return {
        where.removeprefix(f'{commit}:'):
            _in_module(repo.raw('cat-file', 'blob', where))
        for where in done.stdout.decode().split('\0')[:-1]
    }


def _merged(by_module: abc.Mapping[str, dict[str, str]]) -> dict[str, str]:
    return {
        name: value
        for numbers in by_module.values() for name, value in numbers.items()}


def of(repo: git.Git, commit: str) -> dict[str, str]:
    """All numbers of a tree.

    :returns: "microversion", "service_version", "rpc.CLASS" for the class
        that serves an RPC interface, "objects.CLASS"; each with its value
    """
    return _merged(_by_module(repo, commit))


def moves(
    repo: git.Git, made: abc.Iterable[series.Made], base: str
) -> dict[str, list[tuple[str, str]]]:
    """How the commits of the series move the numbers of their base.

    :returns: for each number that moves, each value with the file name of the
        patch that it comes with; an empty value for a number that is dropped
    """
    modules = _by_module(repo, base)
    ours = before = _merged(modules)
    found: dict[str, list[tuple[str, str]]] = {}
    for one in made:
        changed = repo.lines(
            'diff', '--name-only', '--no-renames', '-G', _HOLDS_NUMBERS,
            f'{one.commit}^', one.commit, '--', *_MODULES)
        if not changed:
            continue
        modules.update(dict.fromkeys(changed, {}))
        modules.update(_by_module(repo, one.commit, changed))
        now = _merged(modules)
        for name in ours:
            if now.get(name) != before.get(name):
                found.setdefault(name, []).append(
                    (now.get(name, ''), one.name))
        before = now
    return found
