# SPDX-License-Identifier: Apache-2.0

"""The release that a series stands on, and its source archive."""

import dataclasses
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

from tool import console
from tool.console import Problem

# What pip says when something arrived, but not what was pinned.
_WRONG_HASH = 'DO NOT MATCH THE HASHES'


@dataclasses.dataclass(frozen=True)
class Base:
    """A pinned release: name and version as in the index, sha256 in hex."""

    name: str
    version: str
    sha256: str

    @property
    def title(self):
        return f'{self.name} {self.version}'

    @property
    def archive(self):
        return f'{self.name.replace("-", "_")}-{self.version}.tar.gz'


def read(layout):
    """The pinned release.

    :raises Problem: if the pin cannot be read
    """
    text = layout.base.read_text()
    pin = re.search(
        r'^([\w.-]+)==([\w.]+)\s.*--hash=sha256:([0-9a-f]{64})$',
        text,
        re.MULTILINE | re.DOTALL,
    )
    if not pin:
        raise Problem(
            f'{layout.shown(layout.base)} holds no pin such as '
            '"nova==34.0.0 --hash=sha256:...".'
        )
    return Base(*pin.groups())


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a release says of itself, and the series counts on from.

    :ivar microversion: the highest of its API, such as "2.104"
    :ivar service_version: that of its services
    """

    microversion: str
    service_version: int


def facts(layout):
    """What is known of the release.

    :returns: the Facts
    """
    return Facts(**tomllib.loads(layout.facts.read_text()))


def _hash_of(file):
    with open(file, 'rb') as data:
        return hashlib.file_digest(data, 'sha256').hexdigest()


def _download(layout, base, into):
    """Has pip download the source archive, which checks its hash."""
    done = subprocess.run(
        [
            sys.executable, '-m', 'pip', 'download', '--no-input',
            '--disable-pip-version-check', '--retries', '1', '--no-cache-dir',
            '--no-deps', '--no-binary', ':all:', '--no-build-isolation',
            '--require-hashes', '--requirement', str(layout.base),
            '--dest', into,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    archive = pathlib.Path(into) / base.archive
    if not done.returncode and archive.is_file():
        return archive
    if _WRONG_HASH in done.stdout:
        raise Problem(
            f'The archive of {base.title} that the package index gave is not '
            f'the pinned one (its sha256 is not that of '
            f'{layout.shown(layout.base)}): nothing was built.'
        )
    log = layout.cache / 'pip.log'
    log.write_text(done.stdout)
    raise Problem(
        f'{base.title} could not be downloaded: check the network and the '
        f'settings of pip (what pip said is in {layout.shown(log)}), then '
        'run this again.'
    )


def archive(layout, base):
    """The source archive of the release, downloaded if it is not at hand.

    :returns: the path of the archive, whose hash is the pinned one
    :raises Problem: if it cannot be had
    """
    kept = layout.cache / base.archive
    if kept.is_file() and _hash_of(kept) == base.sha256:
        return kept
    layout.cache.mkdir(parents=True, exist_ok=True)
    with console.step(f'{base.title} downloaded, its sha256 checked'):
        with tempfile.TemporaryDirectory(dir=layout.cache) as into:
            arrived = _download(layout, base, into)
            if _hash_of(arrived) != base.sha256:
                raise Problem(
                    f'{base.archive} is not the pinned one: its sha256 is '
                    f'not that of {layout.shown(layout.base)}.'
                )
            os.replace(arrived, kept)
    return kept
