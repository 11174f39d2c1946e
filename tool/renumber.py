# SPDX-License-Identifier: Apache-2.0

"""./run renumber: other microversions for the series.

Upstream has given out those that it takes. The API samples, the documentation,
the companions, the lab and this repository's own texts name them too.
"""

from collections import abc
import dataclasses
import pathlib
import re
import tempfile

from tool.additions import State
from tool import build
from tool import console
from tool.console import Problem
from tool import git
from tool.layout import Layout
from tool import numbers
from tool import refresh
from tool import tree


@dataclasses.dataclass(frozen=True)
class Numbering:
    """Which microversions take the place of which.

    The one after the last of the series moves along: tests take it for one
    that is later than all of them.

    :ivar old: those that the series takes, in their order
    :ivar steps: how far they move
    """

    old: tuple[str, ...]
    steps: int

    @property
    def new(self) -> dict[str, str]:
        return {
            one: numbers.after(one, self.steps)
            for one in (*self.old, numbers.after(self.old[-1]))}

    def text(self, text: str) -> str:
        """A text with the new numbers, written as 2.105, 2_105 or v2105."""

        def _new(match: re.Match[str]) -> str:
            old = f'{match["major"]}.{match["minor"]}'
            major, _, minor = self.new.get(old, old).partition('.')
            return f'{major}{match["dot"]}{minor}'

        major = self.old[0].partition('.')[0]
        return re.sub(
            rf'(?<![\d.])(?P<major>{major})(?P<dot>(?<=[vV]{major})|[._])'
            r'(?P<minor>\d+)(?!\d|\.\d)', _new, text)

    def data(self, data: bytes, kept: bytes = b'') -> bytes:
        """A file with the new numbers.

        :param kept: a file of upstream's, whose lines stay
        """
        lines = set(kept.splitlines())
        return b''.join(
            line if line.rstrip(b'\r\n') in lines else self.text(
                line.decode(errors='surrogateescape')
            ).encode(errors='surrogateescape')
            for line in data.splitlines(True))


def _numbering(layout: Layout, first: str) -> Numbering:
    """How the microversions move.

    :param first: the new one of the first that the series takes
    :raises Problem: if they cannot move there
    """
    old = numbers.taken(layout).get(numbers.MICROVERSION)
    if not old:
        raise Problem(
            f'{layout.shown(layout.numbers)} has no microversions.')
    last = numbers.of(git.Git(layout.tree), 'base')[numbers.MICROVERSION]
    match = re.fullmatch(r'(\d+)\.(\d+)', first)
    if not match or match[1] != last.partition('.')[0]:
        raise Problem(
            f'"{first}" is not a microversion such as '
            f'{numbers.after(last)}.', 2)
    if int(match[2]) <= int(last.partition('.')[2]):
        raise Problem(
            f'{first} is taken: the release has microversions up to {last}.')
    steps = int(match[2]) - int(old[0].partition('.')[2])
    if not steps:
        raise Problem(f'The microversions of the series begin at {first}.')
    return Numbering(tuple(old), steps)


class _Rewritten:
    """The commits of a project with the new numbers, in its object store.

    :ivar head: the last one
    """

    def __init__(self, layout: Layout, numbering: Numbering):
        self.layout = layout
        self._numbering = numbering
        self.repo = git.Git(layout.tree)
        self.old = self.repo.commit('HEAD')
        if work := tree.work_in(self.repo):
            raise Problem(
                f'{layout.shown(layout.tree)} {work}: take it back first, '
                f'with {layout.command("refresh")}.')
        self.head = self.repo.commit('base')
        with tempfile.TemporaryDirectory() as scratch:
            index = self.repo.with_index(pathlib.Path(scratch) / 'index')
            index('read-tree', self.head)
            for commit in self.repo.lines(
                    'rev-list', '--reverse', 'base..HEAD'):
                for status, it in refresh.changes(self.repo, commit):
                    path = numbering.text(it.path)
                    if status == 'D':
                        index('update-index', '--force-remove', '--', path)
                    else:
                        index('update-index', '-z', '--add', '--index-info',
                              stdin=self._state(it, path).entry)
                when = self.repo('log', '-1', '--format=@%at +0000', commit)
                message = self.repo('log', '-1', '--format=%B', commit)
                self.head = index(
                    'commit-tree', index('write-tree'), '-p', self.head,
                    stdin=numbering.text(message).encode(),
                    env={'GIT_AUTHOR_DATE': when, 'GIT_COMMITTER_DATE': when})

    def _state(self, it: State, path: str) -> State:
        """A file with the new numbers, at its new path."""
        data = self.repo.raw('cat-file', 'blob', it.blob)
        theirs = self.repo.run('cat-file', 'blob', f'base:{it.path}').stdout
        new = self._numbering.data(data, kept=theirs)
        if new == data:
            return dataclasses.replace(it, path=path)
        return State(path, it.mode, self.repo(
            'hash-object', '-w', '--stdin', stdin=new))

    def changes(self) -> abc.Iterator[str]:
        """What becomes of the files, one text for each."""
        out = self.repo(
            'diff', '--numstat', '--find-renames', '-z', self.old,
            self.head).split('\0')
        shown = self.layout.shown(self.layout.tree)
        while out and out[0]:
            count, _, path = out.pop(0).split('\t')
            what = [f'{count} lines'] if int(count) else []
            if not path:
                path = out.pop(0)
                what.append(f'becomes {out.pop(0)}')
            yield f'{shown}/{path}: {", ".join(what)}'

    def take_back(self) -> None:
        """Put them into patches/ and what belongs to it."""
        self.repo('reset', '--quiet', '--hard', self.head)
        try:
            refresh.refresh(self.layout)
        except BaseException:
            self.repo('reset', '--quiet', '--hard', self.old)
            raise


def _texts(layout: Layout, numbering: Numbering) -> dict[pathlib.Path, bytes]:
    """Files beside the patches and the overlay, with the new numbers.

    The tool knows no microversion but as an example.
    """
    paths = git.Git(layout.root)(
        'ls-files', '-z', '--', '.',
        *(f':(exclude){path}' for path in (
            'patches', 'companions/*/patches/*', *layout.overlay, 'tool',
            'tests/tool')))
    files = [layout.root / path for path in paths.split('\0') if path]
    texts = {file: file.read_bytes() for file in files if file.is_file()}
    return {
        file: new for file, data in texts.items()
        for new in [numbering.data(data)] if new != data}


def run(layout: Layout, first: str, write: bool) -> None:
    """Renumber the microversions, or show what that would change.

    :param first: the new number of the first one that the series takes
    :param write: do it
    :raises Problem: if it cannot be done; nothing has changed then
    """
    if write and not git.Git(layout.root).clean():
        raise Problem(
            'This repository has changes that are not committed. Commit them '
            'first, so that git diff shows what is renumbered.')
    projects = [layout, *map(layout.of, layout.companions)]
    for one in projects:
        build.build(one)
    numbering = _numbering(layout, first)
    with console.step('Renumbering the microversions') as said:
        rewritten = [_Rewritten(one, numbering) for one in projects]
        texts = _texts(layout, numbering)
        said.append(', '.join(
            f'{old} {"becomes" if write else "would become"} {new}'
            for old, new in numbering.new.items() if old in numbering.old))
        if write:
            for one in rewritten:
                one.take_back()
            for file, data in texts.items():
                file.write_bytes(data)
    for one in rewritten:
        for text in one.changes():
            console.line(text)
    for file in texts:
        console.line(layout.shown(file))
    if write:
        console.line(
            'See what git diff shows, then ./run check. To take it back: git '
            'checkout ., git clean, and ./run build --force.')
    else:
        console.line(
            f'Nothing has changed yet: ./run renumber {first} --write')
