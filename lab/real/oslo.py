# SPDX-License-Identifier: Apache-2.0

"""Configuration files of the OpenStack services."""

from collections import abc
import pathlib

Options = abc.Mapping[str, abc.Mapping[str, object]]


def write(path: pathlib.Path, *parts: Options) -> pathlib.Path:
    """Write a configuration file.

    :param parts: options by section; a later part wins
    :returns: the path
    """
    merged: dict[str, dict[str, object]] = {}
    for part in parts:
        for section, options in part.items():
            merged.setdefault(section, {}).update(options)
    lines = []
    for section, options in merged.items():
        lines.append(f'[{section}]')
        lines.extend(f'{name} = {value}' for name, value in options.items())
        lines.append('')
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text('\n'.join(lines))
    return path
