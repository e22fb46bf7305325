# SPDX-License-Identifier: Apache-2.0
"""What the system tests share: a scratch repository, the programs, mounts that are always taken down."""
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import places

BKFS = os.environ['BKFS']
MOUNT_BKFS = os.environ['MOUNT_BKFS']


def run(*command, check=True, **options):
    """Runs a command; returns the finished process with text output."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors='surrogateescape', timeout=600, **options)
    if check and done.returncode != 0:
        raise AssertionError(f'{command} exited {done.returncode}: {done.stdout}{done.stderr}')
    return done


def is_mounted(path):
    path = os.path.realpath(path)
    with open('/proc/self/mountinfo', encoding='utf-8', errors='surrogateescape') as table:
        return any(line.split()[4] == path for line in table)


def wait_gone(pid, seconds=60):
    """Until a process that is not our child is gone."""
    until = time.monotonic() + seconds
    while True:
        try:
            with open(f'/proc/{pid}/stat', encoding='utf-8') as stat:
                if stat.read().rsplit(')', 1)[1].split()[0] == 'Z':
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        if time.monotonic() >= until:
            raise AssertionError(f'process {pid} is still there')
        time.sleep(0.02)


class RepositoryTest(unittest.TestCase):
    """A repository, in the place that BKFS_TEST_STORE says, with its master key in a scratch folder."""

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix='bkfs-system-')
        # First of the cleanups and so the last to run: disks that a test mounts in there are gone then.
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.master = self.path('master.key')
        self.mnt = self.path('mnt')
        self.cache = self.path('cache')
        os.mkdir(self.mnt)
        self.environment = dict(os.environ, BKFS_CACHE_DIR=self.path('tool-cache'), LC_ALL='C')
        self.place, self.repo = None, None
        self.use(self.new_place('repo'))
        self.bkfs('init', '-K', self.master)

    def tearDown(self):
        if is_mounted(self.mnt):
            pid = self.daemon_pid()
            subprocess.run(['umount', '-l', self.mnt], check=False)
            if pid:
                try:
                    wait_gone(pid, 20)
                except AssertionError:
                    os.kill(pid, signal.SIGKILL)

    def new_place(self, name):
        place = places.new_place(self.path(name))
        self.addCleanup(place.clear)
        return place

    def use(self, place):
        """From now on the repository is there, and the programs are let in."""
        self.place, self.repo = place, place.url
        self.environment.update(place.environment)

    def path(self, *parts):
        return os.path.join(self.scratch, *parts)

    def bkfs(self, *arguments, key=None, code=0, **options):
        """Runs bkfs on the repository; asserts the exit code, and one clear line when it fails."""
        command = [BKFS, *arguments]
        if arguments[0] not in ('commit', 'umount', 'version', 'help'):
            command += ['-R', self.repo]
            if '-K' not in arguments and not (arguments[0] == 'key' and arguments[1] == 'show'):
                command += ['-K', key or self.master]
        done = run(*command, check=False, env=self.environment, **options)
        self.assertEqual(done.returncode, code, f'{arguments}: {done.stdout}{done.stderr}')
        if code not in (0, 3, 13):
            self.assertTrue(done.stderr.startswith('bkfs: '), done.stderr)
        return done

    def derive(self, kind):
        out = self.path(kind + '.key')
        self.bkfs('derive', '-t', kind, '-O', out, '-K', self.master)
        return out

    def mount(self, key=None, code=0, **options):
        """Options are the mount's, but for `source` (instead of self.repo) and `mnt`."""
        source, mnt = options.pop('source', self.repo), options.pop('mnt', self.mnt)
        words = [f'key={key or self.master}', f'cache_dir={options.pop("cache_dir", self.cache)}']
        options.setdefault('commit_idle', 0)
        words += [name if value is True else f'{name}={value}' for name, value in options.items()]
        done = run(MOUNT_BKFS, source, mnt, '-o', ','.join(words), check=False, env=self.environment)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def forget_what_was_read(self):
        """From stores on other machines: it is right for ever, and would do instead of what is damaged there."""
        for kept in glob.glob(self.path('*cache', '*', '*', 'read')):
            shutil.rmtree(kept)

    def umount(self):
        self.bkfs('umount', self.mnt)
        self.assertFalse(is_mounted(self.mnt))

    def daemon_pid(self):
        for base, _, files in os.walk(self.cache):
            if os.path.basename(base) == 'staging' and 'lock' in files:
                with open(os.path.join(base, 'lock'), encoding='utf-8') as lock:
                    text = lock.read().strip()
                return int(text) if text and os.path.exists(f'/proc/{text}') else None
        return None

    def kill_daemon(self):
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
        run('umount', '-l', self.mnt)

    def incoming(self, *parts):
        return os.path.join(self.mnt, 'incoming', *parts)

    def snapshots(self, key=None):
        return json.loads(self.bkfs('snapshots', '--json', key=key).stdout)

    def sync(self, series):
        run('sync', self.incoming(series))

    def assert_same_tree(self, a, b):
        """By rsync's own judgement, contents and all metadata included."""
        done = run('rsync', '-aHAXSn', '--delete', '--checksum', '--itemize-changes', a + '/', b + '/')
        self.assertEqual(done.stdout, '')


def main():
    unittest.main(verbosity=2)
