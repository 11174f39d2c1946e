# SPDX-License-Identifier: Apache-2.0

"""Configuration files of the OpenStack services."""

import configparser

from lab.real import oslo


def test_options_of_a_later_part_win(tmp_path):
    path = oslo.write(
        tmp_path / 'x.conf', {'a': {'b': 1, 'c': 2}},
        {'a': {'c': 3}, 'd': {'e': 'f'}})
    found = configparser.ConfigParser()
    found.read(path)
    assert {name: dict(found[name]) for name in found.sections()} == {
        'a': {'b': '1', 'c': '3'}, 'd': {'e': 'f'}}
    assert path.stat().st_mode & 0o777 == 0o600
