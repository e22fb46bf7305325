# SPDX-License-Identifier: Apache-2.0
"""The repository kept for each released format, read by the independent reader and by bkfs itself."""
import os
import shutil
import stat
import tempfile
import unittest

from harness import BKFS, main, run

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, '../golden/v1')
READER = os.path.join(HERE, '../../scripts/read_repo.py')


class GoldenTest(unittest.TestCase):

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix='bkfs-golden-')
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        shutil.copytree(GOLDEN, self.scratch + '/v1')
        for name in ('master.key', 'readonly.key'):
            os.chmod(f'{self.scratch}/v1/{name}', 0o600)
        with open(GOLDEN + '/snapshot', encoding='utf-8') as file:
            self.snapshot = file.read().strip()

    def check(self, out):
        run('sha256sum', '--quiet', '-c', os.path.realpath(GOLDEN + '/expected.sha256'), cwd=out)
        self.assertEqual(len(os.listdir(out + '/many')), 400)
        self.assertEqual(os.readlink(out + '/dir/link'), '../a')
        self.assertEqual(os.stat(out + '/a').st_ino, os.stat(out + '/dir/hard').st_ino)
        self.assertEqual(os.stat(out + '/holes').st_size, 300000)
        self.assertTrue(stat.S_ISREG(os.stat(out + '/long').st_mode))

    def test_independent_reader(self):
        for key in ('master.key', 'readonly.key'):
            repo, keyfile = self.scratch + '/v1/repo', f'{self.scratch}/v1/{key}'
            listed = run('/usr/bin/python3', READER, repo, keyfile, 'list').stdout
            self.assertEqual(len(listed.splitlines()), 2)
            self.assertIn(self.snapshot + ' golden', listed)
            out = f'{self.scratch}/out-{key}'
            run('/usr/bin/python3', READER, repo, keyfile, 'extract', self.snapshot, out)
            self.check(out)

    def test_bkfs(self):
        environment = dict(os.environ, BKFS_CACHE_DIR=self.scratch + '/cache')
        common = ('-R', self.scratch + '/v1/repo', '-K', self.scratch + '/v1/readonly.key')
        run(BKFS, 'restore', *common, self.snapshot, self.scratch + '/out', env=environment)
        self.check(self.scratch + '/out')
        run(BKFS, 'check', *common, '--read-data', env=environment)

    def test_the_reader_refuses_what_was_changed(self):
        repo = self.scratch + '/v1/repo'
        for folder in ('packs', 'index', 'snapshots', 'keys'):
            victims = sorted(os.path.join(b, f) for b, _, files in os.walk(f'{repo}/{folder}') for f in files)
            with open(victims[0], 'rb') as file:
                good = file.read()
            os.chmod(victims[0], 0o600)
            with open(victims[0], 'wb') as file:
                file.write(good[:-70] + bytes([good[-70] ^ 1]) + good[-69:])
            done = run('/usr/bin/python3', READER, repo, self.scratch + '/v1/master.key', 'list', check=False)
            self.assertNotEqual(done.returncode, 0, folder)
            self.assertNotIn('Traceback', done.stderr)
            with open(victims[0], 'wb') as file:
                file.write(good)


if __name__ == '__main__':
    main()
