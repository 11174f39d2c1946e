# SPDX-License-Identifier: Apache-2.0

"""Glance, with its images in files."""

import re

from lab.real.lab import executable
from lab.real.lab import Lab
from lab.real import oslo
from lab.real import services
from lab.real import supervisor
from lab.real import wsgi

DATABASES = ('glance',)

_REQUEST = re.compile(r'\] [A-Z]+ /v2/images\S* => generated ')
"""What a line of the log has in it that is a request for images."""

wanted = services.always


def configure(lab: Lab) -> None:
    wsgi.configure(
        lab, 'glance', 'glance.wsgi.api', workers=1, threads=8,
        log_requests=True)
    directory = lab.directory('glance')
    files = lab.where.service('glance')
    files.mkdir()
    oslo.write(directory / 'glance-api.conf', lab.api('glance'), {
        'DEFAULT': {
            'enabled_backends': 'files:file',
            'node_staging_uri': f'file://{files / "staging"}'},
        'database': {'connection': lab.database('glance')},
        'glance_store': {'default_backend': 'files'},
        'files': {'filesystem_store_datadir': files / 'images'},
        'os_glance_staging_store': {
            'filesystem_store_datadir': files / 'staging'},
        'os_glance_tasks_store': {
            'filesystem_store_datadir': files / 'tasks'},
        'paste_deploy': {
            'flavor': 'keystone',
            'config_file': executable('../etc/glance/glance-api-paste.ini')},
    })


def make_tables(lab: Lab) -> None:
    lab.call(
        executable('glance-manage'), '--config-file',
        str(lab.where.conf / 'glance' / 'glance-api.conf'), 'db_sync')


before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [wsgi.serve(
        lab, 'glance', OS_GLANCE_CONFIG_DIR=str(lab.where.conf / 'glance'))]


after_start = services.nothing


def requests(lab: Lab) -> int:
    """How many requests for images, or for their data, have been answered."""
    with supervisor.log(lab.where, 'glance').open(errors='replace') as log:
        return sum(bool(_REQUEST.search(line)) for line in log)
