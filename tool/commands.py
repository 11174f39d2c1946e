# SPDX-License-Identifier: Apache-2.0

"""What the commands of tool/arguments.py do.

Each takes the parsed words and returns the exit code. Modules are imported
where they are needed: the environment of ./run build has not what checks and
tests need.
"""

import argparse

from tool import console
from tool.layout import Layout
from tool.layout import NOVA
from tool.layout import PROJECT
from tool.layout import RELEASE


def _layouts(args: argparse.Namespace) -> list[Layout]:
    """The series that are asked for; all of them if none is named.

    :raises console.Problem: if one has no series for the release
    """
    known = (NOVA,) if args.release != RELEASE else (
        NOVA, *PROJECT.companions)
    return [
        PROJECT.on(args.release).of(name)
        for name in _of_release(
            getattr(args, 'projects', []), known, args.release)]


def _of_release(
    names: list[str], known: tuple[str, ...], release: str
) -> list[str]:
    """What is asked for of a release; all that there is if nothing is named.

    :param known: what there is
    :raises console.Problem: if something is not there
    """
    for name in names:
        if name not in known:
            raise console.Problem(
                f'{name} is not for Nova {release}: only '
                f'{", ".join(known)}.', 2)
    return names or list(known)


def build(args: argparse.Namespace) -> int:
    from tool import build as builder

    for layout in _layouts(args):
        builder.build(layout, force=args.force)
    return 0


def refresh(args: argparse.Namespace) -> int:
    from tool import refresh as refresher

    layouts = _layouts(args)
    if not args.projects:
        # What has not been built holds no commits to take back.
        layouts = [layouts[0]] + [
            layout for layout in layouts[1:]
            if layout.tree.exists() and not args.mend]
    for layout in layouts:
        changed = refresher.refresh(layout, mend=args.mend)
        for text in changed:
            console.line(text)
        if not changed:
            console.line(
                f'{layout.refreshed[0]}/ and what belongs to it are up to '
                'date.')
        if args.mend:
            console.line(f'Now go on with: {layout.command("build")}')
    return 0


def renumber(args: argparse.Namespace) -> int:
    from tool import renumber as renumberer

    renumberer.run(PROJECT, args.first, args.write)
    return 0


def check(args: argparse.Namespace) -> int:
    from tool import check as checker

    return max([
        checker.run(layout, quick=args.quick) for layout in _layouts(args)])


def tests(args: argparse.Namespace) -> int:
    from tool import arguments
    from tool.nova_tests import stestr
    from tool import tests

    known = arguments.PARTS
    if args.release != RELEASE:
        known = tuple(stestr.SUITES)
    return tests.run(
        PROJECT.on(args.release),
        _of_release(args.parts, known, args.release), args.all)


def upstream(args: argparse.Namespace) -> int:
    from tool.nova_tests import compare

    suites = [
        suite for suite in ('unit', 'functional') if getattr(args, suite)]
    return compare.run(
        PROJECT, suites or ('unit', 'functional'), args.only)


def export_checkout(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import checkout

    if args.undo:
        checkout.take_back(args.directory, args.branch)
        return 0
    layout = PROJECT.on(args.release)
    builder.build(layout)
    checkout.put(
        layout, args.directory, args.branch, args.signoff, args.replace)
    return 0


def export_gerrit(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import gerrit

    layout = PROJECT.on(args.release)
    builder.build(layout)
    gerrit.export(layout, args.directory, args.topic, args.trailer)
    return 0


def export_debian(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import quilt

    layout = PROJECT.on(args.release)
    builder.build(layout)
    quilt.debian(layout, args.directory, args.proposed)
    return 0


def export_rdo(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import quilt

    layout = PROJECT.on(args.release)
    builder.build(layout)
    quilt.rdo(layout, args.directory)
    return 0


def export_wheel(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import wheel

    layouts = _layouts(args)
    for layout in layouts:
        builder.build(layout)
    wheel.export(layouts, args.directory)
    return 0
