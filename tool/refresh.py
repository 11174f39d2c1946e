# SPDX-License-Identifier: Apache-2.0

"""Takes the commits of the tree back into patches/ and the overlay."""

import dataclasses
import os
import pathlib
import re
import shutil
import tempfile

from tool import additions
from tool.console import Problem
from tool import git
from tool import patch
from tool import series
from tool import staging
from tool import tree

_COMMENT = '# The order of the patches, one file name a line.\n'

_DIFF = (
    'diff-tree', '--patch', '--full-index', '--binary', '--no-renames',
    '--no-color', '--no-ext-diff', '--no-textconv', '--unified=3',
    '--inter-hunk-context=0', '--diff-algorithm=myers', '--indent-heuristic',
    '--src-prefix=a/', '--dst-prefix=b/', '--no-relative', '-O/dev/null',
)


def changes(repo, commit):
    """What a commit changes: (status letter, new State) each."""
    out = repo(
        'diff-tree', '-r', '-z', '--raw', '--no-renames', '--no-commit-id',
        commit,
    ).split('\0')
    for head, path in zip(out[::2], out[1::2]):
        _, mode, _, blob, status = head.split(' ')
        yield status[0], additions.State(path, mode, blob)


def _take(layout, repo, commit, taken):
    """Makes the patch of a commit.

    :param taken: paths that earlier commits have added; added to
    :raises Problem: if the commit cannot be in the series
    """
    shown = repo('log', '-1', '--format=%h "%s"', commit)
    message = repo('log', '-1', '--format=%B', commit)
    why = patch.message_problem(patch.tidy(message).strip('\n'))
    if why:
        raise Problem(f'Commit {shown} cannot be taken: {why}.')
    adds, edited = [], []
    for status, it in changes(repo, commit):
        path = it.path
        if it.mode == '160000' or '\n' in path:
            raise Problem(f'Commit {shown} cannot be taken: its {path!r}.')
        # A name can be in the overlay once: a file that comes back after
        # it went stays in the patch.
        if status != 'A' or path in taken or not layout.overlay:
            edited.append(path)
            continue
        if not additions.in_overlay(layout, path):
            raise Problem(
                f'Commit {shown} cannot be taken: it adds {path}, which is '
                'outside the directories of the overlay '
                f'({", ".join(layout.overlay)}).'
            )
        adds.append(path)
        taken.add(path)
    edits = b''
    if edited:
        edits = repo.raw(
            *_DIFF, '--no-commit-id', '-r', commit, '--',
            *(f':(literal){path}' for path in edited),
        )
    return patch.Patch(
        message=patch.tidy(message),
        date=int(repo('log', '-1', '--format=%at', commit)),
        adds=tuple(adds),
        edits=edits,
    )


def _replaced(layout, staged):
    """Paths of what takes its place anew, or goes if it is not staged."""
    if layout.whole:
        return _variants(layout)
    found = {layout.patch(name) for name in series.names(layout)}
    for name in series.names(layout):
        found.update(series.load(layout, name).adds)
    for backport in layout.backports:
        if staged.on(backport.version).release.exists():
            found |= _variants(backport)
    return found


def _variants(backport):
    """Paths of the patches that differ in a backport."""
    return {
        backport.shown(path)
        for name in series.names(backport)
        for path in [backport.patch_file(name)]
        if path.is_relative_to(backport.release)}


def _key(message):
    """What stays of a patch when it is changed: its Change-Id, or subject."""
    change = re.search(r'^Change-Id: (\S+)$', message, re.MULTILINE)
    return change[1] if change else message.split('\n', 1)[0]


def _comments(layout):
    """The comments of patches/series: those of the file, and of patches.

    The first, up to an empty line, are of the file. Others are of the patch
    that they stand before.

    :returns: the first ones, and for each patch its key and its comments
    """
    try:
        text = layout.series.read_text()
    except FileNotFoundError:
        return _COMMENT, []
    head, gap, rest = text.partition('\n\n')
    if gap and all(line.startswith('#') for line in head.splitlines()):
        head += gap
    else:
        head = re.match(r'(#.*\n)*', text)[0]
        rest = text.removeprefix(head)
    found, comments = [], ''
    for line in rest.splitlines(True):
        if line.strip() and not line.startswith('#'):
            found.append(
                (_key(series.load(layout, line.strip()).message), comments))
            comments = ''
        else:
            comments += line
    return head, found


def _series(layout, patches, names):
    """The text of patches/series, with the comments that it has now.

    The comments of a patch that is gone go to the one that followed it.

    :param patches: as they are to be, in their order
    :param names: their file names
    """
    head, commented = _comments(layout)
    keys = [_key(it.message) for it in patches]
    before, pending = {}, ''
    for key, comments in commented:
        pending += comments
        if key in keys:
            before[key] = before.get(key, '') + pending
            pending = ''
    return head + ''.join(
        f'{before.pop(key, "")}{name}\n'
        for key, name in zip(keys, names, strict=True))


def _stage_additions(layout, repo, staged, taken, rest):
    """Puts files that the commits add into staging, in their final state.

    :param taken: their paths
    :param rest: names of the patches that follow the commits
    """
    with tempfile.TemporaryDirectory() as scratch:
        index = repo.with_index(pathlib.Path(scratch) / 'index')
        index('read-tree', 'HEAD')
        for name in rest:
            it = series.load(layout, name)
            for path in sorted(additions.touched(repo, it) & taken):
                if not additions.apply(index, it, path):
                    raise Problem(
                        f'{path} was changed where {layout.patch(name)}, '
                        'which comes later, changes it too. Leave it in '
                        f'{layout.shown(layout.mend)} as it was there, and '
                        f'change it in {layout.shown(layout.tree)} when all '
                        'patches apply.'
                    )
        for state in additions.in_index(index, sorted(taken)).values():
            state.write(repo, staged.root)


def _stage(layout, repo, commits, rest):
    """Puts the series as it is to be into the staging directory.

    :param commits: ids of the commits to make patches of
    :param rest: names of the patches that follow, which stay as they are
    """
    staged = dataclasses.replace(layout, root=layout.staging)
    if layout.whole:
        _stage_backport(layout, repo, staged, commits, rest)
    else:
        _stage_series(layout, repo, staged, commits, rest)
    return staged


def _variant(repo, it, states, commit):
    """The patch that a backport needs for a commit.

    It adds the new files as the series has them, and edits what is otherwise.

    :param it: the patch of the series
    :param states: the files that this adds
    :returns: a patch; None if that of the series will do
    """
    message = patch.tidy(repo('log', '-1', '--format=%B', commit))
    wanted = series.tree_of(repo, commit)
    with tempfile.TemporaryDirectory() as scratch:
        index = repo.with_index(pathlib.Path(scratch) / 'index')
        index('read-tree', f'{commit}^')
        there = set(index.lines('ls-tree', '-r', '--name-only', wanted))
        added = [state for state in states if state.path in there]
        if added:
            index(
                'update-index', '-z', '--add', '--index-info',
                stdin=b''.join(state.entry for state in added))
        before = index('write-tree')
        if message == it.message and len(added) == len(states):
            applied = not it.edits.strip() or not index.run(
                'apply', '--cached', '--whitespace=nowarn', '-',
                stdin=it.edits).returncode
            if applied and index('write-tree') == wanted:
                return None
    return patch.Patch(
        message=message,
        date=int(repo('log', '-1', '--format=%at', commit)),
        adds=tuple(state.path for state in added),
        edits=repo.raw(*_DIFF, '-r', before, wanted))


def _stage_backport(layout, repo, staged, commits, rest):
    """Puts the variants of a backport, and its series, into staging."""
    whole, patches = series.whole_of(layout)
    states = additions.Additions(repo, whole, patches)
    by_key = {_key(it.message): (name, it) for name, it in patches}
    staged.release.mkdir(parents=True)
    # What a proof needs, and what the backport leaves as it is.
    for path in (layout.patches, *(layout.root / top for top in layout.overlay
                                   if (layout.root / top).exists())):
        shutil.copytree(
            path, staged.root / path.relative_to(layout.root), symlinks=True)
    names, kept = [], []
    for commit in commits:
        key = _key(repo('log', '-1', '--format=%B', commit).strip())
        if key not in by_key:
            shown = repo('log', '-1', '--format=%h "%s"', commit)
            raise Problem(
                f'Commit {shown} cannot be taken: patches/ has no patch of '
                'that Change-Id, of which it could be a backport.')
        name, it = by_key[key]
        kept.append(it)
        names.append(name)
        variant = _variant(repo, it, states.of(name, it), commit)
        if variant:
            (staged.release / name).write_bytes(patch.write(variant))
    for name in rest:
        kept.append(series.load(layout, name))
        names.append(name)
        if layout.patch_file(name).is_relative_to(layout.release):
            shutil.copy2(layout.patch_file(name), staged.release)
    staged.series.write_text(_series(layout, kept, names))


def _stage_series(layout, repo, staged, commits, rest):
    """Puts patches, new files and the series into staging."""
    staged.patches.mkdir(parents=True)
    taken = set()
    patches = [_take(layout, repo, commit, taken) for commit in commits]
    _stage_additions(layout, repo, staged, taken, rest)
    for name in rest:
        it = series.load(layout, name)
        for path in it.adds:
            if path in taken:
                raise Problem(
                    f'{layout.patch(name)} adds {path} a second time.')
            if os.path.lexists(layout.root / path):
                (staged.root / path).parent.mkdir(
                    parents=True, exist_ok=True)
                shutil.copy2(
                    layout.root / path, staged.root / path,
                    follow_symlinks=False,
                )
        patches.append(it)
    names = []
    for number, it in enumerate(patches, 1):
        names.append(patch.file_name(number, it.subject))
        (staged.patches / names[-1]).write_bytes(patch.write(it))
    staged.series.write_text(_series(layout, patches, names))
    _stage_names(layout, staged, dict(zip(
        (_key(it.message) for it in patches), names, strict=True)))


def _stage_names(layout, staged, names):
    """Puts what backports have of the series into staging, by its new names.

    :param names: the file names that the patches get, by what stays of them
    """
    renamed = {
        name: names.get(_key(it.message), name)
        for name, it in series.load_all(layout)}
    for backport in layout.backports:
        old = backport.series.read_text()
        new = re.sub(
            r'[^\s:]+\.patch', lambda match: renamed.get(match[0], match[0]),
            old)
        if new == old:
            continue
        home = staged.on(backport.version).release
        home.mkdir(parents=True)
        (home / series.SERIES).write_text(new)
        for path in _variants(backport):
            file = layout.root / path
            shutil.copy2(file, home / renamed.get(file.name, file.name))


def _prove(repo, staged, base, commits):
    """Makes commits of what is staged: they must be those it came from.

    :returns: the id of the last commit made
    """
    made = series.make_commits(repo, staged, base, limit=len(commits))
    for theirs, ours in zip(commits, made, strict=True):
        if series.tree_of(repo, theirs) != series.tree_of(repo, ours.commit):
            shown = repo('log', '-1', '--format=%h "%s"', theirs)
            raise Problem(f'Commit {shown} does not survive the way back.')
    return made[-1].commit if made else base


def _check_tree(layout, where):
    """The repository of a tree that can be taken back.

    :raises Problem: if it cannot be
    """
    shown = layout.shown(where)
    if not (where / '.git').exists():
        raise Problem(
            f'There is no {shown}: make it with {layout.command("build")}.')
    repo = git.Git(where)
    if repo.branch() != tree.BRANCH:
        raise Problem(
            f'{shown} is not on its branch "{tree.BRANCH}" (a rebase that '
            'is not over?): git checkout it there first.'
        )
    if not repo.clean():
        raise Problem(
            f'{shown} has changes that are not committed: commit them there '
            '(git status shows them), or add them to the commit that they '
            'belong to.'
        )
    if repo.run(
        'merge-base', '--is-ancestor', 'refs/tags/base', 'HEAD'
    ).returncode:
        raise Problem(f'{shown} does not stand on its tag "base" any more.')
    merges = repo.lines('log', '--merges', '--format=%h "%s"', 'base..HEAD')
    if merges:
        raise Problem(
            f'Commit {merges[0]} is a merge, which no patch can hold: '
            'rebase instead.'
        )
    return repo


def _check_sources(layout, repo):
    """Refuses to overwrite edits of patches/ that were never built.

    :raises Problem: if patches/ or the overlay is not what was built
    """
    base = repo.commit('refs/tags/base')
    try:
        made = series.make_commits(repo, layout, base)
        head = made[-1].commit if made else base
    except (series.DoesNotApply, Problem):
        head = None
    if head != repo.commit(tree.BUILT):
        raise Problem(
            f'{layout.shown(layout.patches)}/ or the overlay changed since '
            'the tree was built, and a refresh would overwrite that: bring '
            f'these changes into the tree ({layout.command("build")}) or take '
            'them back with git first.'
        )


def refresh(layout, mend=False):
    """Takes the commits of the tree back into patches/ and the overlay.

    :param mend: take those of the tree in which a patch was mended, and
        keep the patches that come after it
    :returns: what changed, one line for each file
    :raises Problem: if a commit cannot be taken; nothing has changed then
    """
    with layout.locked():
        staging.finish(layout)
        repo = _check_tree(layout, layout.mend if mend else layout.tree)
        commits = repo.lines('rev-list', '--reverse', 'base..HEAD')
        rest = []
        if mend:
            before = repo.lines('rev-list', f'base..{tree.BUILT}')
            if len(commits) <= len(before):
                raise Problem(
                    f'{layout.shown(layout.mend)} has no commit yet that '
                    'takes the place of the patch: git commit there first.'
                )
            rest = series.names(layout)[len(before) + 1:]
        else:
            _check_sources(layout, repo)
        try:
            staged = _stage(layout, repo, commits, rest)
            head = _prove(repo, staged, repo.commit('base'), commits)
            before = _replaced(layout, staged)
            (staged.root / 'ready.new').write_text(
                '\n'.join(['-' if mend else head, *sorted(before)]) + '\n'
            )
        except BaseException:
            shutil.rmtree(layout.staging, ignore_errors=True)
            raise
        os.rename(staged.root / 'ready.new', staged.root / staging.READY)
        return staging.finish(layout)
