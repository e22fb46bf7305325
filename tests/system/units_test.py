# SPDX-License-Identifier: Apache-2.0
"""bkfs-maintain@: systemd accepts the units, and what they start maintains a repository."""
import json
import os
import re
import shlex
import subprocess

from harness import BKFS, RepositoryTest, main, run

UNITS = os.path.join(os.path.dirname(os.path.realpath(__file__)), '../../tools/systemd')


class UnitsTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        maintain = self.derive('Maintain')
        self.config = self.path('home.ini')
        with open(self.config, 'w', encoding='utf-8') as file:
            file.write(f'[Repository]\nURL={self.repo}\nKeyFile={maintain}\n')
        self.source = self.path('source')
        os.mkdir(self.source)
        for i in range(3):
            with open(f'{self.source}/file', 'wb') as file:
                file.write(os.urandom(50000))
            self.bkfs('backup', '-q', '-n', 's', self.source)

    def start(self):
        """What the service starts, one after the other, as systemd would."""
        with open(os.path.join(UNITS, 'bkfs-maintain@.service'), encoding='utf-8') as unit:
            commands = re.findall('^ExecStart=(.*)$', unit.read(), re.MULTILINE)
        self.assertGreater(len(commands), 3)
        environment = dict(self.environment, PATH=os.path.dirname(BKFS) + ':' + os.environ['PATH'])
        for command in commands:
            command = command.replace('/etc/bkfs/%i.ini', self.config).replace('\\\\', '\\')
            done = subprocess.run(shlex.split(command), env=environment, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ''), command)

    def test_systemd_takes_them(self):
        for unit in ('bkfs-maintain@.service', 'bkfs-maintain@.timer'):
            done = run('systemd-analyze', 'verify', '--man=no', os.path.join(UNITS, unit))
            # What else is wrong on this machine's systemd is no matter of ours.
            self.assertNotIn('bkfs', done.stdout + done.stderr)

    def test_without_retention(self):
        self.start()
        self.assertEqual(len(self.snapshots()), 3)

    def test_daily_with_retention(self):
        with open(self.config, 'a', encoding='utf-8') as file:
            file.write('[Retention]\nLast=1\n')
        self.start()
        self.assertEqual(len(self.snapshots()), 1)
        waiting = json.loads(self.bkfs('prune', '--dry-run', '--grace', '0', '--json').stdout)
        self.assertGreater(waiting['deleted_packs'], 0, waiting)
        # The tool's own cache remembers what was verified, which is what half an hour a day is for.
        report = json.loads(self.bkfs('check', '--json', key=self.path('Maintain.key')).stdout)
        self.assertEqual((report['damaged'], report['never_verified']), (False, 0))


if __name__ == '__main__':
    main()
