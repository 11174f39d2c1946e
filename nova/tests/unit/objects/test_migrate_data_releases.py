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

"""Releases that mean something else by a version of LibvirtLiveMigrateData.

A cloud that has had a field before upstream gave its version to another one is
upgraded by the host, so that compute services of both meet.
"""

import ddt
from oslo_utils import versionutils

from nova import exception
from nova import objects
from nova.objects import base as obj_base
from nova.objects import fields
from nova import test
from nova.tests import fixtures


def _release(version, needed=False):
    """LibvirtLiveMigrateData of a release to which 1.15 is another field.

    :param version: its version there; that release may have our field too
    :param needed: whether a migration cannot do without the other field
    """
    @obj_base.NovaObjectRegistry.register_if(False)
    class LibvirtLiveMigrateData(objects.LibvirtLiveMigrateData):
        VERSION = version
        fields = {'other': fields.StringField()}

        def obj_make_compatible(self, primitive, target_version):
            if versionutils.convert_version_to_tuple(target_version) < (1, 15):
                if needed:
                    raise exception.ObjectActionError(
                        action='obj_make_compatible',
                        reason='cannot do without other')
                del primitive['other']

    return LibvirtLiveMigrateData


class _Conductor(object):
    """A conductor of that release, as a compute service asks it."""

    def __init__(self, release):
        self.release = release

    def object_backport_versions(self, context, objinst, object_versions):
        sent = self.release._obj_from_primitive(
            context, objinst['nova_object.version'], objinst)
        return obj_base.NovaObjectSerializer().deserialize_entity(
            context, sent.obj_to_primitive(
                target_version=object_versions[sent.obj_name()],
                version_manifest=object_versions))


@ddt.ddt
class LibvirtLiveMigrateDataReleasesTest(test.NoDBTestCase):

    def _receive(self, release, conductor):
        self.useFixture(fixtures.IndirectionAPIFixture(conductor))
        serializer = obj_base.NovaObjectSerializer()
        serializer._conductor = conductor
        sent = release(is_volume_backed=True, other='it')
        return serializer.deserialize_entity(None, sent.obj_to_primitive())

    @ddt.data('1.15', '1.16')
    def test_other_field_is_not_claimed(self, version):
        """It is left out by the release that has it, not silently here."""
        release = _release(version)
        received = self._receive(release, _Conductor(release))
        self.assertEqual('1.14', received.VERSION)
        self.assertTrue(received.is_volume_backed)

    @ddt.data('1.15', '1.16')
    def test_other_field_is_needed(self, version):
        release = _release(version, needed=True)
        ex = self.assertRaises(
            exception.ObjectActionError, self._receive, release,
            _Conductor(release))
        self.assertIn('cannot do without other', str(ex))

    def test_conductor_does_not_ask_itself(self):
        self.assertTrue(
            self._receive(_release('1.15'), None).is_volume_backed)

    def test_own_fields(self):
        self.useFixture(fixtures.IndirectionAPIFixture(object()))
        received = obj_base.NovaObjectSerializer().deserialize_entity(
            None, objects.LibvirtLiveMigrateData(
                is_volume_backed=True, rescue_files={}).obj_to_primitive())
        self.assertEqual('1.15', received.VERSION)
        self.assertEqual({}, received.rescue_files)
