# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

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
