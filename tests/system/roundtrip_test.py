# SPDX-License-Identifier: Apache-2.0
"""The worst-case tree through every way in and every way out, and part of a real system."""
import os
import time

import worst_case
from harness import RepositoryTest, main, run
from places import sized


class RoundtripTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')

    def build(self, entries=2000):
        """rsync reads every byte of a hole, many times over: the huge one is for the test that does not."""
        worst_case.build(self.source, entries=entries, sparse=sized(256, 64) << 20)

    def check_out(self, series):
        self.assert_same_tree(self.source, os.path.join(self.mnt, 'latest', series))
        out = self.path('out-' + series)
        self.bkfs('restore', series, out)
        self.assert_same_tree(self.source, out)

    def test_rsync_in(self):
        self.build(entries=sized(100_000, 5000))
        self.mount()
        os.mkdir(self.incoming('x'))
        run('rsync', '-aHAXS', self.source + '/', self.incoming('x') + '/')
        self.sync('x')
        self.check_out('x')
        self.assertLess(self.place.total(), 50 << 20)   # nothing costs nothing
        # Again: nothing to send, no new snapshot.
        before = len(self.snapshots())
        done = run('rsync', '-aHAXS', '--itemize-changes', self.source + '/', self.incoming('x') + '/')
        self.assertEqual(done.stdout, '')
        self.sync('x')
        self.assertEqual(len(self.snapshots()), before)
        self.umount()
        self.bkfs('check', '--read-data')

    def test_cp_in(self):
        self.build()
        self.mount()
        run('cp', '-a', self.source, self.incoming('x'))
        self.sync('x')
        self.check_out('x')

    def test_backup_in(self):
        self.build()
        self.bkfs('backup', '--name', 'x', self.source)
        self.mount(ro=True)
        self.check_out('x')
        self.bkfs('umount', self.mnt)
        self.bkfs('check', '--read-data')

    def test_a_20_gib_hole_is_quick_and_small_every_way(self):
        os.mkdir(self.source)
        with open(self.source + '/sparse', 'wb') as file:
            file.truncate(20 << 30)
            file.seek(10 << 30)
            file.write(b'in the middle')
        self.mount()
        start = time.monotonic()
        run('cp', '-a', self.source, self.incoming('cp'))
        self.sync('cp')
        self.bkfs('backup', '--name', 'direct', self.source)
        for series in ('cp', 'direct'):
            out = self.path('out-' + series)
            self.bkfs('restore', series, out)
            run('cp', '-a', os.path.join(self.mnt, 'snapshots', self.snapshot_of(series), 'sparse'), out + '/copied')
            for name in ('sparse', 'copied'):
                stat = os.stat(f'{out}/{name}')
                self.assertEqual(stat.st_size, 20 << 30)
                self.assertLess(stat.st_blocks * 512, 1 << 20)
                with open(f'{out}/{name}', 'rb') as file:
                    file.seek(10 << 30)
                    self.assertEqual(file.read(20), b'in the middle' + bytes(7))
        self.assertLess(time.monotonic() - start, 120)   # reading it all, six times, takes longer anywhere
        self.assertLess(self.place.total(), 1 << 20)

    def snapshot_of(self, series):
        return [s['id'] for s in self.snapshots() if s['name'] == series][-1]

    def test_etc_and_a_remount(self):
        self.mount()
        os.mkdir(self.incoming('etc'))
        run('rsync', '-aHAXS', '/etc/', self.incoming('etc') + '/')
        self.umount()                       # makes the snapshot
        self.mount()
        self.assert_same_tree('/etc', os.path.join(self.mnt, 'latest/etc'))
        self.assert_same_tree('/etc', self.incoming('etc'))


if __name__ == '__main__':
    main()
