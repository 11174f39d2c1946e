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

"""A tree of its own to look at commits in, apart from build/nova."""

import contextlib
import shutil

from series import git


@contextlib.contextmanager
def at(layout, repo, name, commit):
    """Checks a commit out, and takes it away in the end.

    :param repo: the repository of the tree
    :param name: of the directory, below build/; it is also that of the lock
        that keeps two processes from using it at once
    :yields: the repository as seen from there
    """
    where = layout.build / name
    with layout.locked(name):
        shutil.rmtree(where, ignore_errors=True)
        repo('worktree', 'prune')
        repo('worktree', 'add', '--quiet', '--detach', str(where), commit)
        try:
            yield git.Git(where)
        finally:
            shutil.rmtree(where, ignore_errors=True)
            repo('worktree', 'prune')
