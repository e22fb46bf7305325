# SPDX-License-Identifier: Apache-2.0
"""What is read stays: mounts and commands that read beside forget, prune and compact; and what passes for
maintenance's decisions and is none."""
import base64
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

from harness import BKFS, RepositoryTest, main, run, wait_gone
from places import only_on

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../scripts'))
import nacl.bindings  # noqa: E402
import read_repo  # noqa: E402

LEASE = 3   # seconds: renewed after a sixth of it
PIECE = 1 << 20


def keyfile_fields(path):
    with open(path, encoding='utf-8') as file:
        lines = file.read().splitlines()
    body = lines[lines.index('') + 1:lines.index('-----END BKFS KEY-----')]
    return read_repo.parse_payload(base64.b64decode(''.join(body))[:-8])


class ReadersTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.maintain = self.derive('Maintain')
        self.source = self.path('source')
        os.makedirs(self.source + '/dir')
        self.big = random.Random(1).randbytes(24 * PIECE)
        self.write('big', self.big)
        for i in range(50):
            self.write(f'dir/{i}', random.Random(100 + i).randbytes(20000))

    def write(self, name, data):
        with open(os.path.join(self.source, name), 'wb') as file:
            file.write(data)

    def backup(self):
        self.bkfs('backup', '-q', '-n', 's', self.source)
        return self.snapshots()[-1]['id']

    def objects(self, folder):
        return [name.rpartition('/')[2] for name in self.place.names(folder + '/')]

    def tidy(self):
        """As another machine would do it. Returns what the last prune says."""
        said = None
        for command in (('prune', '--grace', '0'), ('compact', '--threshold', '1'), ('prune', '--grace', '0')):
            done = run(BKFS, *command, '--json', '-R', self.repo, '-K', self.maintain,
                       env=dict(self.environment, BKFS_CACHE_DIR=self.path('maintain-cache')))
            said = json.loads(done.stdout)
        return said

    def renewed(self):
        """Until the mount's lease has been renewed once after now."""
        def states():
            return {name for name in self.objects('leases') if '.' in name}
        before = states()
        until = time.monotonic() + 20
        while states() & before or not states():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)

    def tidy_until_below(self, limit):
        """What was open goes once the mount has said that it is closed, and moved off the list that condemns it: one
        renewal or the next, as the closing fell beside it."""
        until = time.monotonic() + 30
        while (size := self.place.total('packs/')) >= limit:
            self.assertLess(time.monotonic(), until, f'{size} bytes of packs')
            self.renewed()
            self.tidy()

    def shown(self):
        return os.listdir(os.path.join(self.mnt, 'snapshots'))

    def until_shown(self, count):
        until = time.monotonic() + 20
        while len(self.shown()) != count:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)

    def serving_pid(self):
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/cmdline', encoding='utf-8', errors='replace') as file:
                    words = file.read().split('\0')
            except OSError:
                continue
            if self.mnt in words and os.path.basename(words[0]) == 'mount.bkfs':
                return int(pid)
        raise AssertionError('no daemon')

    def read_on(self, **options):
        first = self.backup()
        self.write('big', random.Random(2).randbytes(PIECE))
        self.backup()
        self.mount(lease=f'{LEASE}s', cache_memory='1M', **options)
        top = os.path.join(self.mnt, 'snapshots', first)
        folder = os.open(top + '/dir', os.O_RDONLY | os.O_DIRECTORY)
        file = os.open(top + '/big', os.O_RDONLY)
        closed = os.open(top + '/dir/3', os.O_RDONLY)
        self.assertEqual(os.pread(file, PIECE, 0), self.big[:PIECE])
        os.close(closed)
        # Opened between two renewals, and forgotten before the next.
        self.bkfs('forget', '-q', first, key=self.maintain)
        for _ in range(3):
            self.tidy()
            self.renewed()
        self.until_shown(1)
        with self.assertRaises(FileNotFoundError):
            os.stat(top)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        for at in range(0, len(self.big), PIECE):
            self.assertEqual(os.pread(file, PIECE, at), self.big[at:at + PIECE])
        self.assertEqual(len(os.listdir(folder)), 50)
        with os.fdopen(os.open('7', os.O_RDONLY, dir_fd=folder), 'rb') as below:
            self.assertEqual(below.read(), random.Random(107).randbytes(20000))
        os.close(file)
        os.close(folder)
        self.tidy_until_below(8 * PIECE)
        self.bkfs('check', '--read-data')
        # The kernel knows the folder; what is in it is gone.
        with self.assertRaises(OSError) as failed:
            os.listdir(top + '/dir')
        self.assertIn(failed.exception.errno, (errno.ENOENT, errno.ESTALE))
        log = self.mount_log()
        self.assertNotIn('error', log)
        self.umount()
        self.assertEqual(self.objects('leases'), [])

    def mount_log(self):
        with open(self.cache + '/mount.log', encoding='utf-8') as file:
            return file.read()

    def test_an_open_file_of_a_mount_without_a_writing_key(self):
        self.read_on(key=self.derive('ReadOnly'))

    def test_an_open_file_of_a_read_only_mount(self):
        self.read_on(ro=True)

    def test_an_open_file_of_a_writable_mount(self):
        self.read_on()

    def test_a_file_that_other_snapshots_have_too(self):
        """Looked up in one, and in another: forgetting the first takes nothing from the second."""
        first = self.backup()
        self.write('dir/0', b'changed')
        second = self.backup()
        self.mount(key=self.derive('ReadOnly'), lease=f'{LEASE}s', cache_memory='1M')
        for snapshot in (second, first):   # looked up last in the one that goes
            os.stat(f'{self.mnt}/snapshots/{snapshot}/dir/5')
        self.bkfs('forget', '-q', first, key=self.maintain)
        for _ in range(3):
            self.renewed()
            self.tidy()
        self.until_shown(1)
        with open(f'{self.mnt}/snapshots/{second}/dir/5', 'rb') as file:
            self.assertEqual(file.read(), random.Random(105).randbytes(20000))

    def test_a_killed_mount_is_not_waited_for(self):
        first = self.backup()
        self.mount(key=self.derive('ReadOnly'))
        file = os.open(f'{self.mnt}/snapshots/{first}/dir/1', os.O_RDONLY)
        self.assertEqual(len(self.objects('leases')), 2)
        pid = self.serving_pid()
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
        os.close(file)
        run('umount', '-l', self.mnt)
        self.assertEqual(len(self.objects('leases')), 2)
        self.bkfs('forget', '-q', first, key=self.maintain)
        self.bkfs('prune', '--now', key=self.maintain)
        self.assertEqual(self.objects('leases') + self.objects('packs'), [])

    @only_on('local')
    def test_a_medium_that_takes_nothing(self):
        first = self.backup()
        key = self.derive('ReadOnly')
        run('mount', '--bind', self.repo, self.repo)
        try:
            run('mount', '-o', 'remount,bind,ro', self.repo)
            for options in ({'key': key}, {'key': self.master, 'ro': True}):
                done = self.mount(**options)
                self.assertEqual(done.stderr, '')
                with open(f'{self.mnt}/snapshots/{first}/big', 'rb') as file:
                    self.assertEqual(file.read(), self.big)
                self.umount()
            log = self.mount_log()
            self.assertEqual(log.count('no lease'), 2)
            self.assertNotIn('warning', log)
            self.assertNotIn('error', log)
            for command in (('restore', 's', self.path('out')), ('fetch', 's', 'dir/1', self.path('one')),
                            ('find', 'big'), ('diff', 's', 's'), ('ls', '-r', 's'), ('check',)):
                self.assertNotIn('lease', self.bkfs(*command, key=key).stderr)
        finally:
            run('umount', '-l', self.repo)

    def test_restore_and_others_beside_a_prune(self):
        """Each is held up on its way, while its snapshot is forgotten and pruned."""
        key = self.derive('ReadOnly')
        for command in (('restore', '-q', 'SNAP', 'DEST'), ('fetch', 'SNAP', 'big', 'DEST')):
            self.write('big', self.big)
            snapshot = self.backup()
            dest = self.path(f'dest-{command[0]}')
            words = [{'SNAP': snapshot, 'DEST': dest}.get(word, word) for word in command]
            process = subprocess.Popen([BKFS, *words, '-R', self.repo, '-K', key],
                                       env=dict(self.environment, BKFS_CACHE_DIR=self.path('reader-cache')),
                                       stderr=subprocess.PIPE, text=True)
            until = time.monotonic() + 60
            while not [name for name in os.listdir(self.scratch) if name.startswith(os.path.basename(dest))]:
                self.assertLess(time.monotonic(), until)
            process.send_signal(signal.SIGSTOP)
            self.assertIsNone(process.poll())
            os.unlink(self.source + '/big')
            self.backup()
            self.bkfs('forget', '-q', snapshot, key=self.maintain)
            for _ in range(2):
                self.tidy()
            process.send_signal(signal.SIGCONT)
            said = process.communicate(timeout=120)[1]
            self.assertEqual(process.returncode, 0, said)
            with open(dest if command[0] == 'fetch' else dest + '/big', 'rb') as file:
                self.assertEqual(file.read(), self.big)
            self.assertEqual(self.objects('leases'), [])

    def test_an_interrupted_look_leaves_no_lease(self):
        for i in range(3000):
            self.write(f'dir/n{i}', b'')
        self.backup()
        reader, writer = os.pipe()   # nobody reads: the command stops when it is full
        process = subprocess.Popen([BKFS, 'ls', '-r', 's', '-R', self.repo, '-K', self.master],
                                   env=self.environment, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        until = time.monotonic() + 60
        while len(self.objects('leases')) < 2:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        drain = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader, 65536), b'')])
        drain.start()
        process.communicate(timeout=60)
        drain.join()
        os.close(reader)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(self.objects('leases'), [])

    # -- what is none of maintenance's --

    def resigned(self, data, key):
        """The same decision, by another key."""
        old, new = (nacl.bindings.crypto_sign_seed_keypair(keyfile_fields(k)[8])
                    for k in (self.maintain, key))
        old_id, new_id = (read_repo.blake3(pair[0])[:16] for pair in (old, new))
        self.assertEqual(data.count(old_id), 1)
        unsigned = data[:-64].replace(old_id, new_id)
        message = b'bkfs signed object v1' + bytes.fromhex(self.repo_id()) + unsigned
        return unsigned + nacl.bindings.crypto_sign(message, new[1])[:64]

    def repo_id(self):
        return json.loads(self.bkfs('stats', '--json').stdout)['repository']

    def decisions(self, snapshot):
        """A removal and an entry of the log as a rightful key makes them, in a copy of the repository."""
        copy = self.place.download(self.path('copy-of-repo'))
        environment = dict(self.environment, BKFS_CACHE_DIR=self.path('copy-cache'))
        for command in (('forget', '-q', snapshot), ('prune', '-q')):
            run(BKFS, *command, '-R', copy.url, '-K', self.maintain, env=environment)
        out = {}
        for folder in ('removed', 'condemned'):
            name, = copy.names(folder + '/')
            out[folder] = copy.read(name)
        return out

    def put(self, folder, name, data):
        self.place.write(f'{folder}/{name}', data)
        return f'{folder}/{name}'

    def test_forged_decisions(self):
        snapshot = self.backup()
        real = self.decisions(snapshot)
        forged = []
        for number, kind in enumerate(('WriteOnly', 'ReadWrite')):
            key = self.derive(kind)
            removal = self.resigned(real['removed'], key)
            forged.append(self.put('removed', read_repo.blake3(removal)[:16].hex(), removal))
            entry = self.resigned(real['condemned'], key)
            if number == 0:
                forged.append(self.put('condemned', f'{1:016x}', entry))
        forged.append(self.put('removed', read_repo.blake3(b'nonsense')[:16].hex(), b'nonsense'))
        forged.append(self.put('removed', 'lease-' + '5' * 32, b'BKFSCLOS'))
        forged.append(self.put('leases', '6' * 32 + '.fence', b'BKFSFENC'))

        self.mount(key=self.path('ReadWrite.key'))
        self.assertEqual(self.shown(), [snapshot])
        with open(f'{self.mnt}/snapshots/{snapshot}/big', 'rb') as file:
            self.assertEqual(file.read(), self.big)
        with open(self.incoming('.status'), encoding='utf-8') as file:
            status = file.read()
        for name in forged:
            self.assertEqual(status.count('passed over: ' + name), 1, status)
        self.umount()
        log = self.mount_log()
        for name in forged:
            self.assertEqual(log.count('passed over: ' + name), 1, log)

        # A key that lists no snapshots hears of it as well.
        self.mount(key=self.path('WriteOnly.key'), cache_dir=self.path('wo-cache'))
        with open(self.incoming('.status'), encoding='utf-8') as file:
            status = file.read()
        for name in forged:
            self.assertIn('passed over: ' + name, status)
        self.umount()

        check = self.bkfs('check', code=13)
        listed = self.bkfs('snapshots').stderr
        for name in forged:
            self.assertIn(name, check.stdout)
            self.assertIn(name, listed)
        # Whoever has the right is neither told what to do by it nor stopped.
        self.write('big', b'small')
        self.backup()
        for _ in range(3):
            self.tidy()
        self.assertEqual(len(self.snapshots()), 2)
        self.bkfs('restore', '-q', snapshot, self.path('out'))
        with open(self.path('out', 'big'), 'rb') as file:
            self.assertEqual(file.read(), self.big)
        self.bkfs('forget', '-q', snapshot, key=self.maintain)
        before = len(self.objects('packs'))
        self.tidy()
        self.tidy()
        self.assertLess(len(self.objects('packs')), before)
        self.assertEqual(len(self.snapshots()), 1)


if __name__ == '__main__':
    main()
