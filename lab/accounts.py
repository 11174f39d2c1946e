# SPDX-License-Identifier: Apache-2.0

"""The accounts that every cloud has."""

ADMIN = 'admin'
"""The operator, who acts in the first of the projects."""

OWNERS = {'member': 'demo', 'tenant': 'other'}
"""Users who own servers, each with the name of their project."""

FIRST_OWNER, OTHER_OWNER = OWNERS
"""The one who owns servers at first, and one they can be given to."""

PROJECTS = tuple(OWNERS.values())
"""The names of the projects."""


def project(user: str) -> str:
    """The name of the project that a user acts in."""
    return OWNERS.get(user, PROJECTS[0])
