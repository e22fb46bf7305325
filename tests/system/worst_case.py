# SPDX-License-Identifier: Apache-2.0
"""Builds the tree that breaks backup programs. Needs root for devices."""
import os
import socket
import stat
import subprocess


def write(path, data, mode=0o644):
    with open(path, 'wb') as file:
        file.write(data)
    os.chmod(path, mode)


def build(root, entries=2000, depth=200, sparse=20 << 30):
    root = os.fsencode(root)
    os.makedirs(root)
    join = os.path.join
    write(join(root, b'n' * 255), b'long name')
    write(join(root, b'new\nline \t\x01'), b'control characters')
    write(join(root, b'invalid \xff\xfe utf-8'), b'not utf-8')
    write(join(root, b'empty'), b'')
    write(join(root, b'one'), b'1')
    write(join(root, b'mode0000'), b'secret', 0)
    write(join(root, b'setuid'), b'#!/bin/sh\n', 0o4755)
    write(join(root, b'setgid'), b'#!/bin/sh\n', 0o2755)
    os.mkdir(join(root, b'sticky'))
    os.chmod(join(root, b'sticky'), 0o1777)
    os.symlink(b's' * 4095, join(root, b'longlink'))
    os.symlink(b'absent', join(root, b'dangling'))
    # Depth: by file descriptor, since the whole path is too long for one call.
    fd = os.open(root, os.O_RDONLY)
    for i in range(depth):
        os.mkdir(b'deep%d' % i, dir_fd=fd)
        below = os.open(b'deep%d' % i, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    leaf = os.open(b'leaf', os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.write(leaf, b'bottom')
    os.close(leaf)
    os.close(fd)
    many = join(root, b'many')
    os.mkdir(many)
    for i in range(entries):
        write(join(many, b'entry-%06d' % i), b'%d' % i)
    # Holes.
    with open(join(root, b'holes'), 'wb') as file:
        file.write(b'x' * 5000)
        file.seek(3 << 20)
        file.write(os.urandom(100000))
        file.truncate(7 << 20)
    with open(join(root, b'sparse'), 'wb') as file:
        file.truncate(sparse)
        file.seek(sparse // 2)
        file.write(b'in the middle')
    # Hard links across directories, of a file and of a symlink.
    os.mkdir(join(root, b'links'))
    os.link(join(root, b'one'), join(root, b'links', b'one again'))
    os.link(join(root, b'one'), join(root, b'links', b'one third'))
    os.link(join(root, b'dangling'), join(root, b'links', b'dangling again'), follow_symlinks=False)
    # Special files.
    os.mkfifo(join(root, b'fifo'))
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(root)
        sock.bind('socket')
        os.chdir(here)
    os.mknod(join(root, b'null'), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(join(root, b'loop'), stat.S_IFBLK | 0o660, os.makedev(7, 300))
    # Attributes and ACLs.
    os.setxattr(join(root, b'one'), b'user.small', b'value')
    attributes = join(root, b'attributes')
    write(attributes, b'many attributes')
    try:
        os.setxattr(attributes, b'user.large', bytes(range(256)) * 240)  # 60 KiB
    except OSError:
        os.setxattr(attributes, b'user.large', bytes(range(256)) * 12)   # what this filesystem takes
    subprocess.run(['setfacl', '-m', 'u:1234:rw,g:4321:r', attributes], check=True)
    os.mkdir(join(root, b'acl'))
    subprocess.run(['setfacl', '-d', '-m', 'u:1234:rwx,g:4321:rx', join(root, b'acl')], check=True)
    # Owners and times.
    write(join(root, b'owned'), b'owned')
    os.chown(join(root, b'owned'), 12345, 54321)
    write(join(root, b'ancient'), b'1931')
    os.utime(join(root, b'ancient'), ns=(-1234567890123456789, -1234567890123456789))
    write(join(root, b'precise'), b'ns')
    os.utime(join(root, b'precise'), ns=(1234567890123456789, 1234567890123456789))
    os.utime(join(root, b'sticky'), ns=(987654321987654321, 987654321987654321))
    # Contents of every size around the cutting limits, and some that repeat.
    os.mkdir(join(root, b'sizes'))
    for size in (4095, 4096, 16383, 16384, 65536, 262143, 262144, 262145, 1 << 20, 5000000):
        write(join(root, b'sizes', b'random-%d' % size), os.urandom(size))
        write(join(root, b'sizes', b'zeros-%d' % size), bytes(size))
