# SPDX-License-Identifier: Apache-2.0

"""What the series does for an operator, as scenarios.

A scenario is a function of a scene (lab.words.scene.Scene), declared with
@scenario: its name, with dashes, is that of the scenario, the first line of
its docstring the title, which is what it shows. It declares the capability
that it is part of, and what its title stands on: a cloud that lacks that
skips it.
"""

from collections import abc
import dataclasses
import difflib
import fnmatch
import importlib
import pkgutil

from lab.needs import Need
from lab.words.scene import Scene
from tool import console

CAPABILITIES = {
    1: 'Rescue without unrescue.xml; unrescue is a hard reboot from the '
       'database',
    2: 'Live migration of rescued servers: capability, trait, microversion '
       '2.105, errors that name source or destination',
    3: '...on every storage and rescue mode, with no disk lost',
    4: 'Transfer of a running server between projects',
    5: 'A pool of booted servers, claimed and transferred in seconds',
    6: 'Resize and cold migration within a cell',
    7: 'Resize and cold migration across cells',
    12: 'nova-manage placement audit',
    13: 'Evacuate, live migrate, unshelve and resize with ports that carry '
        'resource requests',
    14: 'Policies with scope, and the reader, member, manager, admin and '
        'service roles',
    15: 'Rescue of boot-from-volume servers with stable devices',
    16: 'Images cached ahead on a host aggregate',
    17: 'Several vGPU types on one compute node',
    18: 'Accelerators through Cyborg at server create',
    20: 'A lab on real libvirt and QEMU',
}
"""The capabilities of README.rst that scenarios show, by their number."""

Play = abc.Callable[[Scene], None]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A scenario, as the runner plays it."""

    name: str
    #: what it shows, in one line
    title: str
    play: Play
    #: the number of the capability that it is part of
    capability: int
    #: what its title stands on
    needs: frozenset[Need] = frozenset()
    #: the names of its module and of the packages around it, the outer first
    groups: tuple[str, ...] = ()


def scenario(
    capability: int, needs: abc.Iterable[Need] = ()
) -> abc.Callable[[Play], Scenario]:
    """Declare that a function is a scenario.

    :param capability: the number of the capability that it is part of
    :param needs: what its title stands on
    """

    def declare(play: Play) -> Scenario:
        return Scenario(
            play.__name__.replace('_', '-'),
            (play.__doc__ or '').strip().splitlines()[0].rstrip('.'),
            play, capability, frozenset(needs), groups(play.__module__))

    return declare


def groups(module: str) -> tuple[str, ...]:
    """The groups of the scenarios of a module.

    :param module: its full name
    """
    names = module.removeprefix(f'{__name__}.').replace('_', '-')
    return tuple(names.split('.'))


def load() -> dict[str, Scenario]:
    """All scenarios by name, in the order of the modules and in them.

    Those that a module makes of a table are in its SCENARIOS.
    """
    found: dict[str, Scenario] = {}
    for info in pkgutil.walk_packages(__path__, f'{__name__}.'):
        for value in vars(importlib.import_module(info.name)).values():
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Scenario):
                    if found.setdefault(each.name, each) is not each:
                        raise ValueError(f'two scenarios {each.name!r}')
    return found


def by_capability(
    known: abc.Iterable[Scenario]
) -> dict[int, list[Scenario]]:
    """Scenarios by the number of their capability, in the order of those."""
    found: dict[int, list[Scenario]] = {}
    for each in known:
        found.setdefault(each.capability, []).append(each)
    return dict(sorted(found.items()))


def listing(known: abc.Mapping[str, Scenario]) -> str:
    """Scenarios by capability: name, title, and what each needs."""
    width = max(len(name) for name in known)
    lines = []
    for capability, those in by_capability(known.values()).items():
        lines.append(f'{capability:>2}  {CAPABILITIES[capability]}')
        for each in those:
            needs = ', '.join(sorted(need.value for need in each.needs))
            lines.append(
                f'    {each.name:<{width}}  {each.title}'
                + (f' [{needs}]' if needs else ''))
    return '\n'.join(lines)


def choose(
    what: abc.Sequence[str], known: abc.Mapping[str, Scenario]
) -> dict[str, Scenario]:
    """The scenarios that are meant, in their order; all if nothing is named.

    :param what: names of scenarios, names of groups, numbers of capabilities,
        or globs for names
    :raises tool.console.Problem: with code 2, if one means none
    """
    meant: set[str] = set()
    for word in what:
        found = {
            name for name, each in known.items()
            if word in (name, str(each.capability), *each.groups)
            or fnmatch.fnmatchcase(name, word)}
        if not found:
            names = [*known, *dict.fromkeys(
                group for each in known.values() for group in each.groups)]
            near = difflib.get_close_matches(word, names, cutoff=0.4)
            advice = f'Did you mean {" or ".join(near)}?' if near else (
                './run scenarios --list lists them.')
            raise console.Problem(
                f'there is no scenario, group or capability {word!r}. '
                f'{advice}', 2)
        meant |= found
    return {name: each for name, each in known.items()
            if not what or name in meant}
