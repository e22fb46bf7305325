#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An SFTP server as some are: it offers no extensions, and its rename replaces what is in the way. For sshd's
`Subsystem sftp`; OpenSSH's own server does the work, this changes what passes between."""
import struct
import subprocess
import sys
import threading

VERSION = 2
RENAME = 18
EXTENDED = 200
REPLACE = b'posix-rename@openssh.com'


def packets(source):
    while len(head := source.read(4)) == 4:
        yield source.read(struct.unpack('>I', head)[0])


def send(target, body):
    target.write(struct.pack('>I', len(body)) + body)
    target.flush()


def requests(server):
    for body in packets(sys.stdin.buffer):
        if body[0] == RENAME:
            body = bytes([EXTENDED]) + body[1:5] + struct.pack('>I', len(REPLACE)) + REPLACE + body[5:]
        send(server.stdin, body)
    server.stdin.close()


def main():
    with subprocess.Popen(['/usr/lib/openssh/sftp-server'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        threading.Thread(target=requests, args=(server,), daemon=True).start()
        for body in packets(server.stdout):
            send(sys.stdout.buffer, body[:5] if body[0] == VERSION else body)


if __name__ == '__main__':
    sys.exit(main())
