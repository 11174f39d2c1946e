# SPDX-License-Identifier: Apache-2.0

"""Servers that have devices of their host."""

from lab.needs import Need
from lab.scenarios import scenario
from lab.words import expect
from lab.words.scene import Scene


@scenario(capability=17, needs={Need.VGPUS})
def vgpu_types(scene: Scene) -> None:
    """Servers with two types of vGPU share a host, are rescued and move"""
    source, destination = scene.hosts()
    types = scene.cloud.vgpu_flavors
    servers = {
        vgpu: scene.boot(
            source, flavor=flavor, called=f'the server with {vgpu}')
        for vgpu, flavor in types.items()}
    for vgpu, server in servers.items():
        server.check_vgpu(source, vgpu)

    vgpu, server = next(iter(servers.items()))
    server.rescue()
    server.check_vgpu(source, vgpu)
    with scene.lasting(
            f'take a libvirt that moves vGPUs from {destination}',
            scene.cloud.faults.libvirt_without_vgpus(destination),
            'give it back'):
        server.fail_to_live_migrate(destination)
    server.check_error('conductor_live_migrate_instance', 'No valid host')
    server.check_vgpu(source, vgpu)
    with scene.cloud.faults.migration_fails(server.id):
        server.fail_to_live_migrate(destination)
    server.check_lives_on(source)
    server.check_vgpu(source, vgpu)
    server.live_migrate(destination)
    server.check_lives_on(destination)
    server.check_vgpu(destination, vgpu)
    server.unrescue()
    server.check_vgpu(destination, vgpu)

    vgpu, server = servers.popitem()
    server.live_migrate(destination)
    server.check_vgpu(destination, vgpu)


@scenario(capability=18, needs={Need.ACCELERATORS})
def accelerator(scene: Scene) -> None:
    """A server keeps its accelerator when it, or its host, is rebooted"""
    host, other = scene.hosts()
    server = scene.boot(host, flavor=scene.cloud.accelerator_flavor)
    server.check_accelerator(host)
    server.reboot()
    server.check_accelerator(host)
    with scene.configured(
            'DEFAULT', 'resume_guests_state_on_host_boot', 'True'):
        with scene.lasting(
                f'cut the power of {host}', scene.cloud.faults.host_down(host),
                f'start {host} again'):
            pass
        server.check_lives_on(host)
    server.check_accelerator(host)

    with scene.refused('live-migrate it', 400, 'accelerator'):
        server.ask_live_migration(other)
    # Its rescue guest does without.
    server.rescue()
    server.check_accelerator_kept(host)
    with scene.refused('live-migrate it in rescue', 400, 'accelerator'):
        server.ask_live_migration(other)
    server.unrescue()
    server.check_accelerator(host)
    server.delete()
    with scene.teller.step('its accelerator is free', is_check=True):
        expect.equal(
            'its accelerators', scene.cloud.accelerators(server.id), {})
        expect.equal('the resources it uses', server.allocations(), {})
