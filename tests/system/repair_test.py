# SPDX-License-Identifier: Apache-2.0
"""Objects of a store with a hundred packs are lost one by one: check names exactly what is gone, repair brings back
everything that still exists, and nothing else changes."""
import errno
import json
import os
import random
import shutil

from harness import BKFS, RepositoryTest, main, run
from places import sized

BACKUPS = 50  # each makes a pack of contents, a pack of trees, and an index segment
ROUNDS = int(os.environ.get('BKFS_DAMAGE_ROUNDS', sized(4, 1)))  # of each kind; 100 on request are all


class RepairTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')
        os.mkdir(self.source)
        rng = random.Random(7)
        for i in range(BACKUPS):
            # Directories of their own, so that most of what a snapshot refers to was stored by those before it.
            os.mkdir(f'{self.source}/{i:02}')
            for name in ('a', 'b'):
                with open(f'{self.source}/{i:02}/{name}', 'wb') as file:
                    file.write(rng.randbytes(rng.choice((0, 10, 3000, 50000))) + b'%d' % i)
            self.bkfs('backup', '-q', '-n', 'r', self.source)
        ids = [shot['id'] for shot in self.snapshots()]
        self.bkfs('forget', '-q', *ids[10:-10:2])
        self.kept = [shot['id'] for shot in self.snapshots()]
        self.sound = self.place.saved()
        self.bkfs_check = ('check', '--json', '-q', '-R', self.repo, '-K', self.master)

    def objects(self, folder):
        return sorted(name for name in self.sound if name.startswith(folder + '/'))

    def fresh(self, without):
        """The sound store but for one object, and nobody who remembers it."""
        for folder in (self.path('tool-cache'), self.cache):
            shutil.rmtree(folder, ignore_errors=True)
        self.place.fill(self.sound)
        self.place.remove(without)

    def check(self, *options):
        done = run(BKFS, *self.bkfs_check, *options, check=False, env=self.environment)
        report = json.loads(done.stdout)
        self.assertEqual(done.returncode, 13 if report['damaged'] else 0, done.stderr)
        return report

    def unreadable(self):
        """(snapshot, path) of everything that a mount cannot read; what can be read is compared."""
        failed = set()
        self.mount(ro=True)
        for shot in self.kept:
            top = os.path.join(self.mnt, 'snapshots', shot)

            def refused(error, shot=shot, top=top):
                self.assertEqual(error.errno, errno.EIO, error)
                failed.add((shot, ('/' + os.path.relpath(error.filename, top) + '/').replace('/./', '/')))
            for base, _, names in os.walk(top, onerror=refused):
                for name in names:
                    path = os.path.join(base, name)
                    inner = os.path.relpath(path, top)
                    try:
                        with open(path, 'rb') as file, open(os.path.join(self.source, inner), 'rb') as other:
                            self.assertEqual(file.read(), other.read(), path)
                    except OSError as error:
                        self.assertEqual(error.errno, errno.EIO, error)
                        failed.add((shot, '/' + inner))
        self.umount()
        return failed

    def named(self, report):
        return {(file['snapshot'], file['path']) for file in report['files']}

    def chosen(self, folder):
        objects = self.objects(folder)
        return random.sample(objects, min(ROUNDS, len(objects)))

    def test_packs(self):
        self.assertGreaterEqual(len(self.objects('packs')), 100)
        for lost in self.chosen('packs'):
            with self.subTest(lost):
                self.fresh(without=lost)
                gone = self.unreadable()
                report = self.check()
                self.assertEqual([o['object'] for o in report['objects']], [lost] if report['damaged'] else [])
                self.assertEqual(self.named(report), gone)
                # Nothing can be had from nowhere: it stays named, and the rest as it was.
                self.assertEqual(self.named(self.check('--repair')), gone)
                self.assertEqual(self.unreadable(), gone)
                # The files are still there; directories come back with the next backup.
                report = self.check('--repair', '--source', self.source)
                left = self.unreadable()
                self.assertEqual(self.named(report), left)
                self.assertEqual({path for _, path in left if not path.endswith('/')}, set())
                self.bkfs('backup', '-q', '-n', 'r', self.source)
                self.kept.append(self.snapshots()[-1]['id'])
                self.assertEqual({shot for shot, _ in self.unreadable()} - {shot for shot, _ in left}, set())
                self.kept.pop()

    def test_index_segments(self):
        for lost in self.chosen('index'):
            with self.subTest(lost):
                self.fresh(without=lost)
                gone = self.unreadable()
                report = self.check()
                self.assertEqual(self.named(report), gone)
                self.assertTrue(report['damaged'] or report['notes'], report)
                report = self.check('--repair')
                self.assertFalse(report['damaged'], report)
                self.assertEqual(self.unreadable(), set())
                self.assertFalse(self.check('--read-data')['damaged'])


if __name__ == '__main__':
    main()
