# SPDX-License-Identifier: Apache-2.0

"""Rescue, and what becomes of rescued servers that move."""
