# SPDX-License-Identifier: Apache-2.0

"""The services of the lab, a module each.

Every module is a `Service`. To add one, write its module and name it in a
stage of lab.real.bringup; if it has an API, add that to lab.real.settings.
"""

from collections import abc
from typing import Protocol

from lab.real.lab import Lab
from lab.real.supervisor import Program


class Service(Protocol):
    """What every module of this package has."""

    @property
    def DATABASES(self) -> abc.Sequence[str]:
        """The names of its databases."""

    def wanted(self, lab: Lab) -> bool:
        """Whether the lab has this service."""

    def configure(self, lab: Lab) -> None:
        """Write its files, before the lab has a host."""

    def make_tables(self, lab: Lab) -> None:
        """Create the tables in its databases, on the controller."""

    def before_start(self, lab: Lab) -> None:
        """Prepare its first start, on the controller.

        All tables exist by then, except for the services that start together
        with the database.
        """

    def programs(self, lab: Lab) -> list[Program]:
        """The programs that it consists of."""

    def after_start(self, lab: Lab) -> None:
        """Complete it once all programs of its stage are ready."""


def always(lab: Lab) -> bool:
    """Whether the lab has a service that every lab has."""
    return True


def nothing(lab: Lab) -> None:
    """What a service does for which there is nothing to do."""
