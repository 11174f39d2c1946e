# SPDX-License-Identifier: Apache-2.0

"""What a lab with Ceph has, and one without has not."""

import importlib.machinery
import os
import pathlib

import pytest

from lab.real.lab import Lab
from lab.real import layout
from lab.real.services import ceph
from lab.real.services import nova
from lab.real import settings
from lab.real import topology
from tool import console


def a_lab(tmp_path, *extras):
    where = layout.Layout(tmp_path)
    return Lab(where, settings.draw('/tree', False, extras))


def test_only_a_lab_with_ceph_knows_of_it(tmp_path):
    without, with_ceph = a_lab(tmp_path), a_lab(tmp_path, 'ceph')
    node1, node3 = topology.compute('node1'), topology.compute('node3')
    assert ceph.nova_options(without, node1) == {}
    assert nova.compute(without, node1).environment['PYTHONPATH'] == '/tree'
    options = ceph.nova_options(with_ceph, node1)['libvirt']
    assert options['images_type'] == 'rbd'
    # The other cell keeps its disks in files.
    assert ceph.nova_options(with_ceph, node3) == {}
    modules = ceph.python_path(with_ceph)
    for program, tree in ((nova.compute, ['/tree']),
                          (nova.released_compute, [])):
        path = program(with_ceph, node1).environment['PYTHONPATH']
        assert path.split(os.pathsep) == [*tree, modules]


@pytest.mark.parametrize('suffix, found', [
    (importlib.machinery.EXTENSION_SUFFIXES[0], True),
    ('.cpython-27-none.so', False)])
def test_modules_of_ceph_are_for_this_python(
    suffix, found, tmp_path, monkeypatch
):
    system = tmp_path / 'system'
    system.mkdir()
    for name in ('rados', 'rbd', 'other'):
        (system / f'{name}{suffix}').touch()
    monkeypatch.setattr(ceph, '_MODULES', system)
    lab = a_lab(tmp_path, 'ceph')
    seen = pathlib.Path(ceph.python_path(lab))
    seen.mkdir(parents=True)
    if found:
        ceph.link_modules(lab)
        assert {path.name for path in seen.iterdir()} == {
            f'rados{suffix}', f'rbd{suffix}'}
    else:
        with pytest.raises(console.Problem, match='rados'):
            ceph.link_modules(lab)
