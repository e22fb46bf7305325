# SPDX-License-Identifier: Apache-2.0
"""OpenStack Swift with its S3 API: a server without conditional writes, which answers 501 to them, and which accepts object
locks without a word and keeps none."""
import os
import sys

from launcher import Server, StartError, free_port, serve
from s3_request import S3Client

COMMON = '''[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {scratch}
log_address = /dev/null
'''

STORAGE = COMMON + '''devices = {scratch}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
'''

PROXY = COMMON + '''[pipeline:main]
pipeline = catch_errors gatekeeper proxy-logging cache listing_formats bulk s3api tempauth slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached_port}
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
s3_acl = no
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret_key} .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
'''

CLUSTER = '''[swift-hash]
swift_hash_path_suffix = suffix
swift_hash_path_prefix = prefix
[storage-policy:0]
name = gold
default = yes
'''

ATTEMPTS = 3  # another server may take a port between our asking for it and our using it


class Swift(Server):
    """Facts: url, port, region, access_key, secret_key, bucket."""

    name = 'swift'

    def __init__(self):
        super().__init__()
        self.port = 0

    def begin(self):
        self.facts.update(region='us-east-1', access_key='test:tester', secret_key=os.urandom(12).hex(), bucket='bucket')
        for attempt in range(ATTEMPTS):
            try:
                self.begin_servers(f'try{attempt}')
                break
            except StartError:
                self.stop()
                if attempt == ATTEMPTS - 1:
                    raise
        self.facts.update(url=f'http://127.0.0.1:{self.port}', port=self.port)
        user = S3Client(self.port, self.facts['access_key'], self.facts['secret_key'])
        # The proxy listens before the storage servers behind it may.
        self.wait_until(lambda: user.request('PUT', '/bucket')[0] in (200, 409), 'the proxy')

    def begin_servers(self, folder):
        os.makedirs(self.path(folder, 'devices', 'd1'))
        scratch = self.path(folder)
        user = self.run('id', '-un').strip()
        self.write(f'{folder}/swift.conf', CLUSTER)
        ports = {}
        for kind in ('account', 'container', 'object'):
            ports[kind] = free_port()
            self.write(f'{folder}/{kind}-server.conf', STORAGE.format(kind=kind, port=ports[kind], user=user, scratch=scratch))
            self.make_ring(scratch, kind, ports[kind])
        memcached_port = free_port()
        self.port = free_port()
        self.write(f'{folder}/proxy-server.conf', PROXY.format(
            port=self.port, user=user, scratch=scratch, memcached_port=memcached_port, secret_key=self.facts['secret_key']))
        self.start('memcached', 'memcached', '-u', user, '-l', '127.0.0.1', '-p', memcached_port, '-m', '16')
        for kind in ('account', 'container', 'object', 'proxy'):
            self.start(kind, f'swift-{kind}-server', os.path.join(scratch, f'{kind}-server.conf'))
        for port in (memcached_port, *ports.values(), self.port):
            self.wait_for_port(port)

    def make_ring(self, scratch, kind, port):
        builder = [f'{kind}.builder']
        self.run('swift-ring-builder', *builder, 'create', '4', '1', '0', cwd=scratch)
        self.run('swift-ring-builder', *builder, 'add', f'r1z1-127.0.0.1:{port}/d1', '1', cwd=scratch)
        self.run('swift-ring-builder', *builder, 'rebalance', cwd=scratch)


if __name__ == '__main__':
    sys.exit(serve(Swift()))
