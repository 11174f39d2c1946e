# SPDX-License-Identifier: Apache-2.0

"""The lab: a real OpenStack on this machine, with guests in QEMU.

Everything runs in one process namespace below one supervisor, so that the
end of that one process is the end of every service, guest, mount, bridge and
network namespace. The controller and each compute host have network, mount
and UTS namespaces of their own in there.
"""
