#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much time and memory maintenance takes on a large repository. Prints figures, judges nothing.

    BKFS=... MAKE_REPOSITORY=... tests/bench/maintenance.py [--blobs 5000000] [--snapshots 200] [--keep FOLDER]

Makes a synthetic repository (make_repository.cc says of what shape), forgets the older half of its snapshots, then
prunes, compacts, prunes and checks it, one command after the other as a timer would."""
import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time

BKFS = os.environ['BKFS']
MAKE_REPOSITORY = os.environ['MAKE_REPOSITORY']
ROW = '{:38} {:>9} {:>9} {:>11}'


def timed(what, *command):
    """Runs it and prints a row: wall and processor seconds, the most memory it ever held. Returns what it said."""
    start = time.monotonic()
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True) as process:
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    print(ROW.format(what, f'{wall:.1f} s', f'{usage.ru_utime + usage.ru_stime:.1f} s',
                     f'{usage.ru_maxrss // 1024} MiB'), flush=True)
    if process.returncode != 0:
        raise SystemExit(f'{what}: exit code {process.returncode}\n{out}')
    return out


def size_of(folder):
    sizes = [os.path.getsize(os.path.join(base, name)) for base, _, names in os.walk(folder) for name in names]
    return f'{sum(sizes) / 2**20:.0f} MiB in {len(sizes)} objects'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--blobs', type=int, default=5_000_000)
    parser.add_argument('--snapshots', type=int, default=200)
    parser.add_argument('--keep', help='make the repository here and leave it; one that is there is copied and used')
    arguments = parser.parse_args()
    top = tempfile.mkdtemp(prefix='bkfs-maintenance-', dir=arguments.keep and os.path.dirname(arguments.keep))
    repo, key, cache = (os.path.join(arguments.keep or top, name) for name in ('repo', 'key', 'cache'))
    try:
        print(ROW.format('', 'wall', 'CPU', 'peak memory'))
        if not os.path.exists(repo):
            subprocess.run([BKFS, 'init', '-R', repo, '-K', key], check=True, stdout=subprocess.DEVNULL)
            timed('make_repository', MAKE_REPOSITORY, repo, key, cache, arguments.blobs, arguments.snapshots)
        if arguments.keep:
            kept, repo, cache = (repo, cache), os.path.join(top, 'repo'), os.path.join(top, 'cache')
            for source, copy in zip(kept, (repo, cache)):
                shutil.copytree(source, copy)
        print('the store:', size_of(repo))
        place = ('-R', repo, '-K', key, '--cache-dir', cache)
        rest = arguments.snapshots // 2
        timed(f'forget, {rest} snapshots stay', BKFS, 'forget', *place, '--keep-last', rest)
        prune = ('prune', *place, '--grace', '0', '--json')
        for what, command in (('prune', prune), ('compact', ('compact', *place, '--json')),
                              ('prune after it', prune), ('prune of nothing', prune)):
            said = json.loads(timed(what, BKFS, *command))
            print('   ', ', '.join(f'{name} {said[name]}' for name in said if said[name]))
        for level in ('structure', 'signatures', 'references'):
            timed(f'check --level {level}', BKFS, 'check', *place, '--level', level)
        timed('check --read-data', BKFS, 'check', *place, '--read-data')
        shutil.rmtree(cache)
        timed('check without an index cache', BKFS, 'check', *place)
        print('the store:', size_of(repo))
    finally:
        shutil.rmtree(top)


if __name__ == '__main__':
    main()
