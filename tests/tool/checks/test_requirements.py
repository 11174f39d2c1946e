# SPDX-License-Identifier: Apache-2.0

"""constraints.txt meets what Nova requires."""

from tool.checks.checked import Checked
from tool.checks import requirements
from tool import series


def test_requirements_that_are_not_met_are_found(two):
    two.write(
        'requirements.txt',
        'rich>=1 # MIT\n\nhypothesis<1\nno-such-package>=1\n'
        "other;sys_platform=='none'\n",
    )
    two.write('test-requirements.txt', 'pytest\n')
    two.git('add', '--all')
    two.git('commit', '--quiet', '--message=Requirements')
    made = [series.Made('x', two.git.commit('HEAD'), ())]
    found = requirements.check(Checked(two.layout, two.git, made))
    assert len(found) == 2
    assert 'hypothesis<1 is not met by' in found[0]
    assert 'no-such-package is not in constraints.txt' in found[1]
