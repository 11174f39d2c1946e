# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What becomes of a rescued guest and its data when it moves.

A cloud without real guests cannot tell much of this.
"""

from lab import cloud as cloud_api
from lab import expect
from lab import guest as guests
from lab import scenarios
from lab import server as servers


class _Story:
    """What the guests of one server tell, one after the other."""

    def __init__(
        self, cloud: cloud_api.Cloud, step: scenarios.Step, host: str
    ):
        self._cloud = cloud
        self._step = step
        #: markers that the server's own disk must have, the earliest first
        self._markers: list[str] = []
        with step(f'boot a server on {host}'):
            self.server = servers.boot(cloud, host)
        with step('its guest runs and writes a marker to its disk'):
            self._boot('disk')

    def _boot(self, image: str, **others: list[str]) -> None:
        """Let the guest boot, and check what it found on its disks.

        The last of them is the server's own.

        :param others: markers that must be on those before it
        """
        own = f'vd{"abc"[len(others)]}'
        self._markers.append(guests.check_boot(
            self._cloud, self.server.id, image, 'vda',
            {**others, own: self._markers}))

    def rescue(self, image: str | None = None) -> None:
        with self._step('rescue it'):
            self.server.rescue(image)
        with self._step('the rescue guest finds the marker, and writes one'):
            self._boot('rescue', vda=[])

    def migrate(self, destination: str) -> None:
        """Live-migrate to a host, and check that the guest does not notice."""
        # Where there are no real guests, this is all that is heard of one.
        before = guests.State()
        with self._step('its guest tells how long it has been up'):
            before = guests.ask(self._cloud, self.server.id)
        source = self.server.host()
        with self._step(f'live-migrate it to {destination}, always in rescue'):
            self.server.live_migrate(destination)
            self._wait_in_rescue()
        with self._step('its guest runs on: it has never booted again, and '
                        'finds all markers'):
            guests.check_runs_on(self._cloud, self.server.id, before)
        with self._step(f'{source} has nothing of it'):
            expect.equal(
                'the guest', self._cloud.guest(source, self.server.id), None)
            if not self._cloud.shared_files():
                expect.equal(
                    'its files', self._cloud.files(source, self.server.id),
                    set())

    def _wait_in_rescue(self) -> None:
        """Wait for the end of a migration; the status is always RESCUE."""

        def look() -> str:
            expect.equal(
                'the status of the server', self.server.look().status,
                'RESCUE')
            return self.server.migration()['status']

        expect.wait_for(
            'migration that completes', look, 'completed'.__eq__,
            {'failed', 'error', 'cancelled'}.__contains__)
        self.server.wait_for_status('RESCUE')

    def unrescue(self, host: str) -> None:
        with self._step(f'unrescue it on {host}'):
            self.server.unrescue()
            expect.equal('the host of the server', self.server.host(), host)
        with self._step('it runs from its own disk, which has all markers'):
            self._boot('disk')
        with self._step('delete it'):
            self.server.delete()


def rescued_guest_runs_on(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A guest in rescue runs on while it moves, and its data come along"""
    source, destination = cloud.hosts()[:2]
    story = _Story(cloud, step, source)
    story.rescue()
    story.migrate(destination)
    story.unrescue(destination)


def rescue_image_deleted(
    cloud: cloud_api.Cloud, step: scenarios.Step
) -> None:
    """A rescued server moves, and comes back, without its rescue image"""
    source, destination = cloud.hosts()[:2]
    story = _Story(cloud, step, source)
    with step('upload a copy of the rescue image'):
        image = cloud.copy_image(cloud.rescue_image)
    story.rescue(image)
    with step('delete that image'):
        cloud.delete_image(image)
    story.migrate(destination)
    story.unrescue(destination)
