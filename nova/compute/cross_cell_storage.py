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

"""What a compute host does about the storage of a server between cells."""

from nova import exception
from nova.i18n import _
from nova.objects import cross_cell
from nova.virt import driver


def check_source(manager, context, instance, flavor):
    """Find out what this host has of a server that is to leave the cell.

    :param manager: nova.compute.manager.ComputeManager of this host
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance
    :param flavor: nova.objects.flavor.Flavor that it will have
    :returns: nova.objects.cross_cell.CrossCellMove
    :raises nova.exception.MigrationPreCheckError: if something of it cannot
        be carried
    """
    block_device_info = manager._get_instance_block_device_info(
        context, instance, bdms=instance.get_bdms())
    _refuse_smaller_ephemeral(instance, flavor, block_device_info)
    move = manager.driver.get_local_state(context, instance, block_device_info)
    if move.blockers:
        raise exception.MigrationPreCheckError(reason=_(
            "Host '%(host)s' cannot give the server away: %(reasons)s") % {
                'host': manager.host, 'reasons': '; '.join(move.blockers)})
    move.old_vm_state = instance.vm_state
    return move


def _refuse_smaller_ephemeral(instance, flavor, block_device_info):
    """Refuse a flavor that has no room for the ephemeral disks of a server.

    This is what a resize within a cell refuses, too.
    """
    size = max(instance.flavor.ephemeral_gb, sum(
        disk['size'] for disk in
        driver.block_device_info_get_ephemerals(block_device_info)))
    if flavor.ephemeral_gb < size:
        raise exception.MigrationPreCheckError(reason=_(
            'The ephemeral disks of the server have %(has)d GiB, the flavor '
            'has %(flavor)d GiB') % {
                'has': size, 'flavor': flavor.ephemeral_gb})


def check_destination(manager, context, instance, move, check_wanted):
    """Find out whether this host can take a server from another cell.

    :param manager: nova.compute.manager.ComputeManager of this host
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance
    :param move: nova.objects.cross_cell.CrossCellMove of the source host
    :param check_wanted: function that raises MigrationPreCheckError if the
        server does not come here after all
    :returns: CrossCellMove, with what the two hosts share
    :raises nova.exception.MigrationPreCheckError: if it cannot
    """
    manager.driver.check_local_state(context, instance, move, check_wanted)
    if move.blockers:
        raise exception.MigrationPreCheckError(reason=_(
            "Host '%(host)s' cannot take the server: %(reasons)s") % {
                'host': manager.host, 'reasons': '; '.join(move.blockers)})
    return move


def export(virt_driver, context, instance):
    """Put what a stopped server has beside its root disk into images.

    :param virt_driver: nova.virt.driver.ComputeDriver of the source host
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance; what is known of the
        images then is not saved
    """
    move = cross_cell.get_move(instance)
    virt_driver.export_local_state(context, instance, move)
    if move.parts:
        # The instance does not see what changes that deep in it.
        instance.migration_context = instance.migration_context


def import_(virt_driver, context, instance):
    """Have here what a server has beside its root disk.

    :param virt_driver: nova.virt.driver.ComputeDriver of the destination
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance
    """
    virt_driver.import_local_state(
        context, instance, cross_cell.get_move(instance))


def cleanup_source(virt_driver, context, instance, network_info):
    """Remove what the source host still has after a confirm.

    :param virt_driver: nova.virt.driver.ComputeDriver of the source host
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance
    :param network_info: nova.network.model.NetworkInfo
    """
    move = cross_cell.get_move(instance)
    virt_driver.cleanup(
        context, instance, network_info, block_device_info=None,
        destroy_disks=move.may_remove, destroy_vifs=False)
    virt_driver.release_local_state(context, instance, move)


def destroy_at_destination(virt_driver, context, instance, network_info,
                           block_device_info):
    """Remove the guest of a server that goes back, and what it has.

    :param virt_driver: nova.virt.driver.ComputeDriver of the destination
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance
    :param network_info: nova.network.model.NetworkInfo
    :param block_device_info: the block devices of the instance
    """
    move = cross_cell.get_move(instance)
    virt_driver.destroy(
        context, instance, network_info, block_device_info=block_device_info,
        destroy_disks=move.may_remove)
    virt_driver.discard_local_state(context, instance, move)


def may_remove(instance):
    """Whether a host may remove all that it has of a server that it gives up.

    :param instance: nova.objects.instance.Instance
    :returns: bool; False if the other host of its move may have the same
    """
    return cross_cell.get_move(instance).may_remove


def discard(virt_driver, context, instance):
    """Remove what a move has put on its destination and no other host has.

    :param virt_driver: nova.virt.driver.ComputeDriver of the destination
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance
    """
    virt_driver.discard_local_state(
        context, instance, cross_cell.get_move(instance))


def give_back(virt_driver, context, instance):
    """Have the disks that hosts share as they were before a move.

    No host has a guest of the server.

    :param virt_driver: nova.virt.driver.ComputeDriver of the source
    :param context: nova.context.RequestContext
    :param instance: nova.objects.instance.Instance
    """
    virt_driver.restore_local_state(
        context, instance, cross_cell.get_move(instance))
