# SPDX-License-Identifier: Apache-2.0

"""Rescue and unrescue."""

from lab.scenarios import scenario
from lab.words import expect
from lab.words.scene import Scene
from lab.words.server import Server


def _stored(server: Server, host: str) -> set[str]:
    """Names of the files and images of a server that is on a host."""
    return server.cloud.files(host, server.id) | (
        server.cloud.images(server.id) or set())


@scenario(capability=1)
def rescue_and_unrescue(scene: Scene) -> None:
    """Rescue saves no file, and unrescue brings the server's own disks back"""
    host = scene.hosts()[0]
    server = scene.booted(host)
    stored = _stored(server, host)

    server.rescue()
    server.check_guest('disk.rescue', 'disk')
    server.check_rescue_boots()
    with scene.teller.step(
            'no unrescue.xml ties the server to the host', is_check=True):
        expect.equal(
            'what is stored for the server anew',
            _stored(server, host) - stored, {'disk.rescue'})

    server.unrescue()
    server.check_lives_on(host)
    server.check_boots()


@scenario(capability=1)
def rescued_before_upgrade(scene: Scene) -> None:
    """An unrescue.xml of the earlier release is ignored and deleted"""
    host = scene.hosts()[0]
    server = scene.boot(host)
    server.rescue()
    with scene.teller.step(
            'put an unrescue.xml there that no guest could start from'):
        scene.cloud.put_file(
            host, server.id, 'unrescue.xml', 'not the XML of a guest')
        expect.note_done('unrescue.xml')

    server.unrescue()
    server.check_lives_on(host)


@scenario(capability=1)
def rescued_again(scene: Scene) -> None:
    """A second rescue begins from a fresh disk, however the first ended"""
    host = scene.hosts()[0]
    server = scene.booted(host)
    server.rescue()
    server.check_rescue_boots()
    server.reset_state()
    server.reboot()
    server.check_lives_on(host)
    server.check_boots()

    server.rescue()
    server.check_rescue_boots()
    server.unrescue()
    server.check_lives_on(host)
    server.check_boots()


@scenario(capability=1)
def rescued_stays_off_after_power_cut(scene: Scene) -> None:
    """A host that resumes its guests at start leaves a rescued one off"""
    host = scene.hosts()[0]
    server = scene.booted(host)
    server.rescue()
    server.check_rescue_boots()
    with scene.configured(
            'DEFAULT', 'resume_guests_state_on_host_boot', 'True'):
        with scene.lasting(
                f'cut the power of {host}', scene.cloud.faults.host_down(host),
                f'start {host} again'):
            pass
        server.check_lives_on(host, running=False)
    server.unrescue()
    server.check_lives_on(host)
    server.check_boots()
