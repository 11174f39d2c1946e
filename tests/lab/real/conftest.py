# SPDX-License-Identifier: Apache-2.0

"""The real cloud, with nothing of a lab running."""

import contextlib
import importlib
import pathlib
import sys
import tempfile
import types

import pytest

from lab.real.lab import Lab
from lab.real import layout
from lab.real import settings
from tests.lab.real import fakes


@pytest.fixture(scope='module')
def real():
    libvirt = types.ModuleType('libvirt')
    libvirt.libvirtError = fakes.Error
    libvirt.virConnect = libvirt.virStream = object
    libvirt.virDomain = fakes.Domain
    libvirt.registerErrorHandler = lambda handler, context: None
    libvirt.VIR_DOMAIN_PAUSED = fakes.PAUSED
    libvirt.VIR_ERR_NO_DOMAIN = fakes.GONE
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'libvirt', libvirt)
        yield importlib.import_module('lab.real.cloud')
    for name in ('cloud', 'faults'):
        del sys.modules[f'lab.real.{name}']
        delattr(sys.modules['lab.real'], name)


@pytest.fixture
def short_path():
    """A directory whose path leaves room for the names of sockets in it."""
    with tempfile.TemporaryDirectory() as directory:
        yield pathlib.Path(directory)


class LabInFiles(Lab):
    """A lab with its databases in files."""

    def database(self, name):
        return f'sqlite:///{self.where.lab / name}'


@pytest.fixture
def lab(tmp_path):
    where = layout.Layout(tmp_path)
    where.lab.mkdir()
    return LabInFiles(where, settings.draw(None, shared=False))


@pytest.fixture
def seen(real, lab, monkeypatch):
    """The cloud of a lab, by how it was drawn, whose libvirts have UEFI."""
    def seen(shared=False, extras=(), refuses=()):
        found = real.RealCloud(
            LabInFiles(lab.where, settings.draw(None, shared, list(extras))))
        last = found.hosts()[-1]
        monkeypatch.setattr(
            Lab, 'hypervisor', lambda self, host: contextlib.nullcontext(
                fakes.Hypervisor(refuses if host == last else [])))
        return found
    return seen
