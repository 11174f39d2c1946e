# SPDX-License-Identifier: Apache-2.0

"""Images that hosts cache before a server needs them."""

import uuid

from lab import accounts
from lab.needs import Need
from lab.scenarios import scenario
from lab.words.scene import Scene


@scenario(capability=16, needs={Need.DOWNLOADS, Need.NOTIFICATIONS})
def cache_images_ahead(scene: Scene) -> None:
    """A server boots, is rescued and moves on images cached ahead"""
    source, destination = scene.hosts()
    image = scene.copy_image(scene.cloud.image)
    rescue = scene.copy_image(scene.cloud.rescue_image, 'the rescue image')
    damaged = scene.copy_image(scene.cloud.image, 'the damaged image')
    scene.cloud.spoil_image(damaged.id)
    aggregate = scene.aggregate(source, destination)

    nothing = str(uuid.uuid4())
    with scene.refused('cache an image that does not exist', 400, nothing):
        aggregate.ask_to_cache(image.id, nothing)
    with scene.refused('cache an image as its user', 403):
        aggregate.ask_to_cache(image.id, user=accounts.FIRST_OWNER)
    with scene.refused('cache an image with microversion 2.80', 404):
        aggregate.ask_to_cache(image.id, microversion='2.80')
    image.check_downloads(0)

    with scene.lasting(
            f'{destination} fails', scene.cloud.faults.host_down(destination),
            f'{destination} comes back'):
        aggregate.check_caches(
            {source: [image, rescue], destination: []},
            image, damaged, rescue)
        image.check_downloads(1)
    both = [image, rescue]
    aggregate.check_caches({source: both, destination: both}, *both)
    counts = [scene.cloud.downloads(each.id) for each in both]

    server = scene.boot(source, image.id)
    server.rescue(rescue.id)
    server.live_migrate(destination)
    server.check_lives_on(destination)
    server.unrescue()
    server.check_lives_on(destination)
    for each, count in zip(both, counts, strict=True):
        each.check_downloads(count)
