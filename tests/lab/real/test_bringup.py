# SPDX-License-Identifier: Apache-2.0

"""The stages of the services, and the contract of their modules."""

import importlib
import inspect
import pkgutil

from lab.real import bringup
from lab.real.lab import Lab
from lab.real import layout
from lab.real import services
from lab.real import settings
from lab.real import supervisor


def a_lab(tmp_path, *extras):
    where = layout.Layout(tmp_path)
    return Lab(where, settings.draw('/tree', False, extras))


def names(lab):
    return {program.name for service in bringup.services(lab)
            for program in service.programs(lab)}


def databases(lab):
    return {name for service in bringup.services(lab)
            for name in service.DATABASES}


def of_the_contract():
    """The names of all that a service must have."""
    return [name for name in vars(services.Service)
            if not name.startswith('_')]


def test_every_module_is_a_service_of_one_stage():
    modules = {
        importlib.import_module(f'{services.__name__}.{found.name}')
        for found in pkgutil.iter_modules(services.__path__)}
    staged = [service for stage in bringup.STAGES
              for service in stage.services]
    assert len(staged) == len(set(staged))
    assert set(staged) == modules
    assert len(of_the_contract()) == 7
    for service in staged:
        for name in of_the_contract():
            found = getattr(service, name)
            if name != 'DATABASES':
                assert list(inspect.signature(found).parameters) == ['lab']


def test_programs_have_names_of_their_own(tmp_path):
    lab = a_lab(tmp_path, *settings.EXTRAS)
    programs = [program.name for service in bringup.services(lab)
                for program in service.programs(lab)]
    assert len(programs) == len(set(programs))


def test_only_a_lab_with_cinder_has_it_and_ceph(tmp_path):
    plain, with_ceph, with_cinder = (
        a_lab(tmp_path), a_lab(tmp_path, 'ceph'), a_lab(tmp_path, 'cinder'))
    assert names(with_ceph) - names(plain) == {
        'ceph-mon', 'ceph-mgr', 'ceph-osd'}
    assert names(with_cinder) - names(with_ceph) == {
        'cinder', 'cinder-scheduler', 'cinder-volume'}
    assert databases(with_cinder) - databases(with_ceph) == {'cinder'}
    assert databases(with_ceph) == databases(plain)
    assert with_cinder.settings.extras == ['ceph', 'cinder']
    assert with_cinder.settings.ports.keys() - with_ceph.settings.ports == {
        'cinder'}


class Recorder:
    """A service that records what is asked of it."""

    DATABASES = ()

    def __init__(self, name, calls, wanted=True):
        self._name = name
        self._calls = calls
        self._wanted = wanted

    def wanted(self, lab):
        return self._wanted

    def before_start(self, lab):
        self._calls.append(('before', self._name))

    def programs(self, lab):
        return [f'program of {self._name}']

    def after_start(self, lab):
        self._calls.append(('after', self._name))


def test_a_stage_starts_the_services_that_are_wanted_together(
    tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(
        supervisor.Supervisor, 'start',
        lambda self, *programs: calls.append(('start', *programs)))
    bringup.Stage('', (
        Recorder('one', calls), Recorder('two', calls, wanted=False),
        Recorder('three', calls))).start(a_lab(tmp_path))
    assert calls == [
        ('before', 'one'), ('before', 'three'),
        ('start', 'program of one', 'program of three'),
        ('after', 'one'), ('after', 'three')]
