# SPDX-License-Identifier: Apache-2.0
"""Where the system tests put their repositories: a folder (BKFS_TEST_STORE=local, or unset), a folder behind an sshd (sftp), a
bucket of a Ceph (ceph). The server is started once in a process, when the first place is asked for. Every place is looked into
and damaged here without bkfs, by the names that objects have in bkfs."""
import atexit
import itertools
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree

STORES = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'stores')
sys.path.insert(0, STORES)
import s3_request  # noqa: E402

KIND = os.environ.get('BKFS_TEST_STORE', 'local')
AFAR = KIND != 'local'


class Program:
    """A script of tests/stores; it ends with this process, however that ends."""

    def __init__(self, script, *arguments):
        self.process = subprocess.Popen([sys.executable, os.path.join(STORES, script), *map(str, arguments)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f'{script} did not start')
        self.facts = json.loads(line)

    def ask(self, line):
        """One of the script's commands; returns its answer."""
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


_servers = {}


def server(script, *arguments):
    """The one that this process has started with those arguments."""
    what = (script, *arguments)
    if what not in _servers:
        _servers[what] = Program(script, *arguments)
        atexit.register(_servers[what].close)
    return _servers[what]


class Place:
    """A repository's. Objects of the store's own are not shown."""

    url = None
    port = None         # of its server, on loopback
    environment = {}    # what lets programs in there

    def make(self):
        """A folder there, where a place needs one before it has objects."""

    def names(self, prefix=''):
        return sorted(self.sizes(prefix))

    def sizes(self, prefix=''):
        raise NotImplementedError

    def read(self, name):
        raise NotImplementedError

    def write(self, name, data):
        """Whatever is there."""
        raise NotImplementedError

    def remove(self, name):
        raise NotImplementedError

    def total(self, prefix=''):
        return sum(self.sizes(prefix).values())

    def clear(self):
        for name in self.names():
            self.remove(name)

    def saved(self):
        """All of it, for fill()."""
        return {name: self.read(name) for name in self.names()}

    def fill(self, objects):
        self.clear()
        for name, data in objects.items():
            self.write(name, data)

    def download(self, folder):
        """Into a new folder, as a local repository has it."""
        copy = Folder(folder)
        os.mkdir(folder)
        copy.fill(self.saved())
        return copy

    def beside(self, name):
        """A place in the same folder or bucket."""
        raise NotImplementedError

    def through(self, port):
        """The URL for who goes through a proxy on that loopback port."""
        raise NotImplementedError


class Folder(Place):

    def __init__(self, folder):
        self.folder = folder
        self.url = folder

    def make(self):
        os.mkdir(self.folder)

    def sizes(self, prefix=''):
        found = {}
        for base, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(base, name)
                inner = os.path.relpath(path, self.folder)
                if inner.startswith(prefix) and not inner.startswith('_'):
                    found[inner] = os.path.getsize(path)
        return found

    def beside(self, name):
        return Folder(os.path.join(os.path.dirname(self.folder), name))

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), 'rb') as file:
            return file.read()

    def write(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        if os.path.exists(self.path(name)):
            os.unlink(self.path(name))
        with open(self.path(name), 'wb') as file:
            file.write(data)

    def remove(self, name):
        os.unlink(self.path(name))

    def clear(self):
        if os.path.isdir(self.folder):
            for name in os.listdir(self.folder):
                path = os.path.join(self.folder, name)
                if os.path.isdir(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)


class SftpFolder(Folder):
    """Of the sshd's machine, which is this one."""

    def __init__(self, folder, facts):
        super().__init__(folder)
        self.user = facts['user']
        self.environment = {'BKFS_SFTP_KEYFILE': facts['key_file'], 'BKFS_SFTP_FINGERPRINT': facts['fingerprint']}
        self.port = facts['port']
        self.url = self.through(self.port)

    def through(self, port):
        return f'sftp://{self.user}@127.0.0.1:{port}{self.folder}'


class Bucket(Place):
    """The objects below a prefix of a bucket."""

    def __init__(self, bucket, prefix, facts):
        self.bucket = bucket
        self.prefix = prefix + '/'
        self.facts = facts
        self.environment = {'AWS_ACCESS_KEY_ID': facts['access_key'], 'AWS_SECRET_ACCESS_KEY': facts['secret_key'],
                            'AWS_REGION': facts['region']}
        self.port = facts['port']
        self.client = s3_request.S3Client(facts['port'], facts['access_key'], facts['secret_key'], facts['region'])
        self.url = self.through(self.port)

    def beside(self, name):
        return Bucket(self.bucket, name, self.facts)

    def through(self, port):
        return f'http://127.0.0.1:{port}/{self.bucket}/{self.prefix[:-1]}'

    def path(self, name):
        return f'/{self.bucket}/{self.prefix}{name}'

    def sizes(self, prefix=''):
        found, token = {}, ''
        while True:
            query = 'list-type=2&prefix=' + urllib.parse.quote(self.prefix + prefix, safe='')
            if token:
                query = 'continuation-token=' + urllib.parse.quote(token, safe='') + '&' + query
            page = xml.etree.ElementTree.fromstring(self.client.expect('GET', '/' + self.bucket, query))
            for entry in page.findall('{*}Contents'):
                name = entry.findtext('{*}Key')[len(self.prefix):]
                if not name.startswith('_'):
                    found[name] = int(entry.findtext('{*}Size'))
            token = page.findtext('{*}NextContinuationToken')
            if not token:
                return found

    def read(self, name):
        return self.client.expect('GET', self.path(name))

    def write(self, name, data):
        self.client.expect('PUT', self.path(name), body=data)

    def remove(self, name):
        self.client.expect('DELETE', self.path(name))


_numbers = itertools.count()


def sshd():
    return server('sshd.py')


def ceph():
    return server('ceph_rgw.py')


def new_place(folder, kind=KIND):
    """An empty place of this process's kind, one that nobody had before. `folder`: where, if it is a folder here; bkfs makes it."""
    if kind == 'local':
        return Folder(folder)
    word = f'{os.path.basename(folder)}-{next(_numbers)}'
    if kind == 'sftp':
        facts = sshd().facts
        return SftpFolder(os.path.join(facts['root'], word), facts)
    if kind == 'ceph':
        facts = ceph().facts
        return Bucket(facts['bucket'], word, facts)
    raise ValueError(f'BKFS_TEST_STORE={kind}: want local, sftp or ceph')


def new_small_place(mebibytes, kind=KIND):
    """One that holds no more than that, together with what is written beside it. Its server, or bucket, is its own."""
    if kind == 'sftp':
        facts = server('sshd.py', '--room', mebibytes).facts
        return SftpFolder(os.path.join(facts['root'], 'small'), facts)
    program = ceph()
    bucket = f'small-{next(_numbers)}'
    answer = program.ask(f'small-bucket {bucket} {mebibytes}M')
    if answer != 'ok':
        raise RuntimeError(answer)
    return Bucket(bucket, 'repo', program.facts)


def sized(here, afar):
    """How much of something a test takes: less where each of it is a journey (BKFS_TEST_FULL_SIZE=1: all of it there too)."""
    return afar if AFAR and not os.environ.get('BKFS_TEST_FULL_SIZE') else here


def only_on(*kinds):
    """For tests of what other stores do not have: there they are no tests."""
    return lambda test: test if KIND in kinds else None
