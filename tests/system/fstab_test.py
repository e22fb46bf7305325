# SPDX-License-Identifier: Apache-2.0
"""An installed bkfs as mount(8), umount(8), fstab and systemd meet it.

Runs in a mount namespace of its own, where /usr and /etc are overlays: what is installed and written there, and every
mount, is gone with the last process in it."""
import os
import pwd
import signal
import subprocess
import sys
import time

from harness import BKFS, RepositoryTest, is_mounted, main, run, wait_gone

BUILD = os.environ.get('BKFS_BUILD') or os.path.dirname(os.path.dirname(os.path.dirname(BKFS)))
PRIVATE = 'BKFS_TEST_NAMESPACE'

BOOTED = r'''
set -eu
test "$(systemctl is-active mnt-backup.automount)" = active
test "$(systemctl is-active mnt-backup.mount || true)" = inactive
mkdir /mnt/backup/incoming/home
cp -a /usr/share/common-licenses /mnt/backup/incoming/home/
head -c 50000000 /dev/urandom > /mnt/backup/incoming/home/large
sha256sum < /mnt/backup/incoming/home/large > /sum
test "$(systemctl is-active mnt-backup.mount)" = active
echo all went well
'''

UNIT = '''[Unit]
Wants=basic.target remote-fs.target
After=basic.target remote-fs.target
[Service]
Type=oneshot
ExecStart=/bin/bash -x /booted.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/booted.log
StandardError=file:/booted.log
'''


def overlay(lower, place, layers):
    """`place` shows what is in `lower` and takes changes that end with the namespace."""
    for part in ('upper', 'work'):
        os.makedirs(os.path.join(layers, part))
    run('mount', '-t', 'overlay', '-o', f'lowerdir={lower},upperdir={layers}/upper,workdir={layers}/work', 'overlay', place)


def install(root=''):
    return run('cmake', '--install', BUILD, '--prefix', '/usr/local', env=dict(os.environ, DESTDIR=root))


def cgroups():
    return {base for base, _, _ in os.walk('/sys/fs/cgroup')}


def remove_cgroups(but):
    """Those that systemd-nspawn leaves behind."""
    for place in sorted(cgroups() - but, reverse=True):
        if '/payload' in place or '/supervisor' in place:
            try:
                os.rmdir(place)
            except OSError:
                pass   # somebody else's machine uses it


class FstabTest(RepositoryTest):

    def setUp(self):
        super().setUp()
        self.fstab('')

    def fstab(self, line):
        with open('/etc/fstab', 'w', encoding='utf-8') as file:
            file.write(line + '\n')

    def options(self, *more):
        return ','.join([f'key={self.master}', f'cache_dir={self.cache}', 'commit_idle=0', *more])

    def fill(self, name='home'):
        os.mkdir(self.incoming(name))
        with open(self.incoming(name, 'file'), 'wb') as file:
            file.write(os.urandom(30 << 20))

    def assert_stored(self, *series):
        """When umount(8) returned, the daemon must be gone and everything be in a snapshot."""
        self.assertFalse(is_mounted(self.mnt))
        pid = self.daemon_pid()
        if pid:
            wait_gone(pid, 0)   # at most a zombie that its parent has not looked after
        self.assertEqual([(s['name'], s['files']) for s in self.snapshots()], [(name, 1) for name in series])

    def test_installed_places(self):
        for place in ('/usr/local/bin/bkfs', '/usr/sbin/mount.bkfs', '/usr/sbin/umount.fuse.bkfs',
                      '/usr/local/share/man/man1/bkfs.1', '/usr/local/share/man/man8/mount.bkfs.8',
                      '/usr/local/share/bash-completion/completions/bkfs'):
            self.assertTrue(os.path.isfile(place), place)
        self.assertIn('bkfs 0.', run('bkfs', 'version').stdout)
        self.assertIn('init', run('bash', '-c', 'source /usr/local/share/bash-completion/completions/bkfs; '
                                  'COMP_WORDS=(bkfs i) COMP_CWORD=1; _bkfs; echo "${COMPREPLY[@]}"').stdout)

    def test_mount_and_umount_by_hand(self):
        run('mount', '-t', 'bkfs', self.repo, self.mnt, '-o', self.options())
        self.fill()
        # umount(8) looks for no helper when nothing in fstab or /run/mount speaks of one, and returns at once;
        # who mounts again must not be told that the cache is in use.
        run('umount', self.mnt)
        run('mount', '-t', 'bkfs', self.repo, self.mnt, '-o', self.options())
        self.assertIn('home', os.listdir(self.mnt + '/latest'))
        self.fill('other')
        run('bkfs', 'umount', self.mnt)
        self.assert_stored('home', 'other')
        run('mount', '-t', 'bkfs', '-o', self.options('uhelper=fuse.bkfs'), self.repo, self.mnt)
        self.fill('third')
        run('umount', self.mnt)
        self.assert_stored('home', 'other', 'third')
        run('mount', '-t', 'bkfs', '-r', self.repo, self.mnt, '-o', self.options())
        self.assertNotIn('incoming', os.listdir(self.mnt))
        self.assertIn('home', os.listdir(self.mnt + '/latest'))
        run('umount', self.mnt)
        run('mount', '-t', 'bkfs', self.repo, self.mnt, '-o', self.options())
        pid = self.daemon_pid()
        run('umount', '-l', self.mnt)
        wait_gone(pid)

    def test_a_line_of_fstab(self):
        self.fstab(f'{self.repo} {self.mnt} bkfs ' +
                   self.options('noauto,_netdev,nofail,x-systemd.automount,x-systemd.idle-timeout=60') + ' 0 0')
        run('mount', self.mnt)
        run('mount', '-a')
        self.fill()
        busy = os.open(self.incoming('home'), os.O_RDONLY)
        refused = run('umount', self.mnt, check=False)
        os.close(busy)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn('in use', refused.stderr)
        run('umount', self.mnt)
        self.assert_stored('home')
        run('mount', self.mnt)
        self.fill('second')
        run('umount', '-c', self.mnt)   # as systemd calls it
        self.assert_stored('home', 'second')

    def test_umount_does_not_wait_for_a_bind_mount(self):
        run('mount', '-t', 'bkfs', self.repo, self.mnt, '-o', self.options('uhelper=fuse.bkfs'))
        bound = self.path('bound')
        os.mkdir(bound)
        run('mount', '--bind', self.mnt + '/snapshots', bound)
        pid = self.daemon_pid()
        run('umount', self.mnt)
        self.assertTrue(os.path.exists(f'/proc/{pid}'))
        run('umount', bound)
        wait_gone(pid)

    def test_mount_all_mounts_once(self):
        self.fstab(f'{self.repo} {self.mnt} bkfs {self.options()} 0 0')
        run('mount', '-a')
        run('mount', '-a')
        with open('/proc/self/mountinfo', encoding='utf-8') as table:
            self.assertEqual(sum(self.mnt in line for line in table), 1)
        run('bkfs', 'umount', self.mnt)

    def test_blanks_commas_and_quotes(self):
        odd = self.path("a b, c'd")   # not a double quote: mount(8) itself makes something else of it
        os.mkdir(odd)
        key = odd + '/the, key'
        os.rename(self.master, key)
        self.master = key
        os.rename(self.repo, odd + '/repo')
        self.repo = odd + '/repo'
        self.mnt = odd + '/mnt'
        os.mkdir(self.mnt)
        quoted = f'key="{key}",cache_dir={self.cache},commit_idle=0'
        escaped = 'key=' + key.replace(',', '\\,') + f',cache_dir={self.cache},commit_idle=0'
        for way in (quoted, escaped):
            with self.subTest(way):
                run('mount', '-t', 'bkfs', self.repo, self.mnt, '-o', way)
                run('bkfs', 'umount', self.mnt)
        fields = [field.replace(' ', '\\040') for field in (self.repo, self.mnt, 'bkfs', quoted)]
        self.fstab(' '.join(fields) + ' 0 0')
        run('mount', self.mnt)
        self.fill()
        run('bkfs', 'umount', self.mnt)
        self.assert_stored('home')

    def test_signals_of_a_shutdown(self):
        """SIGTERM, SIGHUP, and again, as when a session or the machine ends: all must be stored."""
        self.mount()
        self.fill()
        pid = self.daemon_pid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            time.sleep(0.11)   # not one signal together
        wait_gone(pid)
        self.assert_stored('home')

    def test_mistakes_get_one_line(self):
        for line, code, said in ((self.options('nonsense'), 2, "unknown option 'nonsense'"),
                                 (self.options('threads=many'), 2, 'threads'),
                                 (f'cache_dir={self.cache}', 2, 'no key file given'),
                                 (self.options(f'key={self.path("absent")}'), 2, 'absent')):
            with self.subTest(line):
                self.fstab(f'{self.repo} {self.mnt} bkfs {line} 0 0')
                done = run('mount', self.mnt, check=False)
                self.assertEqual(done.returncode, code)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(said, done.stderr)
                self.assertFalse(is_mounted(self.mnt))
                self.assertEqual(run('mount', '-a', check=False).returncode, 32)   # "all failed", as of other types

    def test_a_user_mounts_what_is_his(self):
        user = pwd.getpwnam('nobody')
        os.chmod('/dev/fuse', 0o666)   # as udev does it where there is one
        os.chmod(self.scratch, 0o755)
        run('chown', '-R', f'{user.pw_uid}:{user.pw_gid}', self.repo, self.master, self.mnt)
        os.mkdir(self.cache)
        os.chown(self.cache, user.pw_uid, user.pw_gid)
        self.fstab(f'{self.repo} {self.mnt} bkfs noauto,user,{self.options()} 0 0')

        def as_user(*command, check=True):
            return run('setpriv', f'--reuid={user.pw_uid}', f'--regid={user.pw_gid}', '--clear-groups', *command,
                       check=check, env={'PATH': '/usr/sbin:/usr/bin', 'HOME': '/nonexistent'}, cwd='/')
        as_user('mount', self.mnt)
        # Root cannot look in: FUSE keeps others out.
        as_user('bash', '-ec', f'mkdir {self.mnt}/incoming/home; head -c 9000000 /dev/urandom > {self.mnt}/incoming/home/file')
        pid = self.daemon_pid()
        with open(f'/proc/{pid}/status', encoding='utf-8') as status:
            self.assertIn(f'Uid:\t{user.pw_uid}\t', status.read())
        as_user('umount', self.mnt)
        self.assert_stored('home')
        os.chmod(self.master, 0o600)
        os.chown(self.master, 0, 0)
        refused = as_user('mount', self.mnt, check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn('Permission denied', refused.stderr)

    def test_automount_and_shutdown(self):
        # Not in the scratch folder, which is removed before the mounts would be.
        root = '/mnt/root'
        os.mkdir(root)
        overlay('/', root, '/mnt/layers')
        self.addCleanup(run, 'umount', '-l', root)
        install(root)
        os.makedirs(root + '/mnt/backup')
        run('cp', '-a', self.repo, root + '/srv/bkfs-repo')
        run('cp', self.master, root + '/etc/bkfs.key')
        self.write(root + '/etc/fstab', '/srv/bkfs-repo /mnt/backup bkfs noauto,nofail,_netdev,x-systemd.automount,'
                   'key=/etc/bkfs.key,cache_dir=/var/bkfs-cache,commit_idle=0 0 0\n')
        self.write(root + '/etc/machine-id', '')
        self.write(root + '/booted.sh', BOOTED)
        self.write(root + '/etc/systemd/system/booted.service', UNIT)
        self.boot(root)
        with open(root + '/booted.log', encoding='utf-8') as file:
            self.assertIn('all went well', file.read())
        with open(root + '/var/bkfs-cache/mount.log', encoding='utf-8') as file:
            self.assertIn('unmounted /mnt/backup', file.read())
        self.repo = root + '/srv/bkfs-repo'
        self.assertEqual([s['name'] for s in self.snapshots()], ['home'])
        self.bkfs('fetch', 'home', 'large', self.path('large'))
        with open(self.path('large'), 'rb') as large, open(root + '/sum', encoding='utf-8') as told:
            self.assertEqual(run('sha256sum', stdin=large).stdout, told.read())
        self.bkfs('check', '--read-data')

    @staticmethod
    def write(path, text):
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)

    def boot(self, root):
        """Until the machine has shut itself down."""
        os.makedirs('/run/systemd/nspawn', exist_ok=True)
        run('mount', '-t', 'tmpfs', 'tmpfs', '/run/systemd/nspawn')
        self.addCleanup(run, 'umount', '-l', '/run/systemd/nspawn')
        command = ['systemd-nspawn', '--quiet', '--register=no', '--keep-unit', f'--machine=bkfs-{os.getpid()}',
                   '--private-network', '--bind=/dev/fuse', '--bind=/dev/autofs', '--directory=' + root, '--boot',
                   '--console=pipe', 'systemd.unit=booted.service']
        self.addCleanup(remove_cgroups, cgroups())
        with open(self.path('console'), 'w+', encoding='utf-8', errors='replace') as console:
            machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
            try:
                code = machine.wait(timeout=180)
            except subprocess.TimeoutExpired:
                machine.kill()   # its init dies with it, and all in there
                code = machine.wait()
            console.seek(0)
            self.assertEqual(code, 0, console.read())


def enter_namespace():
    """Starts this program again in a mount namespace of its own; there, puts the overlays in place and installs."""
    if PRIVATE not in os.environ:
        os.environ[PRIVATE] = '1'
        os.execvp('unshare', ['unshare', '--mount', '--propagation', 'private', sys.executable, *sys.argv])
    run('mount', '-t', 'tmpfs', 'tmpfs', '/mnt')   # for the layers
    overlay('/usr', '/usr', '/mnt/usr')
    overlay('/etc', '/etc', '/mnt/etc')
    if os.path.isdir('/run/mount'):
        run('mount', '-t', 'tmpfs', 'tmpfs', '/run/mount')   # mount(8)'s own notes
    install()


if __name__ == '__main__':
    enter_namespace()
    main()
