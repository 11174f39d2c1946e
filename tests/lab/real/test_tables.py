# SPDX-License-Identifier: Apache-2.0

"""The tables that are kept for the next lab."""

import os

from lab.real import tables


def test_tables_that_were_used_last_are_kept(tmp_path):
    paths = [tmp_path / f'tables-{name}.sql' for name in 'ebadcf']
    for moment, path in enumerate(paths):
        path.touch()
        os.utime(path, (moment, moment))
    (tmp_path / 'images').mkdir()
    tables._prune(tmp_path)
    assert set(tmp_path.iterdir()) == {*paths[2:], tmp_path / 'images'}
