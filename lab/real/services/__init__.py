# SPDX-License-Identifier: Apache-2.0

"""The services of the lab, a module each.

Each module of a service has `configure`, which writes its files, and
functions that return its programs; some have more.
"""
