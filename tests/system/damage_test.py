# SPDX-License-Identifier: Apache-2.0
"""Damage in the store: exactly the files concerned fail with EIO, never with wrong or short contents."""
import errno
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
        self.pristine = self.path('pristine')
        shutil.copytree(self.repo, self.pristine)

    def packs(self):
        found = []
        for base, _, files in os.walk(self.repo + '/packs'):
            found += [os.path.join(base, f) for f in files]
        return sorted(found, key=os.path.getsize)

    def overwrite(self, path, data):
        os.chmod(path, 0o600)
        with open(path, 'wb') as file:
            file.write(data)

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
        with open(largest, 'rb') as file:
            good = file.read()
        self.assertEqual(self.read_all(), [])
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        for what, bad, least, most in (('flipped', bytes(flipped), 1, 8), ('cut', good[:len(good) // 2], 20, 40),
                                       ('empty', b'', 60, 60)):
            with self.subTest(what):
                self.overwrite(largest, bad)
                failed = self.read_all()
                self.assertTrue(least <= len(failed) <= most, failed)
                report = self.bkfs('check', '--read-data', code=13).stdout
                self.assertIn(os.path.basename(largest), report)
                for name in failed:
                    self.assertIn('d:/' + name, report)
                out = self.path('out-' + what)
                self.bkfs('restore', 'd', out, code=13)
                self.assertEqual(sorted(set(os.listdir(self.source)) - set(os.listdir(out))), failed)
                for name in os.listdir(out):
                    self.assertEqual(os.path.getsize(f'{out}/{name}'), 100000)
        os.unlink(largest)
        self.assertEqual(len(self.read_all()), 60)
        self.bkfs('check', code=13)
        self.overwrite_new(largest, good)
        self.assertEqual(self.read_all(), [])

    def overwrite_new(self, path, data):
        with open(path, 'wb') as file:
            file.write(data)

    def test_damaged_records_are_named(self):
        shots = self.snapshots()
        path = f'{self.repo}/snapshots/{shots[0]["id"]}'
        with open(path, 'rb') as file:
            good = bytearray(file.read())
        good[200] ^= 1
        self.overwrite(path, bytes(good))
        done = self.bkfs('snapshots', '--json')
        self.assertIn(shots[0]['id'], done.stderr)
        self.assertIn(shots[1]['id'], done.stdout)
        self.assertIn(shots[0]['id'], self.bkfs('check', code=13).stdout)

    def test_every_class_of_object_swapped_or_missing_is_found(self):
        for folder in ('index', 'snapshots', 'packs'):
            for what in ('missing', 'flipped'):
                with self.subTest(f'{folder} {what}'):
                    shutil.rmtree(self.repo)
                    shutil.copytree(self.pristine, self.repo)
                    shutil.rmtree(self.path('tool-cache'), ignore_errors=True)
                    victims = []
                    for base, _, files in os.walk(f'{self.repo}/{folder}'):
                        victims += [os.path.join(base, f) for f in files]
                    # The newest record can only be missed by who has seen it: take the first of its writer.
                    if folder == 'snapshots':
                        victims = [f'{self.repo}/snapshots/{self.snapshots()[0]["id"]}']
                        shutil.rmtree(self.path('tool-cache'))
                    victim = sorted(victims)[0]
                    if what == 'missing':
                        os.unlink(victim)
                    else:
                        with open(victim, 'rb') as file:
                            data = bytearray(file.read())
                        data[-40] ^= 4
                        self.overwrite(victim, bytes(data))
                    self.bkfs('check', '--read-data', code=13)


if __name__ == '__main__':
    main()
