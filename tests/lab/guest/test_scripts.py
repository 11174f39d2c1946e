# SPDX-License-Identifier: Apache-2.0

"""What guests run is clean shell."""

import pathlib
import subprocess
import sys

from lab.guest import console as guest

PROGRAM = pathlib.Path(sys.executable).with_name('shellcheck')


def test_scripts_pass_shellcheck():
    scripts = sorted(pathlib.Path(guest.__file__).parent.glob('*.sh'))
    assert [path.name for path in scripts] == ['address.sh', 'init.sh']
    done = subprocess.run(
        [PROGRAM, *scripts], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
