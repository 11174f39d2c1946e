# SPDX-License-Identifier: Apache-2.0

"""What each role may do with a server."""

from lab import accounts
from lab.needs import Need
from lab.scenarios import scenario
from lab.words import client
from lab.words import expect
from lab.words import roles
from lab.words.scene import Scene


@scenario(capability=14, needs={Need.ROLES})
def roles_and_projects(scene: Scene) -> None:
    """Each role may do what the table says, and admins alone learn of hosts"""
    host = scene.hosts()[0]
    server = scene.boot(host)
    server.stop()
    for call in roles.CALLS:
        with scene.teller.step(
                f'{call.role} may {call.what}, nobody below', True):
            roles.check(server, call)
    server.check_lives_on(host, running=False)
    server.start(host)

    server.rescue()
    live_migrate = roles.Call(
        'live-migrate', 'manager',
        {'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
        microversion=client.LIVE_MIGRATE_RESCUED)
    with scene.lasting(
            f'take the ability to move it from {host}',
            scene.cloud.faults.incapable(host), 'give it back'):
        with scene.teller.step('admin alone is told which host cannot', True):
            for role, is_told in (('manager', False), ('admin', True)):
                said = live_migrate.make(
                    server, role, accounts.project(server.owner))
                expect.mentions(said, '400 ', 'rescued')
                expect.equal(
                    f'whether {role} is told the host', host in said, is_told)
    server.check_unmoved(host)
    server.unrescue()
