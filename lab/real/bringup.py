# SPDX-License-Identifier: Apache-2.0

"""Brings the services of the lab up, in the order that they need."""

from collections import abc
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import subprocess

from lab.real import accounts
from lab.real import images as lab_images
from lab.real import programs
from lab.real.services import ceph
from lab.real.services import cinder
from lab.real.services import common
from lab.real.services import glance
from lab.real.services import hypervisor
from lab.real.services import infrastructure
from lab.real.services import keystone
from lab.real.services import neutron
from lab.real.services import nova
from lab.real.services import placement
from lab.real import topology

Step = abc.Callable[[str], contextlib.AbstractContextManager[None]]

#: Sets of empty tables that are kept. A change of Nova's database code, or of
#: a package, needs new ones.
_KEPT = 4

_MODULES = (infrastructure, keystone, glance, placement, neutron, nova,
            hypervisor, ceph, cinder)


def all_programs(lab: common.Lab) -> list[programs.Program]:
    """All programs of the lab."""
    return [
        *infrastructure.stores(lab), *neutron.network(lab),
        *(program for compute in topology.COMPUTES
          for program in neutron.switches(lab, compute)),
        *hypervisor.programs_of(lab), *ceph.programs_of(lab),
        *keystone.programs_of(lab), *_rest(lab)]


def _rest(lab: common.Lab) -> list[programs.Program]:
    """The programs that start when Keystone and its accounts are there."""
    return [
        infrastructure.gateway(lab), neutron.northd(lab),
        *placement.programs_of(lab), *nova.apis(lab),
        *nova.controllers(lab), *nova.computes(lab),
        *glance.programs_of(lab), *cinder.programs_of(lab),
        *neutron.programs_of(lab),
        *neutron.controllers(lab)]


def prepare(lab: common.Lab) -> None:
    """Write all files that the lab starts from, before it has a host."""
    for directory in (lab.where.conf, lab.where.run, lab.where.lab / 'tmp'):
        directory.mkdir(mode=0o700)
    if lab.settings.shared:
        lab.where.shared.mkdir()
    for module in _MODULES:
        module.configure(lab)
    neutron.create_databases(lab)
    programs.write_configuration(
        lab.where, [*all_programs(lab), *nova.released_computes(lab)])


def bring_up(
    lab: common.Lab, images: lab_images.Images, step: Step
) -> None:
    """Start everything, from the controller of the lab.

    :raises tool.console.Problem: if something does not come up
    """
    supervisor = programs.Supervisor(lab.where)
    with step('start database, message queue, switches and libvirt'):
        supervisor.wait_until_up()
        supervisor.start(
            *infrastructure.stores(lab), *neutron.network(lab),
            *(program for compute in topology.COMPUTES
              for program in neutron.switches(lab, compute)),
            *hypervisor.programs_of(lab))
        for compute in topology.COMPUTES:
            neutron.wire(lab, compute)
        hypervisor.check_ssh(lab)
    if ceph.enabled(lab):
        with step('start Ceph and make a pool'):
            ceph.start(lab, supervisor)
    _make_tables(lab, step)
    with step('start Keystone and make accounts'):
        keystone.bootstrap(lab)
        supervisor.start(*keystone.programs_of(lab))
        accounts.create(lab)
    with step('tell Nova of its cells'):
        nova.map_cells(lab)
    with step('start Glance, Placement, Neutron and Nova'):
        supervisor.start(*_rest(lab))
    with step('tell Nova of its hosts'):
        nova.discover_hosts(lab)
    with step('make images, flavors and a network'):
        accounts.provide(lab, images)
        accounts.write_clouds(lab)


def _make_tables(lab: common.Lab, step: Step) -> None:
    """Make the tables of all databases, or take those made before."""
    options = infrastructure.client_options(lab)
    kept = lab.where.cache / f'tables-{_state_of_code(lab)}.sql'
    if kept.exists():
        with step('make the tables, as they were made before'):
            kept.touch()
            with kept.open() as statements:
                subprocess.run(
                    ['mariadb', options], stdin=statements, check=True)
        return
    with step('make the tables of all services'):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for done in [pool.submit(module.sync, lab) for module in (
                    nova, neutron, keystone, glance, placement, cinder)]:
                done.result()
        new = kept.with_suffix('.new')
        with new.open('w') as statements:
            subprocess.run(
                ['mariadb-dump', options, '--databases',
                 *infrastructure.databases(lab)],
                stdout=statements, check=True)
        new.replace(kept)
        _prune(lab.where.cache)


def _prune(cache: pathlib.Path) -> None:
    """Remove the tables that have not been used for longest."""
    made = sorted(cache.glob('tables-*'), reverse=True,
                  key=lambda path: path.stat().st_mtime)
    for path in made[_KEPT:]:
        path.unlink()


def _state_of_code(lab: common.Lab) -> str:
    """Stands for the code that makes the tables."""
    seen = hashlib.sha256(' '.join(infrastructure.databases(lab)).encode())
    for line in subprocess.run(
            [common.tool('pip'), 'freeze'], capture_output=True, text=True,
            check=True).stdout.splitlines():
        seen.update(line.encode())
    if lab.settings.nova:
        tree = pathlib.Path(lab.settings.nova, 'nova', 'db')
        for path in sorted(tree.rglob('*.py')):
            seen.update(str(path.relative_to(tree)).encode())
            seen.update(path.read_bytes())
    return seen.hexdigest()[:16]
