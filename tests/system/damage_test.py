# SPDX-License-Identifier: Apache-2.0
"""Damage in the store: exactly the files concerned fail with EIO, never with wrong or short contents."""
import errno
import json
import os
import shutil

from harness import RepositoryTest, main


class DamageTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')
        os.mkdir(self.source)
        for i in range(60):
            with open(f'{self.source}/{i:02}', 'wb') as file:
                file.write(os.urandom(100000))
        # Two snapshots of different files, so that there are several packs.
        self.bkfs('backup', '--name', 'd', self.source)
        self.other = self.path('other')
        os.mkdir(self.other)
        with open(self.other + '/only', 'wb') as file:
            file.write(os.urandom(100000))
        self.bkfs('backup', '--name', 'e', self.other)
        self.pristine = self.place.saved()

    def packs(self):
        sizes = self.place.sizes('packs/')
        return sorted(sizes, key=sizes.get)

    def read_all(self):
        """Mounts with an empty cache and reads every file; returns the names that gave EIO."""
        failed = []
        shutil.rmtree(self.cache, ignore_errors=True)
        self.mount(ro=True)
        for name in sorted(os.listdir(self.mnt + '/latest/d')):
            try:
                with open(f'{self.mnt}/latest/d/{name}', 'rb') as file:
                    data = file.read()
                with open(f'{self.source}/{name}', 'rb') as file:
                    self.assertEqual(data, file.read(), f'{name}: wrong or short contents')
            except OSError as error:
                self.assertEqual(error.errno, errno.EIO)
                failed.append(name)
        with open(f'{self.mnt}/latest/e/only', 'rb') as file:
            self.assertEqual(len(file.read()), 100000)
        self.bkfs('umount', self.mnt)
        return failed

    def test_flipped_cut_and_missing_packs(self):
        largest = self.packs()[-1]
        good = self.place.read(largest)
        self.assertEqual(self.read_all(), [])
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        for what, bad, least, most in (('flipped', bytes(flipped), 1, 8), ('cut', good[:len(good) // 2], 20, 40),
                                       ('empty', b'', 60, 60)):
            with self.subTest(what):
                self.place.write(largest, bad)
                failed = self.read_all()
                self.assertTrue(least <= len(failed) <= most, failed)
                report = self.bkfs('check', '--read-data', code=13).stdout
                self.assertIn(os.path.basename(largest), report)
                for name in failed:
                    self.assertIn('d:/' + name, report)
                out = self.path('out-' + what)
                self.forget_what_was_read()
                self.bkfs('restore', 'd', out, code=13)
                self.assertEqual(sorted(set(os.listdir(self.source)) - set(os.listdir(out))), failed)
                for name in os.listdir(out):
                    self.assertEqual(os.path.getsize(f'{out}/{name}'), 100000)
        self.place.remove(largest)
        self.assertEqual(len(self.read_all()), 60)
        self.bkfs('check', code=13)
        self.place.write(largest, good)
        self.assertEqual(self.read_all(), [])

    def test_damaged_records_are_named(self):
        shots = self.snapshots()
        name = f'snapshots/{shots[0]["id"]}'
        flipped = bytearray(self.place.read(name))
        flipped[200] ^= 1
        self.place.write(name, bytes(flipped))
        self.forget_what_was_read()
        done = self.bkfs('snapshots', '--json')
        self.assertIn(shots[0]['id'], done.stderr)
        self.assertIn(shots[1]['id'], done.stdout)
        self.assertIn(shots[0]['id'], self.bkfs('check', code=13).stdout)

    def test_every_class_of_object_swapped_or_missing_is_found(self):
        for folder in ('index', 'snapshots', 'packs'):
            for what in ('missing', 'flipped'):
                with self.subTest(f'{folder} {what}'):
                    self.place.fill(self.pristine)
                    shutil.rmtree(self.path('tool-cache'), ignore_errors=True)
                    victim = self.place.names(folder + '/')[0]
                    # The newest record can only be missed by who has seen it: take the first of its writer.
                    if folder == 'snapshots':
                        victim = f'snapshots/{self.snapshots()[0]["id"]}'
                        shutil.rmtree(self.path('tool-cache'))
                    if what == 'missing':
                        self.place.remove(victim)
                    else:
                        data = bytearray(self.place.read(victim))
                        data[-40] ^= 4
                        self.place.write(victim, bytes(data))
                    self.bkfs('check', '--read-data', code=13)

    def check(self, *options, code=0, key=None):
        return json.loads(self.bkfs('check', '--json', *options, code=code, key=key).stdout)

    def affected(self, report):
        return sorted({file['path'] for file in report['files'] if file['name'] == 'd'})

    def test_repair_and_sources(self):
        largest = self.packs()[-1]
        flipped = bytearray(self.place.read(largest))
        flipped[len(flipped) // 2] ^= 1
        self.place.write(largest, bytes(flipped))
        failed = self.read_all()
        report = self.check('--read-data', code=13)
        self.assertEqual([o['object'].rsplit('/')[-1] for o in report['objects']], [os.path.basename(largest)])
        self.assertEqual(self.affected(report), ['/' + name for name in failed])
        self.bkfs('check', '--repair', key=self.derive('ReadOnly'), code=1)
        # What is sound is saved; the rest stays named, and reads as EIO.
        report = self.check('--read-data', '--repair', code=13)
        self.assertEqual(len(report['repaired']), 1, report)
        self.assertEqual(report['objects'], [])
        self.assertEqual(self.affected(report), ['/' + name for name in failed])
        self.place.remove(largest)  # everything that could be read is elsewhere
        self.assertEqual(self.read_all(), failed)
        # The files are still there.
        report = self.check('--repair', '--source', self.source)
        self.assertEqual((report['damaged'], report['files']), (False, []))
        self.assertTrue(any('sources' in line for line in report['repaired']), report)
        self.assertEqual(self.read_all(), [])
        self.assertEqual(self.check('--read-data', '--restart')['never_verified'], 0)

    def test_repair_of_the_index(self):
        maintain = self.derive('Maintain')
        segments = self.place.names('index/')
        self.place.remove(segments[0])
        self.place.write(segments[1], self.place.read(segments[1])[:100])
        report = self.check(code=13)
        self.assertIn(segments[1], [o['object'] for o in report['objects']])
        self.assertTrue(report['files'])
        report = self.check('--repair', key=maintain)
        self.assertFalse(report['damaged'], report)
        self.assertEqual(self.check('--repair', key=maintain)['repaired'], [])
        self.assertEqual(self.read_all(), [])

    def test_levels_parts_and_wrong_usage(self):
        log_only = self.derive('LogOnly')
        self.assertFalse(self.check('--level', 'structure', key=log_only)['damaged'])
        packs = len(self.packs())
        parts = [self.check(f'--read-data={n}/2')['verified_packs'] for n in (1, 2)]
        self.assertEqual(sum(parts), packs)
        report = self.check('--max-duration', '10m', '--quiet')
        self.assertEqual((report['verified_packs'], report['read_all']), (packs, True))
        self.assertRegex(report['oldest_verification'], r'^20\d\d-')
        self.assertEqual(self.check('--read-data=1%')['verified_packs'], 1)
        self.assertIn('never verified', self.bkfs('check', '--read-data=1%', key=self.derive('ReadOnly')).stdout)
        for wrong in (['--level', 'all'], ['--read-data=x'], ['--max-duration', '5'], ['--restart'], ['--source', '/'],
                      ['--repair', '--level', 'structure']):
            self.bkfs('check', *wrong, code=2)
        self.place.remove(self.packs()[0])
        self.assertFalse(self.check('--level', 'structure')['damaged'])
        self.check('--level', 'signatures', code=13)


if __name__ == '__main__':
    main()
