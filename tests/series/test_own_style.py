# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""The style of the tool's and the lab's own code: Nova's."""

import sys

from series.layout import PROJECT
from tests.series import conftest


def test_own_code_passes_hacking():
    done = conftest.shell(
        PROJECT.root, sys.executable, '-m', 'flake8', 'series', 'lab', 'tests'
    )
    assert done.stdout == ''
    assert done.returncode == 0
