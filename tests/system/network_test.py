# SPDX-License-Identifier: Apache-2.0
"""A bad line, one that is gone for a while, one that is slow: nothing is lost, nothing hangs, and it is told."""
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

from harness import BKFS, MOUNT_BKFS, is_mounted, main, run, wait_gone
from line import PATIENCE, STALLED, Chaos, LineTest

FILES = int(os.environ.get('BKFS_CHAOS_FILES', '2000'))              # 20,000 on request
OUTAGE = float(os.environ.get('BKFS_OUTAGE_SECONDS', '20'))          # 180 on request
MEBIBYTE = 1 << 20


class BadLineTest(LineTest):

    def sync_until(self, over, outcomes):
        while not over.wait(0.5):
            outcomes.append(run('sync', self.incoming('x'), check=False).returncode)

    def test_rsync_of_many_small_files(self):
        seed = random.randrange(1 << 30)
        print('seed', seed)
        source = self.path('source')
        os.mkdir(source)
        self.fill(source, FILES, (0, 10, 3000, 10000, 60000), seed)
        self.mount()
        os.mkdir(self.incoming('x'))
        chaos = Chaos(self.line, seed)
        over, outcomes = threading.Event(), []
        syncer = threading.Thread(target=self.sync_until, args=(over, outcomes))
        if self.host:
            self.host.ask('errors 0.1')
        began = time.monotonic()
        chaos.start()
        syncer.start()
        try:
            copied = run('rsync', '-a', '--bwlimit=4m', source + '/', self.incoming('x') + '/', check=False)
        finally:
            over.set()
            syncer.join()
        synced = run('sync', self.incoming('x'), check=False)
        chaos.stop()
        print(f'{time.monotonic() - began:.0f} s, rsync {copied.returncode}, sync {synced.returncode}, in between '
              f'{outcomes.count(0)} good of {len(outcomes)}, {chaos.done}, requests and errors: '
              f'{self.host.ask("count") if self.host else "-"}, connections and bytes: {self.line.ask("count")}')
        if copied.returncode != 0 or synced.returncode != 0:
            self.assertTrue(copied.stderr or synced.stderr)
            run('rsync', '-a', source + '/', self.incoming('x') + '/')
            self.sync('x')
        if self.host:
            self.host.ask('errors 0')
        self.umount()
        self.bkfs('check', '--read-data')
        self.bkfs('restore', '-q', 'x', self.path('out'))
        self.assert_same_tree(source, self.path('out'))


class OutageTest(LineTest):

    def setUp(self):
        super().setUp()
        for name in ('seen', 'unseen'):
            self.fill(self.path(name), 20, (100000,))
            self.bkfs('backup', '-q', '-n', name, self.path(name))
        self.source = self.path('source')
        self.fill(self.source, 100, (20000, 100000))

    def shown(self, name, number=0):
        return os.path.join(self.mnt, 'latest', name, '000', f'{number:05}')

    def read_seen(self):
        for number in range(20):
            self.answer('cmp', self.shown('seen', number), f'{self.path("seen")}/000/{number:05}')
            # The kernel forgets it; bkfs does not.
            with open(self.shown('seen', number), 'rb') as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def impatient_mount(self):
        top = self.path('impatient')
        os.mkdir(top)
        self.mount(mnt=top, cache_dir=self.path('impatient-cache'), ro=True, timeout='3s')
        self.addCleanup(lambda: is_mounted(top) and run('umount', '-l', top))
        os.stat(f'{top}/latest/unseen/000/00001')
        return top

    def look_at_the_waiting(self):
        """What is read and not here waits; signals end it."""
        for number in (signal.SIGINT, signal.SIGKILL):
            reader = self.reader(self.shown('unseen', 1))
            time.sleep(1.5)
            self.assertIsNone(reader.poll(), 'what is not here was read')
            reader.send_signal(number)
            try:
                self.assertEqual(reader.wait(PATIENCE), -number)
            finally:
                reader.stderr.close()

    def look_around(self):
        """What needs no store."""
        self.answer('ls', '-l', self.mnt, self.mnt + '/snapshots', self.mnt + '/latest', self.incoming())
        self.answer('ls', '-lR', self.incoming('x'))
        self.answer('df', self.mnt)
        self.read_seen()
        self.answer('sh', '-c', f'echo word > {self.incoming("x")}/word && cat {self.incoming("x")}/word && '
                                f'mv {self.incoming("x")}/word {self.incoming("x")}/other && rm {self.incoming("x")}/other')
        # Whether the store has such a series is not known, and nobody who looks at /incoming is to wait for that.
        refused = subprocess.run(['mkdir', self.incoming('y')], stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
        self.assertIn('Input/output error', refused.stderr)
        self.answer('ls', self.incoming())
        self.answer('rmdir', self.incoming('z'))

    def test_away_for_a_while(self):
        self.mount()
        impatient = self.impatient_mount()
        for name in ('x', 'z'):
            os.mkdir(self.incoming(name))
        self.sync('x')
        self.read_seen()
        os.stat(self.shown('unseen', 1))
        copy = subprocess.Popen(['rsync', '-a', '--bwlimit=1m', self.source + '/', self.incoming('x') + '/'])
        time.sleep(2)
        until = time.monotonic() + OUTAGE
        self.line.ask('stall')
        log = self.log()
        lister = subprocess.Popen(['ls', '-l', self.incoming('unseen', '000')], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.look_around()
        self.look_at_the_waiting()
        lister.kill()
        lister.wait(PATIENCE)
        impatient_reader = self.reader(f'{impatient}/latest/unseen/000/00001')
        self.assertIn('Input/output error', impatient_reader.communicate(timeout=PATIENCE)[1])
        self.assertEqual(copy.wait(60), 0)
        # Not sync(1): for as long as that waits, the kernel lets nobody into the directory that it syncs.
        syncing = subprocess.Popen([BKFS, 'commit', self.incoming('x')])
        reading = self.reader(self.shown('unseen', 2))
        time.sleep(max(0, until - time.monotonic() - OUTAGE / 2))
        # From now on nobody is there who would take a connection.
        self.line.ask('cut')
        os.mkdir(self.incoming('x', 'z'))
        self.answer('ls', '-lR', self.incoming('x'))
        self.read_seen()
        self.look_at_the_waiting()
        time.sleep(max(0, until - time.monotonic()))
        status = self.status()
        self.assertRegex(status, r'store: away for ')
        self.assertRegex(status, r'pending: [1-9]')
        self.assertIsNone(syncing.poll())
        self.assertIsNone(reading.poll())
        self.line.ask('heal')
        self.assertEqual(reading.wait(60), 0)
        self.assertEqual(syncing.wait(60), 0)
        reading.stderr.close()
        self.assertRegex(self.status(), r'store: ok')
        told = self.log()[len(log):]
        self.assertLess(told.count('\n'), 12, told)
        self.assert_same_tree(self.path('unseen'), f'{self.mnt}/latest/unseen')
        os.rmdir(self.incoming('x', 'z'))
        run('rsync', '-a', self.source + '/', self.incoming('x') + '/')
        self.sync('x')
        self.assert_same_tree(self.source, f'{self.mnt}/latest/x')
        self.assert_same_tree(self.path('unseen'), f'{impatient}/latest/unseen')
        self.bkfs('umount', impatient)
        self.umount()
        self.bkfs('check', '--read-data')

    def write_in_an_outage(self, how):
        self.mount()
        pid = self.daemon_pid()
        os.makedirs(self.incoming('x'), exist_ok=True)
        self.sync('x')
        os.stat(self.shown('unseen', 1))
        self.line.ask(how)
        run('rsync', '-a', self.source + '/', self.incoming('x') + '/')
        return pid

    def check_kept(self, pid):
        wait_gone(pid, PATIENCE + 5 * STALLED)
        self.line.ask('heal')
        self.mount()
        self.assert_same_tree(self.source, self.incoming('x'))
        self.sync('x')
        self.assert_same_tree(self.source, f'{self.mnt}/latest/x')
        self.umount()
        self.bkfs('check', '--read-data')

    def test_lazy_unmount_and_terminate(self):
        for how in ('stall', 'cut'):
            with self.subTest(how):
                pid = self.write_in_an_outage(how)
                reader = self.reader(self.shown('unseen', 1))
                time.sleep(1)
                run('umount', '-l', self.mnt)
                os.kill(pid, signal.SIGTERM)
                self.check_kept(pid)
                reader.communicate(timeout=PATIENCE)
                self.assertNotEqual(reader.returncode, 0)

    def test_terminated(self):
        pid = self.write_in_an_outage('cut')
        reader = self.reader(self.shown('unseen', 1))
        time.sleep(1)
        os.kill(pid, signal.SIGTERM)
        self.check_kept(pid)
        reader.communicate(timeout=PATIENCE)
        self.assertNotEqual(reader.returncode, 0)
        self.assertIn('not everything is in the store', self.log())

    def test_bkfs_umount_says_what_it_waits_for(self):
        pid = self.write_in_an_outage('cut')
        done = self.bkfs('umount', self.mnt, code=1)
        self.assertRegex(done.stderr, r'bkfs: [^\n]*MiB[^\n]*127.0.0.1')
        self.assertIn('the rest is kept for the next mount', done.stderr.splitlines()[-1])
        self.check_kept(pid)

    def test_umount_goes_on_when_the_store_is_back(self):
        self.configure(timeout=60)
        pid = self.write_in_an_outage('cut')
        leaving = subprocess.Popen(['/bin/sh', '-c', f'exec {BKFS} umount {self.mnt}'])
        time.sleep(3)
        self.assertIsNone(leaving.poll())
        self.line.ask('heal')
        self.assertEqual(leaving.wait(60), 0)
        wait_gone(pid, 1)
        self.bkfs('restore', '-q', 'x', self.path('out'))
        self.assert_same_tree(self.source, self.path('out'))

    def test_beginning_in_an_outage(self):
        for how in ('cut', 'stall'):
            self.line.ask(how)
            commands = (BKFS, 'snapshots', '-C', self.config), (MOUNT_BKFS, self.config, self.mnt, '-o', f'cache_dir={self.cache}')
            for command in commands:
                with self.subTest(how=how, command=os.path.basename(command[0])):
                    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=2 * PATIENCE, check=False,
                                          env=self.environment)
                    self.assertEqual((done.returncode, done.stderr.count('\n')), (1, 1), done.stderr)
                    self.assertRegex(done.stderr, r'^(mount.)?bkfs: .*127\.0\.0\.1')
            self.line.ask('heal')

    def test_an_interrupted_command(self):
        self.configure(timeout=60)
        self.line.ask('stall')
        with subprocess.Popen([BKFS, 'snapshots', '-C', self.config], stderr=subprocess.PIPE, text=True, env=self.environment) as look:
            time.sleep(2)
            self.assertIsNone(look.poll())
            look.send_signal(signal.SIGINT)
            self.assertEqual(look.communicate(timeout=PATIENCE)[1].splitlines()[-1], 'bkfs: interrupted')
            self.assertEqual(look.returncode, 130)


class SlowLineTest(LineTest):

    def anonymous(self, pid):
        """KiB of memory that are the daemon's alone."""
        with open(f'/proc/{pid}/status', encoding='ascii') as file:
            return int(re.search(r'RssAnon:\s+(\d+)', file.read())[1])

    def test_back_pressure_and_a_kill(self):
        """The spool takes 64 MiB; the rest waits for the line, and for nobody after a kill."""
        self.mount(spool_size='64M')
        pid = self.daemon_pid()
        self.line.ask('rate 8000000 0')
        os.mkdir(self.incoming('x'))
        digest = hashlib.sha256()
        most, pending = 0, 0.0
        for number in range(16):
            with open(self.incoming('x', f'{number:02}'), 'wb') as file:
                for _ in range(8):
                    data = os.urandom(MEBIBYTE)
                    digest.update(data)
                    file.write(data)
            most = max(most, self.anonymous(pid))
            pending = max(pending, float(re.search(r'pending: ([0-9.]+) MiB', self.status())[1]))
        print(f'most memory {most} KiB, most pending {pending} MiB')
        self.assertLess(pending, 64 + 64 + 16)   # what is full, one of each kind that is being filled, and what is not sealed
        self.assertLess(most, 600 << 10)
        self.assertGreater(int(self.line.ask('count').split()[1]), 20 * MEBIBYTE)   # while it was written
        self.kill_daemon()
        self.mount(spool_size='64M')
        self.line.ask('rate 0 0')
        self.umount()
        self.bkfs('restore', '-q', 'x', self.path('out'))
        stored = hashlib.sha256()
        for number in range(16):
            with open(self.path('out', f'{number:02}'), 'rb') as file:
                stored.update(file.read())
        self.assertEqual(stored.hexdigest(), digest.hexdigest())

    def test_fsync_to_the_store(self):
        self.mount(fsync='store')
        os.mkdir(self.incoming('x'))
        self.line.ask('rate 4000000 0')
        data = os.urandom(5 * MEBIBYTE)
        with open(self.incoming('x', 'file'), 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            self.line.ask('cut')
        self.kill_daemon()
        self.line.ask('heal')
        shutil.rmtree(self.cache)
        # Somebody else has all of it already.
        os.mkdir(self.path('same'))
        with open(self.path('same', 'file'), 'wb') as file:
            file.write(data)
        done = json.loads(self.bkfs('backup', '-n', 'x', '--json', self.path('same')).stdout.splitlines()[-1])
        self.assertLess(done['new_bytes'], 65536, done)
        self.bkfs('restore', '-q', 'x', self.path('out'))
        self.assert_same_tree(self.path('same'), self.path('out'))

    def test_fsync_in_an_outage(self):
        """In the spool it is safe; in the store it is not until the store says so."""
        self.mount(fsync='store')
        os.mkdir(self.incoming('x'))
        self.line.ask('cut')
        syncing = subprocess.Popen(['dd', 'if=/dev/zero', f'of={self.incoming("x", "file")}', 'bs=1M', 'count=3', 'conv=fsync'],
                                   stderr=subprocess.DEVNULL)
        time.sleep(2)
        self.assertIsNone(syncing.poll())
        self.line.ask('heal')
        self.assertEqual(syncing.wait(60), 0)
        self.umount()


if __name__ == '__main__':
    main()
