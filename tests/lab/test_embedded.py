# SPDX-License-Identifier: Apache-2.0

"""The embedded cloud does what its interface says."""

import os
import threading

import pytest

from lab import cloud as cloud_api
from lab import expect
from lab import server as servers

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


@pytest.fixture
def server(cloud, hosts):
    return servers.boot(cloud, hosts[0])


def places(cloud, server):
    return [cloud.guest(host, server.id) for host in cloud.hosts()]


def test_migration_moves_the_guest(cloud, hosts, server):
    assert places(cloud, server) == [GUEST, None]
    server.live_migrate(hosts[1], LIVE_MIGRATE)
    server.wait_for_migration('completed')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [None, GUEST]
    assert list(server.allocations()) == [hosts[1]]


def test_failing_migration_leaves_the_guest(cloud, hosts, server):
    with cloud.migration_fails(server.id):
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        server.wait_for_migration('failed')
        server.wait_for_status('ACTIVE')
        assert places(cloud, server) == [GUEST, None]
    server.live_migrate(hosts[1], LIVE_MIGRATE)
    server.wait_for_migration('completed')
    assert places(cloud, server) == [None, GUEST]


def test_held_migration_can_be_aborted(cloud, hosts, server):
    with cloud.migration_held(server.id) as migration:
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        server.wait_for_migration('running')
        assert places(cloud, server) == [GUEST, None]
        server.abort_migration()
        server.wait_for_migration('cancelled')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [GUEST, None]


def test_held_migration_can_be_forced_to_complete(cloud, hosts, server):
    with cloud.migration_held(server.id) as migration:
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        server.wait_for_migration('running')
        server.force_complete_migration()
        server.wait_for_migration('completed')
    assert places(cloud, server) == [None, GUEST]


def test_held_migration_goes_on_when_released(cloud, hosts, server):
    with cloud.migration_held(server.id) as migration:
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        assert places(cloud, server) == [GUEST, None]
    server.wait_for_migration('completed')
    assert places(cloud, server) == [None, GUEST]


def test_migration_that_does_not_begin_is_told(cloud, monkeypatch):
    monkeypatch.setattr(expect, 'TIMEOUT', 0.0)
    with cloud.migration_held('no-such-server') as migration:
        with pytest.raises(expect.Unexpected, match='not begun'):
            migration.wait_until_running()


def test_hosts_are_of_one_cell_and_there_is_another(cloud, hosts, server):
    services = cloud.connect().compute.services(binary='nova-compute')
    (other,) = {service.host for service in services} - set(hosts)
    assert cloud.other_cell_hosts() == [other]
    with expect.refused(400):
        server.live_migrate(other, LIVE_MIGRATE)
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
    with cloud.incapable(hosts[0]):
        assert TRAIT not in traits(cloud, hosts[0])
        assert TRAIT in traits(cloud, hosts[1])
    assert TRAIT in traits(cloud, hosts[0])


def test_files_of_a_server(cloud, hosts, server):
    assert cloud.files(hosts[0], server.id) == {'disk'}
    cloud.put_file(hosts[0], server.id, 'unrescue.xml', 'text')
    assert cloud.files(hosts[0], server.id) == {'disk', 'unrescue.xml'}
    server.delete()
    assert cloud.files(hosts[0], server.id) == set()


def test_members_are_no_admins(cloud, hosts):
    member = cloud.connect('member').compute
    assert member.get('/os-hypervisors').status_code == 403
    admin = cloud.connect('admin').compute
    assert admin.get('/os-hypervisors').status_code == 200


def test_console_cannot_be_told(cloud, server):
    with pytest.raises(cloud_api.CannotTell, match='not real'):
        cloud.console(server.id)
    with pytest.raises(cloud_api.CannotTell, match='not real'):
        cloud.type(server.id, 'tell now', 'told')


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


@pytest.mark.parametrize('ask', [
    lambda cloud: cloud.require_disk_copies(),
    lambda cloud: cloud.require_volumes(),
    lambda cloud: cloud.require_uefi(),
    lambda cloud: cloud.cell_of('any'),
    lambda cloud: cloud.records('any'),
    lambda cloud: cloud.digests(cloud.hosts()[0], 'any'),
    lambda cloud: cloud.cached_images(cloud.hosts()[0]),
    lambda cloud: cloud.kernel_image(),
])
def test_disks_cannot_be_told(cloud, ask):
    with pytest.raises(cloud_api.CannotTell):
        ask(cloud)


def state(cloud, host):
    (service,) = cloud.connect().compute.services(
        binary='nova-compute', host=host)
    return service.state


def test_hosts_are_configured_for_a_while(cloud, hosts):
    from nova import conf

    before = conf.CONF.libvirt.images_type
    assert before != 'raw'
    with cloud.hosts_configured('libvirt', 'images_type', 'raw'):
        assert conf.CONF.libvirt.images_type == 'raw'
    assert conf.CONF.libvirt.images_type == before


def test_server_with_more_disks_and_a_config_drive(cloud, hosts):
    server = servers.boot(
        cloud, hosts[0], cloud.copy_image(cloud.image), cloud.disks_flavor,
        config_drive=True)
    assert {'disk', 'disk.eph0', 'disk.swap', 'disk.config'} <= cloud.files(
        hosts[0], server.id)
    # The config drive is a CD-ROM.
    assert cloud.guest(hosts[0], server.id).disks == (
        'disk', 'disk.eph0', 'disk.swap')


def test_host_fails_and_comes_back(cloud, hosts, server):
    with cloud.host_down(hosts[0]):
        assert state(cloud, hosts[0]) == 'down'
        assert places(cloud, server) == [
            cloud_api.Guest(False, ('disk',)), None]
    assert state(cloud, hosts[0]) == 'up'
    servers.boot(cloud, hosts[0]).delete()


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
    with cloud.killed('libvirtd', hosts[1]):
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        server.wait_for_migration('failed')
    server.wait_for_status('ACTIVE')
    with cloud.migration_held(server.id) as migration:
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        with cloud.killed('libvirtd', hosts[1]):
            server.wait_for_migration('failed')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [GUEST, None]
    server.live_migrate(hosts[1], LIVE_MIGRATE)
    server.wait_for_migration('completed')


def test_move_is_lost_with_the_hypervisor_of_its_source(cloud, hosts, server):
    with cloud.migration_held(server.id) as migration:
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        with cloud.killed('libvirtd', hosts[0]):
            pass
        server.wait_for_migration('failed')
    server.wait_for_status('ACTIVE')
    assert places(cloud, server) == [GUEST, None]


def test_guest_that_is_killed_does_not_move(cloud, hosts, server):
    with cloud.migration_held(server.id) as migration:
        server.live_migrate(hosts[1], LIVE_MIGRATE)
        migration.wait_until_running()
        cloud.kill_guest(hosts[0], server.id)
        server.wait_for_migration('failed')
    assert places(cloud, server) == [
        cloud_api.Guest(False, ('disk',)), None]


def test_no_server_boots_without_the_image_service(cloud, hosts):
    with cloud.killed('glance'):
        with expect.refused(500):
            servers.boot(cloud, hosts[0])
    servers.boot(cloud, hosts[0]).delete()


@pytest.mark.parametrize('ask', [
    lambda cloud: cloud.cached_images('node1'),
    lambda cloud: cloud.copy_held('node1'),
    lambda cloud: cloud.disks_held('any'),
    lambda cloud: cloud.new_disk('node1'),
    lambda cloud: cloud.frozen('nova-compute', 'node1'),
    lambda cloud: cloud.killed('nova-compute', 'node1'),
    lambda cloud: cloud.killed('nova-conductor'),
    lambda cloud: cloud.killed('rabbitmq'),
])
def test_faults_of_real_services_cannot_be_told(cloud, ask):
    with pytest.raises(cloud_api.CannotTell):
        ask(cloud)


def test_nothing_leaks_from_one_cloud_to_the_next(make):
    machine = os.uname()
    with make() as first:
        server = servers.boot(first, first.hosts()[0])
        directory = first._services.directory(server.id)
        assert directory.is_dir()
        with first.migration_held(server.id) as migration:
            server.live_migrate(first.hosts()[1], LIVE_MIGRATE)
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
        source, destination = cloud.hosts()
        server = servers.boot(cloud, source)
        server.live_migrate(destination, LIVE_MIGRATE)
    with make() as cloud:
        servers.boot(cloud, source).delete()


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
        servers.boot(cloud, cloud.hosts()[0]).delete()
