# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
# http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Transfer of a server to another project or user, while it runs.

The row of the instance says who owns it, because it decides who sees it and
because one statement changes it. The other records follow the row: the
consumer in placement, the instance mapping, the request spec, and what the
hypervisor has (see nova.compute.owner). A transfer holds the instance by a
task state, prepares, changes the row, and makes the others follow. To undo it,
the row is changed back, and the others follow.

Its only state is in the system metadata of the instance, written together
with the task state. So the process may die anywhere: the same call completes
the transfer, and a call for the present owner makes all records follow the
row. Both may be done at any time by any number of processes.
"""

import collections
import dataclasses
import functools
import re
import typing as ty
import urllib.parse

from keystoneauth1 import exceptions as ks_exc
from neutronclient.common import exceptions as neutron_exc
from oslo_limit import exception as limit_exc
from oslo_log import log as logging
from oslo_serialization import jsonutils

from nova.compute import guest_rpcapi
from nova.compute import instance_actions
from nova.compute import owner
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.compute import vm_states
import nova.conf
from nova import context as nova_context
from nova.db.main import api as db
from nova import exception
from nova.limit import placement as placement_limits
from nova.limit import utils as limit_utils
from nova.network import neutron
from nova import objects
from nova.objects import fields
from nova import quota
from nova import rpc
from nova.scheduler.client import report
from nova.scheduler import request_filter
from nova import thread_pool_factory
from nova import utils
from nova.virt import hardware
from nova import vtpm

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

STATES = (vm_states.ACTIVE, vm_states.PAUSED, vm_states.SUSPENDED,
          vm_states.STOPPED, vm_states.RESCUED)
"""States in which a server may be transferred."""

_DONE = 'transferred_by'
"""Key in the system metadata of the transfer_id that brought it to its
project."""

_DONE_USER = 'user_transferred_by'
"""Key of the transfer_id of the last change of the user alone since then."""

_PLACEMENT_VERSION = '1.28'
"""Allocations are written with the generation of their consumer from here."""

_PLACEMENT_TRIES = 5


class Owner(ty.NamedTuple):
    """Who owns a server."""

    project_id: str
    user_id: str


class _Request(ty.NamedTuple):
    """What a client has asked for. See transfer()."""

    project_id: str
    user_id: str | None
    from_project_id: str | None
    transfer_id: str | None


@dataclasses.dataclass(frozen=True)
class _Journal:
    """What the system metadata of an instance has about its transfer.

    The names are those of the owners, as far as they are known.
    """

    old_project: str
    old_user: str
    new_project: str
    new_user: str
    old_project_name: str | None = None
    old_user_name: str | None = None
    new_project_name: str | None = None
    new_user_name: str | None = None
    asked_user: str | None = None
    id: str | None = None

    @property
    def old(self) -> Owner:
        return Owner(self.old_project, self.old_user)

    @property
    def new(self) -> Owner:
        return Owner(self.new_project, self.new_user)

    def is_of(self, request: _Request) -> bool:
        """Whether a request is for this transfer."""
        return (
            self.new_project == request.project_id and
            self.asked_user == request.user_id and
            self.id == request.transfer_id)

    @classmethod
    def read(cls, metadata: dict[str, str]) -> '_Journal | None':
        """Find the journal in the system metadata, if there is one."""
        values = {
            field.name: metadata['transfer_' + field.name]
            for field in dataclasses.fields(cls)
            if 'transfer_' + field.name in metadata}
        try:
            return cls(**values)
        except TypeError:
            return None

    def write(self, metadata: dict[str, str]) -> None:
        """Add the journal to the system metadata."""
        for name, value in dataclasses.asdict(self).items():
            if value is not None:
                metadata['transfer_' + name] = value

    @classmethod
    def remove(cls, metadata: dict[str, str]) -> None:
        """Remove the journal from the system metadata."""
        for field in dataclasses.fields(cls):
            metadata.pop('transfer_' + field.name, None)


class _Lost(Exception):
    """The instance is not, or no longer, as this transfer expects it."""


def transfer(context, instance, project_id, user_id=None,
             from_project_id=None, transfer_id=None):
    """Transfer a server to another project or user.

    :param context: RequestContext of the caller, who is allowed to do this,
        with the rights of an administrator and targeted at the cell
    :param instance: the Instance, as it has just been read
    :param project_id: the project that shall own it
    :param user_id: the user who shall own it. None is the caller if the
        project changes, and else the user who does so now.
    :param from_project_id: None, or the project that it must belong to
    :param transfer_id: None, or what the client calls this transfer (UUID)
    :returns: the Owner as it is now
    :raises nova.exception.InstanceNotFound: if it was deleted
    :raises nova.exception.OverQuota: if the project or the user has no room
    :raises nova.exception.TransferOwnerNotFound: if the project or the user
        does not exist or is disabled
    :raises nova.exception.TransferRefused: if it cannot be transferred
    :raises nova.exception.TransferServiceUnavailable: if another service
        cannot be asked
    """
    request = _Request(project_id, user_id, from_project_id, transfer_id)
    if context.cell_uuid is None:
        raise _refused(instance, 'it is being built')
    return _transfer(context, instance, request)


def _transfer(context, instance, request):
    """Find out what a request means. The order of the rules matters."""
    now = _owner(instance)
    journal = _Journal.read(instance.system_metadata)
    if (instance.task_state == task_states.TRANSFERRING and journal and
            journal.is_of(request)):
        return _report(context, instance, journal, _complete)

    ours = request.project_id == now.project_id
    if ours and _was_done(instance, request.transfer_id):
        if instance.task_state != task_states.TRANSFERRING:
            _refresh_guest(context, _follow_row(context, instance.uuid))
        return now
    if request.from_project_id not in (None, now.project_id):
        raise _refused(instance, 'it does not belong to project %s' %
                       request.from_project_id)
    if ours and request.user_id in (None, now.user_id):
        if request.transfer_id is not None:
            raise _refused(
                instance, 'another transfer has brought it to project %s' %
                now.project_id)
        return _settle(context, instance)
    return _begin(context, instance, request)


def _begin(context, instance, request):
    """Check that a transfer is possible, and do it."""
    if instance.locked:
        raise _refused(instance, 'it is locked')
    if (instance.vm_state not in STATES or instance.task_state or
            not instance.host):
        raise _refused(instance, 'its state is %s, and its task state %s' % (
            instance.vm_state, instance.task_state))

    changes_project = request.project_id != instance.project_id
    # While Keystone and Neutron think, the databases are asked.
    asked = thread_pool_factory.spawn(_ask_for_owner, context, request)
    ports = _ask_for_ports(context, instance) if changes_project else None
    blocking = list(_old_compute_service(context, instance))
    if changes_project:
        blocking += _blocking(context, instance, request.project_id)
    new, project_name, user_name = asked.result()
    if changes_project:
        blocking += _other_ports(ports, request.project_id)
    if blocking:
        raise _refused(instance, 'it has %s' % ', '.join(blocking))
    limits = None
    if changes_project:
        _check_name(context, instance, new.project_id)
        limits = _check_quota(context, instance, new, 1)

    metadata = instance.system_metadata
    journal = _Journal(
        old_project=instance.project_id, old_user=instance.user_id,
        old_project_name=metadata.get('owner_project_name'),
        old_user_name=metadata.get('owner_user_name'),
        new_project=new.project_id, new_user=new.user_id,
        new_project_name=project_name, new_user_name=user_name,
        asked_user=request.user_id, id=request.transfer_id)
    return _report(context, instance, journal, functools.partial(
        _hold_and_complete, limits=limits))


def _report(context, instance, journal, function):
    """Call a function with the action and the notifications around it."""
    objects.InstanceAction.action_start(
        context, instance.uuid, instance_actions.TRANSFER, want_result=False)
    with compute_utils.EventReporter(
            context, instance_actions.TRANSFER, CONF.host, instance.uuid,
            graceful_exit=True):
        try:
            return function(context, instance, journal)
        except Exception as e:
            _notify(context, instance.uuid, journal,
                    fields.NotificationPhase.ERROR, error=e)
            raise


def _hold_and_complete(context, instance, journal, limits):
    """Take hold of an instance, and transfer it.

    :param limits: what _check_quota() has returned
    """
    expected = {
        'project_id': journal.old_project, 'user_id': journal.old_user,
        'host': instance.host, 'locked': False,
        'task_state': None, 'vm_state': list(STATES)}

    def edit(metadata):
        _Journal.remove(metadata)
        journal.write(metadata)

    try:
        _write(context, instance, expected,
               {'task_state': task_states.TRANSFERRING}, edit)
    except _Lost:
        raise _changed_meanwhile(instance)
    return _complete(context, instance, journal, limits)


def _complete(context, instance, journal, limits=None):
    """Complete the transfer of an instance that is held for it.

    :param limits: what _check_quota() has returned, if it was called
    """
    try:
        _give(context, instance, journal, limits)
        _release(context, instance, journal.new, journal)
    except _Lost:
        now = _follow_row(context, instance.uuid)
        if (now.task_state != task_states.TRANSFERRING and
                _owner(now) == journal.new and _was_done(now, journal.id)):
            # The same call has completed it.
            return journal.new
        raise _changed_meanwhile(instance)
    _refresh_guest(context, instance)
    _notify(context, instance.uuid, journal, fields.NotificationPhase.END,
            instance=instance)
    return journal.new


def _give(context, instance, journal, limits=None):
    """Give an instance that is held, and all its records, to the new owner.

    :param limits: what _check_quota() has returned, if it was called
    :raises _Lost: if the instance is no longer held for this transfer
    :raises nova.exception.NovaException: if the transfer had to be undone
    """
    try:
        if _owner(instance) == journal.old:
            _change_owner(context, instance, journal)
        else:
            # It was changed by another call, which has not come to its end.
            _follow_in_placement(context, instance, journal.new)
        _look_again(context, instance, journal, limits)
    except (exception.OverQuota, exception.TransferRefused,
            exception.TransferServiceUnavailable):
        _undo(context, instance, journal)
        raise


def _change_owner(context, instance, journal):
    """Do all that can fail elsewhere, then change the owner in the row.

    :raises _Lost: if the instance is no longer held for this transfer
    :raises nova.exception.NovaException: if placement refuses
    """
    _notify(context, instance.uuid, journal, fields.NotificationPhase.START,
            instance=instance)
    _notify_exists(context, instance)
    _revoke_consoles(context, instance.uuid)
    _follow_in_placement(context, instance, journal.new)
    _set_owner(context, instance, journal, journal.old, journal.new,
               journal.new_project_name, journal.new_user_name)


def _set_owner(context, instance, journal, old, new, project_name, user_name):
    """Change the owner in the row of an instance that is held."""

    def edit(metadata):
        _check_journal(metadata, journal)
        for key, name in (('owner_project_name', project_name),
                          ('owner_user_name', user_name)):
            if name is None:
                metadata.pop(key, None)
            else:
                metadata[key] = name
        metadata[owner.MARK] = '1'

    _write(context, instance, {
        'project_id': old.project_id, 'user_id': old.user_id,
        'task_state': task_states.TRANSFERRING,
    }, {'project_id': new.project_id, 'user_id': new.user_id}, edit)


def _look_again(context, instance, journal, limits):
    """Make the databases follow, and look for what the new owner must not get.

    What was looked at before the instance was held may have changed.

    :param limits: what _check_quota() has returned, if it was called
    :raises nova.exception.NovaException: if the transfer has to be undone
    """
    changes_project = _changes_project(journal)
    # Not before the owner has changed: see nova.compute.owner.
    ports = _ask_for_ports(context, instance) if changes_project else None
    _follow_in_databases(context, instance.uuid, journal.new)
    if not changes_project:
        return
    if CONF.quota.recheck_quota:
        _check_quota(context, instance, journal.new, 0, limits)
    blocking = [*_attached(context, instance),
                *_other_ports(ports, journal.new_project)]
    if blocking:
        raise _refused(instance, 'it has %s' % ', '.join(blocking))


def _undo(context, instance, journal):
    """Give an instance that is held back to its former owner.

    A server that nobody can use is worse than a record in another service
    that is wrong until the next transfer or `nova-manage placement
    heal_allocations`, so the instance is released in any case.

    The same call may complete the transfer before this has written to
    placement. Then this loses the instance, and _complete() makes placement
    follow the row once more. If that fails, or the process dies before, the
    former owner stays in placement until the same call or one for the present
    owner.

    :raises _Lost: if the instance is no longer held for this transfer
    """
    try:
        _set_owner(context, instance, journal, journal.new, journal.old,
                   journal.old_project_name, journal.old_user_name)
    except _Lost:
        # The owner has not changed yet, or the release fails too.
        pass
    _follow_if_possible(context, _read(context, instance.uuid))
    _release(context, instance, journal.old, journal)
    _refresh_guest(context, instance)


def _release(context, instance, now, journal):
    """Release an instance that is held.

    :param now: the Owner that it has
    :param journal: the _Journal that it has, or None
    :raises _Lost: if it is no longer held for this transfer
    """
    values = {'task_state': None}
    moved = journal is None or now == journal.new
    drops_key = moved and _has_key_of_another(
        context, instance.uuid, now, journal)
    if moved:
        _revoke_consoles(context, instance.uuid)
    if drops_key:
        values.update(key_name=None, key_data=None)

    def edit(metadata):
        _check_journal(metadata, journal)
        _Journal.remove(metadata)
        if drops_key:
            db.instance_extra_update_by_uuid(context, instance.uuid, {
                'keypairs': jsonutils.dumps(
                    objects.KeyPairList(objects=[]).obj_to_primitive())})
        if journal and moved:
            metadata.pop(_DONE_USER, None)
            if _changes_project(journal):
                metadata.pop(_DONE, None)
            if journal.id is not None:
                metadata[_DONE if _changes_project(journal)
                         else _DONE_USER] = journal.id

    _write(context, instance, {
        'project_id': now.project_id, 'user_id': now.user_id,
        'task_state': task_states.TRANSFERRING,
    }, values, edit)


def _check_journal(metadata, journal):
    """Check that an instance is held for a transfer, and not for another.

    Whoever saves an instance that was read before it was held writes all of
    its system metadata, without the journal.

    :raises _Lost: if it is held for another
    """
    if _Journal.read(metadata) not in (None, journal):
        raise _Lost()


def _was_done(instance, transfer_id):
    """Whether a transfer has brought an instance to its owner."""
    metadata = instance.system_metadata
    return transfer_id is not None and transfer_id in (
        metadata.get(_DONE), metadata.get(_DONE_USER))


def _has_key_of_another(context, uuid, now, journal):
    """Whether an instance still has a key pair of its former user."""
    if journal:
        return journal.old_user != journal.new_user
    instance = objects.Instance.get_by_uuid(
        context, uuid, expected_attrs=['keypairs'])
    return any(pair.user_id != now.user_id for pair in instance.keypairs)


def _settle(context, instance):
    """Make all records follow the row, and release the instance if it is held.

    If its owner had changed when its transfer was interrupted, that had not
    been looked at again.

    :returns: the Owner
    """
    now = _owner(instance)
    if instance.task_state != task_states.TRANSFERRING:
        _refresh_guest(context, _follow_row(context, instance.uuid))
        return now
    journal = _Journal.read(instance.system_metadata)
    try:
        if journal and now == journal.new:
            _give(context, instance, journal)
        else:
            _follow(context, instance, now)
        _release(context, instance, now, journal)
    except _Lost:
        _follow_row(context, instance.uuid)
        raise _changed_meanwhile(instance)
    _refresh_guest(context, instance)
    return now


def _follow_row(context, uuid):
    """Make the records follow the row, which is not held for this request.

    Another request may change it while that is done, so it is read again
    after.

    :returns: the Instance
    :raises nova.exception.InstanceNotFound: if it was deleted
    """
    while True:
        instance = _read(context, uuid)
        _follow_if_possible(context, instance)
        now = _read(context, uuid)
        if _owner(now) == _owner(instance):
            return now


def _follow_if_possible(context, instance):
    """Make the records follow the row, and only log what cannot be done.

    :param instance: the Instance as it has just been read
    """
    try:
        _follow(context, instance, _owner(instance))
    except (exception.TransferRefused,
            exception.TransferServiceUnavailable) as e:
        LOG.error('Placement may have another owner than the instance: %s', e,
                  instance=instance)


def _follow(context, instance, now):
    """Make the records outside of the cell follow the row.

    Placement comes last: only it can refuse.

    :param now: the Owner
    """
    _follow_in_databases(context, instance.uuid, now)
    _follow_in_placement(context, instance, now)


def _follow_in_databases(context, uuid, now):
    """Make the mapping and the request spec follow.

    :param now: the Owner
    """
    mapping = objects.InstanceMapping(context, instance_uuid=uuid)
    mapping.obj_reset_changes()
    mapping.project_id = now.project_id
    mapping.user_id = now.user_id
    try:
        # It is read for that, and written where it differs.
        mapping.save()
    except exception.InstanceMappingNotFound:
        raise exception.InstanceNotFound(instance_id=uuid)
    try:
        spec = objects.RequestSpec.get_by_instance_uuid(context, uuid)
    except exception.RequestSpecNotFound:
        # There is none for a server that is older than request specs.
        return
    if any(name not in spec or getattr(spec, name) != value
           for name, value in now._asdict().items()):
        spec.project_id = now.project_id
        spec.user_id = now.user_id
        spec.save()


def _follow_in_placement(context, instance, now):
    """Make the consumer in placement follow. Its allocations stay.

    :param now: the Owner
    """
    client = report.report_client_singleton()
    url = '/allocations/%s' % instance.uuid
    for attempt in range(_PLACEMENT_TRIES):
        try:
            found = client.get_allocs_for_consumer(context, instance.uuid)
            if (not found['allocations'] or
                    (found['project_id'], found['user_id']) == now):
                return
            response = client.put(url, {
                'allocations': {
                    provider: {'resources': allocation['resources']}
                    for provider, allocation in found['allocations'].items()},
                'consumer_generation': found['consumer_generation'],
                'project_id': now.project_id,
                'user_id': now.user_id,
            }, version=_PLACEMENT_VERSION,
                global_request_id=context.global_id)
        except (ks_exc.ClientException,
                exception.ConsumerAllocationRetrievalFailed) as e:
            raise _unavailable('Placement', e)
        if response.status_code == 204:
            return
        if response.status_code >= 500:
            raise _unavailable('Placement', response.text)
        if (response.status_code != 409 or
                'placement.concurrent_update' not in response.text):
            break
    raise _refused(
        instance, 'placement has refused its allocations: %s' % response.text)


def _write(context, instance, expected, values, edit):
    """Write the row and the system metadata of an instance, or neither.

    See db.instance_update_with_system_metadata(). The Instance has what was
    written, too.

    :raises _Lost: if the row is not as expected, or if edit raises it
    """
    try:
        metadata = db.instance_update_with_system_metadata(
            context, instance.uuid, values, expected, edit)
    except exception.InstanceUpdateConflict as e:
        raise _Lost() from e
    for name, value in {**values, 'system_metadata': metadata}.items():
        setattr(instance, name, value)
        instance.obj_reset_changes([name])


def _read(context, uuid):
    # Notifications need the cache of the network and the metadata. Loaded one
    # by one, each takes as long as the instance as a whole.
    return objects.Instance.get_by_uuid(context, uuid, expected_attrs=[
        'flavor', 'info_cache', 'metadata', 'system_metadata'])


def _owner(instance):
    return Owner(instance.project_id, instance.user_id)


def _changes_project(journal):
    return journal.old_project != journal.new_project


def _refused(instance, reason):
    return exception.TransferRefused(server_id=instance.uuid, reason=reason)


def _changed_meanwhile(instance):
    return _refused(instance, 'another request has changed it meanwhile')


def _unavailable(service, reason):
    return exception.TransferServiceUnavailable(service=service, reason=reason)


def _ask_for_owner(context, request):
    """Ask Keystone for the project and the user of a request.

    :returns: the Owner, and the names of project and user or None
    """
    try:
        keystone = utils.get_ksa_adapter(
            'identity', ksa_auth=context.get_auth_plugin(),
            min_version=(3, 0), max_version=(3, 'latest'))
        project_name = _ask_keystone(keystone, 'project', request.project_id)
        if request.user_id is None:
            user_id, user_name = context.user_id, context.user_name
        else:
            user_id = request.user_id
            user_name = _ask_keystone(keystone, 'user', user_id)
    except ks_exc.ClientException as e:
        raise _unavailable('Keystone', e)
    return Owner(request.project_id, user_id), project_name, user_name


def _ask_keystone(keystone, kind, id):
    """Ask Keystone for a project or a user.

    :param keystone: keystoneauth1 Adapter
    :param kind: "project" or "user"
    :returns: its name, or None
    """
    response = keystone.get(
        '/%ss/%s' % (kind, urllib.parse.quote(id, safe='')))
    missing = exception.TransferOwnerNotFound(kind=kind.capitalize(), id=id)
    if response.status_code == 404:
        raise missing
    try:
        found = response.json()[kind] if response.status_code == 200 else None
        # Where it compares without regard to case, it finds another.
        if not found.get('enabled', True) or found.get('id', id) != id:
            raise missing
        return found.get('name')
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _unavailable('Keystone', 'it answered %s to whether %s %s '
                           'exists' % (response.status_code, kind, id))


def _blocking(context, instance, project_id):
    """Find what an instance has, but ports, and another project must not get.

    :param project_id: the project that shall own it
    :returns: iterator over str, each a kind and mostly an id
    """
    yield from _attached(context, instance)
    try:
        group = objects.InstanceGroup.get_by_instance_uuid(
            context, instance.uuid)
        yield 'server group %s' % group.uuid
    except exception.InstanceGroupNotFound:
        pass
    secret = instance.system_metadata.get('vtpm_secret_uuid')
    if ((secret or hardware.get_vtpm_constraint(
            instance.flavor, instance.image_meta)) and
            vtpm.get_instance_tpm_secret_security(
                instance.flavor) != 'deployment'):
        yield 'vTPM secret %s' % secret if secret else 'vTPM secret'
    if instance.ephemeral_key_uuid:
        yield 'encryption secret %s' % instance.ephemeral_key_uuid
    profile = instance.flavor.extra_specs.get('accel:device_profile')
    if profile:
        yield 'accelerator %s' % profile
    yield from _closed_aggregates(context, instance, project_id)


def _ask_for_ports(context, instance):
    """Begin to ask Neutron for the ports of an instance.

    :returns: Future of list of dict
    """
    return thread_pool_factory.spawn(_ports, context, instance.uuid)


def _ports(context, uuid):
    try:
        # Neutron shows others than an administrator their own ports only.
        return neutron.get_client(context, admin=True).list_ports(
            device_id=uuid)['ports']
    except (ks_exc.ClientException, neutron_exc.NeutronClientException,
            exception.NeutronAdminCredentialConfigurationInvalid) as e:
        raise _unavailable('Neutron', e)


def _other_ports(ports, project_id):
    """Find the ports that do not belong to a project.

    :param ports: what _ask_for_ports() has returned
    :returns: iterator over str
    """
    for port in ports.result():
        if (port.get('project_id') or port.get('tenant_id')) != project_id:
            yield 'port %s' % port['id']


def _attached(context, instance):
    """Find what is attached to an instance, but ports.

    :returns: iterator over str
    """
    for bdm in objects.BlockDeviceMappingList.get_by_instance_uuid(
            context, instance.uuid):
        if bdm.is_volume:
            yield 'volume %s' % (bdm.volume_id or bdm.uuid)
        elif bdm.encrypted or bdm.encryption_secret_uuid:
            yield 'encryption secret %s' % (
                bdm.encryption_secret_uuid or bdm.uuid)
    for share in objects.ShareMappingList.get_by_instance_uuid(
            context, instance.uuid):
        yield 'share %s' % share.share_id


def _closed_aggregates(context, instance, project_id):
    """Find the aggregates that keep another project off the host.

    As the filter AggregateMultiTenancyIsolation and the request filter of
    [scheduler]limit_tenants_to_placement_aggregate do, which are not asked
    again for a server that stands.

    :param project_id: the project that shall own the instance
    :returns: iterator over str
    """
    here = objects.AggregateList.get_by_host(context, instance.host)
    closed = {
        aggregate.uuid: {
            project for key, value in aggregate.metadata.items()
            if key.startswith(request_filter.TENANT_METADATA_KEY)
            for project in value.replace(' ', '').split(',')}
        for aggregate in here}
    closed = {uuid: projects for uuid, projects in closed.items() if projects}
    if closed and not any(project_id in each for each in closed.values()):
        for uuid in closed:
            yield 'host aggregate %s' % uuid
    if not CONF.scheduler.limit_tenants_to_placement_aggregate:
        return
    reserved = {
        aggregate.uuid
        for aggregate in objects.AggregateList.get_by_metadata(
            context, value=project_id)
        if any(key.startswith(request_filter.TENANT_METADATA_KEY) and
               value == project_id
               for key, value in aggregate.metadata.items())}
    required = CONF.scheduler.placement_aggregate_required_for_tenants
    if (reserved or required) and not reserved & {each.uuid for each in here}:
        yield ('host aggregate %s' % ', '.join(sorted(reserved))
               if reserved else 'host aggregate')


def _old_compute_service(context, instance):
    """Find whether the compute service of an instance cannot do its part.

    :returns: iterator over str
    """
    try:
        stats = objects.ComputeNode.get_by_host_and_nodename(
            context, instance.host, instance.node).stats or {}
    except exception.ComputeHostNotFound:
        stats = {}
    if not owner.STATS.items() <= stats.items():
        yield ('compute service on host %s that is not upgraded yet' %
               instance.host)


def _check_name(context, instance, project_id):
    """Check that the new project has no other server of this host name."""
    if (CONF.osapi_compute_unique_server_name_scope != 'project' or
            not instance.hostname):
        return
    name = instance.hostname.lower()
    for cell in objects.CellMappingList.get_by_project_id(context, project_id):
        with nova_context.target_cell(context, cell) as cctxt:
            found = objects.InstanceList.get_by_filters(cctxt, {
                'project_id': project_id,
                'hostname': '^%s$' % re.escape(name),
                'deleted': False})
        if any(each.uuid != instance.uuid and each.hostname.lower() == name
               for each in found):
            raise _refused(instance, 'project %s has another server with the '
                           'host name %s' % (project_id, name))


def _check_quota(context, instance, new, count, limits=None):
    """Check that the new owner has room for an instance.

    :param new: the Owner
    :param count: 1 before its records are written, 0 after
    :param limits: what this has returned, if it was called before
    :returns: the limits that the databases have, or None
    """
    try:
        if not limit_utils.use_unified_limits():
            if limits is None:
                limits = _legacy_limits(context, new)
            _check_legacy_quota(context, instance.flavor, new, count, limits)
            return limits
        deltas = {'class:' + resource: amount * count
                  for resource, amount in _held(context, instance).items()}
        spec = objects.RequestSpec(
            flavor=instance.flavor, is_bfv=not instance.image_ref)
        placement_limits.enforce_num_instances_and_resources(
            context, new.project_id, spec, count, count, delta_updates=deltas)
        return None
    except (ks_exc.ClientException, limit_exc.SessionInitError,
            exception.KeystoneConnectionFailed) as e:
        raise _unavailable('Keystone', e)
    except (exception.PlacementAPIConnectFailure,
            exception.UsagesRetrievalFailed) as e:
        raise _unavailable('Placement', e)


def _legacy_limits(context, new):
    """Get the limits of a project, and those that a user has of its own.

    compute_utils.check_num_instances_quota() would take those of the caller
    where the user has none.

    :returns: dict of pairs of a scope and a resource to the limit
    """
    names = ('instances', 'cores', 'ram')
    found = {'project': quota.QUOTAS.get_project_quotas(
        context, new.project_id, usages=False)}
    own = set(names) & objects.Quotas.get_all_by_project_and_user(
        context, new.project_id, new.user_id).keys()
    if own:
        # The driver may not look at them.
        quotas = quota.QUOTAS.get_user_quotas(
            context, new.project_id, new.user_id, usages=False)
        found['user'] = {name: quotas[name] for name in own}
    return {
        (scope, name): each[name]['limit'] for scope, each in found.items()
        for name in names if name in each and each[name]['limit'] >= 0}


def _check_legacy_quota(context, flavor, new, count, limits):
    """Check what is used against the limits of a project and a user.

    :param limits: what _legacy_limits() has returned
    """
    if not limits:
        return
    asked = {
        'instances': 1, 'cores': flavor.vcpus, 'ram': flavor.memory_mb}
    counts_user = any(scope == 'user' for scope, _ in limits)
    counts = objects.Quotas.count_as_dict(
        context, 'instances', new.project_id,
        user_id=new.user_id if counts_user else None)
    over = []
    for (scope, name), limit in limits.items():
        wanted = counts[scope][name] + asked[name] * count
        if wanted > limit:
            over.append((name, asked[name], wanted - asked[name], limit))
    if over:
        names, requested, used, allowed = (
            ', '.join(map(str, each)) for each in zip(*over))
        raise exception.TooManyInstances(
            overs=names, req=requested, used=used, allowed=allowed)


def _held(context, instance):
    """Find what an instance uses, from placement.

    Not from its flavor: nothing else keeps both sides equal.

    :returns: collections.Counter of the amounts by resource class
    """
    try:
        allocations = report.report_client_singleton().get_allocs_for_consumer(
            context, instance.uuid)['allocations']
    except (ks_exc.ClientException,
            exception.ConsumerAllocationRetrievalFailed) as e:
        raise _unavailable('Placement', e)
    held = collections.Counter()
    for allocation in allocations.values():
        held.update(allocation['resources'])
    return held


def _revoke_consoles(context, uuid):
    objects.ConsoleAuthToken.clean_console_auths_for_instance(context, uuid)


def _refresh_guest(context, instance):
    """Have the hypervisor told of a new owner, now or when its host is up.

    :param instance: the Instance as it is now
    """
    try:
        if owner.MARK in instance.system_metadata:
            guest_rpcapi.GuestAPI().refresh_owner(context, instance)
    except Exception:
        LOG.exception('The host of the instance will update the owner when it '
                      'starts again', instance=instance)


def _notify(context, uuid, journal, phase, instance=None, error=None):
    """Send a notification, with the owner that the instance has now.

    :param instance: the Instance if it has just been read, or None
    """
    try:
        compute_utils.notify_about_instance_transfer(
            context, instance or _read(context, uuid), CONF.host, journal.old,
            journal.new, phase=phase, exception=error)
    except Exception:
        LOG.exception('Failed to notify of the transfer')


def _notify_exists(context, instance):
    """Close the audit period for the old owner."""
    try:
        compute_utils.notify_usage_exists(
            rpc.get_notifier('api'), context, instance, CONF.host,
            current_period=True)
    except Exception:
        LOG.exception('Failed to notify of the usage of the old owner',
                      instance=instance)
