# SPDX-License-Identifier: Apache-2.0
"""Who is not let in, or let in no longer, is told so in one line, and loses nothing."""
import os
import re
import subprocess
import time

import places
from harness import BKFS, MOUNT_BKFS, main, run
from line import LineTest


class RefusedTest(LineTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')
        self.fill(self.source, 20, (1000, 100000))
        self.bkfs('backup', '-q', '-n', 'x', self.source)
        self.inventory = self.place.saved()

    def said(self, url, *patterns, code=1, before=(), **environment):
        """What both programs say about a place they cannot have. That nothing has changed is seen at the end."""
        environment = {**self.environment, **environment}
        for command in ((BKFS, 'snapshots', '-R', url, '-K', self.master),
                        (MOUNT_BKFS, url, self.mnt, '-o', f'key={self.master},cache_dir={self.cache}')):
            with self.subTest(os.path.basename(command[0])):
                done = run(*before, *command, check=False, stdin=subprocess.DEVNULL,
                           env={name: value for name, value in environment.items() if value is not None})
                self.assertEqual(done.returncode, code, done.stderr)
                lines = done.stderr.splitlines()
                self.assertEqual(len(lines), 1, done.stderr)
                self.assertTrue(lines[0].startswith(os.path.basename(command[0]) + ': '), lines)
                for pattern in patterns:
                    self.assertRegex(lines[0], pattern)

    def check_nothing_is_lost(self):
        self.assertEqual(self.place.saved(), self.inventory)
        self.bkfs('check', '--read-data')

    def backup_into_full(self):
        """A store that is full takes nothing more; what it has is whole, and what there is room for goes in again."""
        self.use(places.new_small_place(16))
        self.master = self.path('small.key')
        self.bkfs('init', '-K', self.master)
        self.bkfs('backup', '-q', '-n', 'x', self.source)
        large = self.path('large')
        os.mkdir(large)
        with open(large + '/file', 'wb') as file:
            file.write(os.urandom(40 << 20))
        done = self.bkfs('backup', '-q', '-n', 'large', large, code=1)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        self.assertRegex(done.stderr, '(?i)no space|quota')
        self.assertEqual([shot['name'] for shot in self.snapshots()], ['x'])
        self.bkfs('check', '--read-data')
        self.bkfs('restore', '-q', 'x', self.path('out'))
        self.assert_same_tree(self.source, self.path('out'))


@places.only_on('ceph')
class S3RefusedTest(RefusedTest):

    def test_who_asks(self):
        known = self.environment['AWS_ACCESS_KEY_ID']
        self.said(self.repo, 'secret key', known, AWS_SECRET_ACCESS_KEY='0' * 32)
        self.said(self.repo, 'AKUNKNOWN', AWS_ACCESS_KEY_ID='AKUNKNOWN')
        self.said(self.repo, r'AWS_ACCESS_KEY_ID', code=2, AWS_ACCESS_KEY_ID=None)
        self.check_nothing_is_lost()

    def test_where(self):
        self.said(self.repo.replace('/bucket/', '/nobodys-bucket/'), 'nobodys-bucket', code=10)
        self.said(self.repo + '-elsewhere', 'no repository', code=10)
        self.said('http://store.invalid/bucket/repo', 'AllowHTTP', code=2)
        self.check_nothing_is_lost()

    def test_certificates(self):
        for options, pattern in (((), 'certificate'), (('--wrong-name',), 'certificate'), (('--expired',), 'certificate')):
            proxy = self.program('tls_proxy.py', '--upstream', self.place.port, *options)
            url = self.place.through(proxy.facts['port']).replace('http://', 'https://')
            if options:   # by an authority that is trusted
                config = self.path('tls.ini')
                with open(config, 'w', encoding='utf-8') as file:
                    file.write(f'[Repository]\nURL = {url}\n[S3]\nCAFile = {proxy.facts["ca_file"]}\n')
                done = run(BKFS, 'snapshots', '-C', config, '-K', self.master, check=False, env=self.environment)
                self.assertEqual((done.returncode, done.stderr.count('\n')), (1, 1), done.stderr)
                self.assertRegex(done.stderr, pattern)
            else:
                self.said(url, pattern, 'CAFile')
        self.check_nothing_is_lost()

    def test_clock(self):
        self.said(self.repo, 'clock', before=('faketime', '-f', '+1h'))
        self.check_nothing_is_lost()

    def test_full(self):
        self.backup_into_full()


@places.only_on('sftp')
class SftpRefusedTest(RefusedTest):

    def test_the_host(self):
        other = 'SHA256:' + 'A' * 43
        self.said(self.repo, 'SHA256', BKFS_SFTP_FINGERPRINT=other)
        # Nobody has said which key this host has.
        self.said(self.repo, 'known_hosts|ingerprint', BKFS_SFTP_FINGERPRINT=None, HOME=self.path('nowhere'))
        self.check_nothing_is_lost()

    def test_who_asks(self):
        self.said(self.repo.replace('root@', 'nobody-here@'), 'nobody-here')
        wrong = self.path('wrong-key')
        run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', wrong)
        self.said(self.repo, 'root', BKFS_SFTP_KEYFILE=wrong)
        self.check_nothing_is_lost()

    def test_where(self):
        self.said(self.repo + '-elsewhere', 'elsewhere', code=10)
        self.check_nothing_is_lost()

    def test_full(self):
        self.backup_into_full()


class RefusedLaterTest(LineTest):
    """Credentials that are good no more, and good again, while a mount is written to."""

    def refuse(self, refused):
        if places.KIND == 'ceph':
            self.assertEqual(places.ceph().ask('suspend' if refused else 'enable'), 'ok')
            return
        keys = os.path.join(os.path.dirname(places.sshd().facts['key_file']), 'authorized_keys')
        os.rename(*((keys, keys + '.kept') if refused else (keys + '.kept', keys)))
        self.line.ask('cut')
        self.line.ask('heal')

    def until_status(self, pattern):
        until = time.monotonic() + 60
        while not re.search(pattern, self.status()):
            self.assertLess(time.monotonic(), until, self.status())
            time.sleep(0.2)

    def test_while_it_is_written_to(self):
        self.mount(commit_idle=1)
        os.mkdir(self.incoming('x'))
        self.sync('x')
        source = self.path('source')
        self.fill(source, 60, (1000, 100000))
        self.refuse(True)
        try:
            copied = run('rsync', '-a', source + '/', self.incoming('x') + '/', check=False)
            self.assertEqual(copied.returncode, 0, copied.stderr)
            synced = run('sync', self.incoming('x'), check=False)
            self.assertNotEqual(synced.returncode, 0)
            self.assertEqual(synced.stderr.count('\n'), 1, synced.stderr)
            committed = self.bkfs('commit', self.incoming('x'), code=1)
            self.assertEqual(committed.stderr.count('\n'), 1, committed.stderr)
            self.until_status(r'store: .*(not allowed|refuse|denied|key)')
            self.assertRegex(self.status(), r'pending: [1-9]')
            self.assert_same_tree(source, self.incoming('x'))
            # Enough for packs that are complete, and refused: what is written goes on into the spool.
            for name in ('large', 'larger', 'last'):
                with open(source + '/' + name, 'wb') as file:
                    file.write(os.urandom(35 << 20))
                run('rsync', '-a', source + '/', self.incoming('x') + '/')
            time.sleep(12)   # for the log: a commit is tried every ten seconds
        finally:
            self.refuse(False)
        self.until_status('store: ok')
        self.sync('x')
        self.assert_same_tree(source, f'{self.mnt}/latest/x')
        self.assertLess(self.log().count('\n'), 25, self.log())
        self.umount()
        self.bkfs('check', '--read-data')


if __name__ == '__main__':
    main()
