# SPDX-License-Identifier: Apache-2.0

"""The vocabulary of scenarios.

A scenario gets a scene, boots servers in it and says with them what it does
and what must hold. Every such verb is a step that announces itself; no step
is shown as ok unless something was done or compared in it.
"""
