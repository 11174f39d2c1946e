# SPDX-License-Identifier: Apache-2.0

"""./run lab bench: how long a rescued guest is out while it is moved."""
