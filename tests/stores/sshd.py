#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenSSH's sshd on a loopback port, with host and client keys of its own. Needs root. As a program:

    sshd.py [--option "Keyword value"]... [--host-keys ed25519,ecdsa,rsa] [--sftp "internal-sftp -P hardlink"] [--room MIB]

Accounts are those of the system, plus one with a password that is seen by this sshd alone: it runs in a mount namespace
with a passwd and a shadow of its own. Commands on standard input: `stop` (kills all of it, as a power cut would), `start`
(again on the same port and folder), `connections` (how many sessions have been opened since the start)."""
import argparse
import os
import pwd
import secrets
import shutil
import signal
import sys

import launcher

ACCOUNT = 'bkfstest'


class Sshd(launcher.Server):
    """facts: host, port, user, key_file, encrypted_key_file, passphrase, known_hosts, fingerprint (and fingerprint_<type> of each
    host key), password_user, password, root (an empty folder that both users may write to, of `room` MiB if that is given), home (of `user`)."""

    name = 'sshd'

    def __init__(self, options=(), host_keys=('ed25519', 'ecdsa'), sftp='internal-sftp', port=None, room=0):
        super().__init__()
        self.options = list(options)
        self.host_keys = list(host_keys)
        self.sftp = sftp
        self.port = port
        self.room = room

    def begin(self):
        os.makedirs('/run/sshd', mode=0o755, exist_ok=True)
        self.port = self.port or launcher.free_port()
        user = pwd.getpwuid(os.getuid()).pw_name
        password = secrets.token_hex(8)
        passphrase = secrets.token_hex(8)
        prints = {}
        known = ''
        for kind in self.host_keys:
            self.make_key(f'host_{kind}', kind, '')
            prints[kind] = self.run('ssh-keygen', '-lf', self.path(f'host_{kind}.pub')).split()[1]
            with open(self.path(f'host_{kind}.pub'), encoding='ascii') as public:
                known += f'[127.0.0.1]:{self.port} {" ".join(public.read().split()[:2])}\n'
        self.make_key('client', 'ed25519', '')
        self.make_key('client_encrypted', 'ed25519', passphrase)
        self.write('known_hosts', known)
        self.write('authorized_keys', self.read('client.pub') + self.read('client_encrypted.pub'))
        os.mkdir(self.path('root'))
        if self.room:
            self.run('mount', '-t', 'tmpfs', '-o', f'size={self.room}M', 'tmpfs', self.path('root'))
        os.chmod(self.path('root'), 0o777)
        self.write_accounts(user, password)
        self.write_config()
        self.facts = {'host': '127.0.0.1', 'port': self.port, 'user': user, 'key_file': self.path('client'),
                      'encrypted_key_file': self.path('client_encrypted'), 'passphrase': passphrase,
                      'known_hosts': self.path('known_hosts'), 'fingerprint': prints[self.host_keys[0]],
                      'password_user': ACCOUNT, 'password': password, 'root': self.path('root'), 'home': self.path('home')}
        self.facts.update({f'fingerprint_{kind}': print_ for kind, print_ in prints.items()})
        self.start_sshd()

    def make_key(self, name, kind, passphrase):
        self.run('ssh-keygen', '-q', '-t', kind, '-N', passphrase, '-C', 'test', '-f', self.path(name))

    def read(self, name):
        with open(self.path(name), encoding='utf-8') as file:
            return file.read()

    def write_accounts(self, user, password):
        """The system's, with another home for `user` and one account more."""
        os.mkdir(self.path('home'))
        os.mkdir(self.path('home', 'other'))
        hashed = self.run('openssl', 'passwd', '-6', password).strip()
        with open('/etc/passwd', encoding='utf-8') as system:
            lines = [line.rstrip('\n').split(':') for line in system if line.strip()]
        for fields in lines:
            if fields[0] == user:
                fields[5] = self.path('home')
        lines.append([ACCOUNT, 'x', '64123', '65534', '', self.path('home', 'other'), '/bin/sh'])
        self.write('passwd', ''.join(':'.join(fields) + '\n' for fields in lines))
        shadow = ''.join(f'{fields[0]}:{hashed if fields[0] == ACCOUNT else "*"}:19000:0:99999:7:::\n' for fields in lines)
        self.write('shadow', shadow, 0o600)
        shutil.chown(self.path('home', 'other'), 64123, 65534)

    def write_config(self):
        lines = [f'Port {self.port}', 'ListenAddress 127.0.0.1', 'PidFile none', 'UsePAM no', 'StrictModes no',
                 'PermitRootLogin yes', 'PasswordAuthentication yes', 'KbdInteractiveAuthentication no', 'UseDNS no',
                 'MaxStartups 100:30:200', 'LogLevel VERBOSE', f'AuthorizedKeysFile {self.path("authorized_keys")}']
        lines += [f'HostKey {self.path("host_" + kind)}' for kind in self.host_keys]
        if self.sftp:
            lines.append(f'Subsystem sftp {self.sftp}')
        # The first value of a keyword counts.
        self.write('sshd_config', '\n'.join(self.options + lines) + '\n')

    def start_sshd(self):
        # A mount of the test's must not live on in here when it is unmounted there.
        script = ('umount -i -l -a -t fuse.bkfs; mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/shadow && '
                  'exec /usr/sbin/sshd -D -e -f "$3"')
        self.start('sshd', 'unshare', '-m', 'sh', '-c', script, 'sshd', self.path('passwd'), self.path('shadow'),
                   self.path('sshd_config'))
        self.wait_for_port(self.port)

    def kill(self):
        """All at once, sessions too, which are in process groups of their own."""
        for _, child in self.children:
            for pid in descendants(child.pid) + [child.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            child.wait()
        self.children = []

    def stop(self):
        self.kill()

    def __exit__(self, *_):
        self.stop()
        if self.room and os.path.ismount(self.path('root')):
            self.run('umount', self.path('root'))
        super().__exit__()

    def connections(self):
        return self.output('sshd').count('Starting session: subsystem')

    def command(self, line):
        if line == 'stop':
            self.kill()
        elif line == 'start':
            self.start_sshd()
        elif line == 'connections':
            return str(self.connections())
        else:
            return super().command(line)
        return 'ok'


def descendants(pid):
    children = {}
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            with open(f'/proc/{entry}/stat', encoding='utf-8', errors='replace') as file:
                parent = int(file.read().rpartition(')')[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry))
    found = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--option', action='append', default=[])
    parser.add_argument('--host-keys', default='ed25519,ecdsa')
    parser.add_argument('--sftp', default='internal-sftp')
    parser.add_argument('--room', type=int, default=0)
    arguments = parser.parse_args()
    launcher.serve(Sshd(arguments.option, arguments.host_keys.split(','), arguments.sftp, room=arguments.room))


if __name__ == '__main__':
    sys.exit(main())
