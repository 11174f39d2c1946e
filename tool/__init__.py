# SPDX-License-Identifier: Apache-2.0

"""The tool that builds, refreshes and checks the patch series."""
