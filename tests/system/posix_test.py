# SPDX-License-Identifier: Apache-2.0
"""The same operations on a mount and on the native filesystem must give the same results."""
import errno
import mmap
import os
import subprocess
import time

from harness import RepositoryTest, main, run


class PosixTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.mount()
        os.mkdir(self.incoming('p'))
        self.here = self.incoming('p')

    def at(self, *parts):
        return os.path.join(self.here, *parts)

    def put(self, name, data):
        with open(self.at(name), 'wb') as file:
            file.write(data)

    def get(self, name):
        with open(self.at(name), 'rb') as file:
            return file.read()

    def test_random_writes_truncate_append_mmap(self):
        self.put('f', b'a' * 100000)
        with open(self.at('f'), 'r+b') as file:
            file.seek(50000)
            file.write(b'patched')
            file.truncate(90000)
        with open(self.at('f'), 'ab') as file:
            file.write(b'end')
        expected = bytearray(b'a' * 90000 + b'end')
        expected[50000:50007] = b'patched'
        self.assertEqual(self.get('f'), bytes(expected))
        with open(self.at('f'), 'r+b') as file:
            with mmap.mmap(file.fileno(), 0) as pages:
                pages[10:14] = b'mmap'
                pages.flush()
        expected[10:14] = b'mmap'
        self.assertEqual(self.get('f'), bytes(expected))
        self.sync('p')
        with open(os.path.join(self.mnt, 'latest/p/f'), 'rb') as file:
            self.assertEqual(file.read(), bytes(expected))

    def test_errors(self):
        os.mkdir(self.at('d'))
        self.put('d/f', b'x')
        for call, expected in ((lambda: os.rmdir(self.at('d')), errno.ENOTEMPTY),
                               (lambda: os.unlink(self.at('d')), errno.EISDIR),
                               (lambda: os.mkdir(self.at('d')), errno.EEXIST),
                               (lambda: os.rmdir(self.at('d/f')), errno.ENOTDIR),
                               (lambda: os.unlink(self.at('absent')), errno.ENOENT),
                               (lambda: os.mkdir(self.at('n' * 256)), errno.ENAMETOOLONG),
                               (lambda: os.rename(self.at('d'), self.at('d/f/x')), errno.ENOTDIR),
                               (lambda: os.getxattr(self.at('d'), 'user.none'), errno.ENODATA),
                               (lambda: os.mkdir(os.path.join(self.mnt, 'x')), None),
                               (lambda: self.put(os.path.join(self.mnt, 'latest', 'x'), b''), None)):
            with self.assertRaises(OSError) as failed:
                call()
            if expected is not None:
                self.assertEqual(failed.exception.errno, expected)

    def test_open_unlinked_file(self):
        fd = os.open(self.at('gone'), os.O_CREAT | os.O_RDWR)
        os.write(fd, b'still here')
        os.unlink(self.at('gone'))
        self.assertEqual(os.pread(fd, 100, 0), b'still here')
        self.assertEqual(os.fstat(fd).st_nlink, 0)
        os.close(fd)
        self.assertEqual(os.listdir(self.here), [])

    def test_holes_and_fallocate(self):
        fd = os.open(self.at('h'), os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 10 << 20)
        os.pwrite(fd, b'data', 5 << 20)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 5 << 20)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_HOLE), 0)
        os.close(fd)
        self.put('z', b'z' * 100000)
        run('fallocate', '-p', '-o', '10000', '-l', '50000', self.at('z'))
        self.assertEqual(self.get('z'), b'z' * 10000 + bytes(50000) + b'z' * 40000)
        run('fallocate', '-l', '200000', self.at('z'))
        self.assertEqual(os.path.getsize(self.at('z')), 200000)

    def test_acls_and_modes_as_the_native_filesystem(self):
        native = self.path('native')
        os.mkdir(native)
        commands = ['touch f', 'setfacl -m u:1234:rw f', 'chmod 640 f', 'setfacl -m g:55:rwx f',
                    'chmod g-w f', 'setfacl -b f', 'mkdir d', 'setfacl -d -m u:1234:rwx d',
                    'chmod 2755 d', 'touch g', 'setfacl -m u::r,g::r,o::r g']
        for command in commands:
            shown = []
            for place in (native, self.here):
                run('bash', '-c', command, cwd=place)
                names = sorted(os.listdir(place))
                shown.append(run('getfacl', '-n', *names, cwd=place).stdout +
                             run('stat', '-c', '%n %a', *names, cwd=place).stdout)
            self.assertEqual(shown[0], shown[1], command)

    def test_times_and_state(self):
        self.put('t', b'x')
        os.utime(self.at('t'), ns=(1, -5_000_000_001))
        self.assertEqual(os.stat(self.at('t')).st_mtime_ns, -5_000_000_001)
        self.assertIn(os.getxattr(self.at('t'), 'user.bkfs.state'), (b'spooled', b'stored'))
        self.sync('p')
        self.assertEqual(os.getxattr(self.at('t'), 'user.bkfs.state'), b'snapshot')
        self.assertEqual(os.listxattr(self.at('t')), [])

    def test_snapshots_are_read_only_and_new_ones_appear(self):
        self.put('f', b'one')
        self.sync('p')
        with self.assertRaises(OSError) as failed:
            with open(os.path.join(self.mnt, 'latest/p/f'), 'ab'):
                pass
        self.assertIn(failed.exception.errno, (errno.EROFS, errno.EACCES))
        source = self.path('elsewhere')
        os.mkdir(source)
        self.bkfs('backup', '--name', 'other', source)
        until = time.monotonic() + 10
        while time.monotonic() < until and not os.path.lexists(self.mnt + '/latest/other'):
            time.sleep(0.1)
        self.assertTrue(os.path.isdir(self.mnt + '/latest/other/'))
        inode = os.stat(self.mnt + '/latest/p/f').st_ino
        self.umount()
        self.mount()
        self.assertEqual(os.stat(self.mnt + '/latest/p/f').st_ino, inode)

    def test_rmdir_ends_the_staging_only(self):
        self.put('f', b'one')
        with self.assertRaises(OSError) as failed:
            os.rmdir(self.here)
        self.assertEqual(failed.exception.errno, errno.ENOTEMPTY)
        self.sync('p')
        run('rm', '-r', self.here)
        self.assertNotIn('p', os.listdir(self.incoming()))
        with open(self.mnt + '/latest/p/f', 'rb') as file:
            self.assertEqual(file.read(), b'one')
        os.mkdir(self.here)
        self.assertEqual(self.get('f'), b'one')

    def test_snapshot_on_quiet(self):
        self.umount()
        self.mount(commit_idle=1)
        self.put('q', b'quiet')
        until = time.monotonic() + 15
        while time.monotonic() < until and not any(s['files'] for s in self.snapshots()):
            time.sleep(0.2)
        self.assertEqual(self.snapshots()[-1]['files'], 1)

    def test_statfs(self):
        told = os.statvfs(self.mnt)
        real = os.statvfs(self.repo)
        self.assertEqual(told.f_blocks * told.f_frsize // (1 << 30),
                         real.f_blocks * real.f_frsize // (1 << 30))

    def test_umask_and_setgid_inheritance(self):
        subprocess.run(['bash', '-c', 'umask 027; touch u; mkdir m; chgrp 77 m; chmod g+s m; mkdir m/n'],
                       cwd=self.here, check=True)
        self.assertEqual(os.stat(self.at('u')).st_mode & 0o777, 0o640)
        self.assertEqual(os.stat(self.at('m/n')).st_gid, 77)
        self.assertTrue(os.stat(self.at('m/n')).st_mode & 0o2000)


if __name__ == '__main__':
    main()
