# SPDX-License-Identifier: Apache-2.0

"""./run lab bench: what there is to measure, as its command line has it.

rescue.py, transfer.py, claim.py and cross_cell.py measure.
"""

from lab.real.bench import durations
from lab.real.bench import figures

MEANINGS = {
    'rescue': 'how long a rescued guest is out while it is moved to another '
    'host, also as the released Nova allows it, and by libvirt alone',
    'transfer': 'how long a server takes to get another owner, also as the '
    'released Nova allows it, and by the bare writes alone',
    'claim': "how long it takes from a claim of a server in a pool until the "
    "tenant's port answers, and until that of a new server does",
    'cross-cell': 'how long a server is out, and how long it takes, to move '
    'to another cell, and within its own; and what the image service is '
    'asked for meanwhile',
}
"""What each bench measures, by its name."""

ROUNDS = {'rescue': 5, 'transfer': 200, 'claim': 5, 'cross-cell': 5}
"""How often each case is measured, if nothing else is asked for."""

CASES = {
    'rescue': {name: figures.VARIANTS[name] for name in figures.CASES},
    'transfer': durations.TRANSFER,
    'claim': durations.CLAIM,
    'cross-cell': durations.CROSS_CELL,
}
"""What can be measured alone, with its meaning, by name of the bench."""
