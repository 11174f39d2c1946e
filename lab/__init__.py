# SPDX-License-Identifier: Apache-2.0

"""Clouds to run the series on, and the scenarios that run on them."""
