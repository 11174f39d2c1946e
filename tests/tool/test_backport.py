# SPDX-License-Identifier: Apache-2.0

"""The series for an earlier release: shared patches, and variants of them."""

import argparse
import hashlib

import pytest

from tests.tool.checks.conftest import built
from tests.tool import conftest
from tool import build
from tool.checks import backport as check
from tool.checks import numbers
from tool.checks import overlay
from tool.checks import requirements
from tool import commands
from tool.console import Problem
from tool.exports import checkout
from tool.exports import gerrit
from tool.exports import quilt
from tool import git
from tool.layout import PROJECT
from tool import refresh

VERSION = '33.0.2'

# An earlier Nova: what the first patch edits stands elsewhere, and some of it
# has other neighbours.
BASE = {
    **conftest.BASE,
    'nova/compute/manager.py':
        '# Earlier.\n' + conftest.BASE['nova/compute/manager.py'],
    'nova/virt/driver.py': 'ONE = 0\nTWO = 2\nTHREE = 3\n',
    'nova/objects/service.py': 'SERVICE_VERSION = 72\n',
    'nova/api/openstack/api_version_request.py': "_MAX_API_VERSION = '2.9'\n",
}
SERIES = (
    '# An earlier one.\n#\n# Without 0002-Second.patch: a feature\n\n'
    '# Topic fixes: what is wrong\n0001-First.patch\n')
VARIANT = 'releases/33.0.2/0001-First.patch'


def _add(layout, files):
    """Add a backport of the first patch to a project."""
    layout = layout.on(VERSION)
    data = conftest.archive(files)
    (layout.cache / 'nova-33.0.2.tar.gz').write_bytes(data)
    layout.release.mkdir()
    layout.base.write_text(
        'nova==33.0.2 \\\n    --hash=sha256:'
        + hashlib.sha256(data).hexdigest() + '\n')
    layout.facts.write_text('microversion = "2.9"\nservice_version = 72\n')
    layout.series.write_text(SERIES)
    return layout


@pytest.fixture
def shared(two):
    """The tree of a backport that shares its patch with the series."""
    layout = _add(two.layout, {
        **BASE, 'nova/virt/driver.py': conftest.BASE['nova/virt/driver.py']})
    build.build(layout)
    return conftest.Tree(layout)


@pytest.fixture
def mended(two):
    """The tree of a backport that has a variant of its patch."""
    layout = _add(two.layout, BASE)
    with pytest.raises(Problem):
        build.build(layout)
    mend = conftest.Tree(layout)
    mend.path, mend.git.tree = layout.mend, layout.mend
    mend.write('nova/compute/manager.py', BASE[
        'nova/compute/manager.py'].replace('10\n', '100\n'))
    mend.write('nova/virt/driver.py', 'ONE = 0\nTWO = 22\nTHREE = 3\n')
    mend.git('add', '--all')
    mend.git('commit', '--quiet', '--no-edit')
    assert refresh.refresh(layout, mend=True) == [f'new      {VARIANT}']
    build.build(layout)
    return conftest.Tree(layout)


def test_each_release_has_a_tree_of_its_own(shared, two):
    assert shared.path == two.layout.build / 'nova-33.0.2'
    assert two.layout.tree == two.layout.build / 'nova'
    assert two.subjects() == ['First', 'Second']
    assert shared.subjects() == ['First']
    assert 'ONE = 1\nTWO = 22' in shared.read('nova/virt/driver.py')
    assert shared.read('nova/compute/manager.py').startswith('# Earlier.\n')


def test_the_release_of_the_series_is_its_own():
    assert PROJECT.on('34.0.0') == PROJECT
    assert PROJECT.whole is None


def test_a_new_file_is_as_its_patch_adds_it(shared):
    """A later patch, which the backport lacks, edits it."""
    assert shared.read('nova/virt/rescue.py') == 'NAME = "rescue"\n'
    assert not (shared.path / 'doc/source/rescue.rst').exists()


def test_a_shared_patch_may_stand_elsewhere_and_has_no_variant(shared):
    checked = built(shared)
    assert checked.made[0].offsets
    assert overlay.applies(checked) == []
    assert refresh.refresh(shared.layout) == []
    assert not (shared.layout.root / VARIANT).exists()


def test_a_patch_that_does_not_apply_is_mended_for_that_release(two):
    layout = _add(two.layout, BASE)
    with pytest.raises(Problem) as raised:
        build.build(layout)
    said = str(raised.value)
    assert 'patches/0001-First.patch does not apply:' in said
    assert 'cd build/mend.nova-33.0.2 && git apply' in said
    assert './run refresh --mend --release 33.0.2' in said
    assert not layout.tree.exists()
    assert not two.layout.mend.exists()


def test_a_variant_is_built_and_the_series_stays(mended, two):
    assert 'TWO = 22' in mended.read('nova/virt/driver.py')
    assert mended.read('nova/virt/rescue.py') == 'NAME = "rescue"\n'
    variant = (mended.layout.root / VARIANT).read_text()
    assert 'Adds: nova/virt/rescue.py\n' in variant
    assert '\n ONE = 0\n' in variant
    before = conftest.snapshot(two.layout.root)
    assert refresh.refresh(mended.layout) == []
    assert refresh.refresh(two.layout) == []
    assert conftest.snapshot(two.layout.root) == before
    assert overlay.applies(built(mended)) == []


def test_a_variant_edits_a_new_file(shared, two):
    shared.write('nova/virt/rescue.py', 'NAME = "earlier"\n')
    shared.git('commit', '--quiet', '--all', '--amend', '--no-edit')
    assert refresh.refresh(shared.layout) == [f'new      {VARIANT}']
    variant = (shared.layout.root / VARIANT).read_text()
    assert '-NAME = "rescue"\n+NAME = "earlier"\n' in variant
    build.build(shared.layout)
    assert shared.read('nova/virt/rescue.py') == 'NAME = "earlier"\n'
    assert two.read('nova/virt/rescue.py') == 'NAME = "disk.rescue"\n'


def test_a_variant_may_lack_a_new_file(shared):
    (shared.path / 'nova/virt/rescue.py').unlink()
    shared.git('commit', '--quiet', '--all', '--amend', '--no-edit')
    refresh.refresh(shared.layout)
    assert 'Adds:' not in (shared.layout.root / VARIANT).read_text()
    build.build(shared.layout)
    assert not (shared.path / 'nova/virt/rescue.py').exists()


def test_a_variant_adds_no_file_of_its_own(mended):
    variant = mended.layout.root / VARIANT
    variant.write_text(variant.read_text().replace(
        'Adds: ', 'Adds: doc/source/rescue.rst\nAdds: '))
    with pytest.raises(Problem, match='patches/ does not'):
        build.build(mended.layout)


def test_a_variant_goes_when_it_is_no_more_needed(shared):
    shared.write('nova/virt/rescue.py', 'NAME = "earlier"\n')
    shared.git('commit', '--quiet', '--all', '--amend', '--no-edit')
    refresh.refresh(shared.layout)
    shared.write('nova/virt/rescue.py', 'NAME = "rescue"\n')
    shared.git('commit', '--quiet', '--all', '--amend', '--no-edit')
    assert refresh.refresh(shared.layout) == [f'removed  {VARIANT}']


def test_a_commit_that_is_no_backport_is_refused(shared):
    shared.write('nova/virt/driver.py', 'ONE = 4\n')
    shared.commit('Third\n\nWhy.\n')
    before = conftest.snapshot(shared.layout.root)
    with pytest.raises(Problem, match='no patch of that Change-Id'):
        refresh.refresh(shared.layout)
    assert conftest.snapshot(shared.layout.root) == before


def test_a_backport_follows_when_the_patches_get_other_numbers(mended, two):
    """Its patches, its variants, and what it is without."""
    two.write('doc/source/index.rst', 'Title\n')
    two.commit('Zeroth\n\nWhy.\n')
    two.git('rebase', '--quiet', '--onto', 'base', 'HEAD^')
    two.git('cherry-pick', 'refs/series/built^', 'refs/series/built')
    refresh.refresh(two.layout)
    layout = mended.layout
    assert layout.series.read_text() == SERIES.replace(
        '0002-', '0003-').replace('0001-', '0002-')
    assert sorted(path.name for path in layout.release.glob('*.patch')) == [
        '0002-First.patch']
    head = mended.git.commit('HEAD')
    assert build.build(layout) == head


def test_each_patch_is_there_or_left_out_with_a_reason(mended):
    checked = built(mended)
    assert check.check(checked) == []
    text = mended.layout.series.read_text()
    mended.layout.series.write_text(text.replace(': a feature', ':'))
    (found,) = check.check(checked)
    assert found.startswith(
        'patches/0002-Second.patch is not in releases/33.0.2/series')
    mended.layout.series.write_text(text.replace(
        'a feature', 'a feature\n# Without 0001-First.patch: bad'
        '\n# Without none: worse'))
    assert check.check(checked) == [
        'releases/33.0.2/series has 0001-First.patch, and says that it is '
        'without it',
        'releases/33.0.2/series says that it is without none, which is not in '
        'patches/series']


def test_a_topic_can_be_left_out(mended, two):
    series = two.layout.patches / 'series'
    series.write_text(series.read_text().replace(
        '0002-', '# Topic bp/it: a feature\n0002-'))
    mended.layout.series.write_text(
        SERIES.replace('0002-Second.patch', 'bp/it'))
    assert check.unexplained(mended.layout) == []


def test_a_stray_variant_is_found(mended):
    (mended.layout.release / '0002-Second.patch').write_text('mine\n')
    assert check.check(built(mended)) == [
        'releases/33.0.2/0002-Second.patch is not in releases/33.0.2/series']


def test_a_backport_takes_no_number(mended):
    assert [text for text in numbers.check(built(mended))
            if 'is to become' in text] == []
    mended.write('nova/objects/service.py', 'SERVICE_VERSION = 73\n')
    mended.git('commit', '--quiet', '--all', '--amend', '--no-edit')
    refresh.refresh(mended.layout)
    assert any(
        'the service version is to become nothing else, but the commits make '
        f'it 73 in {VARIANT}' in text
        for text in numbers.check(built(mended)))


def test_what_checks_a_backport_is_of_the_series(mended):
    mended.write('requirements.txt', 'no-such-package>=1\n')
    mended.write('test-requirements.txt', 'no-such-tool>=1\n')
    mended.git('add', '--all')
    mended.git('commit', '--quiet', '--amend', '--no-edit')
    refresh.refresh(mended.layout)
    assert requirements.check(built(mended)) == [
        'requirements.txt: no-such-package is not in constraints.txt']


@pytest.fixture
def exporter(tmp_path, monkeypatch):
    """Whoever exports, with a git identity."""
    config = tmp_path / 'gitconfig'
    config.write_text('[user]\nname = Ann\nemail = ann@example.org\n')
    monkeypatch.setenv('GIT_CONFIG_GLOBAL', str(config))


def test_a_backport_is_exported(mended, exporter, tmp_path):
    quilt.rdo(mended.layout, tmp_path / 'rdo')
    assert (tmp_path / 'rdo/patches.spec').read_text().splitlines() == [
        '# patches_base=33.0.2', 'Patch0001:      0001-First.patch']
    gerrit.export(mended.layout, tmp_path / 'gerrit', 'fixes', [])
    (file,) = (tmp_path / 'gerrit').glob('*.patch')
    assert '\n+NAME = "rescue"\n' in file.read_text()
    assert '\n ONE = 0\n' in file.read_text()


def test_a_backport_goes_on_a_checkout_of_its_release(
    mended, exporter, tmp_path
):
    nova = git.Git(tmp_path / 'nova', own=True)
    for path, text in BASE.items():
        (nova.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (nova.tree / path).write_text(text)
    nova('init', '--quiet')
    nova('add', '--all')
    nova('commit', '--quiet', '--message=Theirs')
    checkout.put(mended.layout, nova.tree, 'ours')
    assert 'TWO = 22' in (nova.tree / 'nova/virt/driver.py').read_text()
    checkout.take_back(nova.tree, 'ours')
    (nova.tree / 'nova/objects/service.py').write_text(
        'SERVICE_VERSION = 74\n')
    nova('commit', '--quiet', '--all', '--message=Of a later release')
    with pytest.raises(Problem, match='service version is 74, not 72'):
        checkout.put(mended.layout, nova.tree, 'ours')


@pytest.mark.parametrize('command, words', [
    ('build', {'projects': ['nova', 'tempest']}),
    ('check', {'projects': ['tempest']}),
    ('tests', {'parts': ['tool']}),
    ('tests', {'parts': ['unit', 'tempest']}),
])
def test_what_has_no_earlier_release_is_refused(command, words):
    args = argparse.Namespace(release=VERSION, all=False, **words)
    with pytest.raises(Problem, match='is not for Nova 33.0.2') as raised:
        getattr(commands, command)(args)
    assert raised.value.code == 2


@pytest.mark.parametrize(
    'layout', PROJECT.backports, ids=lambda layout: layout.version)
def test_the_backports_here_explain_what_they_lack(layout):
    assert check.unexplained(layout) == []
