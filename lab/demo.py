# SPDX-License-Identifier: Apache-2.0

"""./run demo: the scenarios on a cloud in one process."""

import argparse
import functools
import sys

from lab import runner
from lab import scenarios
from tool import build
from tool import console
from tool.layout import PROJECT


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code.

    :raises tool.console.Problem: if it cannot be run
    """
    known = scenarios.load()
    if args.list:
        print(scenarios.listing(known))
        return 0
    chosen = scenarios.choose(args.names, known, './run demo')
    try:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        args.log.write_text('')
    except OSError as exc:
        raise console.Problem(
            f'Nova\'s log cannot be written to {args.log}: {exc.strerror}. '
            'Name another file with --log.') from exc
    build.build(PROJECT)
    sys.path.insert(0, str(PROJECT.tree))
    try:
        from lab import embedded
    except ImportError as exc:
        raise console.Problem(
            f'Nova cannot be imported ({exc}): start this as ./run demo, '
            'which installs what it needs.') from exc
    code = runner.play(
        chosen, functools.partial(embedded.EmbeddedCloud, args.log),
        console.console)
    if code:
        console.line(f'Nova\'s log is in {args.log}')
    return code
