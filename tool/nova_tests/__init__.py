# SPDX-License-Identifier: Apache-2.0

"""Nova's own tests: which of them matter, and running them."""
