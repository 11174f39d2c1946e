#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

from oslo_policy import policy

from nova.policies import base


BASE_POLICY_NAME = 'os_compute_api:os-server-transfer'


server_transfer_policies = [
    policy.DocumentedRuleDefault(
        name=BASE_POLICY_NAME,
        check_str=base.ADMIN,
        description="""Transfer a server to another project or user.

Whoever passes this check can take a server from any project and can fill the
quota of any other project, which is not asked to accept the server. The target
of the check is the server with its present owner.""",
        operations=[
            {
                'method': 'POST',
                'path': '/servers/{server_id}/action (transfer)'
            }
        ],
        scope_types=['project']),
]


def list_rules():
    return server_transfer_policies
