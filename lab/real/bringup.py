# SPDX-License-Identifier: Apache-2.0

"""Brings up the services of the lab, stage by stage."""

from collections import abc
import dataclasses

from lab.guest import image as guest_image
from lab.real.lab import Lab
from lab.real import namespaces
from lab.real import seed
from lab.real.services import ceph
from lab.real.services import ceph_osd
from lab.real.services import cinder
from lab.real.services import glance
from lab.real.services import haproxy
from lab.real.services import keystone
from lab.real.services import libvirtd
from lab.real.services import mariadb
from lab.real.services import memcached
from lab.real.services import neutron
from lab.real.services import nova
from lab.real.services import openvswitch
from lab.real.services import ovn
from lab.real.services import placement
from lab.real.services import rabbitmq
from lab.real.services import Service
from lab.real.services import sshd
from lab.real import supervisor
from lab.real import tables


@dataclasses.dataclass(frozen=True)
class Stage:
    """Services that start together."""

    text: str
    services: abc.Sequence[Service]

    def wanted(self, lab: Lab) -> list[Service]:
        return [service for service in self.services if service.wanted(lab)]

    def start(self, lab: Lab) -> None:
        """Start the services that the lab has.

        :raises tool.console.Problem: if one does not come up
        """
        wanted = self.wanted(lab)
        for service in wanted:
            service.before_start(lab)
        lab.supervisor.start(*(
            program for service in wanted
            for program in service.programs(lab)))
        for service in wanted:
            service.after_start(lab)


STAGES = (
    Stage('start the database, the message queue, the switches and libvirt',
          (mariadb, rabbitmq, memcached, openvswitch, libvirtd, sshd)),
    Stage('start the monitor of Ceph', (ceph,)),
    Stage('start the OSD of Ceph and make pools', (ceph_osd,)),
    Stage('start Keystone and OVN', (keystone, ovn)),
    Stage('start Glance, Placement, Neutron and Nova',
          (haproxy, placement, nova, glance, cinder, neutron)),
)


def services(lab: Lab) -> list[Service]:
    """All services that a lab has."""
    return [service for stage in STAGES for service in stage.wanted(lab)]


def prepare(lab: Lab) -> None:
    """Write all files that the lab starts from, before it has a host.

    :raises tool.console.Problem: if a program that writes some fails
    """
    for directory in (lab.where.conf, lab.where.run, lab.where.lab / 'tmp'):
        directory.mkdir(mode=0o700)
    namespaces.configure(lab.where, lab.settings.shared)
    wanted = services(lab)
    for service in wanted:
        service.configure(lab)
    supervisor.write_configuration(
        lab.where,
        [program for service in wanted for program in service.programs(lab)],
        nova.spare_programs(lab))


def bring_up(lab: Lab, images: guest_image.Images, step: tables.Step) -> None:
    """Start everything, from the controller of the lab.

    :raises tool.console.Problem: if something does not come up
    """
    lab.supervisor.wait_until_up()
    for stage in STAGES:
        if stage.wanted(lab):
            with step(stage.text):
                stage.start(lab)
        if mariadb in stage.services:
            tables.make(lab, services(lab), step)
    with step('make images, flavors and a network'):
        seed.provide(lab, images)
        seed.write_clouds(lab)
