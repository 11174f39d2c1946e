# SPDX-License-Identifier: Apache-2.0

"""Which of Nova's tests stand for what the series touches."""

import fnmatch
import pathlib
import re
import tomllib

from tool.nova_tests import stestr

_LIST = pathlib.Path(__file__).with_name('modules.toml')


def suite_of(path):
    """The suite that a file of tests belongs to, None if it is not one."""
    path = pathlib.PurePosixPath(path)
    if not re.fullmatch(r'test_.*\.py', path.name):
        return None
    for suite, root in stestr.SUITES.items():
        if path.is_relative_to(root):
            return suite
    return None


def module(path):
    """The dotted name of the module in a file of the tree."""
    return '.'.join(pathlib.PurePosixPath(path).with_suffix('').parts)


def _listed():
    """The list: pattern of paths -> suite -> modules."""
    return tomllib.loads(_LIST.read_text())


def unit_by_name(tree, path):
    """Unit test modules that a module has by Nova's naming.

    nova/a/b.py has nova/tests/unit/a/test_b*.py and nova/tests/unit/a/b/.

    :param tree: the tree to look in
    :param path: of the module, relative to the tree
    :returns: dotted names
    """
    relative = pathlib.PurePosixPath(path).relative_to('nova')
    home = pathlib.Path(tree) / stestr.SUITES['unit'] / relative.parent
    found = [
        file for file in home.glob(f'test_{relative.stem}*.py')
        if file.stem == f'test_{relative.stem}'
        or file.stem.startswith(f'test_{relative.stem}_')
    ]
    found += (home / relative.stem).rglob('test_*.py')
    return {module(file.relative_to(tree)) for file in found}


def is_module(path):
    """Whether a path of the tree is a module of Nova, and not of its tests."""
    return path.endswith('.py') and path.startswith('nova/') and not (
        path.startswith('nova/tests/')
    )


def tests(tree, paths, narrowed=None):
    """Tests for files of the tree.

    :param tree: the tree to look in
    :param paths: what was touched, relative to the tree
    :param narrowed: path -> classes and methods of a file of tests that was
        touched, where not all of it is wanted
    :returns: the tests of each suite, as a dict of sets of dotted names, and
        the modules of Nova that no tests stand for, as a list of paths
    """
    found = {suite: set() for suite in stestr.SUITES}
    without = []
    listed = _listed()
    for path in paths:
        suite = suite_of(path)
        if suite and (pathlib.Path(tree) / path).exists():
            parts = (narrowed or {}).get(path, {''})
            found[suite] |= {
                f'{module(path)}.{part}'.rstrip('.') for part in parts}
        matching = [
            suites for pattern, suites in listed.items()
            if fnmatch.fnmatch(path, pattern)
        ]
        for suites in matching:
            for suite, names in suites.items():
                prefix = '.'.join(stestr.SUITES[suite].parts)
                found[suite] |= {f'{prefix}.{name}' for name in names}
        if not is_module(path) or 'unit' in listed.get(path, ()):
            continue
        by_name = unit_by_name(tree, path)
        found['unit'] |= by_name
        if not by_name and not any('unit' in suites for suites in matching):
            without.append(path)
    return found, without


def regexes(names):
    """Regular expressions for the ids of all tests of that name.

    :param names: dotted names of packages, modules, classes or methods.
        Decorators make several tests of one method, with longer names.
    """
    return [
        f'^{re.escape(name)}'
        + ('' if re.search(r'\.[A-Z]\w*\.test_\w+$', name) else r'(\.|$)')
        for name in sorted(names)]
