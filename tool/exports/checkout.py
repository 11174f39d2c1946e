# SPDX-License-Identifier: Apache-2.0

"""Puts the series on a git checkout of Nova that someone already has."""

import pathlib
import shlex

from tool import console
from tool.console import Problem
from tool import git
from tool import release
from tool import series

# A file that every checkout of Nova has, and nothing else.
_NOVA = pathlib.Path('nova', 'compute', 'manager.py')


def _check(repo, directory, branch):
    """Refuses a directory that the series cannot be put on.

    :raises Problem: saying why
    """
    if not directory.is_dir():
        raise Problem(f'There is no directory {directory}.')
    done = repo.run('rev-parse', '--show-toplevel')
    if done.returncode:
        said = done.stderr.decode(errors='replace').strip()
        if 'dubious ownership' in said:
            raise Problem(f'git refuses {directory}: {said}')
        raise Problem(f'{directory} is not a git checkout.')
    top = pathlib.Path(done.stdout.decode().rstrip('\n'))
    if top.resolve() != directory.resolve():
        raise Problem(f'{directory} is inside a git checkout: give {top}.')
    if not (directory / _NOVA).is_file() or not repo.commit('HEAD'):
        raise Problem(f'{directory} is not a checkout of Nova.')
    at = shlex.quote(str(directory))
    if not repo.clean():
        raise Problem(
            f'{directory} has changes that are not committed: commit or '
            f'stash them first (git -C {at} status shows them).'
        )
    if repo.run('check-ref-format', '--branch', branch).returncode:
        raise Problem(f'"{branch}" cannot be the name of a branch.')
    if repo.commit(f'refs/heads/{branch}'):
        raise Problem(
            f'{directory} has a branch "{branch}" already: delete it (git '
            f'-C {at} branch -D {branch}) or name another with --branch.'
        )
    if repo.run('var', 'GIT_COMMITTER_IDENT').returncode:
        raise Problem(
            'git does not know who you are, and the commits will be yours: '
            'git config --global user.name and user.email tell it.'
        )


def put(layout, directory, branch):
    """Puts the series on a checkout, on a new branch, as the user's commits.

    :param directory: the top directory of the checkout
    :param branch: name of the branch to make
    :raises Problem: if it cannot be put there; the checkout is as it was
    """
    repo = git.Git(directory, own=True)
    _check(repo, directory, branch)
    head = repo.commit('HEAD')
    at = shlex.quote(str(directory))
    title = release.read(layout).title
    with console.step(f'Putting the series on {directory}') as said:
        try:
            made = series.make_commits(repo, layout, head)
        except series.DoesNotApply as failure:
            where = '\n'.join(f'  {text}' for text in failure.where)
            file = shlex.quote(str(layout.patches / failure.name))
            raise Problem(
                f'patches/{failure.name} does not apply (it is made for '
                f'{title}):\n{where}\n{directory} is as it was. To mend it '
                'there, on the patches before it:\n'
                f'  cd {at} && git switch -c {branch} {failure.parent} && '
                f'git apply --reject {file}'
            ) from None
        if not made:
            raise Problem('There are no patches yet: nothing to put there.')
        try:
            repo('checkout', '--quiet', '-b', branch, made[-1].commit)
        except git.GitError as error:
            repo.run('branch', '-D', branch)
            raise Problem(f'{directory} is as it was: {error}') from None
        said.append(
            f'{directory}: {len(made)} commits, on its new branch "{branch}"'
        )
    console.line(f'Back to what it was: git -C {at} checkout -')
