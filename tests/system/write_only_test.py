# SPDX-License-Identifier: Apache-2.0
"""A WriteOnly machine sends changes and reads nothing that is stored; nor does whoever steals it."""
import errno
import os
import shutil

from harness import RepositoryTest, main, run

NEEDLE = b'the quick brown secret ' * 4000


class WriteOnlyTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.key = self.derive('WriteOnly')
        self.source = self.path('source')
        os.makedirs(self.source + '/dir')
        for i in range(50):
            with open(f'{self.source}/dir/{i}', 'wb') as file:
                file.write(os.urandom(30000))
        with open(self.source + '/needle', 'wb') as file:
            file.write(NEEDLE)

    def test_second_rsync_sends_changes_only(self):
        self.mount(key=self.key)
        os.mkdir(self.incoming('w'))
        run('rsync', '-aHAXS', self.source + '/', self.incoming('w') + '/')
        self.sync('w')
        for remount in (False, True):
            if remount:
                self.umount()
                self.mount(key=self.key)
            with open(self.source + '/dir/7', 'ab') as file:
                file.write(b'changed')
            done = run('rsync', '-aHAXS', '--itemize-changes', self.source + '/', self.incoming('w') + '/')
            sent = [line for line in done.stdout.splitlines() if line.startswith('>')]
            self.assertEqual(len(sent), 1, done.stdout)
            self.sync('w')
            with self.assertRaises(OSError) as failed:
                with open(self.incoming('w', 'needle'), 'rb') as file:
                    file.read()
            self.assertEqual(failed.exception.errno, errno.EACCES)
        with self.assertRaises(OSError):
            os.listdir(self.mnt + '/snapshots')
        self.umount()
        self.bkfs('snapshots', key=self.key, code=1)
        self.bkfs('restore', 'w', self.path('out'), key=self.key, code=1)
        self.bkfs('restore', 'w', self.path('out'))
        self.assert_same_tree(self.source, self.path('out'))

    def test_backup_command_reads_unchanged_files_not_at_all(self):
        import json
        self.bkfs('backup', '--name', 'w', self.source, key=self.key)
        again = json.loads(self.bkfs('backup', '--name', 'w', '--json', self.source, key=self.key)
                           .stdout.splitlines()[-1])
        self.assertEqual((again['read_files'], again['new_bytes']), (0, 0))
        self.bkfs('restore', 'w', self.path('out'))
        self.assert_same_tree(self.source, self.path('out'))

    def test_a_thief_opens_nothing_stored(self):
        self.mount(key=self.key)
        os.mkdir(self.incoming('w'))
        run('rsync', '-aHAXS', self.source + '/', self.incoming('w') + '/')
        self.sync('w')
        loot = self.path('loot')
        try:
            shutil.copytree(self.cache, loot + '/cache')   # while the mount is up: a file may go while it is copied
        except shutil.Error as error:
            self.assertTrue(all('No such file' in why for _, _, why in error.args[0]), error)
        shutil.copy(self.key, loot)
        self.umount()
        stored = self.place.download(self.path('stored'))
        run('/usr/bin/python3', os.path.join(os.path.dirname(__file__), 'thief.py'), stored.folder, loot)
        for base, _, files in os.walk(loot):
            for name in files:
                with open(os.path.join(base, name), 'rb') as file:
                    data = file.read()
                self.assertNotIn(NEEDLE[:200], data, name)
                self.assertNotIn(b'needle', data, name)


if __name__ == '__main__':
    main()
