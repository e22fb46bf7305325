# SPDX-License-Identifier: Apache-2.0
"""Power cuts: the filesystem under store and cache is shut down hard. What was fsynced is whole, a committed snapshot is there."""
import os
import random
import shutil
import time

from harness import RepositoryTest, is_mounted, main, run, wait_gone

ROUNDS = int(os.environ.get('BKFS_POWER_CUTS', '4'))


class PowerCutTest(RepositoryTest):

    def cut_power(self, kind):
        disk = self.path('disk')
        image = self.path('disk.img')
        os.makedirs(disk)
        with open(image, 'wb') as file:
            file.truncate(600 << 20)
        run('mkfs.' + kind, '-q', image)
        run('mount', '-o', 'loop', image, disk)
        self.addCleanup(run, 'umount', '-l', disk, check=False)
        shutil.move(self.repo, disk + '/repo')
        self.repo = disk + '/repo'
        self.cache = disk + '/cache'
        run('sync', '-f', disk)
        seed = random.randrange(1 << 30)
        print('seed', seed)
        rng = random.Random(seed)
        synced = {}
        snapshots = []
        for cut in range(ROUNDS):
            self.mount()
            if not os.path.exists(self.incoming('p')):
                os.mkdir(self.incoming('p'))
            for name, data in synced.items():
                with open(self.incoming('p', name), 'rb') as file:
                    self.assertEqual(file.read(), data, name)
            here = {s['id'] for s in self.snapshots()}
            self.assertTrue(set(snapshots) <= here)
            for i in range(rng.randrange(3, 30)):
                name = f'{cut}-{i}'
                data = rng.randbytes(rng.choice((10, 5000, 200000, 1500000)))
                fd = os.open(self.incoming('p', name), os.O_CREAT | os.O_WRONLY)
                os.write(fd, data)
                if rng.random() < 0.6:
                    os.fsync(fd)
                    synced[name] = data
                os.close(fd)
                if rng.random() < 0.08:
                    done = run(os.environ['BKFS'], 'commit', self.incoming('p'))
                    snapshots.append(done.stdout.strip())
            run('xfs_io', '-x', '-c', 'shutdown', disk)
            pid = self.daemon_pid_at_cut()
            os.kill(pid, 9)
            run('umount', '-l', self.mnt)
            # The process counts as dead before the last of its threads has let go of its files.
            wait_gone(pid)
            for _ in range(400):
                if run('umount', disk, check=False).returncode == 0:
                    break
                time.sleep(0.05)
            self.assertFalse(is_mounted(disk))
            run('mount', '-o', 'loop', image, disk)
        self.mount()
        for name, data in synced.items():
            with open(self.incoming('p', name), 'rb') as file:
                self.assertEqual(file.read(), data, name)
        self.umount()
        self.bkfs('check', '--read-data')

    def daemon_pid_at_cut(self):
        """The lock file can no longer be read: look for the process by its open mount."""
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as file:
                    words = file.read().split(b'\0')
            except OSError:
                continue
            if words and words[0].endswith(b'mount.bkfs') and os.fsencode(self.mnt) in words:
                return int(pid)
        raise AssertionError('no daemon')

    def test_ext4(self):
        self.cut_power('ext4')

    def test_xfs(self):
        self.cut_power('xfs')


if __name__ == '__main__':
    main()
