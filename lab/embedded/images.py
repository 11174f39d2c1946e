# SPDX-License-Identifier: Apache-2.0

"""As much of an image service as clients need to look an image up by id."""

import fixtures
from nova import context as nova_context
from nova import exception
from nova.tests.fixtures import glance
import webob.dec
from wsgi_intercept import interceptor

URL = 'http://image.embedded:80/v2'
"""Where it answers, in this process alone."""


class Images(fixtures.Fixture):
    """An image service, for others than Nova.

    :param images: the images, as Nova has them
    """

    def __init__(self, images: glance.GlanceFixture):
        super().__init__()
        self._images = images

    def _setUp(self) -> None:
        intercept = interceptor.RequestsInterceptor(
            lambda: self.answer, url=URL)
        intercept.install_intercept()
        self.addCleanup(intercept.uninstall_intercept)

    @webob.dec.wsgify
    def answer(self, request: webob.Request) -> webob.Response:
        """Answer what is asked of an image, with JSON."""
        match request.path.strip('/').split('/'):
            case ['v2']:
                return webob.Response(json_body={'version': {
                    'id': 'v2.17', 'status': 'CURRENT',
                    'links': [{'rel': 'self', 'href': URL}]}})
            case ['v2', 'images', wanted]:
                try:
                    found = self._images.show(
                        nova_context.get_admin_context(), wanted)
                except exception.ImageNotFound:
                    pass
                else:
                    return webob.Response(json_body={
                        'id': found['id'], 'name': found['name']})
        return webob.Response(status=404)
