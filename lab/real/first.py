# SPDX-License-Identifier: Apache-2.0

"""The first process of the lab: makes the hosts, becomes the supervisor.

`python -m lab.real.first LAB ROOT`; LAB is there to be found by in the list
of processes.
"""

import os
import pathlib
import sys

from lab.real import layout
from lab.real import machine


def main() -> None:
    where = layout.Layout(pathlib.Path(sys.argv[2]))
    machine.make_hosts(where)
    (where.run / 'ready').touch()
    supervisord = pathlib.Path(sys.executable).parent / 'supervisord'
    os.execv(sys.executable, [
        sys.executable, str(supervisord), '--nodaemon', '--configuration',
        str(where.conf / 'supervisord.conf')])


if __name__ == '__main__':
    main()
