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

import os
from unittest import mock

import fixtures

from nova.image import glance
from nova.image import transfers
from nova import test


class TransfersTestCase(test.NoDBTestCase):
    """What those who watch an image see of the calls of the image API."""

    def setUp(self):
        super().setUp()
        self.path = os.path.join(
            self.useFixture(fixtures.TempDir()).path, 'data')
        self.service = mock.create_autospec(
            glance.GlanceImageServiceV2, instance=True)
        self.useFixture(fixtures.MockPatch(
            'nova.image.glance.get_default_image_service', autospec=True,
            return_value=self.service))
        self.api = glance.API()

    def _write(self, size):
        with open(self.path, 'wb') as f:
            f.truncate(size)

    def test_upload(self):
        seen = []

        def update(context, image_id, image_info, data, purge_props):
            for _i in range(3):
                seen.append(watched['an-id'].fraction)
                data.read(20)
            seen.append(watched['an-id'].fraction)

        self.service.update.side_effect = update
        self._write(80)
        # The size of the file is known better.
        with transfers.watch({'an-id': 10}) as watched:
            with open(self.path, 'rb') as data:
                self.api.update(None, 'an-id', {}, data=data)
            seen.append(watched['an-id'].fraction)
        self.assertEqual([0, 0.25, 0.5, 0.75, 1], seen)

    def test_download(self):
        seen = []

        def download(context, image_id, data, dst_path, trusted_certs):
            seen.append(watched['an-id'].fraction)
            for size in (0, 10, 50):
                self._write(size)
                seen.append(watched['an-id'].fraction)

        self.service.download.side_effect = download
        with transfers.watch({'an-id': 40}) as watched:
            self.api.download(None, 'an-id', dest_path=self.path)
            os.unlink(self.path)
            seen.append(watched['an-id'].fraction)
        self.assertEqual([0, 0, 0.25, 1, 1], seen)

    def test_what_is_no_transfer(self):
        with transfers.watch({'an-id': 40}) as watched:
            self.api.update(None, 'an-id', {})
            self.api.download(None, 'an-id')
            self.api.download(None, 'another', dest_path=self.path)
            self.assertEqual(0, watched['an-id'].fraction)

    def test_data_that_cannot_be_measured(self):
        """The upload is not disturbed, and its end is seen."""
        data = iter([b'x'])

        def update(context, image_id, image_info, data, purge_props):
            self.assertEqual(0, watched['an-id'].fraction)

        self.service.update.side_effect = update
        with transfers.watch({'an-id': 40}) as watched:
            self.api.update(None, 'an-id', {}, data=data)
            self.assertEqual(1, watched['an-id'].fraction)
        self.service.update.assert_called_once_with(
            None, 'an-id', {}, data=data, purge_props=False)

    def test_transfer_that_fails(self):
        self.service.download.side_effect = test.TestingException
        self._write(10)
        with transfers.watch({'an-id': 40}) as watched:
            self.assertRaises(
                test.TestingException, self.api.download, None, 'an-id',
                dest_path=self.path)
            self.assertEqual(0.25, watched['an-id'].fraction)

    def test_nobody_watches_any_more(self):
        with transfers.watch({'an-id': 40}) as watched:
            pass
        self.api.download(None, 'an-id', dest_path=self.path)
        self.assertEqual(0, watched['an-id'].fraction)
