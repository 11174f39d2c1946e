# SPDX-License-Identifier: Apache-2.0

"""Transfer of running servers between projects, and pools of servers."""

from concurrent import futures
import uuid

from openstack import exceptions

from lab import accounts
from lab.needs import Need
from lab.scenarios import scenario
from lab.words import client
from lab.words.client import LIVE_MIGRATE_RESCUED
from lab.words.client import TRANSFER
from lab.words import command_line
from lab.words import expect
from lab.words import pool as pools
from lab.words.scene import Scene
from lab.words.server import Server


def _check_is_theirs(server: Server, host: str) -> None:
    """Check that a server has its new owner everywhere, and is untouched."""
    server.check_owned()
    server.check_labelled(host)
    server.check_lives_on(host)
    server.check_guest_runs_on()


@scenario(capability=4)
def transfer(scene: Scene) -> None:
    """A running server gets another owner, and its guest does not notice"""
    host = scene.hosts()[0]
    server = scene.booted(host)
    server.transfer()
    _check_is_theirs(server, host)
    server.reboot()
    server.check_labelled(host)
    server.check_boots()


@scenario(capability=4)
def openstack_transfers(scene: Scene) -> None:
    """The admin guide's command transfers a server"""
    host = scene.hosts()[0]
    server = scene.booted(host)
    owner = accounts.OTHER_OWNER
    server.type_transfer(owner, command_line.of_guide(
        'transfer-server', 'server-transfer', USER=owner,
        PROJECT=accounts.OWNERS[owner], SERVER=server.id))
    _check_is_theirs(server, host)


@scenario(capability=4)
def transfer_there_and_back(scene: Scene) -> None:
    """A server that was transferred, moves, and is given back"""
    source, destination = scene.hosts()
    server = scene.booted(source)
    server.transfer()
    _check_is_theirs(server, source)
    server.live_migrate(destination)
    _check_is_theirs(server, destination)
    server.transfer(accounts.FIRST_OWNER)
    _check_is_theirs(server, destination)


@scenario(capability=4)
def transfer_rescued(scene: Scene) -> None:
    """A server is transferred in rescue, moves, and its new owner ends that"""
    source, destination = scene.hosts()
    server = scene.booted(source)
    server.rescue()
    server.check_rescue_boots()
    server.transfer()
    _check_is_theirs(server, source)
    server.live_migrate(destination)
    _check_is_theirs(server, destination)
    server.unrescue()
    server.check_guest('disk')
    server.check_lives_on(destination)
    server.check_labelled(destination)


@scenario(capability=4)
def transfer_paused(scene: Scene) -> None:
    """A paused server is transferred, and its new owner lets it go on"""
    host = scene.hosts()[0]
    server = scene.booted(host)
    server.pause()
    server.transfer()
    server.check_owned()
    server.check_lives_on(host)
    server.unpause()
    _check_is_theirs(server, host)


@scenario(capability=4, needs={Need.SERVICES})
def transfer_with_service_down(scene: Scene) -> None:
    """A server gets another owner while its compute service is down"""
    host = scene.hosts()[0]
    server = scene.booted(host)
    with scene.lasting(
            f'kill nova-compute of {host}',
            scene.cloud.faults.killed('nova-compute', host), 'start it again'):
        server.transfer()
        server.check_owned()
    _check_is_theirs(server, host)


@scenario(capability=4)
def ask_again_for_transfer(scene: Scene) -> None:
    """Who has lost the answer asks again; who has not asked is refused"""
    host = scene.hosts()[0]
    server = scene.boot(host)
    name = str(uuid.uuid4())
    server.transfer(transfer_id=name)
    server.ask_again_for_transfer(name)
    with scene.refused('claim it under another name', 409):
        server.ask_transfer(
            accounts.OTHER_OWNER, str(uuid.uuid4()), accounts.FIRST_OWNER)
    server.check_owned()
    server.check_lives_on(host)


@scenario(capability=4)
def refuse_transfer(scene: Scene) -> None:
    """What must not be transferred is refused, and stays as it was"""
    host = scene.hosts()[0]
    server = scene.boot(host)
    _, to = client.ids(scene.cloud, accounts.OTHER_OWNER)

    def ask(project: str = to, as_admin: bool = True,
            microversion: str = TRANSFER) -> None:
        server.act(
            {'transfer': {'project_id': project}}, microversion, as_admin)

    with scene.refused('transfer it as its owner', 403):
        ask(as_admin=False)
    with scene.refused(
            f'transfer it with microversion {LIVE_MIGRATE_RESCUED}', 400):
        ask(microversion=LIVE_MIGRATE_RESCUED)
    nobody = uuid.uuid4().hex
    with scene.refused('transfer it to an unknown project', 404, nobody):
        ask(project=nobody)
    server.lock()
    with scene.refused('transfer it while it is locked', 409, 'locked'):
        ask()
    server.unlock()
    server.check_lives_on(host)


@scenario(capability=4)
def transfer_within_quota(scene: Scene) -> None:
    """Of two that race for the last place in a quota, one at most gets it"""
    host = scene.hosts()[0]
    racers = [scene.boot(host, called=f'the {which} server')
              for which in ('first', 'second')]
    owner = accounts.OTHER_OWNER

    def ask(server: Server) -> int:
        try:
            server.ask_transfer(owner)
        except exceptions.ForbiddenException:
            return 0
        return 1

    with scene.room_for(owner, 1):
        with scene.teller.step('transfer both at once', True):
            with futures.ThreadPoolExecutor(len(racers)) as threads:
                passed = list(threads.map(ask, racers))
            expect.equal(
                'whether the limit held', sum(passed) <= 1, True)
        with scene.teller.step('transfer both one after the other', True):
            # Near the limit, each may have been refused for the other.
            passed = [before or ask(server) for server, before in
                      zip(racers, passed, strict=True)]
            expect.equal('how many got through', sum(passed), 1)
        for server, got_through in zip(racers, passed, strict=True):
            server.take_over(owner if got_through else accounts.FIRST_OWNER)
            if got_through:
                server.check_owned()
        for server in racers:
            server.check_lives_on(host)


@scenario(capability=5)
def claim_from_pool(scene: Scene) -> None:
    """Of many who claim at once, each gets a server or learns of no more"""
    pool = pools.Pool(scene)
    pool.fill(3)
    pool.check_full(3)
    owner = accounts.OTHER_OWNER
    with scene.teller.step('eight claim a server at once', True):
        claimed = pool.claim(8, owner)
        expect.equal(
            'the servers that were claimed, each as often as it was',
            sorted(server.id for server in claimed), sorted(pool.servers))
        expect.equal('the servers left in the pool', pool.left(), [])
    for server in claimed:
        server.take_over(owner)
    for server in claimed:
        server.check_owned()
        server.check_port()
        server.check_answers()
        server.check_lives_on(server.host())


@scenario(capability=5)
def repeat_claim_from_pool(scene: Scene) -> None:
    """A claim that is repeated gets the server that it won before"""
    pool = pools.Pool(scene)
    pool.fill(2)
    owner = accounts.OTHER_OWNER
    name = str(uuid.uuid4())
    left, server = map(pool.servers.__getitem__, pool.left())
    server.transfer(transfer_id=name)
    with scene.teller.step('repeat the claim with the same transfer ID', True):
        expect.equal(
            'the server that was claimed', pool.claim_one(owner, name), server)
        expect.equal('the servers left in the pool', pool.left(), [left.id])
    server.check_owned()
    server.check_port()
    server.check_lives_on(server.host())
