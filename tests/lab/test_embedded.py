# SPDX-License-Identifier: Apache-2.0

"""The embedded cloud does what its interface says."""

import os
import shutil
import threading

import pytest

from lab import accounts
from lab import cloud as cloud_api
from lab.needs import Lacking
from lab.needs import Need
from lab.words import client
from lab.words import expect
from lab.words import scene as scenes
from lab.words import steps

LIVE_MIGRATE = '2.104'
TRAIT = 'CUSTOM_COMPUTE_LIVE_MIGRATE_RESCUED'
GUEST = cloud_api.Guest(True, ('disk',))


@pytest.fixture
def make(tmp_path):
    # Nova changes much in a process: not before a test needs it.
    from lab.embedded import EmbeddedCloud

    return lambda: EmbeddedCloud(tmp_path / 'log')


@pytest.fixture
def cloud(make):
    with make() as cloud:
        yield cloud


@pytest.fixture
def hosts(cloud):
    return cloud.hosts()


def boot(cloud):
    teller = steps.Teller(cloud.has, quiet=True)
    return scenes.Scene(cloud, teller).boot(cloud.hosts()[0])


@pytest.fixture
def scene(cloud):
    return scenes.Scene(cloud, steps.Teller(cloud.has, quiet=True))


@pytest.fixture
def server(scene, hosts):
    return scene.boot(hosts[0])


def places(cloud, server):
    return [cloud.guest(host, server.id) for host in cloud.hosts()]


def test_migration_moves_the_guest(cloud, hosts, server):
    assert places(cloud, server) == [GUEST, None]
    server.ask_live_migration(hosts[1], LIVE_MIGRATE)
    server.check_migration_is('completed')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [None, GUEST]
    assert list(server.allocations()) == [hosts[1]]


def test_failing_migration_leaves_the_guest(cloud, hosts, server):
    with cloud.faults.migration_fails(server.id):
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        server.check_migration_is('failed')
        server.wait_for_status('ACTIVE')
        assert places(cloud, server) == [GUEST, None]
    server.ask_live_migration(hosts[1], LIVE_MIGRATE)
    server.check_migration_is('completed')
    assert places(cloud, server) == [None, GUEST]


def test_held_migration_can_be_aborted(cloud, hosts, server):
    with cloud.faults.migration_held(server.id) as migration:
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        server.check_migration_is('running')
        assert places(cloud, server) == [GUEST, None]
        server.delete_migration()
        server.check_migration_is('cancelled')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [GUEST, None]
    with cloud.faults.migration_fails(server.id):
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        server.check_migration_is('failed')
    server.wait_for_status('ACTIVE')


def test_held_migration_can_be_forced_to_complete(cloud, hosts, server):
    with cloud.faults.migration_held(server.id) as migration:
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        server.check_migration_is('running')
        server.complete_migration()
        server.check_migration_is('completed')
    assert places(cloud, server) == [None, GUEST]


def test_held_migration_goes_on_when_released(cloud, hosts, server):
    with cloud.faults.migration_held(server.id) as migration:
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        assert places(cloud, server) == [GUEST, None]
    server.check_migration_is('completed')
    assert places(cloud, server) == [None, GUEST]


def test_migration_that_does_not_begin_is_told(cloud, monkeypatch):
    monkeypatch.setattr(expect, 'TIMEOUT', 0.0)
    with cloud.faults.migration_held('no-such-server') as migration:
        with pytest.raises(expect.Unexpected, match='not begun'):
            migration.wait_until_running()


def test_hosts_are_of_one_cell_and_there_is_another(cloud, hosts, server):
    services = cloud.connect().compute.services(binary='nova-compute')
    (other,) = {service.host for service in services} - set(hosts)
    assert cloud.other_cell_hosts() == [other]
    with expect.refused(400):
        server.ask_live_migration(other, LIVE_MIGRATE)
    assert len(hosts) == 2


def traits(cloud, host):
    placement = cloud.connect().placement
    (provider,) = placement.get(
        f'/resource_providers?name={host}').json()['resource_providers']
    return placement.get(
        f'/resource_providers/{provider["uuid"]}/traits',
        microversion='1.6').json()['traits']


def test_incapable_host_reports_so_and_recovers(cloud, hosts):
    assert TRAIT in traits(cloud, hosts[0])
    with cloud.faults.incapable(hosts[0]):
        assert TRAIT not in traits(cloud, hosts[0])
        assert TRAIT in traits(cloud, hosts[1])
    assert TRAIT in traits(cloud, hosts[0])


def test_files_of_a_server(cloud, hosts, server):
    assert cloud.files(hosts[0], server.id) == {'disk', 'disk.info'}
    cloud.put_file(hosts[0], server.id, 'unrescue.xml', 'text')
    assert cloud.files(hosts[0], server.id) == {
        'disk', 'disk.info', 'unrescue.xml'}
    server.delete()
    assert cloud.files(hosts[0], server.id) == set()


def test_members_are_no_admins(cloud, hosts):
    member = cloud.connect('member').compute
    assert member.get('/os-hypervisors').status_code == 403
    admin = cloud.connect('admin').compute
    assert admin.get('/os-hypervisors').status_code == 200


def test_owners_are_of_two_projects(cloud, server):
    assert cloud.connect('member').compute.find_server(server.id)
    assert not cloud.connect('tenant').compute.find_server(server.id)


def test_identity_service_has_the_owners_and_nobody_else(cloud):
    opened = cloud.connect()
    for name, project in accounts.OWNERS.items():
        user = opened.identity.find_user(name)
        of = opened.identity.find_project(project)
        assert (user.id, of.id) == client.ids(cloud, name)
        assert opened.identity.get_project(of.id).is_enabled
    assert opened.identity.find_user('nobody') is None
    assert opened.identity.find_project('nobody') is None


def test_copy_of_an_image_until_it_is_deleted(cloud, server):
    image = cloud.copy_image(cloud.rescue_image, hw_rescue_bus='virtio')
    assert image != cloud.rescue_image
    assert cloud.connect().compute.get(
        f'/images/{image}', microversion='2.1'
    ).json()['image']['metadata']['hw_rescue_bus'] == 'virtio'
    server.rescue(image)
    server.unrescue()
    cloud.delete_image(image)
    with expect.refused(400):
        server.rescue(image)


def test_images_are_downloaded_once_and_only_if_needed(cloud, hosts, scene):
    image = cloud.copy_image(cloud.image)
    assert cloud.downloads(image) == 0
    for host in hosts:
        # They share their files, and so the image.
        scene.boot(host, image)
        assert cloud.downloads(image) == 1
    spoilt = cloud.copy_image(cloud.image)
    cloud.spoil_image(spoilt)
    with pytest.raises(expect.Unexpected, match='ERROR'):
        scene.boot(hosts[0], spoilt)
    assert cloud.downloads(spoilt) >= 1


def test_bandwidth_of_a_port_is_part_of_what_a_server_uses(
    cloud, hosts, scene
):
    port = scene.create_port()
    assert cloud.port(port.id) == cloud_api.Port('', '')
    server = scene.boot(hosts[0], port=port)
    assert cloud.bandwidth.items() <= server.allocations()[hosts[0]].items()
    assert server.providers()[cloud.bandwidth_provider(hosts[0])] == (
        cloud.bandwidth)
    assert cloud.port(port.id) == cloud_api.Port(
        hosts[0], cloud.bandwidth_provider(hosts[0]))
    port.check_bandwidth(server, hosts[0])
    with pytest.raises(expect.Unexpected, match='bandwidth it uses'):
        port.check_bandwidth(server, hosts[1])
    with pytest.raises(expect.Unexpected, match='host it is bound to'):
        port.check_bandwidth(server, hosts[0], bound_to=hosts[1])
    server.delete()
    assert cloud.port(port.id) == cloud_api.Port('', '')


def test_devices_of_guests_are_shown(cloud, hosts, scene):
    server = scene.boot(hosts[0])
    assert cloud.devices(hosts[0], server.id) == cloud_api.Devices()
    assert cloud.accelerators(server.id) == {}
    for vgpu, flavor in cloud.vgpu_flavors.items():
        server = scene.boot(hosts[0], flavor=flavor)
        assert cloud.devices(hosts[0], server.id) == cloud_api.Devices(
            vgpus=(vgpu,))
    with pytest.raises(expect.Unexpected, match='the devices of its guest'):
        server.check_vgpu(hosts[0], 'another')
    server = scene.boot(hosts[1], flavor=cloud.accelerator_flavor)
    ((address, host),) = cloud.accelerators(server.id).items()
    assert host == hosts[1]
    assert cloud.devices(host, server.id) == cloud_api.Devices(pci=(address,))
    with pytest.raises(expect.Unexpected, match='the devices of its guest'):
        server.check_accelerator_kept(host)


def test_server_is_resized_and_keeps_its_disk(cloud, hosts, scene, server):
    with scene.only(hosts[1]):
        server.resize()
    server.check_moved(hosts[1])
    server.confirm()
    server.check_grown(hosts[1])
    server.check_lives_on(hosts[1])


def test_hosts_say_which_images_they_have_cached(cloud, hosts, scene):
    image = scene.copy_image(cloud.image)
    aggregate = scene.aggregate(*hosts)
    aggregate.check_caches(dict.fromkeys(hosts, [image]), image)
    with pytest.raises(expect.Unexpected, match='that each host has cached'):
        aggregate.check_caches({hosts[0]: [image], hosts[1]: []}, image)
    assert {each['host'] for each in cloud.notifications(
        'aggregate.cache_images.progress')} == set(hosts)
    scene.__exit__(None)
    assert not list(cloud.connect().compute.aggregates())


def test_cell_that_has_a_server(cloud, hosts, scene):
    server = scene.boot(hosts[0])
    other = scene.boot(cloud.other_cell_hosts()[0])
    for each, cell in ((server, 'cell1'), (other, 'cell2')):
        assert cloud.cell_of(each.id) == cell
        assert cloud.records(each.id) == {cell: True}
    server.delete()
    assert cloud.records(server.id) == {}


def test_footprint_elsewhere_is_found(cloud, hosts, server):
    server.check_lives_on(hosts[0])
    with pytest.raises(expect.Unexpected, match='its host'):
        server.check_lives_on(hosts[1])
    cloud.put_file(hosts[0], server.id, 'more', '')
    with pytest.raises(expect.Unexpected, match='its files'):
        server.check_lives_on(hosts[0])
    cloud._services.directory(server.id).joinpath('more').unlink()
    kept = cloud._services.directory(f'{server.id}_resize')
    kept.mkdir()
    cloud.put_file(hosts[0], kept.name, 'disk', '')
    with pytest.raises(expect.Unexpected, match='kept of its files'):
        server.check_lives_on(hosts[0])
    shutil.rmtree(kept)
    connections = cloud._moves.connections
    xml = connections[hosts[0]].lookupByUUIDString(server.id).XMLDesc(0)
    connections[hosts[1]].defineXML(xml)
    with pytest.raises(expect.Unexpected, match='what node2 has of it'):
        server.check_lives_on(hosts[0])
    connections[hosts[1]].lookupByUUIDString(server.id).undefine()
    server.check_lives_on(hosts[0])


def test_quota_and_allocations_are_part_of_the_footprint(
    cloud, hosts, scene, server
):
    other = scene.boot(hosts[0])
    with pytest.raises(expect.Unexpected, match='quota'):
        server.check_lives_on(hosts[0])
    other.delete()
    server.check_lives_on(hosts[0])
    placement = cloud.connect().placement
    path = f'/allocations/{server.id}'
    used = placement.get(path, microversion='1.28').json()
    (held,) = used['allocations'].values()
    held['resources']['MEMORY_MB'] += 1
    assert placement.put(
        path, microversion='1.28', json=used).status_code == 204
    with pytest.raises(expect.Unexpected, match='the resources it uses'):
        server.check_lives_on(hosts[0])


def test_scene_deletes_what_is_left(cloud, hosts):
    with scenes.Scene(cloud, steps.Teller(cloud.has, quiet=True)) as scene:
        server = scene.boot(hosts[0])
        image = scene.copy_image(cloud.image)
    assert list(cloud.connect().compute.servers()) == []
    assert cloud.files(hosts[0], server.id) == set()
    assert cloud.connect().compute.get(
        f'/images/{image.id}', microversion='2.1').status_code == 404


def state(cloud, host):
    (service,) = cloud.connect().compute.services(
        binary='nova-compute', host=host)
    return service.state


def test_hosts_are_configured_for_a_while(cloud, hosts):
    from nova import conf

    before = conf.CONF.libvirt.images_type
    assert before != 'raw'
    with cloud.faults.configured('libvirt', 'images_type', 'raw'):
        assert conf.CONF.libvirt.images_type == 'raw'
    assert conf.CONF.libvirt.images_type == before


def test_server_with_more_disks_and_a_config_drive(cloud, hosts, scene):
    server = scene.boot(
        hosts[0], cloud.copy_image(cloud.image), cloud.disks_flavor,
        config_drive=True)
    assert {'disk', 'disk.eph0', 'disk.swap', 'disk.config'} <= cloud.files(
        hosts[0], server.id)
    # The config drive is a CD-ROM.
    assert cloud.guest(hosts[0], server.id).disks == (
        'disk', 'disk.eph0', 'disk.swap')


def test_host_fails_and_comes_back(cloud, hosts, scene, server):
    with cloud.faults.host_down(hosts[0]):
        assert state(cloud, hosts[0]) == 'down'
        assert places(cloud, server) == [
            cloud_api.Guest(False, ('disk',)), None]
    assert state(cloud, hosts[0]) == 'up'
    scene.boot(hosts[0]).delete()


def test_audit_tells_and_deletes_what_no_server_uses(cloud, hosts, server):
    assert cloud.audit_placement() == ''
    placement = cloud.connect().placement
    path = '/allocations/00000000-0000-4000-8000-000000000001'
    used = placement.get(f'/allocations/{server.id}', microversion='1.28')
    placement.put(path, microversion='1.28', json={
        **used.json(), 'consumer_generation': None})
    for delete in (False, True):
        assert path.split('/')[-1] in cloud.audit_placement(delete)
    assert cloud.audit_placement() == ''
    assert list(server.allocations()) == [hosts[0]]


def test_unreachable_hypervisor_fails_moves_to_it(cloud, hosts, server):
    with cloud.faults.killed('libvirtd', hosts[1]):
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        server.check_migration_is('failed')
    server.wait_for_status('ACTIVE')
    with cloud.faults.migration_held(server.id) as migration:
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        with cloud.faults.killed('libvirtd', hosts[1]):
            server.check_migration_is('failed')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [GUEST, None]
    server.ask_live_migration(hosts[1], LIVE_MIGRATE)
    server.check_migration_is('completed')


def test_move_is_lost_with_the_hypervisor_of_its_source(cloud, hosts, server):
    with cloud.faults.migration_held(server.id) as migration:
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        with cloud.faults.killed('libvirtd', hosts[0]):
            pass
        server.check_migration_is('failed')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [GUEST, None]


def test_guest_that_is_killed_does_not_move(cloud, hosts, server):
    with cloud.faults.migration_held(server.id) as migration:
        server.ask_live_migration(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        cloud.faults.kill_guest(hosts[0], server.id)
        server.check_migration_is('failed')
    assert places(cloud, server) == [
        cloud_api.Guest(False, ('disk',)), None]


def test_no_server_boots_without_the_image_service(cloud, hosts, scene):
    with cloud.faults.killed('glance'):
        with expect.refused(500):
            scene.boot(hosts[0])
    scene.boot(hosts[0]).delete()


@pytest.mark.parametrize('ask, need', [
    (lambda cloud: cloud.console('any'), Need.GUESTS),
    (lambda cloud: cloud.type('any', 'tell now', 'told'), Need.GUESTS),
    (lambda cloud: cloud.digests('node1', 'any'), Need.GUESTS),
    (lambda cloud: cloud.cached_images('node1'), Need.GUESTS),
    (lambda cloud: cloud.uefi_variables('node1', 'any'), Need.GUESTS),
    (lambda cloud: cloud.kernel_image(), Need.GUESTS),
    (lambda cloud: cloud.faults.copy_held('node1'), Need.LOCAL_DISKS),
    (lambda cloud: cloud.faults.migration_held('any', 'disks'),
     Need.LOCAL_DISKS),
    (lambda cloud: cloud.faults.new_disk('node1'), Need.LOCAL_DISKS),
    (lambda cloud: cloud.faults.frozen('nova-compute', 'node1'),
     Need.SERVICES),
    (lambda cloud: cloud.faults.killed('nova-compute', 'node1'),
     Need.SERVICES),
    (lambda cloud: cloud.faults.killed('nova-conductor'), Need.SERVICES),
    (lambda cloud: cloud.faults.killed('rabbitmq'), Need.SERVICES),
])
def test_what_the_cloud_lacks_cannot_be_asked_for(cloud, ask, need):
    assert need not in cloud.has
    with pytest.raises(Lacking) as lacking:
        ask(cloud)
    assert lacking.value.need is need


def test_nothing_leaks_from_one_cloud_to_the_next(make):
    machine = os.uname()
    with make() as first:
        server = boot(first)
        directory = first._services.directory(server.id)
        assert directory.is_dir()
        with first.faults.migration_held(server.id) as migration:
            server.ask_live_migration(first.hosts()[1], LIVE_MIGRATE)
            migration.wait_until_running()
    assert not directory.exists()
    assert os.uname() == machine
    expect.wait_for(
        'end of all threads', threading.enumerate,
        lambda threads: threads == [threading.current_thread()])

    with make() as second:
        assert list(second.connect().compute.servers(all_projects=True)) == []
        assert places(second, server) == [None, None]
        assert second.files(second.hosts()[0], server.id) == set()


def test_cloud_stops_while_a_server_moves(make):
    with make() as cloud:
        _, destination = cloud.hosts()
        server = boot(cloud)
        server.ask_live_migration(destination, LIVE_MIGRATE)
    with make() as cloud:
        boot(cloud).delete()


def test_cloud_that_does_not_start_leaves_nothing(make, monkeypatch):
    from lab.embedded import services

    machine = os.uname()
    with monkeypatch.context() as patch:
        patch.setitem(services.Services.HOSTS, 'node4', 'no such cell')
        with pytest.raises(KeyError):
            with make():
                pass
    assert os.uname() == machine
    with make() as cloud:
        boot(cloud).delete()
