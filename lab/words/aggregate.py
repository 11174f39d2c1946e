# SPDX-License-Identifier: Apache-2.0

"""A host aggregate, and the images that its hosts are to cache ahead."""

from __future__ import annotations

from collections import abc
from typing import TYPE_CHECKING

from openstack import exceptions

from lab import accounts
from lab.words import client
from lab.words import expect

if TYPE_CHECKING:
    from lab.words.scene import Image
    from lab.words.scene import Scene

NAME = 'demo'
"""The name of the aggregates that scenarios create."""

_PROGRESS = 'aggregate.cache_images.progress'
_END = 'aggregate.cache_images.end'


class Aggregate:
    """A host aggregate of the cloud, until the scene closes.

    :param hosts: the names of its hosts
    """

    def __init__(self, scene: Scene, hosts: abc.Sequence[str]):
        self.teller = scene.teller
        self._cloud = scene.cloud
        self._hosts = tuple(hosts)
        compute = scene.cloud.connect().compute
        self._id = compute.create_aggregate(name=NAME).id
        for host in hosts:
            compute.add_host_to_aggregate(self._id, host)

    def delete(self) -> None:
        """Delete it."""
        compute = self._cloud.connect().compute
        for host in self._hosts:
            compute.remove_host_from_aggregate(self._id, host)
        compute.delete_aggregate(self._id)

    def ask_to_cache(
        self, *images: str, user: str = accounts.ADMIN,
        microversion: str = client.RELEASED,
    ) -> None:
        """Ask its hosts to cache images, and do not wait for that.

        :param images: the ids of the images
        :raises openstack.exceptions.HttpException: if it is refused
        """
        exceptions.raise_from_response(self._cloud.connect(user).compute.post(
            f'/os-aggregates/{self._id}/images', microversion=microversion,
            json={'cache': [{'id': image} for image in images]}))

    def check_caches(
        self, cached: abc.Mapping[str, abc.Collection[Image]], *images: Image,
    ) -> None:
        """Have its hosts cache images, and check which they say they have.

        :param cached: the images that are to be cached then, by the host
        """
        with self.teller.step(
                f'cache {" and ".join(map(str, images))} on its hosts',
                True) as texts:
            before = len(self._cloud.notifications(_PROGRESS))
            ends = len(self._cloud.notifications(_END))
            self._cloud.connect().compute.aggregate_precache_images(
                self._id, [image.id for image in images])
            expect.note_done('aggregate_precache_images')
            expect.wait_for(
                'end of the caching',
                lambda: len(self._cloud.notifications(_END)),
                lambda seen: seen > ends)
            said = self._cloud.notifications(_PROGRESS)[before:]
            wanted = {host: {image.id for image in those}
                      for host, those in cached.items()}
            everything = {image.id for image in images}
            expect.equal(
                'the images that each host has cached',
                {each['host']: set(each['images_cached']) for each in said},
                wanted)
            expect.equal(
                'the images that each host has not cached',
                {each['host']: set(each['images_failed']) for each in said},
                {host: everything - those for host, those in wanted.items()})
            texts.append('; '.join(
                f'{host} caches {" and ".join(map(str, those)) or "nothing"}'
                for host, those in cached.items()))
