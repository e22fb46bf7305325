# SPDX-License-Identifier: Apache-2.0
"""Tries to open the key slots of every stored pack with whatever a stolen machine has, without the program.

Every 32 bytes at every offset of the stolen files, of what the keyfile holds, and of what those
keys open, is taken for an X25519 secret or a pack's data key. Exits 0 if nothing opens.
usage: thief.py REPOSITORY LOOT
"""
import base64
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../scripts'))
import read_repo  # noqa: E402


def keyfile_payload(path):
    with open(path, encoding='utf-8') as file:
        lines = file.read().splitlines()
    body = lines[lines.index('') + 1:lines.index('-----END BKFS KEY-----')]
    return base64.b64decode(''.join(body))


def windows(data, step):
    for at in range(0, len(data) - 31, step):
        yield data[at:at + 32]


def main():
    repository, loot = sys.argv[1:]
    payload = b''
    candidates = set()
    for base, _, files in os.walk(loot):
        for name in files:
            path = os.path.join(base, name)
            if name.endswith('.key'):
                payload = keyfile_payload(path)
                candidates.update(windows(payload, 1))
    fields = read_repo.parse_payload(payload[:-8])
    assert 5 not in fields and 6 not in fields and 7 not in fields, 'a reading secret in the keyfile'
    index_key = fields[4]
    header = read_repo.read_header(repository)
    tried = packs = 0
    for name in read_repo.list_objects(repository, 'packs'):
        packs += 1
        footer = read_repo.read_footer(os.path.join(repository, 'packs', name[:2], name), index_key, header)
        for slot in footer['slots']:
            for candidate in candidates:
                tried += 1
                if read_repo.try_open_box(candidate, slot['box']) is not None:
                    sys.exit(f'pack {name} opens with a stolen secret')
        with open(os.path.join(repository, 'packs', name[:2], name), 'rb') as file:
            pack = file.read()
        frame = footer['frames'][0]
        sealed = pack[frame['offset']:frame['offset'] + frame['length']]
        for candidate in candidates:
            if read_repo.try_open_frame(candidate, footer, 0, sealed, header) is not None:
                sys.exit(f'a frame of pack {name} opens with a stolen secret')
    assert packs > 0 and tried > 0
    print(f'{packs} packs, {tried} tries, nothing opened')


if __name__ == '__main__':
    main()
