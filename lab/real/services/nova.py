# SPDX-License-Identifier: Apache-2.0

"""Nova: its APIs, the scheduler, the conductors and the compute services."""

from collections import abc
import contextlib
import dataclasses
import functools
import json
import os
import subprocess

from lab.real.lab import executable
from lab.real.lab import Failed
from lab.real.lab import Lab
from lab.real import oslo
from lab.real import services
from lab.real.services import ceph
from lab.real.services import mariadb
from lab.real import supervisor
from lab.real import topology
from lab.real import wsgi

DATABASES = (
    'nova_api', 'nova_cell0', *(f'nova_{cell}' for cell in topology.CELLS))

_TOP = 'nova'

_TIMEOUT = 600
"""Seconds that an audit may take."""

wanted = services.always


def _cell(cell: str) -> str:
    return f'nova-{cell}'


def _compute(name: str) -> str:
    return f'nova-{name}'


def _shared(lab: Lab) -> oslo.Options:
    return {
        'DEFAULT': {
            'state_path': lab.where.service('nova'),
            'service_down_time': 20, 'report_interval': 5,
            'rpc_response_timeout': 60, 'allow_resize_to_same_host': 'true',
            # Copies of files may take that long, and so does a recovery.
            'long_rpc_timeout': 100,
            # Else a guest may arrive before its migration is recovered.
            'periodic_fuzzy_delay': 0},
        # Retry soon.
        'compute': {'live_migration_recovery_interval': 15},
        'service_user': {
            **lab.login('nova'), 'send_service_user_token': 'true'},
        'glance': lab.client('glance'),
        'placement': lab.client('placement'),
        'neutron': {
            **lab.client('neutron'),
            'service_metadata_proxy': 'true',
            'metadata_proxy_shared_secret': lab.password('metadata')},
        'keystone': lab.client('nova'),
        'cinder': {
            **lab.client('nova'),
            'catalog_info': 'block-storage:cinder:internalURL'},
        'barbican': {'auth_endpoint': lab.internal('keystone', '/v3')},
        'cache': lab.cache(),
        'oslo_messaging_notifications': {'driver': 'noop'},
    }


def _of_all_services(lab: Lab) -> list[oslo.Options]:
    return [lab.api('nova'), _shared(lab)]


def configure(lab: Lab) -> None:
    wsgi.configure(lab, 'nova', 'nova.wsgi.osapi_compute')
    wsgi.configure(lab, 'metadata', 'nova.wsgi.metadata', workers=1)
    lab.where.service('nova').mkdir()
    base = _of_all_services(lab)
    directory = lab.directory(_TOP)
    policy = directory / 'policy.json'
    # JSON is YAML. By default, nobody may move a server to another cell.
    policy.write_text(json.dumps(
        {'compute:servers:resize:cross_cell': 'rule:context_is_admin'}))
    oslo.write(directory / 'nova.conf', *base, {
        'DEFAULT': {
            'transport_url': lab.messages('openstack'), 'host': 'controller',
            'enabled_apis': 'osapi_compute,metadata'},
        'oslo_policy': {'policy_file': policy},
        'api_database': {'connection': lab.database('nova_api')},
        'database': {'connection': lab.database('nova_cell0')},
        # Recover soon.
        'conductor': {
            'workers': 1, 'cross_cell_poll_interval': 15,
            'cross_cell_abandoned_after': 60},
        'scheduler': {'workers': 1},
        'filter_scheduler': {
            'track_instance_changes': 'false',
            'enabled_filters': ','.join((
                'ComputeFilter', 'ComputeCapabilitiesFilter',
                'ImagePropertiesFilter', 'ServerGroupAntiAffinityFilter',
                'ServerGroupAffinityFilter'))},
    })
    for cell in topology.CELLS:
        oslo.write(lab.directory(_cell(cell)) / 'nova.conf', *base, {
            'DEFAULT': {
                'transport_url': lab.messages(cell),
                'host': f'conductor-{cell}'},
            'api_database': {'connection': lab.database('nova_api')},
            'database': {'connection': lab.database(f'nova_{cell}')},
            'conductor': {'workers': 1}})
    for compute in topology.COMPUTES:
        _configure_compute(lab, compute, {})


def _configure_compute(
    lab: Lab, compute: topology.Compute, options: oslo.Options
) -> None:
    configuration = lab.directory(_compute(compute.name)) / 'nova.conf'
    helper = (f'{executable("privsep-helper")} --config-file '
              f'{configuration}')
    contexts = ('nova_sys_admin', 'vif_plug_ovs_privileged',
                'vif_plug_linux_bridge_privileged', 'privsep_osbrick')
    oslo.write(configuration, *_of_all_services(lab), {
        'DEFAULT': {
            'transport_url': lab.messages(compute.cell),
            'host': compute.name, 'my_ip': compute.address,
            'compute_driver': 'libvirt.LibvirtDriver',
            'state_path': lab.where.here / 'nova',
            'instances_path': lab.where.instances,
            'vif_plugging_timeout': 60,
            'resume_guests_state_on_host_boot': 'false'},
        'oslo_concurrency': {'lock_path': lab.where.here / 'locks'},
        'libvirt': {
            'virt_type': 'qemu', 'cpu_mode': 'none',
            'connection_uri': 'qemu:///system',
            'live_migration_uri': 'qemu+tcp://%s/system',
            'live_migration_inbound_addr': compute.address,
            'live_migration_completion_timeout': 120,
            'num_pcie_ports': 8,
            'use_virtio_for_bridges': 'true'},
        'vnc': {'enabled': 'false'},
        'key_manager': {
            'backend': 'nova.keymgr.conf_key_mgr.ConfKeyManager',
            'fixed_key': '0' * 64},
    }, {context: {'helper_command': helper} for context in contexts},
        ceph.nova_options(lab, compute), options)


def _manage(lab: Lab, *arguments: str) -> str:
    return lab.call(
        executable('nova-manage'), '--config-file',
        str(lab.where.conf / _TOP / 'nova.conf'), *arguments)


def make_tables(lab: Lab) -> None:
    _manage(lab, 'api_db', 'sync')
    _manage(lab, 'db', 'sync', '--local_cell')
    for cell in topology.CELLS:
        lab.call(
            executable('nova-manage'), '--config-file',
            str(lab.where.conf / _cell(cell) / 'nova.conf'), 'db', 'sync',
            '--local_cell')


def before_start(lab: Lab) -> None:
    """Map the cells."""
    # Nova fills in the braces from its configuration: passwords do not belong
    # on a command line.
    _manage(lab, 'cell_v2', 'map_cell0', '--database_connection',
            '{scheme}://{username}:{password}@{hostname}/nova_cell0?{query}')
    for cell in topology.CELLS:
        lab.call(
            executable('nova-manage'), '--config-file',
            str(lab.where.conf / _cell(cell) / 'nova.conf'), 'cell_v2',
            'create_cell', '--name', cell)


def _service(
    lab: Lab, name: str, binary: str, configuration: str,
    reports_as: str, host: str = topology.CONTROLLER.name,
    **environment: str,
) -> supervisor.Program:
    return supervisor.Program(
        name=name, host=host,
        command=(executable(binary), '--config-file',
                 str(lab.where.conf / configuration / 'nova.conf')),
        environment={**lab.environment(), **environment},
        ready=functools.partial(_is_up, lab, binary, reports_as))


def _is_up(lab: Lab, binary: str, host: str) -> bool:
    found = lab.admin.compute.services(binary=binary, host=host)
    return any(service.state == 'up' for service in found)


def programs(lab: Lab) -> list[supervisor.Program]:
    return [
        *_apis(lab),
        _service(lab, 'nova-scheduler', 'nova-scheduler', _TOP, 'controller'),
        *conductors(lab),
        *(compute(lab, host) for host in topology.COMPUTES)]


def after_start(lab: Lab) -> None:
    """Map the hosts to their cells."""
    _manage(lab, 'cell_v2', 'discover_hosts')


def _apis(lab: Lab) -> list[supervisor.Program]:
    directory = str(lab.where.conf / _TOP)
    paste = executable('../etc/nova/api-paste.ini')
    files = {'OS_NOVA_CONFIG_DIR': directory,
             'OS_NOVA_CONFIG_FILES': f'{paste};nova.conf'}
    return [wsgi.serve(lab, 'nova', **files),
            wsgi.serve(lab, 'metadata', **files)]


def conductors(lab: Lab) -> list[supervisor.Program]:
    """The super-conductor and the conductors of the cells."""
    return [_super_conductor(lab),
            *(_cell_conductor(lab, cell) for cell in topology.CELLS)]


def _super_conductor(lab: Lab) -> supervisor.Program:
    return _service(
        lab, 'nova-super-conductor', 'nova-conductor', _TOP, 'controller')


def _cell_conductor(lab: Lab, cell: str) -> supervisor.Program:
    return _service(
        lab, f'nova-conductor-{cell}', 'nova-conductor', _cell(cell),
        f'conductor-{cell}')


def _python_path(lab: Lab, tree: str) -> str:
    """Where the compute service finds its modules.

    :param tree: the tree that it runs from; the released Nova if empty
    """
    return os.pathsep.join(filter(None, (tree, ceph.python_path(lab))))


def compute(lab: Lab, host: topology.Host) -> supervisor.Program:
    """The compute service of a host."""
    return _service(
        lab, f'nova-compute-{host.name}', 'nova-compute', _compute(host.name),
        host.name, host.name,
        PYTHONPATH=_python_path(lab, lab.settings.nova or ''))


def released_compute(
    lab: Lab, host: topology.Host
) -> supervisor.Program:
    """The released compute service of a host, to run in place of its own."""
    return _service(
        lab, f'nova-compute-{host.name}-released', 'nova-compute',
        _compute(host.name), host.name, host.name,
        PYTHONPATH=_python_path(lab, ''))


def spare_programs(lab: Lab) -> list[supervisor.Program]:
    """The released compute services of all hosts."""
    return [released_compute(lab, host) for host in topology.COMPUTES]


def configure_anew(
    lab: Lab, host: topology.Compute, options: oslo.Options
) -> None:
    """Restart the compute service of a host with other options.

    :param options: those that it has beside, or in place of, its usual ones
    """
    _configure_compute(lab, host, options)
    lab.supervisor.stop(compute(lab, host).name)
    start_compute(lab, host)


def start_compute(lab: Lab, host: topology.Compute) -> None:
    """Start the compute service of a host, which was stopped just now."""
    start_anew(lab, [host.cell], compute(lab, host))


def _report(lab: Lab, *command: str, good: abc.Collection[int]) -> str:
    """Run a command of nova-manage whose exit code says what it has found.

    :param good: the exit codes that are no failure
    :returns: what it prints
    :raises lab.real.lab.Failed: if it fails
    """
    done = subprocess.run(
        [executable('nova-manage'), '--config-file',
         str(lab.where.conf / _TOP / 'nova.conf'), *command],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        cwd=lab.where.lab, env={**os.environ, **lab.environment()},
        timeout=_TIMEOUT)
    if done.returncode not in good:
        raise Failed(
            f'nova-manage {" ".join(command)} failed:\n'
            f'{done.stdout}{done.stderr[-2000:]}')
    return done.stdout


def audit_placement(lab: Lab, delete: bool) -> str:
    """Look for orphaned allocations.

    :param delete: whether to delete them
    :returns: what the audit prints
    :raises lab.real.lab.Failed: if it fails
    """
    # 1: a cell does not answer; 3: there are orphaned allocations; 4: they
    # have been deleted.
    return _report(
        lab, 'placement', 'audit', '--verbose',
        *(['--delete'] if delete else []), good=(0, 1, 3, 4))


def recover_moves(lab: Lab, dry_run: bool) -> str:
    """Bring all moves across cells to an end.

    :param dry_run: whether to tell only what would be done
    :returns: what the command prints
    :raises lab.real.lab.Failed: if it fails, or something is left to do
    """
    # 1: something is left to do.
    return _report(
        lab, 'cell_v2', 'recover_cross_cell_moves', '--older-than', '0',
        *(['--dry-run'] if dry_run else []), good=(0, 1) if dry_run else (0,))


@contextlib.contextmanager
def cell_database_down(lab: Lab, cell: str) -> abc.Iterator[None]:
    """Make the API's records lead to no database of a cell.

    Services that run have read them already.
    """
    address = topology.CONTROLLER.address
    # Nobody listens on port 1.
    right, wrong = f'@{address}/', f'@{address}:1/'

    def change(old: str, new: str) -> None:
        mariadb.query(
            lab, 'nova_api', 'UPDATE cell_mappings SET database_connection = '
            f"REPLACE(database_connection, '{old}', '{new}') "
            f"WHERE name = '{cell}'")

    change(right, wrong)
    try:
        yield
    finally:
        change(wrong, right)


def _last_reports(lab: Lab, cell: str) -> dict[str, str]:
    """When the compute services of a cell last reported that they are up.

    By host. The API mixes that with other changes of the services.
    """
    reports = mariadb.query(
        lab, f'nova_{cell}', 'SELECT host, last_seen_up FROM services '
        "WHERE `binary` = 'nova-compute'")
    return dict(line.split('\t') for line in reports.splitlines())


def downgrade(lab: Lab, host: topology.Compute) -> None:
    """Run the released compute service on a host."""
    lab.supervisor.stop(compute(lab, host).name)
    start_anew(lab, [host.cell], released_compute(lab, host))


def upgrade(lab: Lab, host: topology.Compute) -> None:
    """Run the lab's own compute service on a host again."""
    lab.supervisor.stop(released_compute(lab, host).name)
    start_anew(lab, [host.cell], compute(lab, host))


def start_anew(
    lab: Lab, cells: abc.Sequence[str], *stopped: supervisor.Program
) -> None:
    """Start programs that were stopped just now, or others in their place.

    Waits until all compute services have reported that they are up: a report
    may have been lost with what was stopped.

    :param cells: names of the cells whose compute services are waited for
    """
    # For a while the API still shows as up what was stopped.
    before = {cell: _last_reports(lab, cell).items() for cell in cells}

    def ready(program: supervisor.Program) -> bool:
        return program.ready() and not any(
            before[cell] & _last_reports(lab, cell).items()
            for cell in cells)

    lab.supervisor.start(*(
        dataclasses.replace(program, ready=functools.partial(ready, program))
        for program in stopped))
