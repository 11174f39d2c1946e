# SPDX-License-Identifier: Apache-2.0

"""./run export debian and rdo."""

import subprocess

import pytest

from tests.tool import conftest
from tests.tool.exports.conftest import unpacked
from tool.exports import quilt
from tool import refresh

_CHANGE = 'https://review.opendev.org/q/I'


def _push(source, patches):
    """Apply patches as quilt and dpkg-source do: no fuzz, no offset."""
    for patch in patches:
        done = conftest.shell(
            source, 'patch', '-p1', '-F0', '--no-backup-if-mismatch',
            '--input', str(patch))
        assert done.returncode == 0, done.stdout
        assert 'offset' not in done.stdout


def _series(source):
    return (source / 'debian/patches/series').read_text().splitlines()


def test_patches_apply_to_the_source_archive(two, exporter, tmp_path):
    source = unpacked(tmp_path / 'nova-34.0.0')
    quilt.debian(two.layout, source, proposed=False)
    _push(source, [source / 'debian/patches' / name
                   for name in _series(source)])
    for path in two.git.lines('ls-files'):
        assert (source / path).read_bytes() == (two.path / path).read_bytes()


def test_the_patches_of_the_package_stay_and_come_first(
    two, exporter, tmp_path
):
    home = tmp_path / 'debian' / 'patches'
    home.mkdir(parents=True)
    (home / 'series').write_text('# Ours\ntheirs.patch\n')
    (home / 'theirs.patch').write_text('theirs')
    quilt.debian(two.layout, tmp_path, proposed=False)
    assert _series(tmp_path) == [
        '# Ours', 'theirs.patch', 'nova-series/0001-First.patch',
        'nova-series/0002-Second.patch']
    assert (home / 'theirs.patch').read_text() == 'theirs'


def test_exported_again_it_takes_the_place_of_the_former(
    two, exporter, tmp_path
):
    quilt.debian(two.layout, tmp_path, proposed=False)
    stale = tmp_path / 'debian/patches/nova-series/0003-Gone.patch'
    stale.write_text('gone')
    before = _series(tmp_path)
    quilt.debian(two.layout, tmp_path, proposed=False)
    assert _series(tmp_path) == before
    assert not stale.exists()


@pytest.mark.parametrize('proposed, forwarded', [
    (False, 'no'), (True, _CHANGE + '1' * 40)])
def test_heads_follow_dep_3(two, exporter, tmp_path, proposed, forwarded):
    two.git(
        'commit', '--quiet', '--amend', '--allow-empty',
        '--message=Second\n\nWhy.\n\nCloses-Bug: #42\nChange-Id: I'
        + '1' * 40)
    refresh.refresh(two.layout)
    quilt.debian(two.layout, tmp_path, proposed)
    head = (
        tmp_path / 'debian/patches/nova-series/0002-Second.patch'
    ).read_text().split('\n\n')[0].splitlines()
    assert 'From: Ann <ann@example.org>' in head
    assert head[-3:] == [
        'Origin: other', 'Bug: https://bugs.launchpad.net/nova/+bug/42',
        f'Forwarded: {forwarded}']


def test_rdo_names_each_patch_and_the_release(two, exporter, tmp_path):
    quilt.rdo(two.layout, tmp_path / 'out')
    assert (tmp_path / 'out/patches.spec').read_text().splitlines() == [
        '# patches_base=34.0.0',
        'Patch0001:      0001-First.patch',
        'Patch0002:      0002-Second.patch']
    source = unpacked(tmp_path / 'source')
    subprocess.run(['git', 'init', '--quiet', source], check=True)
    _push(source, sorted((tmp_path / 'out').glob('*.patch')))
    assert (source / 'doc/source/rescue.rst').exists()
