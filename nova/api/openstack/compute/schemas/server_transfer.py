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

import copy

from nova.api.validation import parameter_types

# The ids become part of the URLs of requests to Keystone, and "$" alone would
# accept a trailing newline.
_project_id = copy.deepcopy(parameter_types.project_id)
_project_id['pattern'] = r'^[a-zA-Z0-9-]+$(?!\n)'

# Users of LDAP and federation have ids that are not limited to letters, digits
# and "-".
_user_id = {
    'type': 'string',
    'pattern': r'^[^/\s]+$(?!\n)',
    'minLength': 1,
    'maxLength': 255,
}

transfer = {
    'type': 'object',
    'properties': {
        'transfer': {
            'type': 'object',
            'properties': {
                'project_id': _project_id,
                'user_id': _user_id,
                'from_project_id': _project_id,
                'transfer_id': {
                    'type': 'string',
                    'format': 'uuid',
                },
            },
            'required': ['project_id'],
            'additionalProperties': False,
        },
    },
    'required': ['transfer'],
    'additionalProperties': False,
}

transfer_response = {
    'type': 'object',
    'properties': {
        'transfer': {
            'type': 'object',
            'properties': {
                'project_id': {'type': 'string'},
                'user_id': {'type': 'string'},
            },
            'required': ['project_id', 'user_id'],
            'additionalProperties': False,
        },
    },
    'required': ['transfer'],
    'additionalProperties': False,
}
