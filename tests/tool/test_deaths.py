# SPDX-License-Identifier: Apache-2.0

"""A process that dies at any point leaves what the next one can heal."""

import itertools
import os
import shutil

import pytest

from tests.tool import conftest
from tool import build
from tool import git
from tool import refresh
from tool import tree as tool_tree


def _dies_at(point, call):
    """Runs something in a process that is killed at one of its steps.

    A step is a git command, or a file that is moved or deleted. The process
    dies after it, without any clean-up.

    :returns: whether it died; if not, it came to its end before that step
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    steps = itertools.count()

    def counted(function):
        def step(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            finally:
                if next(steps) == point:
                    os._exit(9)
        return step

    try:
        git.Git.run = counted(git.Git.run)
        for name in ('replace', 'rename', 'unlink'):
            setattr(os, name, counted(getattr(os, name)))
        shutil.rmtree = counted(shutil.rmtree)
        call()
        os._exit(0)
    finally:
        os._exit(1)


def _whole(layout, heads):
    """Whether the tree is either not there or one of some commits."""
    if not layout.tree.exists():
        return True
    return git.Git(layout.tree).commit('HEAD') in heads


@pytest.mark.whole
def test_a_first_build_that_dies_leaves_no_half_tree(two):
    layout = two.layout
    head = two.git.commit('HEAD')
    for point in itertools.count():
        shutil.rmtree(layout.tree)
        died = _dies_at(point, lambda: build.build(layout))
        assert _whole(layout, {head})
        assert build.build(layout) == head
        assert two.git.clean()
        if not died:
            break
    assert point > 10


def test_a_later_build_that_dies_is_healed_by_the_next(two):
    layout = two.layout
    file = layout.root / 'doc/source/rescue.rst'
    addition = file.read_text()
    for point in itertools.count():
        file.write_text(addition)
        before = build.build(layout)
        file.write_text(f'{addition}{point}\n')
        died = _dies_at(point, lambda: build.build(layout))
        head = build.build(layout)
        assert head != before
        assert two.git.commit('HEAD') == head
        assert two.git.clean()
        if not died:
            break
    assert point > 10


@pytest.mark.whole
def test_a_refresh_that_dies_is_ended_or_undone(two):
    layout = two.layout
    before = conftest.snapshot(layout.root)
    two.git('checkout', '--quiet', '--detach', 'base')
    two.git('checkout', '--quiet', '-B', 'work', 'base')
    two.write('nova/virt/driver.py', 'ONE = 1\nTWO = 3\nTHREE = 3\n')
    two.write('nova/virt/other.py', 'NAME = "other"\n')
    work = two.commit('Other\n\nWhy.\n')
    built = two.git.commit(tool_tree.BUILT)
    after = None
    for point in itertools.count():
        for path in ('patches', 'nova', 'doc'):
            shutil.rmtree(layout.root / path, ignore_errors=True)
        for path, (data, mode) in before.items():
            (layout.root / path).parent.mkdir(parents=True, exist_ok=True)
            (layout.root / path).write_bytes(data)
        two.git('checkout', '--quiet', '-B', 'series', work)
        two.git('update-ref', tool_tree.BUILT, built)
        died = _dies_at(point, lambda: refresh.refresh(layout))
        refresh.refresh(layout)
        result = conftest.snapshot(layout.root)
        assert after in (None, result)
        after = result
        assert 'nova/virt/rescue.py' not in result
        assert build.build(layout) == two.git.commit('HEAD')
        assert two.subjects() == ['Other']
        assert two.git.clean()
        if not died:
            break
    assert point > 10


def test_builds_at_once_give_one_tree(two):
    layout = two.layout
    head = two.git.commit('HEAD')
    shutil.rmtree(layout.tree)
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                build.build(layout)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    codes = [
        os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for child in children
    ]
    assert codes == [0, 0, 0]
    assert two.git.commit('HEAD') == head
    assert two.git.clean()
