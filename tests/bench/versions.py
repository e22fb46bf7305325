#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What maintenance gives back: versions of an npm package are backed up one after the other, every second snapshot is
forgotten, and the store is compared with one that never held the forgotten ones. Prints figures, judges nothing.

    BKFS=... tests/bench/versions.py [--package typescript] [--versions 5.0.2,5.0.4,...] [--from FOLDER] [--threshold P]

Downloads with `npm pack`; with --from, takes the folders in FOLDER, in the order of their names, instead."""
import argparse
import os
import subprocess
import tempfile

BKFS = os.environ['BKFS']
TYPESCRIPT = '5.5.3,5.5.4,5.6.2,5.6.3,5.7.2,5.7.3,5.8.2,5.8.3,5.9.2,5.9.3'


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def download(package, versions, to):
    folders = []
    for number, version in enumerate(versions):
        folder = os.path.join(to, f'{number:02}-{version}')
        os.makedirs(folder)
        tarball = run('npm', 'pack', '--silent', f'{package}@{version}', cwd=to).split()[-1]
        run('tar', '-xzf', os.path.join(to, tarball), '-C', folder, '--strip-components=1')
        folders.append(folder)
    return folders


def stored(repo):
    """Bytes of all objects by their first folder."""
    out = {}
    for base, _, names in os.walk(repo):
        part = os.path.relpath(base, repo).split('/')[0]
        out[part] = out.get(part, 0) + sum(os.path.getsize(os.path.join(base, name)) for name in names)
    return sum(out.values()), out


class Repository:

    def __init__(self, top, name):
        self.folder = os.path.join(top, name)
        self.key = os.path.join(top, name + '.key')
        run(BKFS, 'init', '-R', self.folder, '-K', self.key)

    def bkfs(self, command, *arguments):
        return run(BKFS, command, '-R', self.folder, '-K', self.key, *arguments)

    def tell(self, what):
        total, parts = stored(self.folder)
        print(f'{what:40} {total / 1e6:9.3f} MB   packs {parts.get("packs", 0) / 1e6:.3f}', flush=True)
        return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--package', default='typescript')
    parser.add_argument('--versions', default=TYPESCRIPT)
    parser.add_argument('--from', dest='source')
    parser.add_argument('--threshold', help='for compact; without it, what is usual')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='bkfs-versions-') as top:
        os.environ['BKFS_CACHE_DIR'] = os.path.join(top, 'cache')
        if arguments.source:
            folders = sorted(entry.path for entry in os.scandir(arguments.source) if entry.is_dir())
        else:
            folders = download(arguments.package, arguments.versions.split(','), top)
        cleaned, fresh = Repository(top, 'cleaned'), Repository(top, 'fresh')
        going = []
        for number, folder in enumerate(folders):
            cleaned.bkfs('backup', '-q', '--name', f'v{number}', folder)
            if number % 2 == 0:
                going.append(f'v{number}')
            else:
                fresh.bkfs('backup', '-q', '--name', f'v{number}', folder)
        cleaned.tell(f'all {len(folders)} versions')
        for name in going:
            cleaned.bkfs('forget', '-q', name)
        cleaned.tell(f'{len(going)} of them forgotten')
        options = ('--threshold', arguments.threshold) if arguments.threshold else ()
        cleaned.bkfs('compact', '-q', *options)
        cleaned.bkfs('prune', '-q', '--now')
        total = cleaned.tell('after compact and prune')
        cleaned.bkfs('check', '-q', '--read-data')
        other = fresh.tell('a repository of the others alone')
        print(f'ratio {total / other:.4f}')


if __name__ == '__main__':
    main()
