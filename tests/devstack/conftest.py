# SPDX-License-Identifier: Apache-2.0

"""A small series, and a checkout of what it stands on."""

from tests.tool.conftest import layout
from tests.tool.conftest import tree
from tests.tool.conftest import two
from tests.tool.exports.conftest import exporter
from tests.tool.exports.conftest import nova

__all__ = ['exporter', 'layout', 'nova', 'tree', 'two']
