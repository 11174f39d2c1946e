# SPDX-License-Identifier: Apache-2.0

"""Servers that move from one cell to another, and what fails meanwhile."""
