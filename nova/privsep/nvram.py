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

"""Helpers for the files in which libvirt keeps the UEFI variables of guests.

They belong to the user that QEMU runs as, and so does their directory. Who has
broken out of a guest may have put a symbolic link in the place of a file, so
none is followed.
"""

import contextlib
import os

import nova.privsep


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


@nova.privsep.sys_admin_pctxt.entrypoint
def read(path: str, offset: int, count: int) -> bytes:
    """Read some bytes of a file.

    :raises FileNotFoundError: if there is no such file
    :raises OSError: if it is a symbolic link
    """
    with open(path, 'rb', opener=_open) as f:
        f.seek(offset)
        return f.read(count)


@nova.privsep.sys_admin_pctxt.entrypoint
def write(path: str, offset: int, content: bytes) -> None:
    """Write to a file that only its owner may read, and make it at offset 0.

    It gets the owner of its directory: libvirt may be configured not to change
    the owner of files.

    :raises FileNotFoundError: if there is no such directory
    :raises OSError: if it is a symbolic link
    """
    flags = os.O_WRONLY
    if offset == 0:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        flags |= os.O_CREAT | os.O_EXCL
    with os.fdopen(_open(path, flags), 'wb') as f:
        if offset == 0:
            directory = os.stat(os.path.dirname(path))
            os.fchown(f.fileno(), directory.st_uid, directory.st_gid)
        f.seek(offset)
        f.write(content)


@nova.privsep.sys_admin_pctxt.entrypoint
def rename(path: str, new_path: str) -> None:
    """Give a file the place of another one, once its bytes are on the disk."""
    with open(path, 'rb', opener=_open) as f:
        os.fsync(f.fileno())
    os.rename(path, new_path)


@nova.privsep.sys_admin_pctxt.entrypoint
def remove(path: str) -> None:
    """Remove a file.

    :raises FileNotFoundError: if there is no such file
    """
    os.unlink(path)
