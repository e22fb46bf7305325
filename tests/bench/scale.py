#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How a mount behaves on a large repository: memory, start, first listing. Prints figures, judges nothing.

    BKFS=... MOUNT_BKFS=... tests/bench/scale.py [--files 1000000] [--rounds 5] [--keep FOLDER]

Makes `rounds` snapshots, each of one directory with `files` small files that are all different, which is as many
blobs again; then mounts the repository with a warm index cache and lists."""
import argparse
import os
import shutil
import subprocess
import tempfile
import time

BKFS = os.environ['BKFS']
MOUNT_BKFS = os.environ['MOUNT_BKFS']


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def timed(what, *command):
    start = time.monotonic()
    run(*command)
    print(f'{what:46} {time.monotonic() - start:8.2f} s', flush=True)


def memory(pid):
    out = {}
    with open(f'/proc/{pid}/status', encoding='utf-8') as status:
        for line in status:
            if line.startswith(('VmRSS', 'VmHWM')):
                out[line.split(':')[0]] = int(line.split()[1]) // 1024
    return f'RSS {out["VmRSS"]} MiB, peak {out["VmHWM"]} MiB'


def daemon(cache):
    for base, _, files in os.walk(cache):
        if os.path.basename(base) == 'staging' and 'lock' in files:
            with open(os.path.join(base, 'lock'), encoding='utf-8') as lock:
                return int(lock.read())
    raise SystemExit('no daemon found')


def fill(folder, files, number):
    os.makedirs(folder, exist_ok=True)
    at = os.open(folder, os.O_DIRECTORY)
    for i in range(files):
        fd = os.open(f'file-{i:07}', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=at)
        os.write(fd, b'%d of %d' % (i, number))
        os.close(fd)
    os.close(at)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--files', type=int, default=1_000_000)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--keep', help='make the repository here and leave it; one that is there is used')
    arguments = parser.parse_args()
    top = arguments.keep or tempfile.mkdtemp(prefix='bkfs-scale-')
    repo, key, mnt, cache = (os.path.join(top, name) for name in ('repo', 'key', 'mnt', 'cache'))
    os.environ['BKFS_CACHE_DIR'] = cache
    if not os.path.exists(repo):
        os.makedirs(mnt)
        run(BKFS, 'init', '-R', repo, '-K', key)
        for number in range(arguments.rounds):
            fill(os.path.join(top, 'source'), arguments.files, number)
            timed(f'backup {number + 1}', BKFS, 'backup', '-R', repo, '-K', key, '--name', f's{number}',
                  os.path.join(top, 'source'))
        shutil.rmtree(os.path.join(top, 'source'))
    print(run(BKFS, 'stats', '-R', repo, '-K', key))
    options = f'key={key},cache_dir={cache}'
    timed('mount, first time', MOUNT_BKFS, repo, mnt, '-o', options)
    try:
        run(BKFS, 'umount', mnt)
        timed('mount, warm index cache', MOUNT_BKFS, repo, mnt, '-o', options)
        pid = daemon(cache)
        print('after the start:', memory(pid))
        folder = f'{mnt}/latest/s{arguments.rounds - 1}/'
        timed('first ls of the snapshots', 'ls', f'{mnt}/snapshots')
        timed('one name in the large directory', 'stat', f'{folder}file-{arguments.files // 2:07}')
        timed('ls -f of the large directory', 'ls', '-f', folder)
        print('after it:', memory(pid))
        timed('ls -l of the large directory', 'ls', '-l', folder)
        print('after it:', memory(pid))
        timed('find -size 0 in the large directory', 'find', folder, '-size', '0')
        timed('cat of 1000 files', 'sh', '-c', f'cat {folder}file-0000*')
        print('after it:', memory(pid))
    finally:
        run(BKFS, 'umount', mnt)
        if not arguments.keep:
            shutil.rmtree(top)


if __name__ == '__main__':
    main()
