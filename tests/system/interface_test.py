# SPDX-License-Identifier: Apache-2.0
"""The interface that others rely upon, and what bad input gets."""
import errno
import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import termios
import time

from harness import BKFS, MOUNT_BKFS, RepositoryTest, main, run
from places import AFAR, only_on, sized


class InterfaceTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.source = self.path('source')
        os.makedirs(self.source + '/sub')
        with open(self.source + '/a', 'w', encoding='utf-8') as file:
            file.write('hello\n')
        with open(self.source + '/sub/b', 'w', encoding='utf-8') as file:
            file.write('world\n' * 1000)

    def backup(self, name='home'):
        return self.bkfs('backup', '--name', name, self.source).stdout.split()[-1]

    def test_a_new_folder_of_a_file_manager(self):
        self.mount(commit_idle=1)
        os.mkdir(self.incoming('untitled folder'))
        os.rename(self.incoming('untitled folder'), self.incoming('photos'))
        self.assertEqual(os.listdir(self.incoming()), ['.status', 'photos'])
        time.sleep(2.5)
        self.assertEqual(self.snapshots(), [])  # nobody wants a snapshot of an empty new folder
        with open(self.incoming('photos', 'a'), 'w', encoding='utf-8') as file:
            file.write('x')
        self.sync('photos')
        os.rename(self.incoming('photos'), self.incoming('pictures'))
        self.sync('pictures')
        self.assertEqual([s['name'] for s in self.snapshots()], ['photos', 'pictures'])
        with self.assertRaises(OSError) as caught:
            os.rename(self.incoming('pictures'), self.incoming('.status'))
        self.assertIn(caught.exception.errno, (errno.EPERM, errno.ENOTDIR))
        os.mkdir(self.incoming('photos'))
        with self.assertRaises(OSError) as caught:
            os.rename(self.incoming('pictures'), self.incoming('photos'))
        self.assertEqual(caught.exception.errno, errno.ENOTEMPTY)
        self.umount()

    def test_backup_list_restore_fetch(self):
        first = self.backup()
        summary = json.loads(self.bkfs('backup', '--name', 'home', '--json', self.source)
                             .stdout.splitlines()[-1])
        self.assertEqual(summary['read_files'], 0)
        shots = self.snapshots()
        self.assertEqual([s['id'] for s in shots], [first, summary['snapshot']])
        for field in ('id', 'name', 'time', 'host', 'user', 'key', 'files', 'bytes', 'added', 'signature'):
            self.assertIn(field, shots[0])
        self.assertEqual(shots[0]['files'], 2)
        self.assertEqual(self.bkfs('fetch', 'home', 'sub/b', '-').stdout, 'world\n' * 1000)
        self.bkfs('fetch', first[:8], '/a', self.path('fetched'))
        for what, where in (('home', self.source), ('home:sub', self.source + '/sub')):
            out = self.path('out')
            self.bkfs('restore', what, out)
            self.assert_same_tree(where, out)
            shutil.rmtree(out)
        listed = json.loads(self.bkfs('ls', 'home', '--json').stdout)
        self.assertEqual([e['path'] for e in listed], ['a', 'sub'])
        with open(self.source + '/a', 'a', encoding='utf-8') as file:
            file.write('more')
        os.mkdir(self.source + '/new')
        third = self.backup()
        self.assertEqual(self.bkfs('diff', first, third).stdout.splitlines()[:2], ['M a', '+ new/'])
        self.assertIn('/sub/b', self.bkfs('find', 'b').stdout)
        self.assertIn('no damage', self.bkfs('check', '--read-data').stdout)
        self.assertEqual(self.bkfs('check', '--json').returncode, 0)

    def test_restore_only_what_differs(self):
        self.backup()
        out = self.path('out')
        self.bkfs('restore', 'home', out)
        with open(out + '/extra', 'w', encoding='utf-8') as file:
            file.write('x')
        os.unlink(out + '/a')
        done = json.loads(self.bkfs('restore', 'home', out, '--delete', '--json').stdout)
        self.assertEqual((done['written'], done['kept'], done['removed']), (1, 1, 1))
        self.assert_same_tree(self.source, out)
        before = os.stat(out + '/a')
        with open(out + '/a', 'r+', encoding='utf-8') as file:
            file.write('HELLO')
        os.utime(out + '/a', ns=(before.st_mtime_ns, before.st_mtime_ns))
        self.bkfs('restore', 'home', out, '--dry-run', '--verify')
        with open(out + '/a', encoding='utf-8') as file:
            self.assertEqual(file.read(), 'HELLO\n')
        self.bkfs('restore', 'home', out, '--verify')
        self.assert_same_tree(self.source, out)

    def test_links_in_the_destination_are_not_followed(self):
        self.backup()
        outside = self.path('outside')
        os.mkdir(outside)
        out = self.path('out')
        os.mkdir(out)
        os.symlink(outside, out + '/sub')
        self.bkfs('restore', 'home', out, code=1)
        self.assertEqual(os.listdir(outside), [])

    def test_excludes(self):
        self.bkfs('backup', '--name', 'e', '--exclude', 'sub/', self.source)
        self.assertEqual([e['path'] for e in json.loads(self.bkfs('ls', 'e', '--json').stdout)], ['a'])

    def test_refusals(self):
        self.bkfs('init', code=2)                                        # key exists
        self.bkfs('init', '-K', self.path('other.key'), code=1)          # repository exists
        self.assertFalse(os.path.exists(self.path('other.key')))
        self.bkfs('nonsense', code=2)
        self.bkfs('snapshots', '--nonsense', code=2)
        self.bkfs('restore', 'nothing-there', self.path('x'), code=1)
        self.backup()
        self.bkfs('restore', 'home', self.source + '/a', code=2)          # target is a file
        self.bkfs('derive', '-t', 'Nonsense', '-O', self.path('k'), code=2)
        self.bkfs('derive', '-t', 'ReadOnly', '-O', self.master, code=2)  # never overwrites

    def test_no_repository(self):
        empty = self.new_place('empty')
        empty.make()
        for place in (empty, self.new_place('absent')):
            self.repo = place.url
            self.bkfs('snapshots', code=10)
            self.mount(code=10)
            self.assertEqual(place.names(), [])

    def test_wrong_tampered_and_foreign_keys(self):
        good = self.repo
        self.repo = self.new_place('second').url
        foreign = self.path('foreign.key')
        self.bkfs('init', '-K', foreign)
        self.repo = good
        self.bkfs('snapshots', key=foreign, code=12)
        self.mount(key=foreign, code=12)
        with open(self.master, encoding='utf-8') as file:
            text = file.read()
        for what, bad in (('cut', text[:len(text) // 2]), ('empty', ''),
                          ('retyped', self.retype(text))):
            with self.subTest(what):
                path = self.path(what + '.key')
                with open(path, 'w', encoding='utf-8') as file:
                    file.write(bad)
                os.chmod(path, 0o600)
                done = self.bkfs('snapshots', key=path, code=12)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.bkfs('snapshots', key=self.path('absent.key'), code=2)
        readonly = self.derive('ReadOnly')
        with open(readonly, encoding='utf-8') as file:
            promoted = file.read().replace('Type: ReadOnly', 'Type: ReadWrite')
        with open(readonly, 'w', encoding='utf-8') as file:
            file.write(promoted)
        self.bkfs('snapshots', key=readonly, code=12)

    @staticmethod
    def retype(text):
        lines = text.splitlines()
        body = lines[-2]
        lines[-2] = ('B' if body[0] == 'A' else 'A') + body[1:]
        return '\n'.join(lines) + '\n'

    def test_newer_format_is_refused(self):
        header = bytearray(self.place.read('bkfs.repo'))
        header[8] = 2
        self.place.write('bkfs.repo', bytes(header))
        done = self.bkfs('snapshots', code=1)
        self.assertIn('version', done.stderr)

    def test_configuration(self):
        config = self.path('c.ini')
        with open(config, 'w', encoding='utf-8') as file:
            file.write(f'[Repository]\nURL = {self.repo}\nKeyFile = {self.master}\n'
                       f'[Backup]\nName = conf\nPaths = {self.source}\nExclude = sub/\n')
        run(BKFS, 'backup', '-C', config, env=self.environment)
        self.assertEqual([s['name'] for s in self.snapshots()], ['conf'])
        for bad in ('[Repository]\nURLL = x\n', '[Nonsense]\n', '', '[Cache]\nSize = many\n'):
            with open(config, 'w', encoding='utf-8') as file:
                file.write(bad)
            done = run(BKFS, 'snapshots', '-C', config, check=False, env=self.environment)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn('c.ini', done.stderr)

    def test_revocation(self):
        key = self.derive('ReadWrite')
        self.bkfs('backup', '--name', 'r', self.source, key=key)
        ids = json.loads(self.bkfs('key', 'list', '--json').stdout)
        derived = [k for k in ids if k['type'] == 'ReadWrite'][0]['key']
        self.bkfs('key', 'revoke', derived, key=key, code=1)   # only the master may
        self.bkfs('key', 'revoke', derived)
        self.assertEqual(self.snapshots()[0]['signature'], 'revoked')
        self.bkfs('backup', '--name', 'r', self.source, key=key, code=1)
        self.bkfs('restore', 'r', self.path('out'))

    def test_rotation(self):
        """A revoked reader opens nothing that is written after a rotation; other keyfiles stay as they are."""
        reader, thief, writer = self.derive('ReadOnly'), self.derive('LogOnly'), self.derive('WriteOnly')
        self.backup()
        keys = json.loads(self.bkfs('key', 'list', '--json').stdout)
        stolen = [k['key'] for k in keys if k['type'] == 'LogOnly'][0]
        self.assertIn("'bkfs rotate'", self.bkfs('key', 'revoke', stolen).stdout)
        self.bkfs('rotate', key=writer, code=1)
        self.assertEqual(json.loads(self.bkfs('rotate', '--json').stdout), {'epoch': 2, 'grants': 1})
        self.bkfs('backup', '--name', 'later', self.source, key=writer)
        for key, seen in ((reader, 2), (self.master, 2), (thief, 1)):
            listed = self.bkfs('snapshots', '--json', key=key).stdout
            self.assertEqual(len(json.loads(listed)), seen, listed)
        later = self.derive('ReadWrite')
        for key in (reader, later):
            self.bkfs('restore', 'later', self.path('of-' + os.path.basename(key)), key=key)
        keys = json.loads(self.bkfs('key', 'list', '--json').stdout)
        second = [k['key'] for k in keys if k['type'] == 'ReadOnly'][0]
        said = json.loads(self.bkfs('key', 'revoke', second, '--rotate', '--json').stdout)
        self.assertEqual((said['epoch'], said['grants']), (3, 1))
        self.place.remove('keys/epoch-2')
        self.assertIn('keys/epoch-2 is missing', self.bkfs('snapshots', code=13).stderr)
        self.assertEqual(json.loads(self.bkfs('rotate', '--repair', '--json').stdout), {'made': [2]})
        self.bkfs('restore', 'later', self.path('repaired'), key=later)

    def test_what_a_key_may_not_do(self):
        self.backup()
        for kind, refused in (('ReadOnly', ('backup',)), ('Maintain', ('backup', 'restore', 'fetch')),
                              ('LogOnly', ('backup', 'restore', 'fetch', 'ls', 'find', 'diff')),
                              ('WriteOnly', ('restore', 'fetch', 'ls', 'find', 'diff', 'snapshots'))):
            key = self.derive(kind)
            commands = {'backup': ('--name', 'x', self.source), 'restore': ('home', self.path('out')),
                        'fetch': ('home', 'a', '-'), 'ls': ('home',), 'find': ('a',), 'diff': ('home', 'home'),
                        'snapshots': ()}
            for name, arguments in commands.items():
                with self.subTest(f'{kind} {name}'):
                    done = self.bkfs(name, *arguments, key=key, code=1 if name in refused else 0)
                    self.assertEqual(len(done.stderr.splitlines()) if name in refused else 1, 1, done.stderr)
            shutil.rmtree(self.path('out'), ignore_errors=True)
        self.bkfs('derive', '-t', 'ReadOnly', '-O', self.path('k'), '-K', self.path('ReadOnly.key'), code=1)
        self.assertFalse(os.path.exists(self.path('k')))

    def test_slips_of_the_finger(self):
        def said(*arguments, code=2):
            done = run(BKFS, *arguments, check=False, env=self.environment)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            return done.stderr
        self.assertIn('key list, key show, key revoke', said('key'))
        self.assertIn('key list, key show, key revoke', said('-R', self.repo, 'key', 'nonsense'))
        self.assertIn("no command 'nonsense'", said('-R', self.repo, 'nonsense'))
        self.assertIn("no command 'nonsense'", said('help', 'nonsense'))
        self.assertIn('which command', said('-q'))
        self.assertIn('usage: bkfs snapshots [OPTION...]: no arguments', said('snapshots', 'home'))
        self.assertIn('control character', self.bad_config(b'[Repository]\nURL = \x1b[31m\n'))
        self.assertIn("no snapshots of series 'nonsense'", self.bkfs('snapshots', '-n', 'nonsense').stdout)

    def bad_config(self, text):
        with open(self.path('bad.ini'), 'wb') as file:
            file.write(text)
        done = run(BKFS, 'snapshots', '-C', self.path('bad.ini'), check=False, env=self.environment)
        self.assertEqual(done.returncode, 2)
        self.assertNotIn('\x1b', done.stderr)
        return done.stderr

    @only_on('local')
    def test_init_wants_a_folder_of_its_own(self):
        taken = self.new_place('taken')
        taken.write('letter', b'x')
        self.repo = taken.url
        self.assertIn('not empty', self.bkfs('init', '-K', self.path('new.key'), code=2).stderr)
        self.assertEqual(taken.names(), ['letter'])
        self.assertFalse(os.path.exists(self.path('new.key')))
        taken.remove('letter')
        os.mkdir(taken.path('lost+found'))   # a disk of its own
        self.bkfs('init', '-K', self.path('new.key'))

    def test_revoking_takes_more_than_a_digit(self):
        self.derive('ReadWrite')
        keys = json.loads(self.bkfs('key', 'list', '--json').stdout)
        derived = [k for k in keys if k['type'] == 'ReadWrite'][0]['key']
        for short in ('', derived[0], derived[:7]):
            self.bkfs('key', 'revoke', short, code=1)
        self.assertNotIn('revoked', self.bkfs('key', 'list').stdout)
        self.bkfs('key', 'revoke', derived[:8])

    def test_fetch_writes_to_what_is_no_file(self):
        self.backup()
        pipe = self.path('pipe')
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.bkfs('fetch', 'home', 'a', pipe)
        self.assertEqual(os.read(reader, 100), b'hello\n')
        os.close(reader)
        self.assertTrue(stat.S_ISFIFO(os.stat(pipe).st_mode))
        missing = self.bkfs('fetch', 'home', 'a', self.path('no/where'), code=1)
        self.assertIn('no/where: No such file', missing.stderr)

    def test_interrupted_at_the_passphrase(self):
        """^C there ends the program and leaves the terminal's echo on; the right answer is taken."""
        with open(self.path('words'), 'w', encoding='utf-8') as file:
            file.write('open sesame\n')
        self.bkfs('derive', '-t', 'ReadOnly', '-O', self.path('locked.key'), '--passphrase-file', self.path('words'))
        for typed, code in ((b'\x03', 130), (b'open sesame\n', 0)):
            pid, terminal = pty.fork()
            if pid == 0:
                os.execve(BKFS, [BKFS, 'snapshots', '-R', self.repo, '-K', self.path('locked.key')], self.environment)
            said = b''
            while b'Passphrase' not in said:
                said += os.read(terminal, 100)
            # The prompt is shown before the terminal is silent.
            while termios.tcgetattr(terminal)[3] & termios.ECHO:
                time.sleep(0.01)
            os.write(terminal, typed)
            try:
                while part := os.read(terminal, 1000):
                    said += part
            except OSError:
                pass   # how a terminal ends
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), code, said)
            self.assertNotIn(b'sesame', said)
            os.close(terminal)

    def test_check_can_be_interrupted(self):
        with open(self.source + '/large', 'wb') as file:
            for _ in range(sized(300, 100)):
                file.write(os.urandom(1 << 20))
        self.backup()
        for delay in (0.1, 0.2, 0.4, 0.8):   # too soon it is no program yet, too late it is done
            check = subprocess.Popen([BKFS, 'check', '--read-data', '-R', self.repo, '-K', self.master],
                                     stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self.environment)
            time.sleep(delay)
            check.send_signal(signal.SIGINT)
            said = check.communicate(timeout=60)[1]
            if check.returncode == 130:
                break
        self.assertEqual((check.returncode, said.strip()), (130, b'bkfs: interrupted'))

    def test_a_full_or_closed_output(self):
        self.backup()
        with open('/dev/full', 'wb') as full:
            for command in (('snapshots',), ('ls', 'home'), ('fetch', 'home', 'a', '-')):
                done = subprocess.run([BKFS, *command, '-R', self.repo, '-K', self.master], stdout=full,
                                      stderr=subprocess.PIPE, env=self.environment, check=False)
                self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([BKFS, 'ls', 'home', '-R', self.repo, '-K', self.master], stdout=writer,
                              stderr=subprocess.PIPE, env=self.environment, check=False)
        os.close(writer)
        self.assertEqual(done.stderr, b'')   # `| head` is nobody's mistake

    def test_mount_refusals(self):
        absent = self.mnt
        os.rmdir(absent)
        self.mount(code=2)
        os.mkdir(self.mnt)
        self.mount(nonsense=1, code=2)
        if not AFAR:
            done = run(MOUNT_BKFS, self.repo, self.repo, '-o', f'key={self.master},cache_dir={self.cache}',
                       check=False, env=self.environment)
            self.assertNotEqual(done.returncode, 0)
        self.mount()
        again = run(MOUNT_BKFS, self.repo, self.mnt, '-o', f'key={self.master},cache_dir={self.cache}',
                    check=False, env=self.environment)
        self.assertNotEqual(again.returncode, 0)
        other = self.path('mnt2')
        os.mkdir(other)
        second = run(MOUNT_BKFS, self.repo, other, '-o', f'key={self.master},cache_dir={self.cache}',
                     check=False, env=self.environment)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(str(self.daemon_pid()), second.stderr)
        run(MOUNT_BKFS, self.repo, other, '-o', f'ro,key={self.master},cache_dir={self.cache}', env=self.environment)
        self.assertNotIn('incoming', os.listdir(other))
        self.bkfs('umount', other)
        self.umount()
        self.bkfs('umount', self.mnt, code=2)
        self.bkfs('commit', self.scratch, code=2)


if __name__ == '__main__':
    main()
