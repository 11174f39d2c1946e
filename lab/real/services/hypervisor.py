# SPDX-License-Identifier: Apache-2.0

"""libvirt with QEMU, and ssh, on each compute host."""

import shutil

from lab.real import machine
from lab.real import programs
from lab.real.services import common
from lab.real import topology


def configure(lab: common.Lab) -> None:
    where = lab.where
    where.here.mkdir()
    (where.conf / 'hosts').write_text(
        '127.0.0.1 localhost\n' + ''.join(
            f'{host.address} {host.name}\n' for host in topology.HOSTS))
    key = where.conf / 'ssh_key'
    lab.call('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'lab',
             '-f', str(key))
    # A file of known hosts is what operators forget: here is one.
    known = where.conf / 'ssh_known_hosts'
    public = ' '.join(
        (where.conf / 'ssh_key.pub').read_text().split()[:2])
    known.write_text(''.join(
        f'{compute.address},{compute.name} {public}\n'
        for compute in topology.COMPUTES))
    (where.conf / 'ssh_config').write_text(
        f'IdentityFile {key}\nIdentitiesOnly yes\nUser root\n'
        f'StrictHostKeyChecking yes\nGlobalKnownHostsFile {known}\n'
        'UserKnownHostsFile /dev/null\nBatchMode yes\n')
    authorized = where.conf / 'ssh_authorized_keys'
    shutil.copy(where.conf / 'ssh_key.pub', authorized)
    (where.conf / 'sshd_config').write_text(
        f'HostKey {key}\nAuthorizedKeysFile {authorized}\n'
        'PasswordAuthentication no\nPermitRootLogin prohibit-password\n'
        'StrictModes no\nUsePAM no\nPidFile none\n'
        'Subsystem sftp internal-sftp\n')
    for compute in topology.COMPUTES:
        _configure_host(lab, compute)


def _configure_host(lab: common.Lab, compute: topology.Compute) -> None:
    own = lab.where.host(compute.name)
    own.mkdir(parents=True)
    for name in ('instances', 'nova', 'locks', 'etc-libvirt'):
        (own / name).mkdir()
    (own / 'libvirtd.conf').write_text(
        'listen_tls = 0\nlisten_tcp = 1\nauth_tcp = "none"\n'
        f'listen_addr = "{compute.address}"\n'
        'auth_unix_ro = "none"\nauth_unix_rw = "none"\n'
        f'host_uuid = "{compute.uuid}"\n')
    # libvirt's own limits and labels need what a namespace does not have.
    (own / 'etc-libvirt' / 'qemu.conf').write_text(
        'user = "root"\ngroup = "root"\ndynamic_ownership = 0\n'
        'remember_owner = 0\nsecurity_driver = "none"\nnamespaces = []\n'
        'cgroup_controllers = []\nstdio_handler = "file"\n'
        f'migration_address = "{compute.address}"\n'
        f'migration_host = "{compute.address}"\n')


def libvirtd(lab: common.Lab, compute: topology.Compute) -> programs.Program:
    configuration = lab.where.host(compute.name) / 'libvirtd.conf'
    return programs.Program(
        name=f'libvirtd-{compute.name}', host=compute.name,
        command=('libvirtd', '--listen', '--config', str(configuration)),
        ready=programs.port_open(compute.address, 16509),
        # It waits half a minute for the end of what it still does.
        patience=60)


def programs_of(lab: common.Lab) -> list[programs.Program]:
    found = []
    for compute in topology.COMPUTES:
        found += [
            libvirtd(lab, compute),
            programs.Program(
                name=f'sshd-{compute.name}', host=compute.name,
                command=('/usr/sbin/sshd', '-D', '-e', '-f',
                         str(lab.where.conf / 'sshd_config')),
                ready=programs.port_open(compute.address, 22)),
        ]
    return found


def check_ssh(lab: common.Lab) -> None:
    """Make sure that each host can log in to each other one.

    Cold migration and resize need that, and fail late and dimly without.

    :raises lab.real.services.common.Failed: if one cannot
    """
    for source in topology.COMPUTES:
        for destination in topology.COMPUTES:
            if source != destination:
                lab.call(*machine.enter(source.name), 'ssh',
                         destination.address, 'true')
