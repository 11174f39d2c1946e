# SPDX-License-Identifier: Apache-2.0

"""What the series does for an operator, told as scenarios.

Every public function of a module here is a scenario. It takes a cloud
(lab.cloud.Cloud) and a step function, tells each of its steps with
`with step('...'):`, and raises lab.expect.Unexpected when the cloud does not
do what it should. Its name, with dashes, is the scenario's name, the first
line of its docstring what the scenario shows.
"""

from collections import abc
import contextlib
import difflib
import importlib
import inspect
import pkgutil

from lab import cloud as cloud_api
from tool import console

Step = abc.Callable[[str], contextlib.AbstractContextManager[None]]
Scenario = abc.Callable[[cloud_api.Cloud, Step], None]


@contextlib.contextmanager
def lasting(
    step: Step, text: str, act: contextlib.AbstractContextManager[object]
) -> abc.Iterator[None]:
    """Let something last as long as the block, and tell of both its ends.

    :param text: what is done at first, and undone in the end
    """
    with contextlib.ExitStack() as stack:
        with step(text):
            stack.enter_context(act)
        yield
        with step('end that'):
            stack.close()


class Unknown(console.Problem):
    """There is no such scenario. Tells which might be meant."""


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


def listing(known: abc.Mapping[str, Scenario]) -> str:
    """Scenarios with their summaries, one a line."""
    width = max(len(name) for name in known)
    return '\n'.join(
        f'{name:<{width}}  {summary(scenario)}'
        for name, scenario in known.items())


def choose(
    names: abc.Sequence[str], known: abc.Mapping[str, Scenario], command: str
) -> dict[str, Scenario]:
    """The scenarios of these names; all if there are none.

    :param command: the command that was given the names
    :raises Unknown: if there is none of a name
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, cutoff=0.4)
            advice = f'Did you mean {" or ".join(near)}?' if near else (
                f'{command} --list lists them.')
            raise Unknown(f'there is no scenario {name!r}. {advice}', 2)
    return {name: known[name] for name in names or known}
