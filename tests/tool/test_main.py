# SPDX-License-Identifier: Apache-2.0

"""The command line, up to where a command begins."""

import pytest

from tool import __main__ as command
from tool import console
from tool import environments
from tool.layout import PROJECT


@pytest.fixture(autouse=True)
def entered(monkeypatch):
    """The words of the commands that came to where their environment is."""
    found = []

    def enter(layout, args, argv):
        assert layout is PROJECT
        found.append(args)
        raise console.Problem('entered')

    monkeypatch.setattr(environments, 'enter', enter)
    return found


def test_without_words_the_commands_are_listed(capsys, entered):
    with pytest.raises(SystemExit, match='0'):
        command.main([])
    told = capsys.readouterr().out
    for name in ('demo', 'tests', 'build', 'refresh', 'check', 'upstream',
                 'export', 'lab', 'help'):
        assert f'\n    {name} ' in told
    assert not entered


@pytest.mark.parametrize('words, usage', [
    (['--help'], './run [-h] COMMAND'),
    (['help'], './run [-h] COMMAND'),
    (['help', 'build'], './run build '),
    (['build', '--help'], './run build '),
    (['help', 'lab', 'up'], './run lab up '),
    (['lab'], './run lab '),
    (['export'], './run export '),
    (['demo', '--help'], './run demo '),
])
def test_help_makes_no_environment(capsys, entered, words, usage):
    with pytest.raises(SystemExit, match='0'):
        command.main(words)
    assert capsys.readouterr().out.startswith(f'usage: {usage}')
    assert not entered


@pytest.mark.parametrize('words, usage, said', [
    (['biuld'], './run [-h] COMMAND', "'biuld'"),
    (['help', 'biuld'], './run [-h] COMMAND', "'biuld'"),
    (['build', '--bogus'], './run build ', '--bogus'),
    (['build', '--branch'], './run build ', '--branch'),
    (['build', '--release', '1.2'], './run build ', "'1.2'"),
    (['build', 'nvoa'], './run build ', "'nvoa' is none of nova, open"),
    (['export', 'wheel', '--bogus', 'x'], './run export wheel', '--bogus'),
    (['upstream', '--only', '('], './run upstream ', 'regular expression'),
    (['tests', 'tol'], './run tests ', "'tol' is none of tool, unit"),
    (['lab', 'up', '--with', 'foo'], './run lab up ', "'foo'"),
    (['lab', 'bench', '--rounds', '0'], './run lab bench ',
     "'0' is not a whole number of at least 1"),
    (['lab', 'bench', '--rounds', 'x'], './run lab bench ',
     "'x' is not a whole number of at least 1"),
])
def test_wrong_words_exit_with_2_and_make_no_environment(
    capsys, entered, words, usage, said
):
    with pytest.raises(SystemExit, match='2'):
        command.main(words)
    told = capsys.readouterr().err
    assert told.startswith(f'usage: {usage}')
    assert said in told
    assert not entered


@pytest.mark.parametrize('words, environment, packages, companions', [
    (['build'], 'tool', False, False),
    (['check', '--quick'], 'nova', False, False),
    (['tests', 'tool'], 'nova', False, True),
    (['demo'], 'nova', False, True),
    (['scenarios', 'rescue'], 'nova', False, True),
    (['scenarios', '--on', 'lab'], environments.IF_LAB, False, False),
    (['lab', 'up'], 'lab', True, True),
    (['lab', 'up', '--with=ceph'], 'lab', True, True),
    (['lab', 'smoke'], 'lab', True, True),
    (['lab', 'status'], environments.IF_LAB, False, False),
    (['lab', 'logs', 'up'], environments.IF_LAB, False, False),
    (['lab', 'shell', 'node1', 'ip', 'link', 'set', 'eth0', 'up'],
     environments.IF_LAB, False, False),
])
def test_each_command_has_its_environment(
    entered, words, environment, packages, companions
):
    assert command.main(words) == 1
    (args,) = entered
    assert args.environment == environment
    assert getattr(args, 'companions', False) == companions
    assert getattr(args, 'packages', False) == packages


def test_the_words_of_a_shell_are_its_own(entered):
    command.main(['lab', 'shell', 'node1', 'virsh', 'list', '--all'])
    assert entered[0].argument == ['virsh', 'list', '--all']


@pytest.mark.parametrize('raised, code, said', [
    (console.Problem('no such thing'), 1, './run check: no such thing\n'),
    (console.Problem('wrong words', 2), 2, './run check: wrong words\n'),
    (KeyboardInterrupt(), 130, './run check: interrupted'),
])
def test_what_ends_a_command_gives_its_exit_code(
    capsys, monkeypatch, raised, code, said
):
    def enter(layout, args, argv):
        raise raised

    monkeypatch.setattr(environments, 'enter', enter)
    assert command.main(['check']) == code
    assert capsys.readouterr().err.startswith(said)
