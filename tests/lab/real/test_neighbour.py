# SPDX-License-Identifier: Apache-2.0

import subprocess
from unittest import mock

import pytest

from lab.real.lab import Lab
from lab.real import neighbour


class Network:
    """As much of Neutron as has ports."""

    def __init__(self):
        self.there = {'left by one that was killed'}

    def ports(self, name):
        assert name == 'neighbour'
        return sorted(self.there)

    def delete_port(self, port):
        self.there.remove(port)

    def find_network(self, name, ignore_missing):
        return mock.Mock(id=name)

    def get_subnet(self, subnet_id):
        return mock.Mock(cidr='10.20.0.0/24')

    def create_port(self, **what):
        assert not self.there
        self.there.add('its port')
        return mock.Mock(id='its port', mac_address='fa:16:3e:00:00:01',
                         fixed_ips=[{'ip_address': '10.20.0.9',
                                     'subnet_id': 'its subnet'}])


class Gone(Exception):
    """What ends the use of the machine."""


@pytest.fixture
def lab(tmp_path):
    made = mock.create_autospec(Lab, instance=True)
    made.admin = mock.Mock(network=Network())
    made.where = mock.Mock()
    made.where.host.return_value = tmp_path
    return made


def commands(lab):
    """Programs that were called, each with what was asked of it."""
    return [' '.join(call.args) for call in lab.call.call_args_list]


def test_it_is_plugged_in_and_removed_though_its_use_fails(lab):
    with pytest.raises(Gone), neighbour.plugged(lab):
        assert lab.admin.network.there == {'its port'}
        added = commands(lab)
        assert 'external_ids:iface-id=its port' in added[1]
        assert '10.20.0.9/24 dev neighbour' in added[2]
        raise Gone
    assert not lab.admin.network.there
    assert '--if-exists del-port neighbour' in commands(lab)[0]
    assert '--if-exists del-port neighbour' in commands(lab)[-1]
    assert len(commands(lab)) == 5


def test_it_is_removed_if_it_cannot_be_plugged_in(lab):
    lab.call.side_effect = ['', Gone(), '']
    with pytest.raises(Gone), neighbour.plugged(lab):
        pytest.fail('it cannot be used')
    assert not lab.admin.network.there


@pytest.fixture
def ping(monkeypatch):
    """What is called in the place of ping; it is told how ping ends."""
    called = mock.create_autospec(subprocess.run)
    monkeypatch.setattr(subprocess, 'run', called)
    monkeypatch.setattr(neighbour.namespaces, 'enter', lambda host: [])
    return called


def test_an_address_is_pinged_until_it_answers(ping):
    ping.side_effect = [
        subprocess.CompletedProcess('ping', code) for code in (1, 1, 0)]
    assert neighbour.Neighbour().answers('10.20.0.9', 60)
    (words,), _ = ping.call_args
    assert words[0] == 'ping' and words[-1] == '10.20.0.9'


def test_an_address_that_does_not_answer(ping):
    ping.return_value = subprocess.CompletedProcess('ping', 1)
    assert not neighbour.Neighbour().answers('10.20.0.9', 0.01)
    assert ping.called


def test_a_ping_that_cannot_run_is_no_answer_at_all(ping):
    ping.return_value = subprocess.CompletedProcess('ping', 2)
    with pytest.raises(subprocess.CalledProcessError):
        neighbour.Neighbour().answers('10.20.0.9', 60)
