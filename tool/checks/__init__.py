# SPDX-License-Identifier: Apache-2.0

"""What ./run check holds the series to, a module for each check."""
