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

"""What the terminal shows: steps that tick off, each with its time."""

import contextlib
import time

import rich.console

console = rich.console.Console(highlight=False, soft_wrap=True)


@contextlib.contextmanager
def step(text):
    """Shows that work is going on, then one line with what it took.

    :yields: a list; a string put into it stands in that line for the text
    """
    start = time.monotonic()
    said = []
    with console.status(text):
        yield said
    seconds = time.monotonic() - start
    line(said[0] if said else text, seconds)


def line(text, seconds=None):
    """Prints a line, with the time that it took at its end if given."""
    took = '' if seconds is None else f'  ({seconds:.1f} s)'
    console.print(text + took, markup=False)
