# SPDX-License-Identifier: Apache-2.0

"""A server, what its owner and the operator do with it, and what must hold.

Each verb is a step, but for those of lab.words.client.
"""

from __future__ import annotations

from collections import abc
import contextlib
import copy
import dataclasses
import string
from typing import Literal
from typing import TYPE_CHECKING

from osc_lib import exceptions as osc_exceptions

from lab import accounts
from lab import cloud as cloud_api
from lab import faults
from lab.guest import console as guests
from lab.needs import Need
from lab.words import client
from lab.words import expect
from lab.words import footprint
from lab.words import steps

if TYPE_CHECKING:
    from lab.words.scene import Scene

NAME = 'demo'
"""The name of the servers that scenarios boot."""

ROOT = 'root'
"""The volume that a server boots from."""

DATA = 'data'
"""A volume that a server has beside the disk that it boots from."""

UEFI = {'hw_firmware_type': 'uefi'}
"""What an image has whose guests boot by UEFI."""

_ABANDONED = 360.0
"""Seconds in which a move across cells comes to an end that a service has
died of: a call to a host times out, and a conductor sees that nobody works on
the move any more, and ends it."""

Copied = Literal['files', 'disks', 'memory']
"""What is being copied when a live migration is held."""


class Move:
    """A live migration that is held.

    :param hold: what holds it; closed, it goes on
    """

    def __init__(
        self, server: Server, source: str, held: faults.Held,
        hold: contextlib.ExitStack,
    ):
        self.teller = server.teller
        self._held = held
        self._server = server
        self._source = source
        self._hold = hold

    @steps.action('no longer hold it: its guest leaves its host')
    def let_guest_move(self) -> None:
        """Wait until its guest runs on the destination alone."""
        self._hold.close()
        expect.wait_for(
            'end of the guest on the source',
            lambda: self._server.cloud.guest(self._source, self._server.id),
            lambda guest: guest is None)

    @steps.action('abort the migration')
    def abort(self, status: str = 'running') -> None:
        """Abort it once it has a status, and wait until that is recorded."""
        self._server.check_migration_is(status)
        self._server.delete_migration()
        self._server.check_migration_is('cancelled')

    @steps.action('force the migration to complete')
    def force_complete(self) -> None:
        """Force it to complete once it runs, and wait for that."""
        self._server.check_migration_is('running')
        self._server.complete_migration()
        self._server.check_migration_is('completed')

    @steps.action('break the copying off')
    def break_off(self) -> None:
        """Make the copying of a file fail, and hold no other one."""
        assert isinstance(self._held, faults.HeldCopy)
        self._held.break_off()
        expect.note_done('break off')


class Server(client.Client):
    """A server of the project, on a host of the cloud's choice.

    :param called: what steps call it
    :param booted: the name that its image has on the console
    """

    def __init__(
        self, scene: Scene, server_id: str, called: str, booted: str = 'disk'
    ):
        super().__init__(scene.cloud, server_id)
        self.teller = scene.teller
        #: the status that it has when it is busy with nothing
        self.status = 'ACTIVE'
        self._called = called
        self._booted = booted
        #: what it must have, now and when it is not in rescue
        self.footprint: footprint.Footprint
        self.own: footprint.Footprint
        #: the cell that it was booted in
        self.cell = ''
        #: markers that each disk must have, the earliest first, by its file,
        #: and those that UEFI must have
        self._markers: dict[str, list[str]] = {}
        #: its guest when it was last asked
        self._state = guests.State()
        #: bytes of its first disk when its guest first booted
        self._size = 0
        #: digests of its disks when its guest had booted
        self._disks: dict[str, str] = {}
        #: the host, footprint and markers before a cold migration or resize
        self._origin = ''
        self._before: tuple[footprint.Footprint, dict[str, list[str]]]

    def __str__(self) -> str:
        return self._called

    @property
    def mode(self) -> str:
        """How it is, by its status."""
        return {'RESCUE': 'in rescue', 'SHUTOFF': 'off'}.get(
            self.status, self.status.lower())

    def _come_to(self, status: str) -> None:
        """Wait for a status, and expect that one from now on."""
        self.wait_for_status(status)
        self.status = status

    def ask_migration(self, host: str) -> None:
        """Ask for a cold migration. What it has is kept for its return."""
        self._origin = self.host()
        self._before = (self.own, copy.deepcopy(self._markers))
        self.act({'migrate': {'host': host}}, as_admin=True)

    def ask_resize(self, as_admin: bool = False) -> None:
        """Ask for a larger flavor. What it has is kept for its return."""
        self._origin = self.host()
        self._before = (self.own, copy.deepcopy(self._markers))
        self.act(
            {'resize': {'flavorRef': self.cloud.larger_flavor}},
            as_admin=as_admin)

    def arrive(self) -> None:
        """Wait until its cold migration or resize can be confirmed."""
        self._come_to('VERIFY_RESIZE')

    def expect_files(self) -> None:
        """Expect its disks to be files: those that its host has now."""
        self.footprint = dataclasses.replace(
            self.footprint, images=frozenset(),
            files=frozenset(self.cloud.files(self.host(), self.id)))
        self.own = self.footprint

    def expect_new_swap(self) -> None:
        """Expect its swap disk, if it has one, to be made anew."""
        self._markers.pop('disk.swap', None)

    def settle(self) -> None:
        """Wait until its guest is up, if the cloud has real guests.

        One that still boots does not heed the power button, so that Nova
        waits in vain for it to shut down, and has little memory to copy.
        """
        if Need.GUESTS in self.cloud.has:
            guests.ask(self.cloud, self.id)

    # What its owner does.

    def take_over(self, owner: str) -> None:
        """Expect another owner from now on, and what that one uses."""
        self.owner = owner
        used = footprint.quota(self.cloud, owner)
        self.footprint = dataclasses.replace(self.footprint, quota=used)
        self.own = dataclasses.replace(self.own, quota=used)

    def record(self) -> None:
        """Take its footprint, which it must have from now on."""
        self.footprint = footprint.take(self)
        if self.status == 'ACTIVE':
            self.own = self.footprint
            self.cell = self.cloud.cell_of(self.id)

    @steps.action('rescue {self}')
    def rescue(self, image: str | None = None) -> None:
        """Rescue it and wait for that.

        :param image: id of an image; the cloud's rescue image if none
        """
        self.act({'rescue': {
            'rescue_image_ref': image or self.cloud.rescue_image}})
        self._come_to('RESCUE')
        # It begins from a fresh disk.
        self._markers.pop('disk.rescue', None)
        self.record()

    @steps.action('unrescue {self}')
    def unrescue(self) -> None:
        """Unrescue it and wait for that. It must be as before its rescue."""
        self.act({'unrescue': None})
        self._come_to('ACTIVE')
        self.footprint = self.own

    @steps.action('reset the state of {self}')
    def reset_state(self) -> None:
        """Make Nova take it for active and idle, whatever it is."""
        self.act({'os-resetState': {'state': 'active'}}, as_admin=True)
        self._come_to('ACTIVE')
        self.footprint = self.own

    @steps.action('reboot {self}')
    def reboot(self) -> None:
        """Have its guest started anew, and wait for that."""
        self.act({'reboot': {'type': 'HARD'}})
        self._come_to('ACTIVE')

    @steps.action('pause {self}')
    def pause(self) -> None:
        """Pause its guest."""
        self.act({'pause': None})
        self._come_to('PAUSED')

    @steps.action('unpause {self}')
    def unpause(self) -> None:
        """Let its guest go on."""
        self.act({'unpause': None})
        self._come_to('ACTIVE')

    @steps.action('lock {self}')
    def lock(self) -> None:
        """Lock it, against its owner and what else might change it."""
        self.act({'lock': None}, as_admin=True)

    @steps.action('unlock {self}')
    def unlock(self) -> None:
        """Unlock it."""
        self.act({'unlock': None}, as_admin=True)

    @steps.action('stop {self}')
    def stop(self) -> None:
        """Stop it, and wait for that."""
        self.act({'os-stop': None})
        self._come_to('SHUTOFF')

    @steps.action('start {self} on {host}')
    def start(self, host: str) -> None:
        """Start it where it is, and wait for that."""
        self.act({'os-start': None})
        self._come_to('ACTIVE')
        expect.equal('its host', self.host(), host)

    @steps.action('delete {self}: no place has anything of it')
    def delete(self) -> None:
        """Delete it and wait until nothing of it is left anywhere."""
        self._owner.compute.delete_server(self.id)
        self.status = 'DELETED'
        expect.wait_for(
            'deletion of the server',
            lambda: self._owner.compute.find_server(
                self.id, ignore_missing=True),
            lambda seen: seen is None)
        footprint.check_gone(self)

    # What the operator does.

    @steps.action('transfer {self} to {owner}, who is of another project')
    def transfer(
        self, owner: str = accounts.OTHER_OWNER,
        transfer_id: str | None = None,
    ) -> None:
        """Give it to another owner. Their projects must use as much less.

        And more. They must have no other server that comes or goes meanwhile.

        :param transfer_id: what names this transfer, to ask for it again
        """
        with self.changing_hands(owner):
            self.ask_transfer(owner, transfer_id)

    @steps.action('ask for the same transfer again')
    def ask_again_for_transfer(self, transfer_id: str) -> None:
        """Ask as one who has lost the answer: that is no second transfer."""
        self.ask_transfer(self.owner, transfer_id, accounts.FIRST_OWNER)

    @steps.action('type "{line}"')
    def type_transfer(self, owner: str, line: str) -> None:
        """Type an openstack command that gives it to another owner."""
        with self.changing_hands(owner):
            self.run(line)

    @contextlib.contextmanager
    def changing_hands(self, owner: str) -> abc.Iterator[None]:
        """Check what each owner uses, when it has another after the block.

        :param owner: the next one
        """
        flavor = self.look().flavor
        part = {'Instances': 1, 'Cores': flavor.vcpus, 'RAM': flavor.ram}
        wanted = {}
        for name, sign in ((self.owner, -1), (owner, 1)):
            before = footprint.quota(self.cloud, name)
            wanted[name] = {
                each: used + sign * part[each]
                for each, used in before.items()}
        yield
        for name, uses in wanted.items():
            expect.equal(
                f'what the project of {name} uses of its quota',
                footprint.quota(self.cloud, name), uses)
        self.take_over(owner)

    @steps.action('ask for its live migration to {host}')
    def start_live_migration(self, host: str | None = None) -> None:
        """Ask for a live migration, and wait until Nova has a record of it."""
        self.settle()
        self.ask_live_migration(host)
        expect.wait_for('migration', self.migrations, bool)

    @steps.action('live-migrate {self} to {host}')
    def live_migrate(
        self, host: str | None = None, microversion: str | None = None,
    ) -> None:
        """Live-migrate it, and wait. In rescue, it is so all the time."""
        self.settle()
        self.ask_live_migration(host, microversion)
        self._wait_for_end({'completed'})

    @steps.action('live-migrate {self} to {host}: that fails')
    def fail_to_live_migrate(self, host: str | None = None) -> None:
        """Ask for a live migration, and wait until it has failed."""
        self.settle()
        self.ask_live_migration(host)
        self._wait_for_end({'failed', 'error'})

    @steps.action('type "{line}"')
    def type(self, line: str) -> None:
        """Type an openstack command, as the operator."""
        self.settle()
        self.run(line)

    @steps.check('typing "{line}" fails')
    def check_typing_fails(self, line: str, *words: str) -> None:
        """Type an openstack command that ends with an error.

        :param words: what it must say
        """
        self.settle()
        try:
            self.run(line)
        except osc_exceptions.CommandError as error:
            expect.mentions(str(error), *words)
            return
        raise expect.Unexpected(f'{line}: expected an error, got none')

    def _wait_for_end(self, statuses: set[str]) -> None:
        """Wait for the end of a live migration. In rescue, it stays so."""

        def look() -> str:
            # An active server shows as MIGRATING.
            if self.status == 'RESCUE':
                expect.equal(
                    'its status meanwhile', self.look().status, self.status)
            return self.migration()['status']

        expect.wait_for(
            f'migration with status {" or ".join(sorted(statuses))}', look,
            statuses.__contains__, client.ENDS.__contains__)
        self.wait_for_status(self.status)

    @contextlib.contextmanager
    def live_migrating(
        self, host: str | None = None, copying: Copied = 'memory'
    ) -> abc.Iterator[Move]:
        """Live-migrate it, and hold that halfway until the block ends.

        :param copying: what is being copied when it is held
        """
        with contextlib.ExitStack() as hold:
            inflict = self.cloud.faults
            held: faults.Held
            if copying == 'files':
                assert host
                held = hold.enter_context(inflict.copy_held(host))
            else:
                held = hold.enter_context(
                    inflict.migration_held(self.id, copying))
            move = Move(self, self.host(), held, hold)
            self._hold_live_migration(host, copying, held)
            yield move

    @steps.action(
        'live-migrate {self} to {host}, held while its {copying} is copied')
    def _hold_live_migration(
        self, host: str | None, copying: Copied, held: faults.Held
    ) -> None:
        self.settle()
        self.ask_live_migration(host)
        held.wait_until_running()

    @steps.action('cold-migrate {self} to {host}')
    def migrate(self, host: str) -> None:
        """Cold-migrate it, and wait until that can be confirmed."""
        self.ask_migration(host)
        self.arrive()

    @steps.action('resize {self} to a larger flavor')
    def resize(self) -> None:
        """Resize it, and wait until that can be confirmed."""
        self.ask_resize()
        self.arrive()

    def ask_confirmation(self) -> None:
        """Ask for its cold migration or resize to be confirmed."""
        self.act({'confirmResize': None})

    def ask_revert(self) -> None:
        """Ask for it to go back to where it was."""
        self.act({'revertResize': None})

    def become_active(self) -> None:
        """Wait until it is active: that ends what was asked for."""
        self._come_to('ACTIVE')

    def come_to_rest(self) -> str:
        """Wait until its move is over, whatever came of it.

        :returns: the status it has then: it can be confirmed, or is as before
        """
        def look() -> tuple[str, str | None]:
            seen = self.look()
            return seen.status, seen.task_state

        self.status, _ = expect.wait_for(
            'the end of its move', look,
            {('VERIFY_RESIZE', None), ('ACTIVE', None)}.__contains__,
            timeout=_ABANDONED)
        return self.status

    def return_home(self) -> None:
        """Wait until it has gone back. It is as it was there.

        What was written to its volumes meanwhile stays.
        """
        self.become_active()
        self.footprint, markers = self._before
        self.own = self.footprint
        self._markers = markers | {
            name: written for name, written in self._markers.items()
            if any(volume in name for volume in self.own.volumes)}

    @steps.action('confirm its move')
    def confirm(self) -> None:
        """Confirm its cold migration or resize, and wait."""
        self.ask_confirmation()
        self.become_active()

    @steps.action('revert its move')
    def revert(self) -> None:
        """Have it go back to where it was, and wait. It is as it was there."""
        self.ask_revert()
        self.return_home()

    @steps.action('evacuate {self}')
    def evacuate(self) -> None:
        """Rebuild it on another host, of the scheduler's choice, and wait.

        The server does not start there by itself. Where its disk was a file
        of the host that it leaves, it gets a new one.
        """
        self.act({'evacuate': {}}, as_admin=True)
        self._come_to('SHUTOFF')
        if Need.LOCAL_DISKS in self.cloud.has:
            self._markers.clear()

    @steps.action('kill its guest on {host}')
    def kill_guest(self, host: str) -> None:
        """Kill its guest on its host."""
        self.cloud.faults.kill_guest(host, self.id)
        expect.note_done('kill')

    # What must hold.

    @steps.check('{self} is {self.mode} on {host} and nowhere else')
    def check_lives_on(
        self, host: str, running: bool = True, cleared_up: bool = False
    ) -> None:
        """Check that it is on a host with all that it has, and only there.

        :param running: whether its guest is to be running
        :param cleared_up: whether to wait until the other hosts are cleared
            up
        """
        footprint.check(self, host, self.footprint, running, cleared_up)

    @steps.check('{self} belongs to {self.owner}, and to nobody else')
    def check_owned(self) -> None:
        """Check that all records name its owner, who alone sees it."""
        seen = self.look()
        pair = client.ids(self.cloud, self.owner)
        expect.equal(
            'its user and project', (seen.user_id, seen.project_id), pair)
        expect.equal('its task', seen.task_state, None)
        expect.equal(
            'the user and project for whom Placement has its resources',
            self.consumer(), pair)
        for name in accounts.OWNERS:
            compute = self.cloud.connect(name).compute
            listed = {each.id for each in compute.servers(details=False)}
            expect.equal(
                f'whether {name} has it in the list', self.id in listed,
                name == self.owner)
            shown = compute.find_server(self.id, ignore_missing=True)
            expect.equal(
                f'whether {name} is shown it', shown is not None,
                name == self.owner)

    @steps.check('the only port of {self} is its owner\'s and ACTIVE',
                 Need.NETWORK)
    def check_port(self) -> None:
        """Check that it has one port, which it must have from now on."""
        ports = list(self.cloud.connect().network.ports(device_id=self.id))
        _, project = client.ids(self.cloud, self.owner)
        expect.equal(
            'the project and status of its ports',
            [(port.project_id, port.status) for port in ports],
            [(project, 'ACTIVE')])
        has = frozenset(port.id for port in ports)
        self.footprint = dataclasses.replace(self.footprint, ports=has)
        self.own = dataclasses.replace(self.own, ports=has)

    @steps.check('{self} answers a ping', Need.NETWORK)
    def check_answers(self) -> None:
        """Check that its guest answers on its port."""
        (port,) = self.cloud.connect().network.ports(device_id=self.id)
        address = port.fixed_ips[0]['ip_address']
        expect.wait_for(
            f'an answer from {address}',
            lambda: self.cloud.answers(address), bool)

    @steps.check(
        'the hypervisor of {host} says that it belongs to {self.owner}',
        Need.GUESTS)
    def check_labelled(self, host: str) -> None:
        """Check the owner that its domain has, now and at its next start."""
        expect.wait_for(
            'its owner in the hypervisor',
            lambda: self.cloud.guest_owners(host, self.id),
            {client.ids(self.cloud, self.owner)}.__eq__)

    @steps.check(
        '{self} is {self.mode} on {host}, and no live migration of it began')
    def check_unmoved(self, host: str) -> None:
        """Check that it is where it was, and was never on the move."""
        footprint.check(self, host, self.footprint, True, False)
        expect.equal('its live migrations', self.migrations(), [])

    @steps.check('{self} is {self.mode} while it is {task}')
    def check_busy(self, task: str) -> None:
        """Check that it has its status, and a task that is running."""
        seen = self.look()
        expect.equal('its status', seen.status, self.status)
        expect.equal(
            'its state', seen.vm_state, footprint.STATES[self.status])
        expect.equal('its task', seen.task_state, task)

    def check_guest(self, *disks: str) -> None:
        """Check that its guest has these disks, by name of the file."""
        self._check_guest(' and '.join(disks), disks)

    @steps.check('its guest has {text}')
    def _check_guest(self, text: str, disks: tuple[str, ...]) -> None:
        expect.equal(
            'its guest', self.cloud.guest(self.host(), self.id),
            cloud_api.Guest(True, disks))
        images = self.cloud.images(self.id)
        expect.equal(
            'its images', images, None if images is None else set(disks))

    @steps.check('the migration {text}')
    def _check_migration(self, text: str, statuses: set[str]) -> None:
        self.check_migration_is(*statuses)

    def check_migration(self, *statuses: str) -> None:
        """Check that its live migration ends with one of these statuses."""
        self._check_migration(
            'completes' if statuses == ('completed',) else 'fails',
            set(statuses))

    @steps.check('the migration from {source} to {host} completes')
    def check_migrated(self, source: str, host: str) -> None:
        """Check that its live migration ends, and was between two hosts."""
        seen = self.check_migration_is('completed')
        expect.equal('its source', seen['source_compute'], source)
        expect.equal('its destination', seen['dest_compute'], host)

    @steps.check('the migration shows how much is to be copied')
    def check_copying(self) -> None:
        """Wait until its live migration shows bytes that are to be copied."""
        expect.wait_for(
            'the bytes of files that are to be copied', self.bytes_to_copy,
            bool)

    @steps.check('the actions of {self} show its {action}, with success')
    def check_recorded(self, action: str = 'live-migration') -> None:
        """Check that an action is recorded, and that all its events are."""
        expect.wait_for(
            'success of all its events',
            lambda: {event['event']: event['result'] for event
                     in self._actions()[action]['events']},
            lambda events: set(events.values()) == {'Success'},
            lambda events: 'Error' in events.values())

    def check_error(self, event: str, *words: str) -> None:
        """Check the error of an event of its last live migration.

        :param event: the name of the event
        :param words: what the message must say
        """
        with self.teller.step(
                f'the actions of {self} say why', True) as texts:
            seen = self.wait_for_event('live-migration', event)
            texts.append(f'the error: {seen["details"]}')
            expect.equal('the result of the event', seen['result'], 'Error')
            expect.mentions(seen['details'], *words)

    def check_uses(self, *hosts: str) -> None:
        """Check that it uses its resources on these hosts, on each all."""
        self._check_uses(' and '.join(hosts), hosts)

    @steps.check('{self} uses resources on {text}')
    def _check_uses(self, text: str, hosts: tuple[str, ...]) -> None:
        expect.equal(
            'the resources it uses', self.allocations(),
            {host: self.footprint.resources for host in hosts})

    @steps.check('{self} has a vGPU on {host}: {vgpu}')
    def check_vgpu(self, host: str, vgpu: str) -> None:
        """Check that its guest has one vGPU.

        :param vgpu: its type
        """
        expect.equal(
            'the devices of its guest', self.cloud.devices(host, self.id),
            cloud_api.Devices(vgpus=(vgpu,)))
        expect.equal(
            'the vGPUs that it uses',
            {name: held.get('VGPU') for name, held
             in self.allocations().items()}, {host: 1})

    @steps.check('{self} and its guest have an accelerator of {host}')
    def check_accelerator(self, host: str) -> None:
        """Check that it has one accelerator, and that its guest has that."""
        self._check_accelerator(host, True)

    @steps.check('an accelerator of {host} is kept for {self}')
    def check_accelerator_kept(self, host: str) -> None:
        """Check that it has one accelerator, which its guest has not."""
        self._check_accelerator(host, False)

    def _check_accelerator(self, host: str, attached: bool) -> None:
        bound = self.cloud.accelerators(self.id)
        expect.equal(
            'the hosts of its accelerators', list(bound.values()), [host])
        expect.equal(
            'the devices of its guest', self.cloud.devices(host, self.id),
            cloud_api.Devices(pci=tuple(bound) if attached else ()))
        expect.equal(
            'the accelerators that it uses',
            {name: held.get('FPGA') for name, held
             in self.allocations().items()}, {host: 1})

    # What only a real guest can show.

    def _names(self) -> dict[str, str]:
        """The files of the disks of its guest, by what the guest calls them.

        And UEFI, if it boots by that.
        """
        guest = self.cloud.guest(self.host(), self.id)
        assert guest
        found = {f'vd{letter}': file for letter, file in zip(
            string.ascii_lowercase, guest.disks, strict=False)}
        return found | ({guests.UEFI: guests.UEFI} if guest.uefi else {})

    def _see_boot(self, image: str, file: str) -> None:
        names = self._names()
        marker = guests.check_boot(
            self.cloud, self.id, image,
            next(disk for disk, name in names.items() if name == file),
            {disk: self._markers.get(name, [])
             for disk, name in names.items()})
        for name in names.values():
            self._markers.setdefault(name, []).append(marker)
        self._state = guests.ask(self.cloud, self.id)
        self._size = self._size or self._state.sizes.get('vda', 0)
        self._disks = footprint.disks(self, self.host())

    @steps.check(
        'its guest boots from its own disk, and finds on each disk what '
        'earlier ones wrote', Need.GUESTS)
    def check_boots(self) -> None:
        """Check that its own guest boots, and the content of its disks.

        What no guest can write to must be as it was when one booted last.
        """
        before = self._disks
        self._see_boot(self._booted, self.own.guest.disks[0])
        if before:
            expect.equal(
                'what no guest can write to', self._sealed(self._disks),
                self._sealed(before))

    def _sealed(self, disks: dict[str, str]) -> dict[str, str]:
        """Those of some disks that no guest writes to, and no rescue has."""
        return {file: digest for file, digest in disks.items()
                if file not in self._markers
                and not file.endswith('.rescue')}

    @steps.check(
        'its rescue guest boots from {file}, and finds on each disk that it '
        'has what earlier ones wrote', Need.GUESTS)
    def check_rescue_boots(
        self, image: str = 'rescue', file: str = 'disk.rescue'
    ) -> None:
        """Check that its rescue guest boots, and the content of its disks.

        :param image: the name of the image that boots, on the console
        :param file: that of the disk that has this image
        """
        self._see_boot(image, file)

    @steps.check(
        'the guest of {self} runs on: it has not booted again, and has lost '
        'nothing', Need.GUESTS)
    def check_guest_runs_on(self) -> None:
        """Check that its guest is the one that was last seen to boot."""
        guests.check_runs_on(self.cloud, self.id, self._state)
        self._state = guests.ask(self.cloud, self.id)

    @steps.check(
        'each disk of {self} on {host}, attached or not, has what it had',
        Need.GUESTS)
    def check_disks(self, host: str) -> None:
        """Check the content of its disks since its guest has booted."""
        expect.equal(
            'what is on its disks', footprint.disks(self, host), self._disks)

    @steps.check('its disk is as large as at first', Need.GUESTS)
    def check_disk_size(self) -> None:
        """Check the size of its first disk, as its guest last saw it."""
        expect.equal(
            'the size of its disk', self._state.sizes['vda'], self._size)

    @steps.check(
        'no host has an image of it in its cache under a wrong name',
        Need.GUESTS)
    def check_caches(self) -> None:
        """Check the image caches of all hosts against that of the first."""
        hosts = self.cloud.hosts()
        right = self.cloud.cached_images(hosts[0])
        for host in hosts:
            expect.equal(
                f'images that {host} has under a wrong name',
                {name for name, digest
                 in self.cloud.cached_images(host).items()
                 if right.get(name, digest) != digest
                 or name.endswith('.part')},
                set())

    # What a cold migration or a resize leaves to be confirmed.

    @steps.check('{self} runs on {host}, with room kept for it where it was')
    def check_moved(self, host: str) -> None:
        """Check that it has moved, and that its old host waits for it."""
        expect.equal('its host', self.host(), host)
        expect.equal(
            'the hosts whose resources it uses', set(self.allocations()),
            {host})
        before, _ = self._before
        expect.equal(
            'what is kept for its return', self.kept(),
            {self._origin: before.resources})
        for name in {self._origin, host}:
            guest = self.cloud.guest(name, self.id)
            expect.equal(
                f'whether its guest runs on {name}',
                guest is not None and guest.running, name == host)

    @steps.check('the resources that {self} uses on {host} are as before')
    def check_as_large(self, host: str) -> None:
        """Check what it uses on its new host, by resource class."""
        expect.equal(
            'the resources it uses', self.allocations()[host],
            self.footprint.resources)

    @steps.check('the resources that {self} uses on {host} have grown')
    def check_grown(self, host: str) -> None:
        """Check that it uses more memory and disk than before.

        That is what it must have from now on.
        """
        used = self.allocations()[host]
        for resource in ('MEMORY_MB', 'DISK_GB'):
            earlier = self.footprint.resources[resource]
            if used[resource] <= earlier:
                raise expect.Unexpected(
                    f'{resource}: expected more than {earlier}, got '
                    f'{used[resource]}')
            expect.note_compared(resource)
        now = footprint.take(self)
        self.footprint = self.own = dataclasses.replace(
            self.footprint, resources=used, flavor=now.flavor,
            quota=now.quota)

    @steps.check('its disk has grown with its flavor', Need.GUESTS)
    def check_disk_grown(self) -> None:
        """Check that its first disk is as large as its flavor says."""
        expect.equal(
            'the size of its disk', self._state.sizes['vda'],
            self.footprint.resources['DISK_GB'] << 30)
