# SPDX-License-Identifier: Apache-2.0

"""What a run of scenarios has shown: on the terminal, and for a machine."""

from collections import abc
import dataclasses
import pathlib
from xml.etree import ElementTree

import rich.markup
import rich.table

from lab import scenarios
from lab.words import steps as words
from lab.words.steps import Outcome
from tool import console

#: Characters that XML cannot have.
_NO_XML = {number: None for number in range(32) if chr(number) not in '\t\n\r'}


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one scenario."""

    scenario: scenarios.Scenario
    outcome: Outcome
    #: how long it took, in seconds, with what the cloud needed around it
    seconds: float
    #: why it failed or was skipped
    reason: str = ''
    steps: tuple[words.Step, ...] = ()

    @property
    def checks(self) -> list[words.Step]:
        """Those of its steps that were to compare something."""
        return [step for step in self.steps if step.is_check]

    @property
    def skipped(self) -> list[words.Step]:
        """Its checks that were not made."""
        return [step for step in self.checks
                if step.outcome is Outcome.SKIPPED]

    def __str__(self) -> str:
        if self.outcome is Outcome.SKIPPED:
            return f'skipped: {self.reason}'
        if self.outcome is Outcome.FAILED:
            return 'FAILED'
        if self.skipped:
            return (f'passed, {len(self.skipped)} of {len(self.checks)} '
                    'checks skipped')
        return 'passed'


_STYLES = {
    Outcome.OK: 'green', Outcome.FAILED: 'bold red', Outcome.SKIPPED: 'yellow'}


def table(results: abc.Iterable[Result]) -> rich.table.Table:
    """The results, one scenario a line, by capability."""
    found = {result.scenario.name: result for result in results}
    shown = rich.table.Table(box=None, pad_edge=False)
    # It is what the scenario can be run by.
    shown.add_column('scenario', no_wrap=True)
    shown.add_column('result')
    shown.add_column('time', justify='right', no_wrap=True)
    for capability, those in scenarios.by_capability(
            result.scenario for result in found.values()).items():
        shown.add_row(f'[bold]capability {capability}[/]')
        for scenario in those:
            result = found[scenario.name]
            style = _STYLES[result.outcome]
            shown.add_row(
                f'  {scenario.name}',
                f'[{style}]{rich.markup.escape(str(result))}[/]',
                f'{result.seconds:.1f} s')
    return shown


def summary(results: abc.Iterable[Result]) -> list[str]:
    """A line for each capability: how many scenarios did what."""
    lines = []
    found = {result.scenario: result for result in results}
    for capability, those in scenarios.by_capability(found).items():
        title = scenarios.CAPABILITIES[capability]
        lines.append(
            f'{capability:>2}  {title}: ' + counts(
                found[each] for each in those))
    return lines


def counts(results: abc.Iterable[Result]) -> str:
    """How many scenarios passed, failed and were skipped."""
    found = list(results)
    outcomes = [result.outcome for result in found]
    passed = f'{outcomes.count(Outcome.OK)} passed'
    skipped = sum(len(result.skipped) for result in found)
    checks = sum(
        len(result.checks) for result in found if result.skipped)
    if skipped:
        partly = sum(bool(result.skipped) for result in found)
        passed += f' ({partly} with {skipped} of {checks} checks skipped)'
    parts = [passed, f'{outcomes.count(Outcome.FAILED)} failed']
    if Outcome.SKIPPED in outcomes:
        parts.append(f'{outcomes.count(Outcome.SKIPPED)} skipped')
    return ', '.join(parts)


def _line(step: words.Step) -> str:
    """A step with what was done and compared in it."""
    kind = 'check' if step.is_check else 'action'
    found = [f'did {", ".join(step.done)}'] if step.done else []
    if step.compared:
        found.append(f'compared {", ".join(step.compared)}')
    if step.needs:
        found.append(words.lacking(step.needs))
    text = f'{step.outcome.value} {kind}: {step.text} [{"; ".join(found)}]'
    return ' '.join(text.split())


def write(results: abc.Sequence[Result], path: pathlib.Path) -> None:
    """Write the results as JUnit's XML, as CI systems read it.

    :raises tool.console.Problem: if the file cannot be written
    """
    outcomes = [result.outcome for result in results]
    suite = ElementTree.Element(
        'testsuite', name='scenarios', tests=str(len(results)),
        failures=str(outcomes.count(Outcome.FAILED)),
        skipped=str(outcomes.count(Outcome.SKIPPED)),
        time=f'{sum(result.seconds for result in results):.3f}')
    for result in results:
        case = ElementTree.SubElement(
            suite, 'testcase', name=result.scenario.name,
            classname='.'.join(('scenarios', *result.scenario.groups)),
            time=f'{result.seconds:.3f}')
        if result.outcome is not Outcome.OK:
            kind = 'failure' if result.outcome is Outcome.FAILED else 'skipped'
            ElementTree.SubElement(
                case, kind, message=result.reason.translate(_NO_XML))
        log = ElementTree.SubElement(case, 'system-out')
        log.text = '\n'.join(
            [str(result), *map(_line, result.steps)]).translate(_NO_XML)
    try:
        ElementTree.ElementTree(suite).write(
            path, encoding='utf-8', xml_declaration=True)
    except OSError as exc:
        raise console.Problem(
            f'the report cannot be written to {path}: {exc.strerror}. Name '
            'another file with --report.') from exc
