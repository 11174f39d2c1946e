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

"""What the series does for an operator, told as scenarios.

Every public function of a module here is a scenario. It takes a cloud
(lab.cloud.Cloud) and a step function, tells each of its steps with
`with step('...'):`, and raises lab.expect.Unexpected when the cloud does not
do what it should. Its name, with dashes, is the scenario's name, the first
line of its docstring what the scenario shows.
"""

from collections import abc
import contextlib
import importlib
import inspect
import pkgutil

from lab import cloud as cloud_api

Step = abc.Callable[[str], contextlib.AbstractContextManager[None]]
Scenario = abc.Callable[[cloud_api.Cloud, Step], None]


def load() -> dict[str, Scenario]:
    """All scenarios by name, in the order of the modules and in them."""
    found = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f'{__name__}.{info.name}')
        for name, value in vars(module).items():
            if (inspect.isfunction(value) and not name.startswith('_')
                    and value.__module__ == module.__name__):
                found[name.replace('_', '-')] = value
    return found


def summary(scenario: Scenario) -> str:
    """What a scenario shows, in one line."""
    return (scenario.__doc__ or '').strip().splitlines()[0]
