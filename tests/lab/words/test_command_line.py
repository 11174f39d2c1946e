# SPDX-License-Identifier: Apache-2.0

"""The openstack command, typed in this process."""

from unittest import mock

from openstack import exceptions
import pytest

from lab.words import command_line


@pytest.fixture
def opened():
    opened = mock.Mock()
    opened.compute = mock.Mock(spec=['default_microversion', 'find_server',
                                     'pause_server'])
    opened.compute.find_server.return_value.id = 'ID'
    return opened


def test_a_command_is_run_with_the_connection(opened):
    assert command_line.run(opened, 'openstack server pause NAME') == ''
    opened.compute.find_server.assert_called_once_with(
        'NAME', ignore_missing=False)
    opened.compute.pause_server.assert_called_once_with('ID')


@pytest.fixture
def install(monkeypatch):
    """Puts a command in the place of `openstack server pause`."""

    def install(command):
        entry = mock.Mock()
        entry.load.return_value = command
        found = mock.MagicMock(names={'server_pause'})
        found.__getitem__.return_value = entry
        monkeypatch.setattr(
            command_line.importlib.metadata, 'entry_points',
            lambda group: found)

    return install


@pytest.mark.parametrize('words, microversion', [
    ('', '2.1'), ('--os-compute-api-version 2.105', '2.105')])
def test_a_command_has_the_microversion_that_is_typed(
        opened, install, words, microversion):
    seen = []

    class Command:
        def __init__(self, app, args):
            seen.append(app.client_manager.compute.default_microversion)

        def get_parser(self, name):
            return mock.Mock()

        def run(self, args):
            pass

    install(Command)
    opened.compute.default_microversion = None
    command_line.run(opened, f'openstack {words} server pause NAME')
    assert seen == [microversion]
    # Others use that connection.
    assert opened.compute.default_microversion is None


def test_what_a_command_raises_is_raised(opened):
    opened.compute.pause_server.side_effect = exceptions.ConflictException
    with pytest.raises(exceptions.ConflictException):
        command_line.run(opened, 'openstack server pause NAME')


def test_an_exit_code_is_raised_with_what_was_said(opened, install):
    class Command:
        def __init__(self, app, args):
            self._app = app

        def get_parser(self, name):
            return mock.Mock()

        def run(self, args):
            self._app.stderr.write('none left')
            return 3

    install(Command)
    with pytest.raises(command_line.Ended, match='none left') as ended:
        command_line.run(opened, 'openstack server pause NAME')
    assert ended.value.code == 3


def test_a_command_that_is_none_is_refused(opened):
    with pytest.raises(LookupError, match='no command'):
        command_line.run(opened, 'openstack server fly NAME')


@pytest.fixture
def guide(tmp_path, monkeypatch):
    guide = tmp_path / command_line._GUIDES / 'live-migration-usage.rst'
    guide.parent.mkdir(parents=True)
    guide.with_name('other.rst').write_text(
        '.. _mine:\n\n.. code-block:: console\n\n   $ openstack flavor list\n')
    guide.write_text(
        '.. code-block:: console\n\n   $ openstack server list\n\n'
        '.. _mine:\n\nMine\n----\n\n.. code-block:: console\n\n'
        '   $ openstack server move \\\n     --host HostC SERVER\n'
        '   $ openstack server show SERVER\n')
    monkeypatch.setattr(
        command_line, 'PROJECT', mock.Mock(tree=tmp_path))


def test_the_first_command_of_a_section_is_found(guide):
    assert command_line.of_guide('mine', HostC='node2', SERVER='ID') == (
        'openstack server move --host node2 ID')


def test_another_page_is_looked_in(guide):
    assert command_line.of_guide('mine', 'other') == 'openstack flavor list'


def test_a_guide_without_what_is_sought_is_said_so(guide):
    with pytest.raises(LookupError, match='no command in the section none'):
        command_line.of_guide('none')
    with pytest.raises(LookupError, match='has no HostD'):
        command_line.of_guide('mine', HostD='node3')
