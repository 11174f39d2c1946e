# SPDX-License-Identifier: Apache-2.0

"""libvirt's binding, as much of it as the real cloud needs.

The real one needs packages of the system that tests must do without.
"""

SERVER = 'f6c1f4a2-0000-4000-8000-000000000001'
OTHER = 'f6c1f4a2-0000-4000-8000-000000000002'

GONE, BROKEN = 42, 1
RUNNING, PAUSED = 1, 3
FULL_SPEED = 8796093022207


class Error(Exception):
    """As libvirt.libvirtError."""

    def get_error_code(self):
        return self.args[0]


class Domain:
    """As much of a libvirt.virDomain as a held migration needs."""

    def __init__(self):
        self.speeds = [FULL_SPEED]
        self.now = RUNNING
        self.error = None
        self.connected = True
        self.job = {}

    def _check(self):
        if self.error:
            raise Error(self.error)

    def migrateGetMaxSpeed(self):
        return self.speeds[-1]

    def migrateSetMaxSpeed(self, speed):
        self._check()
        self.speeds.append(speed)

    def isActive(self):
        self._check()
        return 1

    def state(self):
        self._check()
        return self.now, 0

    def connect(self):
        return self

    def isAlive(self):
        return self.connected

    def jobStats(self):
        if not self.job:
            raise Error(BROKEN)
        return self.job


class Hypervisor:
    """As much of a libvirt.virConnect as tells of UEFI.

    :param refuses: what it may not be asked for
    """

    def __init__(self, refuses):
        self._refuses = refuses

    def domainXMLToNative(self, form, description, flags):
        for words in self._refuses:
            if words in description:
                raise Error(f'it refuses {words}')
        return 'qemu-system-x86_64'
