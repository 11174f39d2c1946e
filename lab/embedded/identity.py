# SPDX-License-Identifier: Apache-2.0

"""As much of an identity service as tells which projects and users exist."""

from collections import abc

import fixtures
from keystoneauth1 import noauth
import webob.dec
from wsgi_intercept import interceptor

URL = 'http://identity.embedded:80/v3'
"""Where it answers, in this process alone."""


class Identity(fixtures.Fixture):
    """An identity service with projects and users, whoever asks.

    :param ids: of 'projects' and 'users', by their names
    """

    def __init__(self, ids: abc.Mapping[str, abc.Mapping[str, str]]):
        super().__init__()
        self._found = {
            kind: [{'id': each, 'name': name, 'enabled': True}
                   for name, each in those.items()]
            for kind, those in ids.items()}

    def _setUp(self) -> None:
        intercept = interceptor.RequestsInterceptor(
            lambda: self.answer, url=URL)
        intercept.install_intercept()
        self.addCleanup(intercept.uninstall_intercept)
        # Requests to Nova have no token that it could send on.
        self.useFixture(fixtures.MonkeyPatch(
            'nova.context.RequestContext.get_auth_plugin',
            lambda context: noauth.NoAuth(endpoint=URL)))

    @webob.dec.wsgify
    def answer(self, request: webob.Request) -> webob.Response:
        """Answer what is asked of projects and users, with JSON."""
        match request.path.strip('/').split('/'):
            case ['v3']:
                return webob.Response(json_body={'version': {
                    'id': 'v3.14', 'status': 'stable',
                    'links': [{'rel': 'self', 'href': URL}]}})
            case ['v3', kind] if kind in self._found:
                return webob.Response(json_body={kind: [
                    each for each in self._found[kind]
                    if request.GET.get('name', each['name']) == each['name']
                ]})
            case ['v3', kind, wanted] if kind in self._found:
                for each in self._found[kind]:
                    if each['id'] == wanted:
                        return webob.Response(
                            json_body={kind.removesuffix('s'): each})
        return webob.Response(
            json_body={'error': {'code': 404, 'message': 'not here'}},
            status=404)
