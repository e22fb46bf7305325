# SPDX-License-Identifier: Apache-2.0
"""Snapshots are removed by name and by rules, by those who may, and nothing is that nobody asked for."""
import json
import os
import subprocess

from harness import BKFS, RepositoryTest, main, run


class ForgetTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.environment['TZ'] = 'UTC0'
        self.source = self.path('source')
        os.mkdir(self.source)
        self.round = 0
        self.maintain = self.derive('Maintain')

    def backup(self, name='home', *options):
        self.round += 1
        with open(self.source + '/a', 'w', encoding='utf-8') as file:
            file.write(f'round {self.round}\n')
        return self.bkfs('backup', '--name', name, '--host', 'box', *options, self.source).stdout.split()[-1]

    def forget(self, *arguments, key=None, code=0):
        return self.bkfs('forget', *arguments, key=key or self.maintain, code=code)

    def ids(self):
        return [s['id'] for s in self.snapshots()]

    def files(self, folder):
        return [name.partition('/')[2] for name in self.place.names(folder + '/')]

    def restored(self, what, number):
        out = self.path(f'out-{number}')
        self.bkfs('restore', what, out)
        with open(out + '/a', encoding='utf-8') as file:
            self.assertEqual(file.read(), f'round {number}\n')

    def failure(self, done):
        """The one line that says why; that a record is gone may be told before it."""
        lines = [line for line in done.stderr.splitlines() if not line.startswith('bkfs: warning: ')]
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_by_name(self):
        shots = [self.backup() for _ in range(4)] + [self.backup('www')]
        said = self.forget('--dry-run', shots[0]).stdout
        self.assertIn('1 snapshot would be removed, 4 kept', said)
        self.assertEqual(self.ids(), shots)
        said = self.forget(shots[0], shots[2][:12], shots[0]).stdout
        self.assertEqual(said.splitlines()[-1], "2 snapshots removed, 3 kept; 'bkfs prune' frees the space")
        self.assertIn(shots[2][:12], said)
        self.assertNotIn(shots[1][:12], said)
        self.assertEqual(self.ids(), [shots[1], shots[3], shots[4]])
        self.assertEqual(self.files('snapshots'), sorted(self.ids()))
        self.assertEqual(len(self.files('removed')), 1)
        gone = run(BKFS, 'restore', shots[0], self.path('out'), '-R', self.repo, '-K', self.master, check=False,
                   env=self.environment)
        self.assertNotEqual(gone.returncode, 0)
        self.restored(shots[1], 2)
        # One that is not there: the others stay too.
        self.assertIn("no snapshot 'nonsense'", self.failure(self.forget(shots[1], 'nonsense', code=1)))
        self.assertEqual(self.ids(), [shots[1], shots[3], shots[4]])
        self.forget('home', key=self.master)   # its latest
        self.assertEqual(self.ids(), [shots[1], shots[4]])
        plan = json.loads(self.forget('--json', shots[4]).stdout)
        self.assertEqual([(s['id'], s['keep'], s['reasons']) for g in plan for s in g['snapshots']],
                         [(shots[4], False, ['named'])])
        self.backup('www')
        self.assertEqual(len(self.ids()), 2)
        self.restored('www', 6)

    def test_by_rules(self):
        home = [self.backup() for _ in range(3)] + [self.backup('home', '--tag', 'keep me')] + [
            self.backup() for _ in range(2)]
        www = [self.backup('www') for _ in range(3)]
        done = self.forget('--keep-last', '2', '--keep-tag', 'keep me', '--dry-run', '--json')
        plan = json.loads(done.stdout)
        self.assertEqual([(g['name'], g['host'], g['refused']) for g in plan],
                         [('home', 'box', False), ('www', 'box', False)])
        self.assertEqual([s['id'] for s in plan[0]['snapshots']], home)
        self.assertEqual([s['keep'] for s in plan[0]['snapshots']], [False] * 3 + [True] * 3)
        self.assertEqual(plan[0]['snapshots'][0]['reasons'], ['no rule keeps it'])
        self.assertEqual(plan[0]['snapshots'][3]['reasons'], ['tag keep me'])
        self.assertEqual(plan[0]['snapshots'][3]['tags'], ['keep me'])
        self.assertEqual(plan[0]['snapshots'][5]['reasons'], ['last 2'])
        self.assertEqual(len(self.ids()), 9)
        # Of one series only.
        said = self.forget('--keep-last', '1', '-n', 'www').stdout
        self.assertRegex(said, r'(?m)^ID +TIME +SERIES +HOST +WHAT +WHY$')
        self.assertRegex(said, rf'(?m)^{www[0][:12]}  \S+Z  www +box +remove +no rule keeps it$')
        self.assertRegex(said, rf'(?m)^{www[2][:12]}  \S+Z  www +box +keep +last 1$')
        self.assertIn('2 snapshots removed, 7 kept', said)
        self.assertEqual(self.ids(), home + www[2:])
        self.forget('--keep-last', '2', '--keep-tag', 'keep me')
        self.assertEqual(self.ids(), home[3:] + www[2:])
        self.assertIn('nothing to remove, 4 kept', self.forget('--keep-last', '2', '--keep-tag', 'keep me').stdout)
        for rules in (('--keep-last', '-1'), ('--keep-last', 'unlimited'), ('--keep-within', '1h'),
                      ('--keep-last', '1', '--host', 'elsewhere'), ('--keep-last', '1', '--tag', 'none'),
                      ('--keep-last', '1', '--tag', 'none', '--tag', 'keep me')):
            self.forget(*rules)
            self.assertEqual(len(self.ids()), 4, rules)
        self.forget('--keep-last', '1', '--group-by', '', '--keep-tag', 'keep me')
        self.assertEqual(self.ids(), [home[3], www[2]])
        self.restored('home', 4)
        self.restored('www', 9)

    def test_periods_are_those_of_local_time(self):
        shot = self.backup()
        time = self.snapshots()[0]['time']
        plan = json.loads(self.forget('--keep-daily', '7', '--keep-yearly', '3', '--dry-run', '--json').stdout)
        self.assertEqual(plan[0]['snapshots'][0]['reasons'], ['daily ' + time[:10], 'yearly ' + time[:4]])
        self.environment['TZ'] = 'EAST-12:30'
        said = self.forget('--keep-hourly', '1').stdout
        self.assertRegex(said, r'\+12:30  home .* keep  hourly \S+\+12:30')
        self.assertEqual(self.ids(), [shot])

    def test_configuration(self):
        shots = [self.backup() for _ in range(4)]
        config = self.path('c.ini')

        def forget(text, *arguments, code=0):
            with open(config, 'w', encoding='utf-8') as file:
                file.write(f'[Repository]\nURL = {self.repo}\nKeyFile = {self.maintain}\n{text}')
            done = run(BKFS, 'forget', '-C', config, *arguments, check=False, env=self.environment)
            self.assertEqual(done.returncode, code, done.stderr)
            return done

        self.assertIn(f'{config}:5: Daily: bad value', self.failure(forget('[Retention]\nDaily=x\n', code=2)))
        self.assertIn('which snapshots?', self.failure(forget('[Retention]\nGroupBy=\n', code=2)))
        self.assertIn('which snapshots?', self.failure(forget('[Retention]\nLast=0\n', code=2)))
        self.assertEqual(self.ids(), shots)
        forget('[Retention]\nLast=3\n')
        self.assertEqual(self.ids(), shots[1:])
        forget('[Retention]\nLast=3\n', '--keep-last', '2')   # in its place
        self.assertEqual(self.ids(), shots[2:])
        forget('[Retention]\nLast=1\n', shots[3])             # which was named
        self.assertEqual(self.ids(), [shots[2]])

    def test_nothing_goes_by_mistake(self):
        shots = [self.backup(), self.backup(), self.backup('www', '--tag', 't')]
        for arguments, why in (
                ((), 'which snapshots?'), (('--keep-last', '0'), 'which snapshots?'),
                (('--allow-remove-all',), 'which snapshots?'), (('-n', 'home'), 'which snapshots?'),
                (('--keep-last', '-2'), "--keep-last: bad value '-2'"),
                (('--keep-daily', 'many'), "--keep-daily: bad value 'many'"),
                (('--keep-within', '7'), "--keep-within: bad value '7'"),
                (('--keep-tag', ''), '--keep-tag: which tag?'),
                (('--keep-last', '1', '--group-by', 'colour'), "--group-by: bad value 'colour'"),
                ((shots[0], '--keep-last', '1'), 'give one of them'),
                ((shots[0], '--tag', 't'), '--tag goes with'), ((shots[0], '--allow-remove-all'), 'goes with')):
            with self.subTest(arguments):
                self.assertIn(why, self.failure(self.forget(*arguments, code=2)))
        self.assertEqual(self.ids(), shots)
        for dry in ((), ('--dry-run',)):
            refused = self.forget('--keep-tag', 't', *dry, code=1)
            self.assertIn('keep no snapshot of: home on box', self.failure(refused))
            self.assertIn('--allow-remove-all', refused.stderr)
            self.assertIn('nothing to remove, 3 kept', refused.stdout)
        self.assertEqual(self.ids(), shots)
        with open('/dev/full', 'wb') as full:
            done = subprocess.run([BKFS, 'forget', '--keep-last', '1', '-R', self.repo, '-K', self.maintain], stdout=full,
                                  stderr=subprocess.PIPE, env=self.environment, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(self.ids(), shots)   # what goes is said before
        self.forget('--keep-tag', 't', '--allow-remove-all')
        self.assertEqual(self.ids(), shots[2:])

    def test_who_may(self):
        shots = [self.backup(), self.backup()]
        for kind in ('WriteOnly', 'ReadWrite', 'ReadOnly', 'LogOnly'):
            key = self.derive(kind)
            for arguments in ((shots[0],), ('--keep-last', '1')):
                with self.subTest(f'{kind} {arguments}'):
                    done = self.forget(*arguments, key=key, code=1)
                    self.assertEqual(self.failure(done), f'bkfs: a {kind} key may not do maintenance '
                                                         '(a Master or Maintain key may)')
                    self.assertEqual(done.stdout, '')
            if kind != 'WriteOnly':
                self.assertIn('1 snapshot would be removed', self.forget('--keep-last', '1', '--dry-run', key=key).stdout)
        self.failure(self.forget('--keep-last', '1', '--dry-run', key=self.path('WriteOnly.key'), code=1))
        keys = json.loads(self.bkfs('key', 'list', '--json').stdout)
        self.bkfs('key', 'revoke', [k for k in keys if k['type'] == 'Maintain'][0]['key'])
        self.assertIn('revoked', self.failure(self.forget('--keep-last', '1', code=1)))
        self.assertEqual(self.ids(), shots)
        self.assertEqual(self.files('removed'), [])
        self.forget('--keep-last', '1', key=self.master)
        self.assertEqual(self.ids(), shots[1:])


if __name__ == '__main__':
    main()
