# SPDX-License-Identifier: Apache-2.0

"""The plugin for DevStack, in the phases of stack.sh, on git checkouts."""

import os
import pathlib
import shutil
import sys

import pytest

from tests.tool import conftest
from tool import build
from tool import git
from tool.layout import PROJECT
from tool import refresh

HARNESS = pathlib.Path(__file__).with_name('stack.sh')
DRIVER = 'nova/virt/driver.py'

# ./run of a small project, in this environment.
RUN = '''#!{python}
import pathlib
import sys

sys.path.insert(0, {here!r})

from tool import layout

layout.PROJECT = layout.Layout(pathlib.Path({root!r}))

from tool import __main__
from tool import environments

environments.enter = lambda *args: None
sys.exit(__main__.main(sys.argv[1:]))
'''


class DevStack:
    """DevStack, with a Nova that it clones and a series for it.

    :ivar upstream: the repository that Nova is cloned from
    :ivar series: the tree of the series
    """

    def __init__(self, where, upstream, series):
        self.upstream = upstream
        self.series = series
        self.where = where
        where.mkdir()
        root = series.layout.root
        shutil.copytree(PROJECT.root / 'devstack', root / 'devstack')
        run = root / 'run'
        run.write_text(RUN.format(
            python=sys.executable, here=str(PROJECT.root), root=str(root)))
        run.chmod(0o755)

    @property
    def nova(self):
        return git.Git(self.where / 'nova', own=True)

    def call(self, what, **settings):
        """Runs stack.sh, unstack.sh or clean.sh; its exit code and output."""
        env = {
            **os.environ, 'DEST': str(self.where), 'RECLONE': 'False',
            'NOVA_REPO': f'file://{self.upstream.tree}',
            'NOVA_BRANCH': '34.0.0', 'SERVICES': 'nova tempest', **settings}
        done = conftest.shell(
            '/', HARNESS, self.series.layout.root / 'devstack', what, env=env)
        return done.returncode, done.stdout + done.stderr

    def stack(self, **settings):
        """Runs stack.sh, which works; the subjects of Nova's commits."""
        code, said = self.call('stack', **settings)
        assert code == 0, said
        return self.nova.lines('log', '--format=%s')


@pytest.fixture
def devstack(two, nova, tmp_path, monkeypatch):
    """A DevStack whose user has no git identity."""
    nova('tag', '34.0.0')
    nova('branch', 'stable/2026.2')
    (tmp_path / 'gitconfig').write_text('[user]\nuseConfigOnly = true\n')
    monkeypatch.delenv('EMAIL', raising=False)
    return DevStack(tmp_path / 'stack', nova, two)


def _upstream_changes(devstack, path, text):
    """Upstream's stable branch gets another commit."""
    repo = devstack.upstream
    repo('checkout', '--quiet', 'stable/2026.2')
    (repo.tree / path).write_text(text)
    repo('add', '--all')
    repo('-c', 'user.name=Bob', '-c', 'user.email=bob@example.org', 'commit',
         '--quiet', '--message=Theirs too')


def _extend(tree):
    """The series gets another patch."""
    tree.write('nova/virt/new.py', 'NEW = 1\n')
    tree.commit(f'Third\n\nWhy.\n\nChange-Id: I{3:040}\n')
    refresh.refresh(tree.layout)


def test_the_series_is_there_before_the_database(devstack):
    code, said = devstack.call('stack')
    assert code == 0, said
    where = f'{devstack.where}/nova'
    assert [line for line in said.splitlines() if line.startswith(
        ('installed', 'database', 'set', 'done'))] == [
            f'installed: {where} at Theirs', f'installed: {where} at Second',
            'database: made',
            f'set: {devstack.where}/tempest/etc/tempest.conf '
            'compute-feature-enabled live_migrate_rescued False', 'done']


def test_tempest_knows_whether_servers_can_be_migrated(devstack):
    _, said = devstack.call('stack', LIVE_MIGRATION_AVAILABLE='True')
    assert 'live_migrate_rescued True\n' in said


def test_a_second_run_changes_nothing(devstack):
    assert devstack.stack() == ['Second', 'First', 'Theirs']
    head = devstack.nova.commit('HEAD')
    assert devstack.stack() == ['Second', 'First', 'Theirs']
    assert devstack.nova.commit('HEAD') == head


@pytest.mark.parametrize('branch', ['34.0.0', 'stable/2026.2'])
def test_it_is_there_after_reclone(devstack, branch):
    devstack.stack(NOVA_BRANCH=branch)
    for _ in range(2):
        assert devstack.stack(NOVA_BRANCH=branch, RECLONE='True') == [
            'Second', 'First', 'Theirs']


def test_it_follows_the_stable_branch(devstack):
    devstack.stack(NOVA_BRANCH='stable/2026.2')
    _upstream_changes(devstack, 'nova/more.py', 'MORE = 1\n')
    assert devstack.stack(NOVA_BRANCH='stable/2026.2', RECLONE='True') == [
        'Second', 'First', 'Theirs too', 'Theirs']


def test_a_later_series_takes_its_place(devstack):
    devstack.stack()
    _extend(devstack.series)
    assert devstack.stack() == ['Third', 'Second', 'First', 'Theirs']


def test_a_conflict_ends_it_and_leaves_nova_as_it_was(devstack):
    _upstream_changes(devstack, DRIVER, 'NOTHING = 0\n')
    code, said = devstack.call('stack', NOVA_BRANCH='stable/2026.2')
    assert code == 1
    assert f'patches/0001-First.patch: {DRIVER} (contents)' in said
    assert f'died: {devstack.where}/nova is without the series' in said
    assert 'database' not in said
    assert devstack.nova.lines('log', '--format=%s') == [
        'Theirs too', 'Theirs']
    assert devstack.nova.clean()
    assert not devstack.nova.branch()


def test_master_is_refused(devstack):
    code, said = devstack.call('stack', NOVA_BRANCH='master')
    assert code == 1
    assert 'died: The series is made for a release of Nova' in said


def test_a_series_that_cannot_be_built_ends_it(devstack):
    patch = devstack.series.layout.patches / '0001-First.patch'
    patch.write_text('nothing\n')
    code, said = devstack.call('stack')
    assert code == 1
    assert 'died: The series could not be built' in said


def test_a_machine_without_nova_is_left_alone(devstack):
    code, said = devstack.call('stack', SERVICES='placement')
    assert code == 0, said
    assert not (devstack.where / 'nova').exists()
    assert devstack.call('clean')[0] == 0


@pytest.mark.parametrize('end', ['unstack', 'clean'])
def test_it_is_undone_in_the_end(devstack, end):
    devstack.stack()
    code, said = devstack.call(end)
    assert code == 0, said
    assert 'warned' not in said
    assert devstack.nova.lines('log', '--format=%s') == ['Theirs']
    assert devstack.nova.lines('branch', '--list', 'nova-series') == []
    assert devstack.stack() == ['Second', 'First', 'Theirs']


def test_work_on_nova_is_not_lost(devstack):
    devstack.stack()
    (devstack.where / 'nova' / DRIVER).write_text('MINE = 1\n')
    code, said = devstack.call('unstack')
    assert code == 0
    assert 'warned' in said
    code, said = devstack.call('stack')
    assert code == 1
    assert (devstack.where / 'nova' / DRIVER).read_text() == 'MINE = 1\n'


def test_the_clients_come_from_their_patched_trees(tmp_path):
    layout = PROJECT.of('openstacksdk')
    build.build(layout, quiet=True)
    (tmp_path / 'plugin').mkdir()
    settings = PROJECT.root / 'devstack' / 'settings'
    (tmp_path / 'plugin' / 'settings').write_text(f'source {settings}\n')
    (tmp_path / 'plugin' / 'plugin.sh').write_text('')
    done = conftest.shell('/', HARNESS, tmp_path / 'plugin', 'stack', env={
        **os.environ, 'DEST': str(tmp_path), 'SERVICES': '',
        'LIBS_FROM_GIT': 'openstacksdk'})
    subject = git.Git(layout.tree)('log', '-1', '--format=%s', 'series')
    assert f'installed: {tmp_path}/openstacksdk at {subject}\n' in done.stdout
