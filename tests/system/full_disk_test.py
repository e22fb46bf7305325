# SPDX-License-Identifier: Apache-2.0
"""A full disk under the store or the cache: the writer is told, what was closed is kept and stored once there is room."""
import errno
import os

import places
from harness import RepositoryTest, main, run
from places import sized

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
FULL = r'No space|no space|quota|Quota'


class FullDiskTest(RepositoryTest):

    def small_disk(self, where, mebibytes):
        image = self.path(os.path.basename(where) + '.img')
        with open(image, 'wb') as file:
            file.truncate(mebibytes << 20)
        run('mkfs.ext4', '-q', '-m', '0', image)
        os.makedirs(where, exist_ok=True)
        run('mount', '-o', 'loop', image, where)
        self.addCleanup(run, 'umount', '-l', where, check=False)

    def small_place(self, mebibytes):
        if places.AFAR:
            return places.new_small_place(mebibytes)
        disk = self.path('disk')
        self.small_disk(disk, mebibytes)
        return places.Folder(disk + '/repo')

    def tearDown(self):
        # The daemon must be gone before its disks are.
        if os.path.ismount(self.mnt):
            try:
                self.umount()
            except AssertionError:
                pass
        super().tearDown()

    def fill_until_refused(self, series):
        """Writes files until one is refused; returns those whose close succeeded."""
        kept = {}
        for i in range(100):
            data = os.urandom(1 << 20)
            try:
                with open(self.incoming(series, f'{i:03}'), 'wb') as file:
                    file.write(data)
                kept[f'{i:03}'] = data
            except OSError as error:
                self.assertIn(error.errno, REFUSALS)
                return kept
            if i % 10 == 9:
                done = run('sync', self.incoming(series), check=False)
                if done.returncode != 0:
                    self.assertRegex(done.stderr, FULL)
        raise AssertionError('a full disk refused nothing')

    def check_kept(self, kept, series):
        for name, data in kept.items():
            with open(self.incoming(series, name), 'rb') as file:
                self.assertEqual(file.read(), data, name)

    def test_full_store(self):
        # Where more is accepted before the store is asked, there must be room for that later.
        self.use(self.small_place(sized(40, 48)))
        self.master = self.path('other.key')
        self.bkfs('init', '-K', self.master)
        ballast = self.place.beside('ballast')
        ballast.write('file', os.urandom(sized(15, 23) << 20))
        self.mount()
        os.mkdir(self.incoming('f'))
        kept = self.fill_until_refused('f')
        self.assertGreater(len(kept), 3)
        self.check_kept(kept, 'f')
        with open(self.incoming('.status'), encoding='utf-8') as file:
            self.assertRegex(file.read(), FULL)
        ballast.clear()
        for name in sorted(kept)[12:]:       # still more than the disk can take
            os.unlink(self.incoming('f', name))
            del kept[name]
        self.sync('f')
        self.check_kept(kept, 'f')
        self.umount()
        self.bkfs('check', '--read-data')

    def test_full_cache(self):
        disk = self.path('cachedisk')
        self.small_disk(disk, 60)
        self.cache = disk + '/cache'
        ballast = disk + '/ballast'
        self.mount()
        os.mkdir(self.incoming('f'))
        with open(self.incoming('f', 'before'), 'wb') as file:
            file.write(b'before')
        free = os.statvfs(disk)
        with open(ballast, 'wb') as file:
            file.write(os.urandom(free.f_bavail * free.f_frsize - (3 << 20)))
        kept = {'before': b'before'}
        refused = False
        for i in range(40):
            data = os.urandom(700000)
            try:
                with open(self.incoming('f', str(i)), 'wb') as file:
                    file.write(data)
                kept[str(i)] = data
            except OSError as error:
                self.assertIn(error.errno, REFUSALS)
                refused = True
                break
        self.assertTrue(refused)
        self.check_kept(kept, 'f')
        os.unlink(ballast)
        for _ in range(20):
            if run('sync', self.incoming('f'), check=False).returncode == 0:
                break
        self.sync('f')
        self.check_kept(kept, 'f')
        self.umount()
        self.bkfs('check', '--read-data')


if __name__ == '__main__':
    main()
