#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An independent reader of bkfs repositories, written from doc/format.md alone.

    read_repo.py REPOSITORY KEYFILE list
    read_repo.py REPOSITORY KEYFILE extract SNAPSHOT DEST     contents, modes and times of files, links, directories

Needs Debian's python3-nacl, python3-cryptography, python3-zstandard. BLAKE3 is written out below (BLAKE3
specification, section 2), slowly: this is for checking the format and for the day when nothing else is left.
"""
import base64
import os
import re
import struct
import sys

import nacl.bindings
import nacl.pwhash
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

# ---- BLAKE3 ----

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = (1 << i for i in range(7))
MASK = 0xFFFFFFFF


def _mix(v, a, b, c, d, x, y):
    v[a] = (v[a] + v[b] + x) & MASK
    t = v[d] ^ v[a]
    v[d] = (t >> 16 | t << 16) & MASK
    v[c] = (v[c] + v[d]) & MASK
    t = v[b] ^ v[c]
    v[b] = (t >> 12 | t << 20) & MASK
    v[a] = (v[a] + v[b] + y) & MASK
    t = v[d] ^ v[a]
    v[d] = (t >> 8 | t << 24) & MASK
    v[c] = (v[c] + v[d]) & MASK
    t = v[b] ^ v[c]
    v[b] = (t >> 7 | t << 25) & MASK


def _compress(cv, block, counter, length, flags):
    v = list(cv) + list(IV[:4]) + [counter & MASK, counter >> 32, length, flags]
    m = list(block)
    for i in range(7):
        for a, b, c, d, x, y in ((0, 4, 8, 12, 0, 1), (1, 5, 9, 13, 2, 3), (2, 6, 10, 14, 4, 5),
                                 (3, 7, 11, 15, 6, 7), (0, 5, 10, 15, 8, 9), (1, 6, 11, 12, 10, 11),
                                 (2, 7, 8, 13, 12, 13), (3, 4, 9, 14, 14, 15)):
            _mix(v, a, b, c, d, m[x], m[y])
        if i < 6:
            m = [m[p] for p in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)] + [v[i + 8] ^ cv[i] for i in range(8)]


def _words(block):
    return struct.unpack('<16I', block.ljust(64, b'\0'))


def _chunk(key, chunk, counter, flags):
    """The last compression of a chunk, not yet done: (cv, words, counter, length, flags)."""
    cv = key
    blocks = [chunk[i:i + 64] for i in range(0, len(chunk), 64)] or [b'']
    for i, block in enumerate(blocks):
        extra = flags | (CHUNK_START if i == 0 else 0)
        if i == len(blocks) - 1:
            return cv, _words(block), counter, len(block), extra | CHUNK_END
        cv = _compress(cv, _words(block), counter, 64, extra)[:8]
    raise AssertionError


def _tree(key, data, flags, counter=0):
    if len(data) <= 1024:
        return _chunk(key, data, counter, flags)
    chunks = (len(data) + 1023) // 1024
    left = 1 << ((chunks - 1).bit_length() - 1)
    halves = [_compress(*_tree(key, part, flags, at))[:8]
              for part, at in ((data[:left * 1024], counter), (data[left * 1024:], counter + left))]
    return key, tuple(halves[0] + halves[1]), 0, 64, flags | PARENT


def _blake3(key, data, flags):
    cv, block, _, length, last = _tree(key, data, flags)
    return struct.pack('<16I', *_compress(cv, block, 0, length, last | ROOT))[:32]


def blake3(data):
    return _blake3(IV, data, 0)


def blake3_keyed(key, data):
    return _blake3(struct.unpack('<8I', key), data, KEYED)


def blake3_derive(context, material):
    key = _blake3(IV, context.encode(), CONTEXT)
    return _blake3(struct.unpack('<8I', key), material, MATERIAL)


# ---- FlatBuffers: tables by vtable, without generated code ----

class Table:
    """Field n of a schema is number n, counted from 0 in the order of its declaration."""

    def __init__(self, buffer, position=None):
        self.buffer = buffer
        self.at = position if position is not None else struct.unpack_from('<I', buffer)[0]
        self.vtable = self.at - struct.unpack_from('<i', buffer, self.at)[0]

    def _field(self, n):
        size = struct.unpack_from('<H', self.buffer, self.vtable)[0]
        slot = 4 + 2 * n
        offset = struct.unpack_from('<H', self.buffer, self.vtable + slot)[0] if slot < size else 0
        return self.at + offset if offset else None

    def number(self, n, form, default=0):
        at = self._field(n)
        return struct.unpack_from('<' + form, self.buffer, at)[0] if at else default

    def inline(self, n, size):
        at = self._field(n)
        return bytes(self.buffer[at:at + size]) if at else bytes(size)

    def _vector(self, n):
        at = self._field(n)
        if not at:
            return 0, 0
        at += struct.unpack_from('<I', self.buffer, at)[0]
        return at + 4, struct.unpack_from('<I', self.buffer, at)[0]

    def bytes(self, n):
        at, count = self._vector(n)
        return bytes(self.buffer[at:at + count])

    def structs(self, n, size):
        at, count = self._vector(n)
        return [bytes(self.buffer[at + i * size:at + (i + 1) * size]) for i in range(count)]

    def tables(self, n):
        at, count = self._vector(n)
        spots = [at + 4 * i for i in range(count)]
        return [Table(self.buffer, s + struct.unpack_from('<I', self.buffer, s)[0]) for s in spots]

    def table(self, n):
        at = self._field(n)
        return Table(self.buffer, at + struct.unpack_from('<I', self.buffer, at)[0]) if at else None


# ---- sections 1, 3, 4 ----

class Refused(Exception):
    """Something MUST be refused."""


def must(condition, what):
    if not condition:
        raise Refused(what)


def aead_open(cipher, key, nonce, aad, data):
    must(cipher in (1, 2), 'unknown cipher')
    try:
        return (AESGCM if cipher == 1 else ChaCha20Poly1305)(key).decrypt(nonce, data, aad)
    except InvalidTag as error:
        raise Refused('sealed value was changed') from error


def unseal(key, repo, kind, sealed):
    cipher, salt = sealed[0], sealed[1:33]
    return aead_open(cipher, blake3_keyed(key, salt), bytes(12), repo + kind, sealed[33:])


def try_open_box(secret, box):
    try:
        public = nacl.bindings.crypto_scalarmult_base(secret)
        return nacl.bindings.crypto_box_seal_open(box, public, secret)
    except Exception:  # pylint: disable=broad-except
        return None


def verify(public, message, signature):
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except Exception as error:  # pylint: disable=broad-except
        raise Refused('bad signature') from error


def signed_object(data, magic, repo=None, public=None):
    """`public` may be a function that gives the key for the signer that field 0 names."""
    must(data[:8] == magic, 'wrong magic')
    version, length = struct.unpack_from('<II', data, 8)
    must(version == 1, f'version {version} is newer than this reader')
    must(len(data) == 16 + length + 64, 'wrong length')
    body, signature = data[16:16 + length], data[16 + length:]
    table = Table(body)
    if repo is None:
        repo, public = table.inline(0, 16), table.inline(7, 32)
    elif callable(public):
        public = public(table.inline(0, 16))
    verify(public, b'bkfs signed object v1' + repo + data[:16] + body, signature)
    return table


def in_order(ids):
    must(ids == sorted(set(ids)), 'its ids are out of order')
    return ids


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def list_objects(repository, folder):
    return sorted(f for _, _, files in os.walk(os.path.join(repository, folder)) for f in files)


def read_header(repository):
    table = signed_object(read(os.path.join(repository, 'bkfs.repo')), b'BKFSREPO')
    epochs = {e.number(0, 'I'): {'content': e.inline(1, 32), 'tree': e.inline(2, 32), 'log': e.inline(3, 32)}
              for e in table.tables(8)}
    header = {'repo': table.inline(0, 16), 'master': table.inline(7, 32), 'epochs': epochs, 'grants': {}}
    read_epochs(repository, header)
    return header


def read_epochs(repository, header):
    """Section 14: adds later epochs to the header's, and who may open them."""
    first = max(header['epochs']) + 1
    names = [re.fullmatch('epoch-([1-9][0-9]*)', name) for name in list_objects(repository, 'keys')]
    numbers = sorted(n for n in (int(match[1]) for match in names if match) if n >= first)
    must(not numbers or numbers[-1] <= 256, 'too many epochs')
    for expected, number in enumerate(numbers, first):
        must(number == expected, f'keys/epoch-{expected} is missing')
        data = read(os.path.join(repository, 'keys', f'epoch-{number}'))
        table = signed_object(data, b'BKFSEPOC', header['repo'], header['master'])
        must(table.number(0, 'I') == number, f'keys/epoch-{number} is another epoch')
        grants = [(grant.inline(0, 16), grant.bytes(1)) for grant in table.tables(5)]
        in_order([key for key, _ in grants])
        header['epochs'][number] = {name: table.inline(i, 32) for i, name in enumerate(('content', 'tree', 'log'), 1)}
        header['grants'][number] = dict(grants)


def parse_payload(payload):
    must(struct.unpack_from('<I', payload)[0] == 1, 'keyfile version')
    fields, at = {}, 4
    while at < len(payload):
        tag, length = struct.unpack_from('<BH', payload, at)
        value = payload[at + 3:at + 3 + length]
        must(len(value) == length and 1 <= tag <= 10, 'keyfile is damaged')
        if tag in (5, 6, 7):
            fields.setdefault(tag, {})[struct.unpack_from('<I', value)[0]] = value[4:]
        else:
            must(tag not in fields, 'keyfile has a field twice')
            fields[tag] = value
        at += 3 + length
    return fields


def read_keyfile(path, header):
    lines = read(path).decode().splitlines()
    must(lines[0] == '-----BEGIN BKFS KEY-----', 'not a keyfile')
    blank = lines.index('')
    payload = base64.b64decode(''.join(lines[blank + 1:lines.index('-----END BKFS KEY-----')]))
    head = ''.join(line + '\n' for line in lines[1:blank]).encode()
    must(not any(line.startswith('Passphrase:') for line in lines), 'this reader takes unprotected keyfiles')
    must(blake3(head + payload[:-8])[:8] == payload[-8:], 'keyfile is damaged')
    fields = parse_payload(payload[:-8])
    must(fields[9] == header['master'], 'the key is of another repository')
    key = {'content': {}, 'tree': {}, 'log': {}}
    if 1 in fields:
        master = fields[1]
        for epoch in header['epochs']:
            e = struct.pack('<I', epoch)
            for name in key:
                key[name][epoch] = blake3_derive(f'bkfs v1 {name} key', master + e)
        key['id'] = blake3_derive('bkfs v1 id key', master)
        key['index'] = blake3_derive('bkfs v1 index key', master)
        return key
    key['content'], key['tree'], key['log'] = (fields.get(t, {}) for t in (5, 6, 7))
    key['id'], key['index'] = fields.get(2), fields.get(4)
    take_grants(fields[8], header, key)
    for name in ('content', 'tree', 'log'):
        for epoch, secret in key[name].items():
            must(epoch in header['epochs'], f'keys/epoch-{epoch} is missing')
            must(nacl.bindings.crypto_scalarmult_base(secret) == header['epochs'][epoch][name],
                 f'a secret of epoch {epoch} does not give its public key')
    return key


def take_grants(seed, header, key):
    public, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
    box_secret = nacl.bindings.crypto_sign_ed25519_sk_to_curve25519(secret)
    for epoch, grants in header['grants'].items():
        box = grants.get(blake3(public)[:16])
        if box is None or epoch in key['log']:
            continue
        payload = try_open_box(box_secret, box)
        must(payload is not None, f'the grant of epoch {epoch} does not open')
        fields = parse_payload(payload)
        must(set(fields) <= {5, 6, 7}, 'a grant holds what does not belong there')
        for tag, name in ((5, 'content'), (6, 'tree'), (7, 'log')):
            must(set(fields.get(tag, {epoch})) == {epoch}, 'a grant of another epoch')
            key[name].update(fields.get(tag, {}))


# ---- signers, packs (5, 6) ----

def signers(repository, header):
    """KeyId -> (public key, type, accepted snapshot ids or None)."""
    found = {blake3(header['master'])[:16]: (header['master'], 1, None)}
    for name in list_objects(repository, 'keys'):
        data = read(os.path.join(repository, 'keys', name))
        if len(name) == 32:
            badge = signed_object(data, b'BKFSBADG', header['repo'], header['master'])
            public = badge.inline(3, 32)
            must(badge.inline(0, 16) == bytes.fromhex(name) == blake3(public)[:16], 'badge of another key')
            found.setdefault(bytes.fromhex(name), (public, badge.number(1, 'B'), None))
    for name in list_objects(repository, 'keys'):
        if name.endswith('.revoked'):
            data = read(os.path.join(repository, 'keys', name))
            revoked = signed_object(data, b'BKFSREVO', header['repo'], header['master'])
            key = bytes.fromhex(name[:32])
            must(revoked.inline(0, 16) == key, 'revocation of another key')
            found[key] = found[key][:2] + (set(revoked.structs(2, 16)),)
    return found


def parse_footer(body):
    table = Table(body)
    slots = [{'epoch': s.number(0, 'I'), 'cipher': s.number(1, 'B'), 'writer': s.inline(2, 16), 'box': s.bytes(3)}
             for s in table.tables(3)]
    frames = [dict(zip(('offset', 'length', 'plain', 'slot'), struct.unpack('<4I', f)))
              for f in table.structs(4, 16)]
    blobs = [(b[:32],) + struct.unpack('<3I', b[32:]) for b in table.structs(5, 44)]
    return {'kind': table.number(0, 'B'), 'signer': table.inline(1, 16), 'data_hash': table.inline(2, 32),
            'slots': slots, 'frames': frames, 'blobs': blobs}


def read_footer(path, index_key, header, keys=None, whole=False):
    data = read(path)
    must(data[:8] == b'BKFSPACK' and struct.unpack_from('<I', data, 8)[0] == 1, 'not a pack of version 1')
    length, version = struct.unpack_from('<II', data, len(data) - 16)
    must(data[-8:] == b'PACKBKFS' and version == 1, 'pack has no end')
    start = len(data) - 16 - length
    plain = unseal(index_key, header['repo'], b'F', data[start:len(data) - 16])
    body, signature = plain[:-64], plain[-64:]
    footer = parse_footer(body)
    if keys is not None:
        public, kind, _ = keys[footer['signer']]
        must(kind in (1, 2, 4, 6), 'signed by a key that may not')
        verify(public, b'bkfs pack v1' + header['repo'] + body, signature)
    if whole:
        must(blake3(data).hex() == os.path.basename(path), 'pack does not hash to its name')
        must(footer['data_hash'] in (bytes(32), blake3(data[:start])), 'pack data was changed')
    return footer


def try_open_frame(key, footer, number, sealed, header):
    slot = footer['slots'][footer['frames'][number]['slot']]
    try:
        return aead_open(slot['cipher'], key, sealed[:12], header['repo'] + b'P' + bytes([footer['kind']]), sealed[12:])
    except Refused:
        return None


class Reader:
    """Blobs of a repository by id."""

    def __init__(self, repository, keyfile):
        self.repository = repository
        self.header = read_header(repository)
        self.key = read_keyfile(keyfile, self.header)
        self.signers = signers(repository, self.header)
        self.tree_id_key = blake3_derive('bkfs v1 tree id', self.key['id'])
        self.places = {}
        self.frames = {}
        for name in list_objects(repository, 'packs'):
            path = os.path.join(repository, 'packs', name[:2], name)
            footer = read_footer(path, self.key['index'], self.header, self.signers, whole=True)
            for blob, frame, offset, length in footer['blobs']:
                self.places[footer['kind'], blob] = (path, footer, frame, offset, length)
        self.check_index()

    def check_index(self):
        """Segments say nothing that the footers do not, apart from packs that were deleted since they were made."""
        base, doomed = self.read_log()
        for name in list_objects(self.repository, 'index'):
            data = read(os.path.join(self.repository, 'index', name))
            must(data[:8] == b'BKFSINDX' and blake3(data).hex() == name, 'index segment was changed')
            body = zstandard.ZstdDecompressor().decompress(unseal(self.key['index'], self.header['repo'], b'I', data[16:]))
            as_of = Table(body).number(2, 'Q')
            for pack in Table(body).tables(0):
                pack_id = pack.inline(0, 32)
                path = os.path.join(self.repository, 'packs', pack_id.hex()[:2], pack_id.hex())
                if any(number > as_of and pack_id in ids for number, ids in doomed.items()):
                    continue
                if not os.path.exists(path):
                    must(base > as_of + 1, f'pack {pack_id.hex()} is missing')
                    continue
                must(os.path.getsize(path) == pack.number(1, 'Q'), 'pack has another size than the index says')
                for blob, *_ in parse_footer(pack.bytes(2))['blobs']:
                    must((parse_footer(pack.bytes(2))['kind'], blob) in self.places, 'index lists an unknown blob')

    def frame(self, path, footer, number):
        if (path, number) not in self.frames:
            frame = footer['frames'][number]
            slot = footer['slots'][frame['slot']]
            secrets = self.key['content' if footer['kind'] == 1 else 'tree']
            key = try_open_box(secrets[slot['epoch']], slot['box'])
            must(key is not None, 'key slot does not open')
            with open(path, 'rb') as file:
                file.seek(frame['offset'])
                sealed = file.read(frame['length'])
            inner = try_open_frame(key, footer, number, sealed, self.header)
            must(inner is not None, 'frame was changed')
            codec, length = inner[0], struct.unpack_from('<I', inner, 4)[0]
            payload = inner[8:8 + length]
            must(codec in (0, 1) and not any(inner[8 + length:]), 'frame is malformed')
            plain = payload if codec == 0 else zstandard.ZstdDecompressor().decompress(payload, max_output_size=16 << 20)
            must(len(plain) == frame['plain'], 'frame has another length')
            self.frames[path, number] = plain
        return self.frames[path, number]

    def blob(self, kind, blob):
        must((kind, blob) in self.places, f'blob {blob.hex()} is missing')
        path, footer, number, offset, length = self.places[kind, blob]
        data = self.frame(path, footer, number)[offset:offset + length]
        must(blake3_keyed(self.key['id'] if kind == 1 else self.tree_id_key, data) == blob, 'blob does not hash to its id')
        return data

    # ---- sections 12, 13 ----

    def maintenance(self, folder, pattern, magic, check):
        """What `check(name, data, table)` makes of each valid object; the others are reported and passed over."""
        found = []
        for name in list_objects(self.repository, folder):
            match = re.fullmatch(pattern, name)
            if not match:
                continue
            data = read(os.path.join(self.repository, folder, name))

            def public(signer, data=data):
                must(signer in self.signers, 'unknown signer')
                key, kind, accepted = self.signers[signer]
                must(kind in (1, 6), 'signed by a key that may not do maintenance')
                must(accepted is None or blake3(data)[:16] in accepted, 'made after its key was revoked')
                return key

            try:
                table = signed_object(data, magic, self.header['repo'], public)
                found.append(check(bytes.fromhex(match[1]), data, table))
            except (Refused, struct.error) as error:
                print(f'read_repo.py: {folder}/{name} is passed over: {error}', file=sys.stderr)
        return found

    def read_log(self):
        """The highest base, and number -> doomed packs of the entries that count."""
        def check(name, _, table):
            number, base = table.number(1, 'Q'), table.number(2, 'Q')
            must(number == int.from_bytes(name, 'big') and 1 <= base <= number, 'its numbers are wrong')
            in_order(table.structs(5, 32))
            return number, base, in_order(table.structs(6, 32))

        entries = self.maintenance('condemned', '([0-9a-f]{16})', b'BKFSCOND', check)
        base = max((base for _, base, _ in entries), default=1)
        return base, {number: doomed for number, _, doomed in entries if number >= base}

    def read_removed(self):
        """Ids that removals name; and LeaseId -> ids that its closure names."""
        def removal(name, data, table):
            must(blake3(data)[:16] == name, 'it does not hash to its name')
            return in_order(table.structs(2, 16))

        def closure(name, _, table):
            must(table.inline(1, 16) == name != bytes(16), 'it is of another lease')
            return name, in_order(table.structs(3, 16))

        gone = self.maintenance('removed', '([0-9a-f]{32})', b'BKFSREMO', removal)
        closed = self.maintenance('removed', 'lease-([0-9a-f]{32})', b'BKFSCLOS', closure)
        return {i for ids in gone for i in ids}, dict(closed)

    # ---- sections 8, 9 ----

    def snapshots(self):
        found = []
        gone, closed = self.read_removed()
        for name in list_objects(self.repository, 'snapshots'):
            if bytes.fromhex(name) in gone:
                continue
            data = read(os.path.join(self.repository, 'snapshots', name))
            must(blake3(data)[:16].hex() == name, f'record {name} was changed')
            must(data[:8] == b'BKFSSNAP', 'not a snapshot record')
            version, epoch = struct.unpack_from('<II', data, 8)
            must(version == 1 and data[16:32] == self.header['repo'], 'record of another version or repository')
            public, kind, accepted = self.signers[data[32:48]]
            must(kind in (1, 2, 4), 'signed by a key that may not write')
            verify(public, b'bkfs snapshot v1' + data[:-64], data[-64:])
            must(accepted is None or bytes.fromhex(name) in accepted, f'record {name} was made after its key was revoked')
            length = struct.unpack_from('<I', data, 72)[0]
            must(len(data) == 76 + length + 64, 'record has another length')
            if epoch not in self.key['log'] and epoch in self.header['epochs']:
                print(f'read_repo.py: record {name} is of epoch {epoch}, of which this key has no secrets', file=sys.stderr)
                continue
            must(epoch in self.header['epochs'], f'keys/epoch-{epoch} is missing')
            body = try_open_box(self.key['log'][epoch], data[76:76 + length])
            must(body is not None, 'record does not open')
            table = Table(body)
            lease = table.inline(12, 16)
            if lease in closed and bytes.fromhex(name) not in closed[lease]:
                continue
            root = try_open_box(self.key['tree'][epoch], table.bytes(11))
            must(root is not None, 'root does not open')
            found.append({'id': name, 'name': table.bytes(0).decode(), 'time': table.number(3, 'q'),
                          'root': Table(root).table(0)})
        return sorted(found, key=lambda s: s['time'])

    def entries(self, directory):
        if directory == bytes(32):
            return
        table = Table(self.blob(2, directory))
        if table.number(0, 'B') == 0:
            yield from table.tables(1)
        else:
            for child in table.tables(2):
                yield from self.entries(child.inline(1, 32))

    def extents(self, table, extents_field, lists_field):
        for raw in table.structs(extents_field, 48):
            yield struct.unpack_from('<QI', raw) + (raw[16:],)
        for raw in table.structs(lists_field, 40):
            yield from self.extents(Table(self.blob(2, raw[8:])), 1, 2)

    def contents(self, entry):
        total = 0
        for length, offset, blob in self.extents(entry, 19, 20):
            data = None if blob == bytes(32) else self.blob(1, blob)[offset:offset + length]
            must(data is None or len(data) == length, 'extent is outside its blob')
            total += length
            yield length, data
        must(total == entry.number(13, 'Q'), 'extents do not add up to the size')

    def extract(self, entry, path, links):
        kind, mode = entry.number(1, 'B'), entry.number(2, 'H')
        group = entry.number(16, 'Q')
        if group and group in links:
            os.link(links[group], path, follow_symlinks=False)
            return
        if group:
            links[group] = path
        if kind == 2:
            os.makedirs(path, exist_ok=True)
            for child in self.entries(entry.inline(21, 32)):
                self.extract(child, os.path.join(path, child.bytes(0)), links)
        elif kind == 1:
            with open(path, 'wb') as file:
                for length, data in self.contents(entry):
                    if data is None:
                        file.seek(length, 1)
                    else:
                        file.write(data)
                file.truncate(entry.number(13, 'Q'))
        elif kind == 3:
            os.symlink(entry.bytes(17), path)
        elif kind == 4:
            os.mkfifo(path)
        else:
            return   # sockets and devices are not made
        if kind != 3:
            os.chmod(path, mode)
        when = entry.number(7, 'q') * 10**9 + entry.number(8, 'I')
        os.utime(path, ns=(when, when), follow_symlinks=False)


def main():
    if len(sys.argv) not in (4, 6) or sys.argv[3] not in ('list', 'extract'):
        sys.exit(__doc__)
    try:
        reader = Reader(sys.argv[1], sys.argv[2])
        found = reader.snapshots()
        if sys.argv[3] == 'list':
            for snapshot in found:
                print(snapshot['id'], snapshot['name'], snapshot['time'])
            return
        matches = [s for s in found if s['id'].startswith(sys.argv[4]) or s['name'] == sys.argv[4]]
        must(matches, 'no such snapshot')
        reader.extract(matches[-1]['root'], os.fsencode(sys.argv[5]), {})
    except Refused as refused:
        sys.exit(f'read_repo.py: {refused}')


if __name__ == '__main__':
    main()
