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

"""Which hosts the scheduler may choose, and how they store disks."""

from collections import abc
import contextlib

from lab import cloud as cloud_api
from lab import scenarios


@contextlib.contextmanager
def only(cloud: cloud_api.Cloud, *hosts: str) -> abc.Iterator[None]:
    """Disable the compute services of all other hosts."""
    compute = cloud.connect().compute
    with contextlib.ExitStack() as stack:
        for service in compute.services(binary='nova-compute'):
            if service.host not in hosts:
                compute.disable_service(service)
                stack.callback(compute.enable_service, service)
        yield


def storing(
    cloud: cloud_api.Cloud, step: scenarios.Step, images_type: str
) -> contextlib.AbstractContextManager[None]:
    """Let all hosts store the disks of servers in files of one type.

    :param images_type: as Nova's option of this name takes it
    """
    return scenarios.lasting(
        step, f'configure all hosts with images_type={images_type}',
        cloud.hosts_configured('libvirt', 'images_type', images_type))
