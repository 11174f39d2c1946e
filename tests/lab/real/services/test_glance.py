# SPDX-License-Identifier: Apache-2.0

"""What the log of the image service shows."""

import pytest

from lab.real.services import glance
from lab.real import supervisor
from lab.real import wsgi


def line(request):
    """How uWSGI logs a request."""
    return (
        '[pid: 2379|app: 0|req: 1/1] 172.31.99.1 () {24 vars in 279 bytes} '
        f'[Mon Nov 30 07:16:08 2026] {request} => generated 1 bytes in 0 '
        'msecs (HTTP/1.1 201) 2 headers in 69 bytes (1 switches on core 1)\n')


def test_only_what_asks_for_images_counts(lab):
    lab.where.logs.mkdir()
    supervisor.log(lab.where, 'glance').write_text(''.join((
        line('GET /v2/images?limit=1'), line('GET /versions'),
        line('PUT /v2/images/1/file'), line('GET /v2/schemas/image'),
        'WARNING glance [-] /v2/images => generated a warning\n')))
    assert glance.requests(lab) == 2


@pytest.mark.parametrize('is_logged', [True, False])
def test_requests_are_logged_only_if_asked_for(is_logged, lab):
    lab.where.conf.mkdir()
    wsgi.configure(lab, 'glance', 'module', log_requests=is_logged)
    text = (lab.where.conf / 'uwsgi-glance.ini').read_text()
    assert ('disable-logging' not in text) == is_logged
