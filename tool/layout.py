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

# The project that the series is for; the others are its companions.
NOVA = 'nova'


@dataclasses.dataclass(frozen=True)
class Layout:
    """The places of one copy of this repository, all below its root.

    :ivar project: whose series is meant: Nova's, or that of a companion
    """

    root: pathlib.Path
    project: str = NOVA

    def of(self, project):
        """The places of the series of another project."""
        return dataclasses.replace(self, project=project)

    @property
    def companions(self):
        """Names of the other projects that have a series here."""
        return sorted(
            pin.parent.name for pin in self.root.glob('companions/*/pin.txt'))

    @property
    def home(self):
        """What holds the series of the project."""
        if self.project == NOVA:
            return self.root
        return self.root / 'companions' / self.project

    @property
    def patches(self):
        return self.home / 'patches'

    def patch(self, name):
        """The path of a patch as users know it."""
        return self.shown(self.patches / name)

    @property
    def overlay(self):
        """The directories that hold additions.

        The patches of a companion, which are few, hold them themselves.
        """
        return OVERLAY_ROOTS if self.project == NOVA else ()

    @property
    def release(self):
        """What is known of the release that the series stands on."""
        if self.project == NOVA:
            return self.root / 'releases' / RELEASE
        return self.home

    @property
    def base(self):
        """The pin of its source archive."""
        return self.release / 'pin.txt'

    @property
    def facts(self):
        """What it says of itself."""
        return self.release / 'facts.toml'

    @property
    def numbers(self):
        """The numbers that the series takes after those of the release."""
        return self.release / 'numbers.toml'

    @property
    def cache(self):
        return self.root / '.cache'

    @property
    def build(self):
        return self.root / 'build'

    @property
    def tree(self):
        """The patched tree, on which everything else stands."""
        return self.build / self.project

    def beside(self, purpose):
        """A directory in build/ that only this project uses."""
        if self.project == NOVA:
            return self.build / purpose
        return self.build / f'{purpose}.{self.project}'

    @property
    def mend(self):
        """Where a patch that does not apply is mended."""
        return self.beside('mend')

    @property
    def staging(self):
        """What refresh is about to put into patches/ and the overlay."""
        return self.beside('refresh')

    def command(self, words):
        """What to type for a command of ./run on this project."""
        name, *options = words.split()
        if self.project != NOVA:
            name += f' {self.project}'
        return ' '.join(['./run', name, *options])

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
