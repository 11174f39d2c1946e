# SPDX-License-Identifier: Apache-2.0

"""The guests of the lab: their images, and what they report."""
