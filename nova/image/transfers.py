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

"""How much of an image has been transferred, for those who wait for it.

Between those and the image API there is a virt driver, so what they have in
common is the ID of the image.
"""

import contextlib
import os

_watched = {}


class Transfer:
    """The data of an image on their way to or from the image service."""

    def __init__(self):
        self._measure = None
        self._has_ended = False

    @property
    def fraction(self):
        """How much has been transferred, from 0.0 to 1.0."""
        if self._has_ended:
            return 1.0
        if self._measure is None:
            return 0.0
        try:
            return min(self._measure(), 1.0)
        except Exception:
            # There may be no file yet, or data of which this cannot be said.
            return 0.0

    @contextlib.contextmanager
    def measured(self, measure):
        """Know how much has been transferred as long as the context lasts.

        :param measure: function that returns that as a fraction
        """
        self._measure = measure
        yield
        self._has_ended = True


@contextlib.contextmanager
def watch(sizes):
    """See the transfers of images by this process.

    :param sizes: sizes of the images in bytes, by their IDs
    :returns: context manager of the transfers, by the same IDs
    """
    transfers = {image_id: Transfer() for image_id in sizes}
    for image_id, transfer in transfers.items():
        _watched[image_id] = transfer, sizes[image_id]
    try:
        yield transfers
    finally:
        for image_id in transfers:
            _watched.pop(image_id, None)


def upload(image_id, data):
    """Show an upload to those who watch the image.

    :param image_id: ID of the image
    :param data: a file; if it is something else, only the end is shown
    :returns: context manager for the upload
    """
    if data is None or image_id not in _watched:
        return contextlib.nullcontext()
    transfer, _size = _watched[image_id]
    return transfer.measured(
        lambda: data.tell() / os.fstat(data.fileno()).st_size)


def download(image_id, path):
    """Show a download to those who watch the image.

    :param image_id: ID of the image
    :param path: of the file; None if the data do not go to one
    :returns: context manager for the download
    """
    if path is None or image_id not in _watched:
        return contextlib.nullcontext()
    transfer, size = _watched[image_id]
    return transfer.measured(lambda: os.path.getsize(path) / size)
