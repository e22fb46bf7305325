# SPDX-License-Identifier: Apache-2.0
"""A repository with a mirror, whole programs: a mirror that goes away and comes back, a process that is killed meanwhile, the
mirror alone, and a check that compares the two and mends either from the other."""
import json
import os
import shutil
import sys
import time

from harness import MOUNT_BKFS, RepositoryTest, main, run

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'stores'))
import sshd  # noqa: E402


def objects(root):
    """Names and bytes of all objects that are mirrored."""
    found = {}
    for base, _, files in os.walk(root):
        for name in files:
            path = os.path.join(base, name)
            short = os.path.relpath(path, root)
            if not short.startswith(('leases/', '_tmp/')):
                with open(path, 'rb') as file:
                    found[short] = file.read()
    return found


class MirrorTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')
        os.mkdir(self.source)
        self.put('a', b'hello\n')
        self.put('large', os.urandom(3 << 20))
        self.mirror = self.path('mirror')
        self.mirror_url = self.mirror

    def put(self, name, data):
        with open(os.path.join(self.source, name), 'wb') as file:
            file.write(data)

    def use_mirror(self, more=''):
        self.config = self.path('bkfs.ini')
        with open(self.config, 'w', encoding='utf-8') as file:
            file.write(f'[Repository]\nURL = {self.repo}\nKeyFile = {self.master}\nMirror = {self.mirror_url}\n'
                       f'[Cache]\nDirectory = {self.cache}\n[Mount]\nCommitIdle = 0\n{more}')
        self.environment['BKFS_CONFIG_FILE'] = self.config
        self.environment['BKFS_CACHE_DIR'] = self.cache

    def backup(self):
        return self.bkfs('backup', '--name', 'home', self.source).stdout.strip()

    def check(self, *arguments, code=0):
        return json.loads(self.bkfs('check', '--json', *arguments, code=code).stdout)

    def assert_mirrored(self):
        self.assertEqual(sorted(objects(self.repo)), sorted(objects(self.mirror)))
        self.assertEqual(objects(self.repo), objects(self.mirror))

    def restored_equals_source(self, out, *arguments):
        self.bkfs('restore', 'home', self.path(out), *arguments)
        self.assert_same_tree(self.source, self.path(out))

    def on_mirror(self, *arguments, code=0):
        """A command with the mirror as its repository; the configuration stays."""
        primary, self.repo = self.repo, self.mirror_url
        try:
            return self.bkfs(*arguments, code=code)
        finally:
            self.repo = primary

    def pack_of(self, root):
        """The largest pack: it holds file contents."""
        packs = [os.path.join(base, name) for base, _, files in os.walk(os.path.join(root, 'packs')) for name in files]
        return max(packs, key=os.path.getsize)

    def damage(self, path):
        with open(path, 'r+b') as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))

    # --- a local mirror ---

    def test_init_makes_both(self):
        first, self.repo = self.repo, self.path('second')
        self.use_mirror()
        self.bkfs('init', '-K', self.path('second.key'))
        self.assert_mirrored()
        self.assertIn('bkfs.repo', objects(self.mirror))
        # The mirror of another one is refused, and left as it is.
        self.repo = first
        self.use_mirror()
        before = objects(self.mirror)
        done = self.bkfs('snapshots', code=2)
        self.assertIn('holds another repository', done.stderr)
        self.assertEqual(objects(self.mirror), before)
        self.mirror_url = self.repo + '/.'
        self.use_mirror()
        self.assertIn('the mirror is the repository itself', self.bkfs('snapshots', code=2).stderr)

    def test_a_new_mirror_gets_everything(self):
        self.backup()
        self.use_mirror()
        done = self.bkfs('snapshots')
        self.assertIn('cannot be used', done.stderr)
        self.assertFalse(os.path.exists(self.mirror))  # it is not made where no disk may be mounted
        report = self.check(code=1)
        self.assertIn(self.mirror, report['mirror']['error'])
        os.mkdir(self.mirror)
        report = self.check()
        self.assertTrue(report['mirror']['agrees'], report)
        self.assert_mirrored()
        self.put('b', os.urandom(100000))
        self.backup()
        self.assert_mirrored()
        self.bkfs('forget', '--name', 'home', '--keep-last', '1')
        self.bkfs('prune')
        self.assert_mirrored()
        self.on_mirror('check', '--read-data')

    def test_check_compares_and_mends_either_side(self):
        os.mkdir(self.mirror)
        self.use_mirror()
        self.backup()
        self.check()
        self.assert_mirrored()
        lost = self.pack_of(self.mirror)
        os.unlink(lost)
        report = self.check(code=13)
        name = os.path.relpath(lost, self.mirror)
        self.assertEqual(report['mirror']['differences'], [{'object': name, 'problem': 'is not on the mirror'}])
        self.assertFalse(report['damaged'])
        self.assertIn(f'mirror: {name} is not on the mirror', self.bkfs('check', code=13).stdout)
        report = self.check('--repair')
        self.assertEqual(report['mirror']['repaired'], [f'{name} is copied to the mirror'])
        self.assert_mirrored()
        # Wrong bytes are found by reading them.
        self.damage(lost)
        self.check()
        report = self.check('--read-data', code=13)
        self.assertEqual(report['mirror']['differences'][0]['problem'], 'is damaged on the mirror')
        self.check('--read-data', '--repair')
        self.assert_mirrored()
        # What the repository has lost, or has damaged, it gets back.
        self.damage(self.pack_of(self.repo))
        self.check('--read-data', code=13)
        report = self.check('--read-data', '--repair')
        self.assertFalse(report['damaged'])
        self.assertEqual(report['mirror']['repaired'], [f'{name} is copied to the primary from the mirror'])
        os.unlink(self.pack_of(self.repo))
        self.check(code=13)
        report = self.check('--repair')
        self.assertFalse(report['damaged'])
        self.assert_mirrored()
        self.restored_equals_source('out')

    def test_the_mirror_serves_what_the_primary_has_cut(self):
        os.mkdir(self.mirror)
        self.use_mirror()
        self.backup()
        self.check()
        os.truncate(self.pack_of(self.repo), 1000)
        self.restored_equals_source('out')

    def test_the_primary_away(self):
        os.mkdir(self.mirror)
        self.use_mirror()
        self.backup()
        self.check()
        os.rename(self.repo, self.repo + '.away')
        done = self.bkfs('snapshots', code=10)
        self.assertIn(f"its mirror is a whole repository: -R '{self.mirror_url}'", done.stderr)
        self.put('new', os.urandom(300000))
        self.on_mirror('backup', '--name', 'home', self.source)
        os.rename(self.repo + '.away', self.repo)
        self.assertEqual(len(self.snapshots()), 1)
        report = self.check(code=13)
        self.assertEqual({one['problem'] for one in report['mirror']['differences']}, {'is on the mirror only'})
        report = self.check('--repair')
        self.assertFalse(report['damaged'])
        self.assertEqual(len(self.snapshots()), 2)
        self.restored_equals_source('out')
        self.check()
        self.assert_mirrored()

    # --- a mirror on another machine ---

    def notes(self):
        """What the processes of this machine say that the mirror may lack."""
        return [os.path.join(base, name) for base, _, files in os.walk(self.cache) for name in files
                if os.path.basename(base).startswith('mirror-')]

    def mount_pair(self):
        done = run(MOUNT_BKFS, self.config, self.mnt)
        self.assertEqual(done.returncode, 0, done.stderr)

    def write(self, name):
        data = os.urandom(200000)
        self.put(name, data)
        if not os.path.exists(self.incoming('home')):
            os.mkdir(self.incoming('home'))
        run('rsync', '-aHAX', self.source + '/', self.incoming('home') + '/')
        self.sync('home')

    def wait_for(self, what, condition, seconds=60):
        until = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), until, what)
            time.sleep(0.1)

    def test_a_mirror_behind_an_sshd_that_goes_and_comes_back(self):
        server = sshd.Sshd().__enter__()
        self.addCleanup(server.__exit__)
        facts = server.facts
        self.mirror = os.path.join(facts['root'], 'mirror')
        os.mkdir(self.mirror)
        self.mirror_url = f'sftp://{facts["user"]}@127.0.0.1:{facts["port"]}{self.mirror}'
        self.use_mirror(f'[MirrorSFTP]\nKeyFile = {facts["key_file"]}\nKnownHosts = {facts["known_hosts"]}\n')
        self.backup()
        self.check()
        self.assert_mirrored()
        self.mount_pair()
        self.write('before')
        self.assert_mirrored()
        server.kill()
        self.write('while away')
        self.assertNotEqual(objects(self.repo), objects(self.mirror))
        self.assertTrue(self.notes())
        self.kill_daemon()
        self.assertTrue(self.notes())  # a kill does not forget it
        self.mount_pair()
        self.write('still away')
        server.start_sshd()
        self.wait_for('the mirror is caught up', lambda: sorted(objects(self.repo)) == sorted(objects(self.mirror)))
        self.write('back')
        self.umount()
        self.assert_mirrored()
        self.assertEqual(self.notes(), [])
        report = self.check('--read-data')
        self.assertTrue(report['mirror']['agrees'], report)
        self.assertGreater(report['mirror']['read_objects'], 0)
        os.rename(self.repo, self.repo + '.gone')
        primary, self.repo = self.repo, self.mirror_url
        self.restored_equals_source('out')
        self.repo = primary


if __name__ == '__main__':
    main()
