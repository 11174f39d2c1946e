# SPDX-License-Identifier: Apache-2.0

"""What the commands of tool/arguments.py do.

Each takes the parsed words and returns the exit code. Modules are imported
where they are needed: the environment of ./run build has not what checks and
tests need.
"""

import argparse

from tool import console
from tool.layout import PROJECT


def build(args: argparse.Namespace) -> int:
    from tool import build as builder

    builder.build(PROJECT, force=args.force)
    return 0


def refresh(args: argparse.Namespace) -> int:
    from tool import refresh as refresher

    changed = refresher.refresh(PROJECT, mend=args.mend)
    for text in changed:
        console.line(text)
    if not changed:
        console.line('patches/ and the overlay are up to date.')
    if args.mend:
        console.line('Now go on with: ./run build')
    return 0


def check(args: argparse.Namespace) -> int:
    from tool import check as checker

    return checker.run(PROJECT, quick=args.quick)


def tests(args: argparse.Namespace) -> int:
    from tool import arguments
    from tool import tests

    return tests.run(PROJECT, args.parts or arguments.PARTS)


def upstream(args: argparse.Namespace) -> int:
    from tool.nova_tests import compare

    suites = [
        suite for suite in ('unit', 'functional') if getattr(args, suite)]
    return compare.run(
        PROJECT, suites or ('unit', 'functional'), args.only)


def export_checkout(args: argparse.Namespace) -> int:
    from tool.exports import checkout

    checkout.put(PROJECT, args.directory, args.branch)
    return 0


def export_gerrit(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import gerrit

    builder.build(PROJECT)
    gerrit.export(PROJECT, args.directory, args.topic, args.trailer)
    return 0


def export_debian(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import quilt

    builder.build(PROJECT)
    quilt.debian(PROJECT, args.directory, args.proposed)
    return 0


def export_rdo(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import quilt

    builder.build(PROJECT)
    quilt.rdo(PROJECT, args.directory)
    return 0


def export_wheel(args: argparse.Namespace) -> int:
    from tool import build as builder
    from tool.exports import wheel

    builder.build(PROJECT)
    wheel.export(PROJECT, args.directory)
    return 0
