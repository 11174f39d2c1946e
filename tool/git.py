# SPDX-License-Identifier: Apache-2.0

"""Git, without what the user's own configuration would change."""

import os
import subprocess

# Commits of the series are nobody's: two machines make the same ones.
NAME = 'nova-series'
EMAIL = 'nova-series@localhost'

_KEPT = ('GIT_AUTHOR_', 'GIT_COMMITTER_', 'GIT_CONFIG', 'GIT_SSH')


class GitError(Exception):
    """A git command failed; the text is what it said."""


class Git:
    """Runs git in one directory.

    :param tree: the directory
    :param own: work as the user, with the user's configuration and
        identity, rather than as nobody
    :param index: a file to use as the index in place of the tree's own
    :param borrowed: a directory of objects to read beside the tree's own
    """

    def __init__(self, tree, own=False, index=None, borrowed=None):
        self.tree = tree
        self.own = own
        self.index = index
        self.borrowed = borrowed

    def with_index(self, index):
        return Git(
            self.tree, own=self.own, index=index, borrowed=self.borrowed)

    def _env(self, more):
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith('GIT_')
            or (self.own and name.startswith(_KEPT))
        }
        env.update(LC_ALL='C.UTF-8', GIT_TERMINAL_PROMPT='0')
        if not self.own:
            env.update(
                GIT_CONFIG_GLOBAL=os.devnull,
                GIT_CONFIG_NOSYSTEM='1',
                GIT_ATTR_NOSYSTEM='1',
                GIT_AUTHOR_NAME=NAME,
                GIT_AUTHOR_EMAIL=EMAIL,
                GIT_COMMITTER_NAME=NAME,
                GIT_COMMITTER_EMAIL=EMAIL,
            )
        if self.index:
            env['GIT_INDEX_FILE'] = str(self.index)
        if self.borrowed:
            env['GIT_ALTERNATE_OBJECT_DIRECTORIES'] = str(self.borrowed)
        env.update(more or {})
        return env

    def run(self, *args, stdin=None, env=None):
        """Runs a command and returns it, whatever its exit code."""
        command = ['git']
        if not self.own:
            command += ['-c', 'safe.directory=*']
        return subprocess.run(
            command + list(args),
            cwd=self.tree,
            env=self._env(env),
            input=b'' if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )

    def raw(self, *args, stdin=None, env=None):
        """The bytes that a command prints.

        :raises GitError: if it fails
        """
        done = self.run(*args, stdin=stdin, env=env)
        if done.returncode:
            raise GitError(
                done.stderr.decode(errors='replace').strip()
                or f'git {args[0]} failed'
            )
        return done.stdout

    def __call__(self, *args, stdin=None, env=None):
        """The text that a command prints, without its last line feed.

        :raises GitError: if it fails
        """
        out = self.raw(*args, stdin=stdin, env=env)
        return out.decode(errors='surrogateescape').rstrip('\n')

    def lines(self, *args, **kwargs):
        """The lines that a command prints; none if it prints nothing.

        :raises GitError: if it fails
        """
        out = self(*args, **kwargs)
        return out.split('\n') if out else []

    def commit(self, name):
        """The id of the commit that a name stands for, None if none."""
        done = self.run('rev-parse', '-q', '--verify', f'{name}^{{commit}}')
        return done.stdout.decode().strip() if not done.returncode else None

    def branch(self):
        """The branch that is checked out, None if none is."""
        done = self.run('symbolic-ref', '-q', '--short', 'HEAD')
        return done.stdout.decode().strip() if not done.returncode else None

    def clean(self):
        """Whether there is nothing uncommitted, untracked files included."""
        return not self('status', '--porcelain')
