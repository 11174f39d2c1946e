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
