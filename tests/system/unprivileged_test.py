# SPDX-License-Identifier: Apache-2.0
"""The whole of it as a user without root."""
import os
import pwd
import shutil
import subprocess

from harness import BKFS, MOUNT_BKFS, RepositoryTest, main

SCRIPT = r'''
set -eu
"$BKFS" init -R repo -K master.key
"$BKFS" derive -R repo -K master.key -t WriteOnly -O write.key
mkdir mnt source
echo one > source/one; mkdir source/dir; head -c 300000 /dev/urandom > source/dir/two; chmod 0500 source/dir
"$MOUNT_BKFS" repo mnt -o key=master.key,cache_dir=cache,commit_idle=0
mkdir mnt/incoming/home
cp -a source/. mnt/incoming/home/
sync mnt/incoming/home
diff -r source mnt/latest/home
rsync -a --delete source/ mnt/incoming/home/
"$BKFS" commit mnt/incoming/home
"$BKFS" umount mnt
export BKFS_CACHE_DIR=$PWD/cache
"$BKFS" restore -R repo -K master.key home out
diff -r source out
"$BKFS" backup -R repo -K write.key --name direct source
"$BKFS" check -R repo -K master.key --read-data
chmod 0700 source/dir out/dir
echo secret > source/unreadable; chmod 0000 source/unreadable
code=0; "$BKFS" backup -R repo -K master.key --name direct source 2> named || code=$?
test "$code" = 3
grep -q 'source/unreadable: .*Permission denied' named
"$BKFS" ls -R repo -K master.key direct | grep -q one
'''


class UnprivilegedTest(RepositoryTest):

    def test_everything(self):
        user = pwd.getpwnam('nobody')
        if os.geteuid() == 0:
            os.chmod('/dev/fuse', 0o666)   # as udev does it where there is one
        home = self.path('home')
        os.mkdir(home)
        os.chmod(self.scratch, 0o755)
        os.chown(home, user.pw_uid, user.pw_gid)
        # The programs may lie where others cannot look.
        for program in (BKFS, MOUNT_BKFS):
            shutil.copy(program, home)
        environment = {'PATH': os.environ['PATH'], 'HOME': home,
                       'BKFS': home + '/bkfs', 'MOUNT_BKFS': home + '/mount.bkfs'}

        def become():
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        done = subprocess.run(['bash', '-c', SCRIPT], cwd=home, env=environment, preexec_fn=become,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == '__main__':
    main()
