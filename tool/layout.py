# SPDX-License-Identifier: Apache-2.0

"""Where things are."""

import contextlib
import dataclasses
import fcntl
import pathlib

# The release that the series stands on, with all of its patches.
RELEASE = '34.0.0'

# The directories that hold additions, at the paths of Nova's own tree.
OVERLAY_ROOTS = ('nova', 'api-ref', 'doc', 'releasenotes')

# The project that the series is for; the others are its companions.
NOVA = 'nova'


@dataclasses.dataclass(frozen=True)
class Layout:
    """The places of one copy of this repository, all below its root.

    :ivar project: whose series is meant: Nova's, or that of a companion
    :ivar version: the release of Nova that is meant: the one that the series
        stands on, or an earlier one that has a backport
    """

    root: pathlib.Path
    project: str = NOVA
    version: str = RELEASE

    def of(self, project):
        """The places of the series of another project."""
        return dataclasses.replace(self, project=project)

    def on(self, version):
        """The places of the series on another release of Nova."""
        return dataclasses.replace(self, version=version)

    @property
    def versions(self):
        """The releases of Nova that there is a series for."""
        return sorted(
            (pin.parent.name for pin in self.root.glob('releases/*/pin.txt')),
            key=lambda name: [int(part) for part in name.split('.')])

    @property
    def whole(self):
        """The places of the series that a backport is of; None if it is none.

        A backport has some of its patches, and takes new files from its
        overlay.
        """
        if self.project == NOVA and self.version != RELEASE:
            return self.on(RELEASE)
        return None

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

    @property
    def backports(self):
        """The places of the backports of the series."""
        if self.project != NOVA or self.whole:
            return []
        return [self.on(version) for version in self.versions
                if version != RELEASE]

    @property
    def refreshed(self):
        """What a refresh may change: directories below the root."""
        if self.whole:
            return (self.shown(self.release),)
        return (self.shown(self.patches), *self.overlay,
                *(backport.shown(backport.release)
                  for backport in self.backports))

    @property
    def series(self):
        """The list of the patches, in their order."""
        return (self.release if self.whole else self.patches) / 'series'

    def patch_file(self, name):
        """Where a patch is: in patches/, unless a backport has a variant."""
        variant = self.release / name
        return variant if self.whole and variant.is_file() else (
            self.patches / name)

    def patch(self, name):
        """The path of a patch as users know it."""
        return self.shown(self.patch_file(name))

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
            return self.root / 'releases' / self.version
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
        if self.whole:
            return self.build / f'{self.project}-{self.version}'
        return self.build / self.project

    def beside(self, purpose):
        """A directory in build/ that only this series uses."""
        if self.tree.name == NOVA:
            return self.build / purpose
        return self.build / f'{purpose}.{self.tree.name}'

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
        if self.whole:
            options.append(f'--release {self.version}')
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
