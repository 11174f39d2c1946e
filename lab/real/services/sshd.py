# SPDX-License-Identifier: Apache-2.0

"""ssh from each compute host to each other one, with the lab's own key.

Nova copies disks over it when it resizes or cold-migrates a server.
"""

import shutil

from lab.real.lab import Lab
from lab.real import namespaces
from lab.real import services
from lab.real import supervisor
from lab.real import topology

DATABASES = ()

wanted = services.always


def configure(lab: Lab) -> None:
    conf = lab.where.conf
    key, public = conf / 'ssh_key', conf / 'ssh_key.pub'
    lab.call('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'lab',
             '-f', str(key))
    # Operators forget the file of known hosts: here is one.
    known = conf / 'ssh_known_hosts'
    identity = ' '.join(public.read_text().split()[:2])
    known.write_text(''.join(
        f'{compute.address},{compute.name} {identity}\n'
        for compute in topology.COMPUTES))
    (conf / 'ssh_config').write_text(
        f'IdentityFile {key}\nIdentitiesOnly yes\nUser root\n'
        f'StrictHostKeyChecking yes\nGlobalKnownHostsFile {known}\n'
        'UserKnownHostsFile /dev/null\nBatchMode yes\n')
    authorized = conf / 'ssh_authorized_keys'
    shutil.copy(public, authorized)
    (conf / 'sshd_config').write_text(
        f'HostKey {key}\nAuthorizedKeysFile {authorized}\n'
        'PasswordAuthentication no\nPermitRootLogin prohibit-password\n'
        'StrictModes no\nUsePAM no\nPidFile none\n'
        'Subsystem sftp internal-sftp\n')


make_tables = services.nothing
before_start = services.nothing


def programs(lab: Lab) -> list[supervisor.Program]:
    return [
        supervisor.Program(
            name=f'sshd-{compute.name}', host=compute.name,
            command=('/usr/sbin/sshd', '-D', '-e', '-f',
                     str(lab.where.conf / 'sshd_config')),
            ready=supervisor.port_open(compute.address, 22))
        for compute in topology.COMPUTES]


def after_start(lab: Lab) -> None:
    """Check that each host can log in to each other one.

    Cold migration and resize need that; without it they fail late and with
    an unclear message.

    :raises lab.real.lab.Failed: if one cannot
    """
    for source in topology.COMPUTES:
        for destination in topology.COMPUTES:
            if source != destination:
                lab.call(*namespaces.enter(source.name), 'ssh',
                         destination.address, 'true')
