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

"""A whole Nova in this process, of the fixtures of Nova's functional tests.

Real: API, conductor, scheduler, compute services with the libvirt driver,
placement, the databases (SQLite). Not real: libvirt and its guests, Glance,
Neutron, Cinder, Keystone and the message queue. Two cells, three hosts, and
an instance directory that all hosts share.

It is for one thread of scenarios at a time, and one of it can run at a time
in a process.
"""

import os

# Native threads, as Nova's services run by default. Nova has to be told
# before anything else of it, or of its libraries, is imported.
os.environ.setdefault('OS_NOVA_DISABLE_EVENTLET_PATCHING', 'true')

from nova import monkey_patch  # noqa: E402

monkey_patch.patch()

from lab.embedded.cloud import EmbeddedCloud  # noqa: E402

__all__ = ['EmbeddedCloud']
