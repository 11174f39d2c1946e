# SPDX-License-Identifier: Apache-2.0

"""Ports and passwords are drawn for each lab."""

import socket

from lab.real import layout
from lab.real import settings


def test_settings_are_drawn_anew_and_come_back(tmp_path):
    where = layout.Layout(tmp_path)
    where.lab.mkdir()
    one, other = settings.draw(None, False), settings.draw(
        'tree', True, ['ceph', 'ceph'])
    assert len({*one.passwords.values(), *other.passwords.values()}) == (
        2 * len(one.passwords))
    assert len(set(other.ports.values())) == len(other.ports)
    for port in other.ports.values():
        with socket.socket() as free:
            free.bind(('127.0.0.1', port))
    other.save(where)
    assert settings.Settings.load(where) == other
    assert (one.extras, other.extras) == ([], ['ceph'])
    assert where.settings.stat().st_mode & 0o777 == 0o600
