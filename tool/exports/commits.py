# SPDX-License-Identifier: Apache-2.0

"""The commits of the built tree, rewritten for those who take them."""

from collections import abc
import dataclasses
import pathlib
import re
import shutil
import tempfile

from tool.console import Problem
from tool import git
from tool.layout import Layout
from tool import series
from tool import tree

# What git format-patch must leave out for `patch -p1`, quilt, rpmbuild and
# git am to read its files alike. A clone of Nova has so many objects that
# git am -3 would take some abbreviated names for others.
FORM = (
    '--no-renames', '--no-signature', '--no-numbered', '--full-index')

_TOPIC = re.compile(r'#\s*Topic\s+([\w./-]+)\s*(?::\s*(.*))?$')

_CHANGE = re.compile(r'^Change-Id: I[0-9a-f]{40}$', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Topic:
    """Patches of the series that are reviewed together.

    :ivar name: as Gerrit has topics
    :ivar title: what it does, in a few words
    :ivar patches: file names, in their order
    """

    name: str
    title: str
    patches: tuple[str, ...]


def topics(layout: Layout) -> list[Topic]:
    """The topics that comments of the series begin.

    Patches before the first such comment belong to no topic.

    :raises Problem: if two topics have one name
    """
    found: list[Topic] = []
    text = layout.series.read_text()
    for line in text.splitlines():
        line = line.strip()
        if match := _TOPIC.match(line):
            if match[1] in {topic.name for topic in found}:
                raise Problem(
                    f'{layout.shown(layout.series)} has two topics '
                    f'{match[1]}.')
            found.append(Topic(match[1], match[2] or '', ()))
        elif found and line and not line.startswith('#'):
            found[-1] = dataclasses.replace(
                found[-1], patches=(*found[-1].patches, line))
    return found


def choose(layout: Layout, name: str | None) -> abc.Sequence[str]:
    """File names of the patches of a topic, or of all.

    :raises Problem: if there is no such topic
    """
    names = series.names(layout)
    if not names:
        raise Problem('There are no patches yet: nothing to export.')
    if name is None:
        return names
    known = topics(layout)
    for topic in known:
        if topic.name == name:
            return topic.patches
    listed = ', '.join(topic.name for topic in known) or 'none'
    raise Problem(
        f'There is no topic {name!r}; {layout.shown(layout.series)} has '
        f'{listed}.', 2)


def identity(repo: git.Git) -> tuple[str, str]:
    """Name and email address of whoever exports.

    :param repo: works with the user's own configuration
    :raises Problem: if git does not know them
    """
    done = repo.run('var', 'GIT_AUTHOR_IDENT')
    match = re.match(r'(.*) <(.*)> ', done.stdout.decode(errors='replace'))
    if done.returncode or not match or not match[1]:
        raise Problem(
            'git does not know who you are, and the exported commits are to '
            'be yours. Set it: git config --global user.name "…", and '
            'user.email.')
    return match[1], match[2]


def signed_off(owner: tuple[str, str]) -> str:
    """The trailer with which an owner signs a commit off."""
    return f'Signed-off-by: {owner[0]} <{owner[1]}>'


def _with(message: str, lines: abc.Sequence[str]) -> str:
    """A message with more trailers.

    They go into the paragraph of the Change-Id, which Gerrit looks for in the
    last one alone. git would begin another where Nova's "Related to blueprint"
    stands in it.
    """
    last = message.rpartition('\n\n')[2]
    trailers = last if _CHANGE.search(last) else ''
    more = [line for line in lines if line not in trailers.splitlines()]
    return '\n'.join([message, *([] if trailers else ['']), *more]) + '\n'


def again(
    repo: git.Git,
    commit: str,
    tree: str,
    parent: str,
    owner: tuple[str, str],
    trailers: abc.Sequence[str],
) -> str:
    """Make a commit anew, with another owner, tree and parent.

    :param owner: name and email address of its author and committer
    :param trailers: more lines for its message
    :returns: the id of the new one
    """
    message = _with(
        repo('log', '-1', '--format=%B', commit).strip(), trailers)
    when = repo('log', '-1', '--format=%ad', '--date=raw', commit)
    name, email = owner
    return repo(
        'commit-tree', tree, '-p', parent, stdin=message.encode(),
        env={
            'GIT_AUTHOR_NAME': name, 'GIT_AUTHOR_EMAIL': email,
            'GIT_AUTHOR_DATE': when, 'GIT_COMMITTER_DATE': when,
            'GIT_COMMITTER_NAME': name, 'GIT_COMMITTER_EMAIL': email,
        })


def built(layout: Layout) -> dict[str, str]:
    """The commits of the built tree, by the file names of their patches.

    :raises Problem: if there are none, or the tree has work that patches/
        does not hold
    """
    names = choose(layout, None)
    repo = git.Git(layout.tree)
    if work := tree.work_in(repo):
        raise Problem(
            f'{layout.shown(layout.tree)} {work}: take it back first, with '
            f'{layout.command("refresh")}.')
    return dict(zip(
        names, repo.lines('rev-list', '--reverse', 'base..HEAD'),
        strict=True))


def rewrite(
    layout: Layout,
    names: abc.Sequence[str],
    trailers: abc.Sequence[str] = (),
    signed: bool = True,
) -> tuple[git.Git, str, str]:
    """Make commits of the user's of some patches of the built tree.

    They stand on each other, and the first on the tree that its own commit
    in build/nova stands on. No branch of build/nova changes.

    :param names: file names of the patches, which follow each other
    :param trailers: lines such as "Depends-On: I…" for every message
    :param signed: whether each message ends with a Signed-off-by
    :returns: the repository, the commit below the first, and the last one
    :raises Problem: if git does not know the user, a trailer is none, or the
        tree has work that patches/ does not hold
    """
    repo = git.Git(layout.tree)
    known = built(layout)
    owner = identity(git.Git(layout.tree, own=True))
    lines = list(trailers)
    for line in lines:
        if not re.match(r'[A-Za-z][A-Za-z0-9-]*: \S', line):
            raise Problem(
                f'{line!r} is not a trailer. Write it as "Name: value".', 2)
    if signed:
        lines.append(signed_off(owner))
    below = parent = repo.commit(f'{known[names[0]]}^')
    for each in names:
        parent = again(
            repo, known[each], f'{known[each]}^{{tree}}', parent, owner,
            lines)
    return repo, below, parent


def written(directory: pathlib.Path, files: abc.Mapping[str, bytes]) -> None:
    """Put files into a directory that is new or empty, all of them or none.

    :param files: content by name, which may have directories in it
    :raises Problem: if the directory cannot be made, or has something in it
    """
    directory = directory.absolute()
    try:
        if directory.exists() and any(directory.iterdir()):
            raise Problem(
                f'{directory} is not empty. Name a directory that is, or '
                'that is yet to be made.')
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(
            dir=directory.parent, prefix=f'.{directory.name}.'))
        try:
            for name, data in files.items():
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                (scratch / name).write_bytes(data)
            scratch.chmod(0o755)
            scratch.replace(directory)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    except OSError as error:
        raise Problem(
            f'{directory} could not be written: {error.strerror}.') from error


def patch_files(
    repo: git.Git, below: str, head: str
) -> dict[str, bytes]:
    """The commits as files of git format-patch, by their names in order."""
    with tempfile.TemporaryDirectory() as scratch:
        repo('format-patch', '--quiet', *FORM, '--output-directory', scratch,
             f'{below}..{head}')
        return {
            file.name: file.read_bytes()
            for file in sorted(pathlib.Path(scratch).iterdir())
        }
