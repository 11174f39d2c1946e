# SPDX-License-Identifier: Apache-2.0

"""The files that the series adds, in the state that each commit leaves them.

The overlay holds them as they are at the end of the series. A commit that
added a file which a later one edits added another state of it; that state is
found by taking back the hunks of the later patches, the last one first.
"""

from collections import abc
import dataclasses
import os
import pathlib
import re
import stat
import tempfile

from tool.console import Problem
from tool import git
from tool.layout import Layout
from tool.patch import Patch


@dataclasses.dataclass(frozen=True)
class State:
    """A file in one state: its mode and blob as git writes them."""

    path: str
    mode: str
    blob: str

    @property
    def entry(self) -> bytes:
        """A line for git update-index -z --index-info."""
        return f'{self.mode} {self.blob}\t{self.path}\0'.encode()

    def write(self, repo: git.Git, root: pathlib.Path) -> None:
        """Write the file below a directory, as a link if it is one."""
        file = root / self.path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = repo.raw('cat-file', 'blob', self.blob)
        if self.mode == '120000':
            os.symlink(os.fsdecode(data), file)
        else:
            file.write_bytes(data)
            file.chmod(0o755 if self.mode == '100755' else 0o644)


def in_overlay(layout: Layout, path: str) -> bool:
    """Whether a path of the tree is in the overlay's reach."""
    parts = pathlib.PurePosixPath(path).parts
    return len(parts) > 1 and parts[0] in layout.overlay and '..' not in parts


def _read(repo: git.Git, layout: Layout, path: str) -> State | None:
    """A file as the overlay has it; None if it has none.

    :raises Problem: if it is neither a file nor a link
    """
    file = layout.root / path
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        data, shown = os.fsencode(os.readlink(file)), '120000'
    elif stat.S_ISREG(mode):
        data = file.read_bytes()
        shown = '100755' if mode & stat.S_IXUSR else '100644'
    else:
        raise Problem(f'{path} is neither a file nor a link.')
    return State(
        path, shown, repo('hash-object', '-w', '--stdin', stdin=data))


def in_index(repo: git.Git, paths: abc.Iterable[str]) -> dict[str, State]:
    """The files of the index that have these paths."""
    wanted = [f':(literal){path}' for path in paths]
    if not wanted:
        return {}
    found = {}
    for line in repo('ls-files', '--stage', '-z', '--', *wanted).split('\0'):
        if line:
            head, path = line.split('\t', 1)
            mode, blob, _ = head.split(' ')
            found[path] = State(path, mode, blob)
    return found


def touched(repo: git.Git, it: Patch) -> set[str]:
    """Paths that the edits of a patch change."""
    if not it.edits.strip():
        return set()
    out = repo('apply', '--numstat', '-z', '-', stdin=it.edits)
    return {line.split('\t', 2)[2] for line in out.split('\0') if line}


def apply(
    repo: git.Git, it: Patch, path: str, reverse: bool = False
) -> bool:
    """Make the changes of a patch to one file, in the index.

    :param reverse: take them back instead
    :returns: whether they could be made
    """
    pattern = re.sub(r'([*?\[\\])', r'\\\1', path)
    done = repo.run(
        'apply', '--cached', '--whitespace=nowarn', f'--include={pattern}',
        *(['--reverse'] if reverse else []), '-', stdin=it.edits)
    return not done.returncode


class Additions:
    """The states that the commits of the series leave new files in.

    :ivar final: what the overlay holds of them, by path
    """

    def __init__(
        self,
        repo: git.Git,
        layout: Layout,
        patches: abc.Sequence[tuple[str, Patch]],
    ):
        """Find them.

        :param repo: where their content is put
        :param patches: all of the series, with their file names, in order
        :raises Problem: if the overlay does not fit the patches
        """
        adders: dict[str, int] = {}
        for number, (name, it) in enumerate(patches):
            for path in it.adds:
                if not in_overlay(layout, path):
                    raise Problem(
                        f'{layout.patch(name)} adds {path}, which is outside '
                        'the directories of the overlay '
                        f'({", ".join(layout.overlay) or "there are none"}).')
                if path in adders:
                    raise Problem(
                        f'patches/{name} adds {path}, which is already there '
                        'before that commit.')
                adders[path] = number
        self.final = {
            path: state for path in adders
            if (state := _read(repo, layout, path))}
        self._added: dict[str, dict[str, State]] = {}
        with tempfile.TemporaryDirectory() as scratch:
            index = repo.with_index(pathlib.Path(scratch) / 'index')
            index(
                'update-index', '-z', '--add', '--index-info',
                stdin=b''.join(
                    state.entry for state in self.final.values()))
            for number, (name, it) in reversed([*enumerate(patches)]):
                for path in sorted(touched(repo, it)):
                    if adders.get(path, number) < number:
                        self._take_back(index, name, it, path)
                self._added[name] = self._take_out(index, name, it)

    def _take_back(
        self, index: git.Git, name: str, it: Patch, path: str
    ) -> None:
        """Bring a file to its state before a patch that edits it."""
        if apply(index, it, path, reverse=True):
            return
        if path not in in_index(index, [path]):
            raise Problem(
                f'patches/{name} edits {path}, but there is no such file.')
        raise Problem(
            f'{path} was changed here where patches/{name} changes it too, '
            'and it cannot be told which commit the change belongs to. '
            'Restore it (git diff shows the change), make the change in '
            'build/nova, commit it there, and then: ./run refresh')

    def _take_out(
        self, index: git.Git, name: str, it: Patch
    ) -> dict[str, State]:
        """The files that a patch adds; they leave the index."""
        found = in_index(index, it.adds)
        for path in it.adds:
            if path not in found:
                raise Problem(
                    f'patches/{name} adds {path}, but there is no such file.')
            index('update-index', '--force-remove', '--', path)
        return found

    def of(self, name: str, it: Patch) -> abc.Collection[State]:
        """The files that a patch adds, as its commit does.

        :param it: the patch of that name, or its variant in a backport
        :raises Problem: if the variant adds others than the patch
        """
        known = self._added.get(name, {})
        for path in it.adds:
            if path not in known:
                raise Problem(
                    f'{name} adds {path}, but the patch of that name in '
                    'patches/ does not.')
        return [known[path] for path in it.adds]

    def check(self, index: git.Git) -> None:
        """Check that the series leaves its files as the overlay has them.

        :param index: holds the tree of the last commit
        :raises Problem: if one is another
        """
        left = in_index(index, self.final)
        for path, state in self.final.items():
            if left.get(path) != state:
                raise Problem(
                    f'{path} is not what the patches make of it: restore it '
                    '(git diff shows what was changed), make the change in '
                    'build/nova, commit it there, and then: ./run refresh')
