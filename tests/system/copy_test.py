# SPDX-License-Identifier: Apache-2.0
"""Snapshots copied to a second repository, whole programs: only what is missing travels, and the copy is the original."""
import json
import os
import signal
import subprocess
import time

from harness import BKFS, RepositoryTest, main


class CopyTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')
        os.makedirs(self.source + '/sub/deep')
        self.put('a', b'hello\n')
        self.put('sub/large', os.urandom(3 << 20))
        self.put('sub/deep/b', os.urandom(70000))
        os.link(self.source + '/a', self.source + '/sub/link')
        os.symlink('a', self.source + '/soft')
        os.setxattr(self.source + '/a', 'user.word', b'value')
        with open(self.source + '/sparse', 'wb') as file:
            file.truncate(20 << 20)
            file.write(b'begin')
        # The second repository, with other pieces, and the key that writes there.
        self.second_place = self.new_place('second')
        first, self.second = self.repo, self.second_place.url
        self.second_master = self.path('second-master.key')
        self.repo = self.second
        self.bkfs('init', '-K', self.second_master, '--chunk-size', '32K')
        self.second_key = self.path('second.key')
        self.bkfs('derive', '-t', 'WriteOnly', '-O', self.second_key, '-K', self.second_master)
        self.second_reader = self.path('second-reader.key')
        self.bkfs('derive', '-t', 'ReadOnly', '-O', self.second_reader, '-K', self.second_master)
        self.repo = first

    def put(self, name, data):
        with open(self.source + '/' + name, 'wb') as file:
            file.write(data)

    def backup(self):
        return self.bkfs('backup', '--name', 'home', '--tag', 'word', self.source).stdout.strip()

    def copy(self, *arguments, code=0, key=None):
        done = self.bkfs('copy', *arguments, '--to', self.second, '--to-key-file', key or self.second_key, '--json', code=code)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def there(self, *command, code=0):
        """A command on the second repository, with its own reading key."""
        first, self.repo = self.repo, self.second
        try:
            return self.bkfs(*command, key=self.second_reader, code=code)
        finally:
            self.repo = first

    def assert_copy_is(self, copy, out):
        self.there('restore', copy, self.path(out))
        self.assert_same_tree(self.source, self.path(out))
        self.assertEqual(os.stat(self.path(out) + '/a').st_ino, os.stat(self.path(out) + '/sub/link').st_ino)
        self.assertEqual(os.getxattr(self.path(out) + '/a', 'user.word'), b'value')
        self.there('check', '--read-data')

    def test_copy_again_and_what_is_new(self):
        first = self.backup()
        done = self.copy(first)
        self.assertEqual([(s['source'], s['copied']) for s in done['snapshots']], [(first, True)])
        self.assert_copy_is(done['snapshots'][0]['copy'], 'one')
        again = self.copy('home')
        self.assertEqual((again['snapshots'][0]['copied'], again['read_bytes'], again['added']), (False, 0, 0))
        self.put('sub/deep/new', os.urandom(12345))
        self.backup()
        more = self.copy('--name', 'home')
        self.assertEqual([s['copied'] for s in more['snapshots']], [False, True])
        self.assertEqual((more['read_bytes'], more['new_bytes'] < 100000), (12345, True))
        self.assert_copy_is('home', 'two')
        listed = json.loads(self.there('snapshots', '--json').stdout)
        original = self.snapshots()
        for field in ('name', 'host', 'user', 'time', 'tags', 'paths', 'files', 'bytes'):
            self.assertEqual([s[field] for s in listed], [s[field] for s in original], field)
        self.assertEqual([s['copied'] for s in self.copy('--all')['snapshots']], [False, False])
        self.assertEqual(self.second_place.names('leases/') + self.place.names('leases/'), [])

    def test_killed_and_run_again(self):
        for i in range(40):
            self.put(f'sub/{i}', os.urandom(1 << 20))
        self.backup()
        command = [BKFS, 'copy', '--all', '-R', self.repo, '-K', self.master, '--to', self.second,
                   '--to-key-file', self.second_key, '-q']
        for delay in (0.05, 0.1, 0.2, 0.3):
            with subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL) as process:
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
            if json.loads(self.there('snapshots', '--json').stdout):
                break
        done = self.copy('--all')
        self.assertEqual(len(json.loads(self.there('snapshots', '--json').stdout)), 1)
        self.assert_copy_is(done['snapshots'][0]['copy'], 'out')

    def test_refusals(self):
        self.backup()
        for arguments, word in (((), '--all'), (('--all', 'home'), 'one of them'), (('--name', 'x', '--all'), 'one of them')):
            self.assertIn(word, self.copy(*arguments, code=2))
        self.assertIn('--to URL', self.bkfs('copy', 'home', code=2).stderr)
        self.assertIn('--to-key-file', self.bkfs('copy', 'home', '--to', self.second, code=2).stderr)
        self.assertIn("series 'x'", self.copy('--name', 'x', code=1))
        self.assertIn('cannot write', self.copy('home', key=self.second_reader, code=1))
        self.assertIn('--to', self.copy('home', key=self.master, code=12))
        self.assertIn('--to', self.bkfs('copy', 'home', '--to', self.new_place('absent').url, '--to-key-file',
                                        self.second_key, code=10).stderr)
        self.assertIn('same repository', self.bkfs('copy', 'home', '--to', self.repo, '--to-key-file',
                                                   self.master, code=2).stderr)


if __name__ == '__main__':
    main()
