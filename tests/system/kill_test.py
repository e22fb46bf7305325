# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the daemon at random moments while rsync writes: what was closed is whole, the repository sound."""
import os
import random
import subprocess
import time

from harness import RepositoryTest, main, run
from places import sized

ROUNDS = int(os.environ.get('BKFS_KILL_ROUNDS', sized(12, 4)))


class KillTest(RepositoryTest):

    def test_kill_during_rsync(self):
        seed = random.randrange(1 << 30)
        print('seed', seed)
        rng = random.Random(seed)
        source = self.path('source')
        os.mkdir(source)
        for i in range(sized(600, 300)):
            with open(f'{source}/{i:04}', 'wb') as file:
                file.write(rng.randbytes(rng.choice((0, 10, 3000, 40000, 900000))))
        self.mount()
        os.mkdir(self.incoming('k'))
        for _ in range(ROUNDS):
            # Everything that rsync has renamed into place was closed before.
            rsync = subprocess.Popen(['rsync', '-a', source + '/', self.incoming('k') + '/'],
                                     stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.05, 0.8))
            closed = [n for n in os.listdir(self.incoming('k')) if not n.startswith('.')]
            self.kill_daemon()
            rsync.wait()
            self.mount()
            for name in closed:
                with open(f'{source}/{name}', 'rb') as a, open(self.incoming('k', name), 'rb') as b:
                    self.assertEqual(a.read(), b.read(), name)
            if rng.random() < 0.4:
                self.sync('k')
            if rng.random() < 0.3:
                for name in rng.sample(closed, len(closed) // 3):
                    os.unlink(self.incoming('k', name))
        run('rsync', '-a', '--delete', source + '/', self.incoming('k') + '/')
        self.sync('k')
        self.assert_same_tree(source, os.path.join(self.mnt, 'latest/k'))
        self.umount()
        self.bkfs('check', '--read-data')

    def test_kill_during_commit(self):
        source = self.path('source')
        os.mkdir(source)
        self.mount()
        os.mkdir(self.incoming('k'))
        for i in range(8):
            for j in range(40):
                with open(self.incoming('k', f'{i}-{j}'), 'wb') as file:
                    file.write(os.urandom(50000))
            commit = subprocess.Popen(['sync', self.incoming('k')], stderr=subprocess.DEVNULL)
            time.sleep(0.005 * i)
            self.kill_daemon()
            commit.wait()
            self.mount()
            self.assertEqual(len(os.listdir(self.incoming('k'))), 40 * (i + 1))
        self.umount()
        self.assertEqual(self.snapshots()[-1]['files'], 320)
        self.bkfs('check', '--read-data')


if __name__ == '__main__':
    main()
