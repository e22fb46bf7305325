# SPDX-License-Identifier: Apache-2.0
"""forget, compact, prune and check beside a mount that is written to, and killed anywhere."""
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

from harness import BKFS, MOUNT_BKFS, RepositoryTest, is_mounted, main, run
from places import sized

SECONDS = int(os.environ.get('BKFS_MAINTAIN_SECONDS', sized(25, 12)))  # 600 on request
ROUNDS = int(os.environ.get('BKFS_KILL_ROUNDS', sized(12, 4)))


class MaintenanceTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.maintain = self.derive('Maintain')
        self.takes = {}  # seconds that a command took when it was left alone
        self.rng = random.Random(random.randrange(1 << 30))
        self.source = self.path('source')
        os.mkdir(self.source)

    def change(self, files=40):
        """Other contents for some files; contents come back now and then, so that old data is found again."""
        for _ in range(files):
            name = f'{self.source}/{self.rng.randrange(150)}'
            if self.rng.random() < 0.1 and os.path.exists(name):
                os.unlink(name)
                continue
            content = random.Random(self.rng.randrange(400))
            with open(name, 'wb') as file:
                file.write(content.randbytes(content.choice((100, 5000, 60000, 400000))))

    def maintain_until(self, stop, failures):
        commands = (('forget', '-q', '--keep-last', '2'), ('compact', '-q'), ('prune', '-q', '--grace', '0'),
                    ('check', '-q'))
        environment = dict(self.environment, BKFS_CACHE_DIR=self.path('maintain-cache'))
        while not stop.is_set():
            for command in commands:
                done = run(BKFS, *command, '-R', self.repo, '-K', self.maintain, check=False, env=environment)
                if done.returncode != 0:
                    failures.append(f'{command}: {done.returncode}: {done.stdout}{done.stderr}')
                    return

    def read_until(self, stop, failures):
        """Reads the latest snapshot through the mount; what was forgotten while it was read may be gone."""
        while not stop.is_set():
            latest = os.path.realpath(os.path.join(self.mnt, 'latest/m'))
            try:
                for name in os.listdir(latest):
                    with open(os.path.join(latest, name), 'rb') as file:
                        file.read()
            except FileNotFoundError:
                continue
            except OSError as error:
                if os.path.realpath(os.path.join(self.mnt, 'latest/m')) == latest:
                    failures.append(f'{latest}: {error}')

    def hold_open(self, top, stop, failures):
        """Opens files of the latest snapshot and reads them later: forgotten or not, what is open can be read."""
        rng = random.Random(3)
        held = 0
        while not stop.is_set():
            files = []
            try:
                latest = os.path.realpath(os.path.join(top, 'latest/m'))
                for name in rng.sample(sorted(os.listdir(latest)), 10):
                    files.append(open(os.path.join(latest, name), 'rb'))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    failures.append(f'open: {error}')
            time.sleep(rng.uniform(0, 4))
            for file in files:
                try:
                    with file:
                        held += len(file.read()) > 0
                except OSError as error:
                    failures.append(f'{file.name} was open: {error}')
        if held == 0:
            failures.append('nothing was held open')

    def mount_reader(self):
        top = self.path('reader')
        os.mkdir(top)
        options = f'key={self.derive("ReadOnly")},cache_dir={self.path("reader-cache")},lease=6s'
        run(MOUNT_BKFS, self.repo, top, '-o', options, env=self.environment)
        self.addCleanup(lambda: is_mounted(top) and run('umount', '-l', top))
        return top

    def test_beside_mounts(self):
        self.change(200)
        self.mount(lease='6s')
        reader = self.mount_reader()
        os.mkdir(self.incoming('m'))
        run('rsync', '-a', self.source + '/', self.incoming('m') + '/')
        self.sync('m')
        failures = []
        stop = threading.Event()
        workers = [threading.Thread(target=self.maintain_until, args=(stop, failures)),
                   threading.Thread(target=self.read_until, args=(stop, failures)),
                   threading.Thread(target=self.hold_open, args=(reader, stop, failures))]
        for worker in workers:
            worker.start()
        try:
            until = time.monotonic() + SECONDS
            rounds = 0
            while time.monotonic() < until and not failures:
                self.change()
                run('rsync', '-a', '--checksum', '--delete', self.source + '/', self.incoming('m') + '/')  # same size and second
                self.sync('m')
                self.assert_same_tree(self.source, os.path.join(self.mnt, 'latest/m'))
                rounds += 1
        finally:
            stop.set()
            for worker in workers:
                worker.join()
        self.assertEqual(failures, [])
        self.assertGreater(rounds, 2)
        self.assert_same_tree(self.source, os.path.join(self.mnt, 'latest/m'))
        self.umount()
        self.bkfs('umount', reader)
        self.assertEqual(self.place.names('leases/'), [])
        self.bkfs('forget', '--keep-last', '1')
        self.bkfs('compact', '--threshold', '1')
        self.bkfs('prune', '--now')
        self.bkfs('check', '--read-data')
        plain = sum(os.path.getsize(os.path.join(self.source, name)) for name in os.listdir(self.source))
        self.assertLess(self.place.total(), plain * 1.1 + 200000)

    def killed(self, *command):
        """Runs a command and kills it somewhere on its way; True unless it ended by itself first."""
        process = subprocess.Popen([BKFS, *command, '-R', self.repo, '-K', self.maintain], env=self.environment,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start = time.monotonic()
        try:
            process.wait(self.rng.uniform(0, self.takes.get(command[0], 0.3)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        self.takes[command[0]] = time.monotonic() - start
        return False

    def test_kills(self):
        self.change(200)
        killed = {'compact': 0, 'prune': 0}
        while min(killed.values()) < ROUNDS:
            for _ in range(2):
                self.change()
                self.bkfs('backup', '-q', '-n', 'k', self.source)
            self.bkfs('forget', '-q', '--keep-last', '2')
            killed['compact'] += self.killed('compact', '--threshold', '1')
            killed['prune'] += self.killed('prune', '--grace', '0')
            self.bkfs('check')
            restored = self.path('restored')
            self.bkfs('restore', '-q', '--delete', 'k', restored)
            self.assert_same_tree(self.source, restored)
        # The next runs finish the work: what was left of the killed ones goes too.
        self.bkfs('forget', '-q', '--keep-last', '1')
        self.bkfs('compact', '--threshold', '0')
        self.bkfs('prune', '--now')
        left = json.loads(self.bkfs('prune', '--dry-run', '--json').stdout)
        for field in ('condemned_packs', 'deleted_packs', 'waiting_packs', 'unused_bytes', 'missing_blobs'):
            self.assertEqual(left[field], 0, left)
        self.assertEqual(self.place.names('leases/'), [])
        self.bkfs('check', '--read-data')

    def edit(self, words):
        """The next version of a package: some files are edited, a few come, a few go."""
        def text(count):
            return ''.join(self.rng.choice(words) for _ in range(count))
        there = os.listdir(self.source)
        for name in self.rng.sample(there, len(there) // 10):
            path = os.path.join(self.source, name)
            with open(path, encoding='ascii') as file:
                content = file.read()
            at = self.rng.randrange(len(content) + 1)
            with open(path, 'w', encoding='ascii') as file:
                file.write(content[:at] + text(200) + content[at + self.rng.randrange(2000):])
        for name in self.rng.sample(there, len(there) // 15):
            os.unlink(os.path.join(self.source, name))
        for _ in range(20 if there else 300):
            with open(f'{self.source}/{self.rng.randrange(1 << 40)}', 'w', encoding='ascii') as file:
                file.write(text(self.rng.choice((50, 500, 2000, 20000))))

    def test_half_of_ten_versions(self):
        """What is left takes no more room than if the rest had never been there (tests/bench/versions.py: real ones)."""
        words = [f'{self.rng.randrange(1 << 50):x} '[:self.rng.randrange(3, 12)] for _ in range(5000)]
        alone = self.new_place('alone')
        run(BKFS, 'init', '-R', alone.url, '-K', self.path('alone.key'), env=self.environment)
        for version in range(10):
            self.edit(words)
            self.bkfs('backup', '-q', '-n', f'v{version}', self.source)
            if version >= 5:
                run(BKFS, 'backup', '-q', '-R', alone.url, '-K', self.path('alone.key'), '-n', f'v{version}', self.source,
                    env=self.environment)
        before = self.place.total()
        self.bkfs('forget', '-q', *(f'v{version}' for version in range(5)))
        self.bkfs('compact', '-q')
        self.bkfs('prune', '-q', '--now')
        self.bkfs('check', '-q', '--read-data')
        left, other = self.place.total(), alone.total()
        self.assertLess(left, other * 1.05, f'{before} before')
        self.assertGreater(before, other * 1.15)  # there was something to free

    def asleep(self, *prunes):
        """The machine sleeps for longer than its lease, and others go on. What it refers to, and no snapshot does, is
        condemned by a first prune with a grace time, and deleted by one without."""
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(3)
            for grace in prunes:
                self.bkfs('prune', '--grace', grace, '-K', self.maintain)
        finally:
            os.kill(pid, signal.SIGCONT)

    def copy_in(self):
        run('rsync', '-a', '--delete', '--fsync', self.source + '/', self.incoming('m') + '/')

    def test_a_machine_that_slept(self):
        self.change()
        self.mount(lease='2s', fsync='store')
        os.mkdir(self.incoming('m'))
        self.copy_in()
        self.asleep('1h')
        self.sync('m')  # what was condemned, and could be read, is stored again
        self.assert_same_tree(self.source, os.path.join(self.mnt, 'latest/m'))
        with open(self.incoming('.status'), encoding='utf-8') as status:
            self.assertNotIn('lost', status.read())
        self.umount()
        self.bkfs('prune', '--now')
        self.bkfs('check', '--read-data')

    def test_a_machine_that_slept_for_too_long(self):
        for key, prune in ((None, '0'), (self.derive('WriteOnly'), '1h')):
            with self.subTest(key=key):
                self.mount(key=key, lease='2s', fsync='store')
                os.mkdir(self.incoming('m'))
                self.copy_in()
                self.change(60)
                self.copy_in()
                self.sync('m')
                with open(self.source + '/late', 'wb') as file:
                    file.write(os.urandom(3000000))
                self.copy_in()
                os.stat(self.incoming('m', 'late'))
                self.asleep(prune)
                self.sync('m')
                time.sleep(2)  # until the kernel has been told
                self.assertFalse(os.path.exists(self.incoming('m', 'late')))
                with open(self.incoming('.status'), encoding='utf-8') as status:
                    self.assertRegex(status.read(), r'lost: 1 file that .*\n    late\n')
                self.copy_in()
                self.sync('m')
                with open(self.incoming('.status'), encoding='utf-8') as status:
                    self.assertNotIn('lost', status.read())
                self.umount()
                restored = self.path('restored')
                self.bkfs('restore', '-q', '--delete', 'm', restored)
                self.assert_same_tree(self.source, restored)
                self.bkfs('check', '--read-data')
                shutil.rmtree(self.cache)

    def test_nobody_is_waited_for_in_vain(self):
        """prune --now is refused while a mount is up, and says who it is; plain prune goes on."""
        self.change()
        self.mount()
        refused = self.bkfs('prune', '--now', code=1)
        self.assertIn('mount.bkfs on host', refused.stderr)
        self.assertEqual(refused.stderr.count('\n'), 1)
        self.bkfs('prune')
        self.umount()
        self.bkfs('prune', '--now')

    def test_rights(self):
        self.change()
        self.bkfs('backup', '-q', '-n', 'r', self.source)
        for kind in ('WriteOnly', 'ReadWrite', 'ReadOnly', 'LogOnly'):
            key = self.derive(kind)
            for command in (('prune',), ('compact',)):
                refused = self.bkfs(*command, key=key, code=1)
                self.assertEqual(refused.stderr.count('\n'), 1, refused.stderr)
        # Looking is allowed to who can read.
        self.bkfs('prune', '--dry-run', key=self.path('ReadOnly.key'))


if __name__ == '__main__':
    main()
