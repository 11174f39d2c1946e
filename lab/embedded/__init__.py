# SPDX-License-Identifier: Apache-2.0

"""A whole Nova in this process, of the fixtures of Nova's functional tests.

Real: API, conductor, scheduler, compute services with the libvirt driver,
placement, the databases (SQLite). Not real: libvirt and its guests, Glance,
Neutron, Cinder, Keystone and the message queue. Two cells, three hosts, and
an instance directory that all hosts share.

It is for one thread of scenarios at a time, and one of it can run at a time
in a process.
"""

import os

# Native threads, as Nova's services run by default. Nova must know that
# before anything else of it, or of its libraries, is imported.
os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', 'true')

from nova import monkey_patch  # noqa: E402

monkey_patch.patch()

from lab.embedded.cloud import EmbeddedCloud  # noqa: E402

__all__ = ['EmbeddedCloud']
