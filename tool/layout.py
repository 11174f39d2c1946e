# SPDX-License-Identifier: Apache-2.0

"""Where things are."""

import contextlib
import dataclasses
import fcntl
import pathlib

# The release that the series stands on.
RELEASE = '34.0.0'

# The directories that hold additions, at the paths of Nova's own tree.
OVERLAY_ROOTS = ('nova', 'api-ref', 'doc', 'releasenotes')


@dataclasses.dataclass(frozen=True)
class Layout:
    """The places of one copy of the project, all below its root."""

    root: pathlib.Path

    @property
    def patches(self):
        return self.root / 'patches'

    @property
    def release(self):
        """What is known of the release that the series stands on."""
        return self.root / 'releases' / RELEASE

    @property
    def base(self):
        """The pin of its source archive."""
        return self.release / 'pin.txt'

    @property
    def cache(self):
        return self.root / '.cache'

    @property
    def build(self):
        return self.root / 'build'

    @property
    def tree(self):
        """The patched tree, on which everything else stands."""
        return self.build / 'nova'

    @property
    def mend(self):
        """Where a patch that does not apply is mended."""
        return self.build / 'mend'

    @property
    def staging(self):
        """What refresh is about to put into patches/ and the overlay."""
        return self.build / 'refresh'

    def shown(self, path):
        """The path as users know it: relative to the root if it is below."""
        if path.is_relative_to(self.root):
            return str(path.relative_to(self.root))
        return str(path)

    @contextlib.contextmanager
    def locked(self, what='tree'):
        """Keeps all other processes that ask for the same lock waiting."""
        self.build.mkdir(parents=True, exist_ok=True)
        with open(self.build / f'.{what}.lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


PROJECT = Layout(pathlib.Path(__file__).resolve().parent.parent)
