# SPDX-License-Identifier: Apache-2.0

"""Python imports this when it starts with this directory on its path.

With all of Nova imported, a collection of garbage looks at more than a million
objects. Python's thresholds are for small programs: a tenth of the time of
Nova's tests goes into such looks.
"""

import gc

gc.set_threshold(50_000, 50, 100)
