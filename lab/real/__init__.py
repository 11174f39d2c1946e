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

"""The lab: a real OpenStack on this machine, with guests in QEMU.

Everything runs in one process namespace below one supervisor, so that the
end of that one process is the end of every service, guest, mount, bridge and
network namespace. The controller and each compute host have network, mount
and UTS namespaces of their own in there.
"""
