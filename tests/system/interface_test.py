# SPDX-License-Identifier: Apache-2.0
"""The interface that others rely upon, and what bad input gets."""
import json
import os
import shutil

from harness import MOUNT_BKFS, RepositoryTest, main, run


class InterfaceTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')
        os.makedirs(self.source + '/sub')
        with open(self.source + '/a', 'w', encoding='utf-8') as file:
            file.write('hello\n')
        with open(self.source + '/sub/b', 'w', encoding='utf-8') as file:
            file.write('world\n' * 1000)

    def backup(self, name='home'):
        return self.bkfs('backup', '--name', name, self.source).stdout.split()[-1]

    def test_backup_list_restore_fetch(self):
        first = self.backup()
        summary = json.loads(self.bkfs('backup', '--name', 'home', '--json', self.source)
                             .stdout.splitlines()[-1])
        self.assertEqual(summary['read_files'], 0)
        shots = self.snapshots()
        self.assertEqual([s['id'] for s in shots], [first, summary['snapshot']])
        for field in ('id', 'name', 'time', 'host', 'user', 'key', 'files', 'bytes', 'added', 'signature'):
            self.assertIn(field, shots[0])
        self.assertEqual(shots[0]['files'], 2)
        self.assertEqual(self.bkfs('fetch', 'home', 'sub/b', '-').stdout, 'world\n' * 1000)
        self.bkfs('fetch', first[:8], '/a', self.path('fetched'))
        for what, where in (('home', self.source), ('home:sub', self.source + '/sub')):
            out = self.path('out')
            self.bkfs('restore', what, out)
            self.assert_same_tree(where, out)
            shutil.rmtree(out)
        listed = json.loads(self.bkfs('ls', 'home', '--json').stdout)
        self.assertEqual([e['path'] for e in listed], ['a', 'sub'])
        with open(self.source + '/a', 'a', encoding='utf-8') as file:
            file.write('more')
        os.mkdir(self.source + '/new')
        third = self.backup()
        self.assertEqual(self.bkfs('diff', first, third).stdout.splitlines()[:2], ['M a', '+ new/'])
        self.assertIn('/sub/b', self.bkfs('find', 'b').stdout)
        self.assertIn('no damage', self.bkfs('check', '--read-data').stdout)
        self.assertEqual(self.bkfs('check', '--json').returncode, 0)

    def test_restore_only_what_differs(self):
        self.backup()
        out = self.path('out')
        self.bkfs('restore', 'home', out)
        with open(out + '/extra', 'w', encoding='utf-8') as file:
            file.write('x')
        os.unlink(out + '/a')
        done = json.loads(self.bkfs('restore', 'home', out, '--delete', '--json').stdout)
        self.assertEqual((done['written'], done['kept'], done['removed']), (1, 1, 1))
        self.assert_same_tree(self.source, out)
        before = os.stat(out + '/a')
        with open(out + '/a', 'r+', encoding='utf-8') as file:
            file.write('HELLO')
        os.utime(out + '/a', ns=(before.st_mtime_ns, before.st_mtime_ns))
        self.bkfs('restore', 'home', out, '--dry-run', '--verify')
        with open(out + '/a', encoding='utf-8') as file:
            self.assertEqual(file.read(), 'HELLO\n')
        self.bkfs('restore', 'home', out, '--verify')
        self.assert_same_tree(self.source, out)

    def test_links_in_the_destination_are_not_followed(self):
        self.backup()
        outside = self.path('outside')
        os.mkdir(outside)
        out = self.path('out')
        os.mkdir(out)
        os.symlink(outside, out + '/sub')
        self.bkfs('restore', 'home', out, code=1)
        self.assertEqual(os.listdir(outside), [])

    def test_excludes(self):
        self.bkfs('backup', '--name', 'e', '--exclude', 'sub/', self.source)
        self.assertEqual([e['path'] for e in json.loads(self.bkfs('ls', 'e', '--json').stdout)], ['a'])

    def test_refusals(self):
        self.bkfs('init', code=2)                                        # key exists
        self.bkfs('init', '-K', self.path('other.key'), code=1)          # repository exists
        self.assertFalse(os.path.exists(self.path('other.key')))
        self.bkfs('nonsense', code=2)
        self.bkfs('snapshots', '--nonsense', code=2)
        self.bkfs('restore', 'nothing-there', self.path('x'), code=1)
        self.backup()
        self.bkfs('restore', 'home', self.source + '/a', code=2)          # target is a file
        self.bkfs('derive', '-t', 'Nonsense', '-O', self.path('k'), code=2)
        self.bkfs('derive', '-t', 'ReadOnly', '-O', self.master, code=2)  # never overwrites

    def test_no_repository(self):
        empty = self.path('empty')
        os.mkdir(empty)
        for place in (empty, self.path('absent')):
            self.repo = place
            self.bkfs('snapshots', code=10)
            self.mount(code=10)
        self.assertEqual(os.listdir(empty), [])

    def test_wrong_tampered_and_foreign_keys(self):
        good = self.repo
        self.repo = self.path('second')
        foreign = self.path('foreign.key')
        self.bkfs('init', '-K', foreign)
        self.repo = good
        self.bkfs('snapshots', key=foreign, code=12)
        self.mount(key=foreign, code=12)
        with open(self.master, encoding='utf-8') as file:
            text = file.read()
        for what, bad in (('cut', text[:len(text) // 2]), ('empty', ''),
                          ('retyped', self.retype(text))):
            with self.subTest(what):
                path = self.path(what + '.key')
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(bad)
                os.chmod(path, 0o600)
                done = self.bkfs('snapshots', key=path, code=12)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.bkfs('snapshots', key=self.path('absent.key'), code=2)
        readonly = self.derive('ReadOnly')
        with open(readonly, encoding='utf-8') as file:
            promoted = file.read().replace('Type: ReadOnly', 'Type: ReadWrite')
        with open(readonly, 'w', encoding='utf-8') as file:
            file.write(promoted)
        self.bkfs('snapshots', key=readonly, code=12)

    @staticmethod
    def retype(text):
        lines = text.splitlines()
        body = lines[-2]
        lines[-2] = ('B' if body[0] == 'A' else 'A') + body[1:]
        return '\n'.join(lines) + '\n'

    def test_newer_format_is_refused(self):
        path = self.repo + '/bkfs.repo'
        with open(path, 'rb') as file:
            header = bytearray(file.read())
        header[8] = 2
        os.chmod(path, 0o600)
        with open(path, 'wb') as file:
            file.write(header)
        done = self.bkfs('snapshots', code=1)
        self.assertIn('version', done.stderr)

    def test_configuration(self):
        config = self.path('c.ini')
        with open(config, 'w', encoding='utf-8') as file:
            file.write(f'[Repository]\nURL = {self.repo}\nKeyFile = {self.master}\n'
                       f'[Backup]\nName = conf\nPaths = {self.source}\nExclude = sub/\n')
        run(os.environ['BKFS'], 'backup', '-C', config, env=self.environment)
        self.assertEqual([s['name'] for s in self.snapshots()], ['conf'])
        for bad in ('[Repository]\nURLL = x\n', '[Nonsense]\n', '', '[Cache]\nSize = many\n'):
            with open(config, 'w', encoding='utf-8') as file:
                file.write(bad)
            done = run(os.environ['BKFS'], 'snapshots', '-C', config, check=False, env=self.environment)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn('c.ini', done.stderr)

    def test_revocation(self):
        key = self.derive('ReadWrite')
        self.bkfs('backup', '--name', 'r', self.source, key=key)
        ids = json.loads(self.bkfs('key', 'list', '--json').stdout)
        derived = [k for k in ids if k['type'] == 'ReadWrite'][0]['key']
        self.bkfs('key', 'revoke', derived, key=key, code=1)   # only the master may
        self.bkfs('key', 'revoke', derived)
        self.assertEqual(self.snapshots()[0]['signature'], 'revoked')
        self.bkfs('backup', '--name', 'r', self.source, key=key, code=1)
        self.bkfs('restore', 'r', self.path('out'))

    def test_mount_refusals(self):
        absent = self.mnt
        os.rmdir(absent)
        self.mount(code=2)
        os.mkdir(self.mnt)
        self.mount(nonsense=1, code=2)
        done = run(MOUNT_BKFS, self.repo, self.repo, '-o', f'key={self.master},cache_dir={self.cache}',
                   check=False)
        self.assertNotEqual(done.returncode, 0)
        self.mount()
        again = run(MOUNT_BKFS, self.repo, self.mnt, '-o', f'key={self.master},cache_dir={self.cache}',
                    check=False)
        self.assertNotEqual(again.returncode, 0)
        other = self.path('mnt2')
        os.mkdir(other)
        second = run(MOUNT_BKFS, self.repo, other, '-o', f'key={self.master},cache_dir={self.cache}',
                     check=False)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(str(self.daemon_pid()), second.stderr)
        run(MOUNT_BKFS, self.repo, other, '-o', f'ro,key={self.master},cache_dir={self.cache}')
        self.assertNotIn('incoming', os.listdir(other))
        self.bkfs('umount', other)
        self.umount()
        self.bkfs('umount', self.mnt, code=2)
        self.bkfs('commit', self.scratch, code=2)


if __name__ == '__main__':
    main()
