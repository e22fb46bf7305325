# SPDX-License-Identifier: Apache-2.0
"""What changed is what is sent."""
import json
import os
import re
import shutil

from harness import RepositoryTest, main, run
from places import sized

MEBIBYTE = 1 << 20


class IncrementalTest(RepositoryTest):

    def stored(self):
        return json.loads(self.bkfs('stats', '--json').stdout)['pack_bytes']

    def test_one_percent(self):
        source = self.path('source')
        os.mkdir(source)
        for i in range(200):
            with open(f'{source}/{i}', 'wb') as file:
                file.write(os.urandom(200000))
        self.mount()
        os.mkdir(self.incoming('i'))
        run('rsync', '-a', source + '/', self.incoming('i') + '/')
        self.sync('i')
        first = self.stored()
        for i in (3, 77):
            with open(f'{source}/{i}', 'wb') as file:
                file.write(os.urandom(200000))
            # rsync looks at whole seconds, and all this may happen within one.
            os.utime(f'{source}/{i}', (1_000_000_000, 1_000_000_000))
        run('rsync', '-a', source + '/', self.incoming('i') + '/')
        self.sync('i')
        self.assertLess(self.stored() - first, first * 0.015)
        with open(self.incoming('.status'), encoding='utf-8') as file:
            sent = re.search(r'sent for it: ([0-9.]+) KiB \(([0-9.]+) KiB new', file.read())
        # Two files of 195 KiB, the directory pieces that name them, an index segment.
        self.assertTrue(390 < float(sent[1]) < 500 and 390 < float(sent[2]) < 500, sent[0])

    def test_insertion_in_front_of_a_large_file(self):
        size = int(os.environ.get('BKFS_LARGE_FILE', sized(96, 48) * MEBIBYTE))
        original = self.path('original')
        with open(original, 'wb') as file:
            for _ in range(size // MEBIBYTE):
                file.write(os.urandom(MEBIBYTE))
        self.mount()
        os.mkdir(self.incoming('i'))
        shutil.copyfile(original, self.incoming('i', 'file'))
        self.sync('i')
        for count in (1, 3, 7):
            before = self.stored()
            with open(original, 'rb') as old, open(self.incoming('i', 'file'), 'wb') as new:
                new.write(b'x' * count)
                shutil.copyfileobj(old, new, MEBIBYTE)
            self.sync('i')
            self.assertLess(self.stored() - before, 8 * MEBIBYTE)


if __name__ == '__main__':
    main()
