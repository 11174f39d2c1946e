# SPDX-License-Identifier: Apache-2.0

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
