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

"""How the lab's commands tell what they do."""

from collections import abc
import contextlib
import sys
import time

import rich.console
import rich.markup

console = rich.console.Console(highlight=False, soft_wrap=True)


@contextlib.contextmanager
def step(text: str) -> abc.Iterator[None]:
    """Tell that something is going on, then how it went and how long."""
    begun = time.monotonic()
    shown = rich.markup.escape(text)
    try:
        with console.status(shown):
            yield
    except BaseException:
        mark = '[bold red]FAILED[/]'
        raise
    else:
        mark = '[green]ok[/]    '
    finally:
        console.print(
            f'  {mark} {time.monotonic() - begun:5.1f} s  {shown}')


def problem(exc: Exception) -> int:
    """Tell what is wrong. Returns the exit code."""
    print(f'lab: {exc}', file=sys.stderr)
    return 1
