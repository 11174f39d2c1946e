# SPDX-License-Identifier: Apache-2.0

"""The forms in which the series leaves this repository.

Each module is one of them. All are made from the commits of build/nova, so
that what is exported is what was built and tested.
"""
