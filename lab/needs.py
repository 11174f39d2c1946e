# SPDX-License-Identifier: Apache-2.0

"""What a scenario, or one of its checks, needs of a cloud beside its APIs."""

import enum


class Need(enum.Enum):
    """Something that one cloud has and another lacks. The value names it."""

    GUESTS = 'real guests'
    SERVICES = 'real services'
    NETWORK = 'a network service'
    OWN_FILES = 'hosts that share no files'
    LOCAL_DISKS = 'disks in local files'
    VOLUMES = 'volumes'
    UEFI = 'guests that boot by UEFI'
    DOWNLOADS = 'an image service that counts downloads'
    NOTIFICATIONS = 'notifications'
    BANDWIDTH = 'a network service that guarantees bandwidth'
    VGPUS = 'vGPUs'
    ACCELERATORS = 'accelerators'
    ROLES = 'accounts with every role'


EMBEDDED = frozenset({
    Need.DOWNLOADS, Need.NOTIFICATIONS, Need.BANDWIDTH, Need.VGPUS,
    Need.ACCELERATORS, Need.ROLES})
"""What the embedded cloud has, to be known without importing Nova."""


class Lacking(Exception):
    """A cloud was asked for what it lacks: a scenario did not declare it.

    :ivar need: what it lacks
    """

    def __init__(self, need: Need):
        super().__init__(f'the cloud lacks {need.value}')
        self.need = need
