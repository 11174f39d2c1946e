# SPDX-License-Identifier: Apache-2.0

"""Runs Nova's tests with stestr, as Nova's own tox.ini does."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import rich.progress
import subunit
import testtools

from tool import console

# Nova's two suites, each with where it lies in the tree.
SUITES = {
    'unit': pathlib.PurePosixPath('nova/tests/unit'),
    'functional': pathlib.PurePosixPath('nova/tests/functional'),
}

# How many tests run at a time on one core. A functional test waits for the
# threads of its services for about two fifths of its time.
_AT_ONCE = {'unit': 1, 'functional': 2}

_PASSED = ('success', 'xfail')
_SKIPPED = 'skip'

# On the path of Python, it spares tests work that is the same for all.
STARTUP = pathlib.Path(__file__).with_name('startup')

# Seconds between two lines of progress where there is no terminal.
_QUIET = 60

# Seconds without a test that starts or ends until a run is given up. A test
# has 160 s, but what it cleans up after that may wait for ever.
_STUCK = 600


@dataclasses.dataclass
class Outcome:
    """What a run of tests came to.

    :ivar status: of each test, by its id: "passed", "failed" or "skipped"
    :ivar details: what a failed test said, by its id
    :ivar died: what the runner said if it ended without running all
    """

    status: dict[str, str] = dataclasses.field(default_factory=dict)
    details: dict[str, str] = dataclasses.field(default_factory=dict)
    died: str | None = None

    def count(self, status):
        """How many tests have that status."""
        return sum(1 for value in self.status.values() if value == status)

    @property
    def good(self):
        """Whether tests ran, and none failed."""
        return (
            not self.died and bool(self.count('passed'))
            and not self.count('failed')
        )

    def add(self, test):
        """Takes in a test, as testtools.StreamToDict tells of it.

        :returns: its status, None if it was only listed
        """
        if test['status'] == 'exists' or test['id'] is None:
            return None
        if test['status'] in _PASSED:
            status = 'passed'
        elif test['status'] == _SKIPPED:
            status = 'skipped'
        else:
            status = 'failed'
            self.details[test['id']] = '\n'.join(
                detail.as_text() for name, detail in test['details'].items()
                if detail.content_type.type == 'text'
            ).strip()
        self.status[test['id']] = status
        return status


def environment(tree):
    """Environment variables for Nova's tests, those of Nova's tox.ini."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('OS_', 'NOVA_', 'GIT_', 'PYTHON'))
    }
    return env | {
        'LANGUAGE': 'en_US',
        'LC_ALL': 'C.UTF-8',
        'OS_STDOUT_CAPTURE': '1',
        'OS_STDERR_CAPTURE': '1',
        'OS_TEST_TIMEOUT': '160',
        'OS_NOVA_DISABLE_EVENTLET_PATCHING': 'False',
        'NOVA_RAISE_ON_GREENLET_LEAK': 'True',
        'PYTHONPATH': f'{tree}{os.pathsep}{STARTUP}',
        'PYTHONWARNINGS': 'ignore::DeprecationWarning:eventlet',
    }


def _command(results, path):
    return [
        sys.executable, '-m', 'stestr', '--repo-url', str(results),
        '--test-path', f'./{path}', '--top-dir', './',
    ]


def ids(tree, suite):
    """Ids of the tests of a suite, in their order.

    :raises RuntimeError: with what stestr said, if it cannot list them
    """
    with tempfile.TemporaryDirectory() as results:
        command = _command(results, SUITES[suite])
        for arguments in (['init'], ['list']):
            done = subprocess.run(
                command + arguments, cwd=tree, env=environment(tree),
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(done.stdout + done.stderr)
    return [
        line for line in done.stdout.splitlines()
        if line.startswith('nova.tests.')
    ]


class _Progress:
    """Shows how many tests have run, and names each one that fails.

    :param title: nothing is shown without one
    :param total: how many tests there are, if known
    """

    def __init__(self, title=None, total=None):
        self.outcome = Outcome()
        self.title = title
        self.total = total
        self.shown = time.monotonic()
        self.bar = rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            '{task.description}',
            rich.progress.BarColumn(),
            '{task.completed} tests, {task.fields[failed]} failed',
            rich.progress.TimeElapsedColumn(),
            console=console.console,
            transient=True,
            disable=not (title and console.console.is_terminal),
        )
        self.task = self.bar.add_task(title or '', total=total, failed=0)

    def on_test(self, test):
        status = self.outcome.add(test)
        if not (status and self.title):
            return
        failed = self.outcome.count('failed') if status == 'failed' else None
        if failed:
            self.bar.update(self.task, failed=failed)
            console.line(f'FAILED {test["id"]}')
        self.bar.advance(self.task)
        if console.console.is_terminal:
            return
        if time.monotonic() - self.shown > _QUIET:
            self.shown = time.monotonic()
            console.line(
                f'  {self.title}: {len(self.outcome.status)} tests so far'
            )


def _end(process):
    """Ends a run with all of its workers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()


class _Watch:
    """Ends a run in which nothing happens any more.

    :ivar stuck: whether it has done so
    """

    def __init__(self, process):
        self.stuck = False
        self._process = process
        self._heard = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def hear(self):
        """Notes that something has happened."""
        self._heard = time.monotonic()

    def _watch(self):
        while not self._over.wait(self._heard + _STUCK - time.monotonic()):
            if time.monotonic() > self._heard + _STUCK:
                self.stuck = True
                _end(self._process)
                return

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()


def run(tree, suite, title, regexes=None, only=None, total=None):
    """Runs tests of a suite of a tree, on all cores.

    :param regexes: run the tests whose ids match one of these
    :param only: run the tests of these ids
    :param total: how many tests there are, if known, for the progress
    :returns: the Outcome
    """
    with tempfile.TemporaryDirectory() as scratch:
        chosen = pathlib.Path(scratch) / 'tests'
        chosen.write_text('\n'.join(only or regexes) + '\n')
        kind = '--load-list' if only else '--include-list'
        return _follow(
            _command(scratch, SUITES[suite])
            + ['run', '--subunit', '--concurrency',
               str(_AT_ONCE[suite] * (os.cpu_count() or 1)),
               kind, str(chosen)],
            tree, _Progress(title, total))


def run_modules(tree, modules, patterns):
    """Runs tests of some modules, on one core and without a word.

    Nothing but these modules is imported, while stestr imports the whole
    suite, once to list its tests and again in each of its workers.

    :param modules: dotted names
    :param patterns: shell patterns; a test runs whose id matches one of these
    :returns: the Outcome
    """
    # Where Nova patches its process for eventlet, subunit.run never writes to
    # a pipe; the runner of stestr does.
    command = [sys.executable, '-m', 'stestr.subunit_runner.run']
    for pattern in patterns:
        command += ['-k', pattern]
    return _follow(command + list(modules), tree, _Progress())


def _follow(command, tree, progress):
    """Runs tests, and takes in what they report.

    :param command: prints a stream of subunit
    :param tree: where it is run
    :param progress: shows it
    :returns: the Outcome
    """
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    said = []
    listener = threading.Thread(
        target=lambda: said.extend(process.stderr), daemon=True
    )
    listener.start()
    summary = testtools.StreamToDict(progress.on_test)
    noise = []
    watch = _Watch(process)
    try:
        with watch, progress.bar:
            summary.startTestRun()
            subunit.ByteStreamToStreamResult(
                process.stdout, non_subunit_name='stdout'
            ).run(_Tee(summary, noise, watch))
            summary.stopTestRun()
            process.wait()
    finally:
        _end(process)
    listener.join()
    outcome = progress.outcome
    if watch.stuck:
        outcome.died = (
            f'no test has started or ended for {_STUCK} s. Those that were '
            'running then have failed.'
        )
    elif not outcome.status or process.returncode not in (0, 1):
        text = b''.join(noise + said).decode(errors='replace')
        outcome.died = (
            f'the run ended with {process.returncode} after '
            f'{len(outcome.status)} tests:\n{text[-4000:]}'
        )
    return outcome


class _Tee(testtools.StreamResult):
    """Keeps what the runner prints apart from what it says of tests."""

    def __init__(self, target, noise, watch):
        super().__init__()
        self.target = target
        self.noise = noise
        self.watch = watch

    def status(self, *args, **kwargs):
        self.watch.hear()
        if kwargs.get('test_id') is None and not (args and args[0]):
            if kwargs.get('file_bytes'):
                self.noise.append(kwargs['file_bytes'])
            return
        self.target.status(*args, **kwargs)
