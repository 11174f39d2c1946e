# SPDX-License-Identifier: Apache-2.0

"""./run lab bench: what there is to measure, as its command line has it.

rescue.py and transfer.py measure.
"""

from lab.real.bench import durations
from lab.real.bench import figures

MEANINGS = {
    'rescue': 'how long a rescued guest is out while it is moved to another '
    'host, also as the released Nova allows it, and by libvirt alone',
    'transfer': 'how long a server takes to get another owner, also as the '
    'released Nova allows it, and by the bare writes alone',
}
"""What each bench measures, by its name."""

ROUNDS = {'rescue': 5, 'transfer': 200}
"""How often each case is measured, if nothing else is asked for."""

CASES = {
    'rescue': {name: figures.VARIANTS[name] for name in figures.CASES},
    'transfer': durations.CASES,
}
"""What can be measured alone, with its meaning, by name of the bench."""
