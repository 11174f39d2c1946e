# SPDX-License-Identifier: Apache-2.0

"""The first process of the lab: makes the hosts, becomes the supervisor.

`python -m lab.real.first LAB ROOT`: by LAB it is found among all processes.
"""

import os
import pathlib
import sys

from lab.real import layout
from lab.real import namespaces


def main() -> None:
    """Make the hosts, then run the supervisor in place of this process."""
    where = layout.Layout(pathlib.Path(sys.argv[2]))
    namespaces.make_hosts(where)
    (where.run / 'ready').touch()
    supervisord = pathlib.Path(sys.executable).parent / 'supervisord'
    os.execv(sys.executable, [
        sys.executable, str(supervisord), '--nodaemon', '--configuration',
        str(where.conf / 'supervisord.conf')])


if __name__ == '__main__':
    main()
