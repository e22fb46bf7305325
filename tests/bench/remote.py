#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A store far away: bkfs, restic and rclone on the same Ceph RADOS Gateway over the same slow line. Prints a table of
seconds and requests (medians over the runs, the tools in turn within each run), judges nothing.

    BKFS=... MOUNT_BKFS=... tests/bench/remote.py [--runs N] [--rtt MS] [--mbit M] [--tools bkfs,restic,rclone]

Wants restic, rclone and what the tests want (scripts/deps --test --bench). RESTIC=FILE takes another restic."""
import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../stores'))
from ceph_rgw import CephRgw  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402

RESTIC = os.environ.get('RESTIC', 'restic')
SMALL = 1000
BIG = 256 << 20


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          **options)
    if done.returncode != 0:
        raise RuntimeError(f'{command}: {done.stdout}')
    return done.stdout


def make_tree(top, files, seed):
    """Folders of 100 files of 1 to 20 KiB that compress like text."""
    words = [''.join(random.Random(i).choices('abcdefghijklmnop', k=7)) for i in range(4000)]
    source = random.Random(seed)
    for number in range(files):
        folder = f'{top}/d{number // 100:04}'
        os.makedirs(folder, exist_ok=True)
        with open(f'{folder}/file-{number:06}', 'w', encoding='ascii') as file:
            size = source.randrange(1000, 20000)
            file.write(' '.join(source.choices(words, k=size // 8))[:size])


def digest(paths):
    sums = hashlib.sha256()
    for path in paths:
        with open(path, 'rb') as file:
            while block := file.read(1 << 20):
                sums.update(block)
    return sums.hexdigest()


def files_below(top):
    return sorted(os.path.join(base, name) for base, _, names in os.walk(top) for name in names)


def wait_mounted(path, child=None):
    until = time.monotonic() + 120
    while not os.path.ismount(path):
        if (child and child.poll() is not None) or time.monotonic() > until:
            raise RuntimeError(f'{path} is not mounted')
        time.sleep(0.02)


class Bkfs:
    name = 'bkfs'

    def __init__(self, store, scratch):
        self.scratch = scratch
        self.environment = dict(os.environ, AWS_ACCESS_KEY_ID=store['access_key'], AWS_SECRET_ACCESS_KEY=store['secret_key'])
        self.key = f'{scratch}/bkfs.key'
        self.bucket = store['bucket']
        self.cache = 0

    def url(self, base):
        return f'{base}/{self.bucket}/bkfs'

    def fresh_cache(self):
        self.cache += 1
        return f'{self.scratch}/bkfs-cache-{self.cache}'

    def bkfs(self, command, base, *words):
        return run(os.environ['BKFS'], command, '-q', '-R', self.url(base), '-K', self.key, '--cache-dir', self.fresh_cache(), *words,
                   env=self.environment)

    def fill(self, base, tree, big):
        self.bkfs('init', base)
        self.bkfs('backup', base, '-n', 'tree', tree)
        self.bkfs('backup', base, '-n', 'big', big)

    def mount(self, base, mnt, write=False):
        words = f'key={self.key},cache_dir={self.fresh_cache()},commit_idle=0' + ('' if write else ',ro')
        run(os.environ['MOUNT_BKFS'], self.url(base), mnt, '-o', words, env=self.environment)
        return f'{mnt}/latest/tree/', f'{mnt}/latest/big/'

    def umount(self, mnt):
        run(os.environ['BKFS'], 'umount', mnt)

    def store_tree(self, base, source, mnt, number):
        self.mount(base, mnt, write=True)
        os.mkdir(f'{mnt}/incoming/new{number}')
        begun = time.monotonic()
        run('rsync', '-a', source + '/', f'{mnt}/incoming/new{number}/')
        run('sync', f'{mnt}/incoming/new{number}')
        took = time.monotonic() - begun
        self.umount(mnt)
        return took


class Restic:
    name = 'restic'

    def __init__(self, store, scratch):
        self.scratch = scratch
        self.environment = dict(os.environ, AWS_ACCESS_KEY_ID=store['access_key'], AWS_SECRET_ACCESS_KEY=store['secret_key'],
                                RESTIC_PASSWORD='x')
        self.bucket = store['bucket']
        self.cache = 0
        self.child = None

    def restic(self, base, *words):
        return run(*self.command(base), *words, env=self.environment)

    def command(self, base):
        self.cache += 1
        return [RESTIC, '-r', f's3:{base}/{self.bucket}/restic', '--cache-dir', f'{self.scratch}/restic-cache-{self.cache}']

    def fill(self, base, tree, big):
        self.restic(base, 'init')
        self.restic(base, 'backup', '-q', '--tag', 'tree', tree)
        self.restic(base, 'backup', '-q', '--tag', 'big', big)
        self.tree, self.big = tree, big

    def mount(self, base, mnt, write=False):
        assert not write
        self.child = subprocess.Popen(self.command(base) + ['mount', mnt], env=self.environment, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
        wait_mounted(mnt, self.child)
        return f'{mnt}/tags/tree/latest{self.tree}/', f'{mnt}/tags/big/latest{self.big}/'

    def umount(self, mnt):
        run('umount', mnt)
        self.child.wait()

    def store_tree(self, base, source, mnt, number):
        begun = time.monotonic()
        self.restic(base, 'backup', '-q', '--tag', f'new{number}', source)
        return time.monotonic() - begun


class Rclone:
    name = 'rclone'

    def __init__(self, store, scratch):
        self.scratch = scratch
        self.store = store
        self.child = None
        self.cache = 0

    def environment(self, base):
        prefix = 'RCLONE_CONFIG_FAR_'
        settings = {'TYPE': 's3', 'PROVIDER': 'Ceph', 'ENDPOINT': base, 'ACCESS_KEY_ID': self.store['access_key'],
                    'SECRET_ACCESS_KEY': self.store['secret_key']}
        ours = {name: value for name, value in os.environ.items() if not name.startswith('AWS_')}
        return dict(ours, RCLONE_CONFIG=f'{self.scratch}/rclone.conf', **{prefix + name: value for name, value in settings.items()})

    def far(self, name):
        return f'far:{self.store["bucket"]}/rclone/{name}'

    def fill(self, base, tree, big):
        run('rclone', 'copy', '-q', '--transfers', '16', tree, self.far('tree'), env=self.environment(base))
        run('rclone', 'copy', '-q', big, self.far('big'), env=self.environment(base))

    def mount(self, base, mnt, write=False):
        self.cache += 1
        self.child = subprocess.Popen(['rclone', 'mount', self.far(''), mnt, '--cache-dir', f'{self.scratch}/rclone-cache-{self.cache}',
                                       '--vfs-cache-mode', 'writes' if write else 'off'],
                                      env=self.environment(base), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_mounted(mnt, self.child)
        return f'{mnt}/tree/', f'{mnt}/big/'

    def umount(self, mnt):
        run('umount', mnt)
        self.child.wait()

    def store_tree(self, base, source, mnt, number):
        begun = time.monotonic()
        run('rclone', 'copy', '-q', source, self.far(f'new{number}'), env=self.environment(base))
        return time.monotonic() - begun


def measure(tool, line, near, mnt, tree, big, expected):
    """One run of one tool: {what: (seconds, requests)}."""
    figures = {}
    before = [0]

    def requests():
        return sum(line.requests.values())

    def note(what, begun, took=None):
        now = requests()
        figures[what] = (time.monotonic() - begun if took is None else took, now - before[0])
        before[0] = now

    base = f'http://127.0.0.1:{line.facts["port"]}'
    before[0] = requests()
    begun = time.monotonic()
    tree_there, big_there = tool.mount(base, mnt)
    note('mount', begun)
    begun = time.monotonic()
    os.listdir(tree_there)
    note('first ls', begun)
    begun = time.monotonic()
    found = files_below(tree_there)
    for path in found:
        os.lstat(path)
    note(f'find and stat, {len(found)} files', begun)
    begun = time.monotonic()
    assert digest(found[:SMALL]) == expected['small'], 'wrong contents'
    note(f'read {SMALL} small files', begun)
    begun = time.monotonic()
    assert digest(files_below(big_there)) == expected['big'], 'wrong contents'
    note('read 256 MiB', begun)
    tool.umount(mnt)
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--runs', type=int, default=3)
    parser.add_argument('--rtt', type=float, default=50)
    parser.add_argument('--mbit', type=float, default=100)
    parser.add_argument('--files', type=int, default=10000)
    parser.add_argument('--tools', default='bkfs,restic,rclone')
    options = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix='bkfs-bench-')
    mnt = f'{scratch}/mnt'
    os.mkdir(mnt)
    results = {}
    try:
        make_tree(f'{scratch}/tree', options.files, 1)
        os.mkdir(f'{scratch}/big')
        with open(f'{scratch}/big/random', 'wb') as file:
            source = random.Random(2)
            for _ in range(BIG >> 20):
                file.write(source.randbytes(1 << 20))
        expected = {'small': digest(files_below(f'{scratch}/tree')[:SMALL]), 'big': digest([f'{scratch}/big/random'])}
        with CephRgw() as ceph, FaultProxy(ceph.facts['port']) as line:
            near = ceph.facts['url']
            tools = [kind(ceph.facts, scratch) for kind in (Bkfs, Restic, Rclone) if kind.name in options.tools.split(',')]
            for tool in tools:
                tool.fill(near, f'{scratch}/tree', f'{scratch}/big')
            line.set_delay(options.rtt / 2)
            line.set_rate(options.mbit * 1e6 / 8, options.mbit * 1e6 / 8)
            for number in range(options.runs):
                make_tree(f'{scratch}/new{number}', options.files, 100 + number)
                for tool in tools:
                    figures = measure(tool, line, near, mnt, f'{scratch}/tree', f'{scratch}/big', expected)
                    before = sum(line.requests.values())
                    took = tool.store_tree(f'http://127.0.0.1:{line.facts["port"]}', f'{scratch}/new{number}', mnt, number)
                    figures[f'store {options.files} new files'] = (took, sum(line.requests.values()) - before)
                    for what, figure in figures.items():
                        results.setdefault(what, {}).setdefault(tool.name, []).append(figure)
                    print(tool.name, {what: f'{s:.2f} s, {n}' for what, (s, n) in figures.items()}, flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    names = options.tools.split(',')
    print(f'\n{options.rtt:g} ms, {options.mbit:g} Mbit/s, {options.runs} runs, medians: seconds (requests)\n')
    print('| |', ' | '.join(names), '|\n|---|' + '---|' * len(names))
    for what, by_tool in results.items():
        cells = [f'{statistics.median(s for s, _ in by_tool[name]):.2f} ({statistics.median(n for _, n in by_tool[name]):g})'
                 for name in names]
        print('|', what, '|', ' | '.join(cells), '|')


if __name__ == '__main__':
    main()
