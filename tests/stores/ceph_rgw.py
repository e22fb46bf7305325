# SPDX-License-Identifier: Apache-2.0
"""Ceph's RADOS Gateway: one mon, one osd in memory, one gateway, all on loopback and without authentication among them.
An S3 server with conditional writes and Object Lock that is kept."""
import json
import os
import sys
import uuid

from launcher import Server, StartError, free_port, serve
from s3_request import S3Client

CONFIG = '''[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 4294967296
mon_data_avail_crit = 1
mon_data_avail_warn = 2
admin_socket = {scratch}/$name.$pid.asok
run_dir = {scratch}
log_file = {scratch}/$name.log
mon_cluster_log_file = {scratch}/cluster.log
keyring = {scratch}/keyring
debug_ms = 0
ms_mon_client_mode = crc
[mon.a]
mon_data = {scratch}/mon
[osd.0]
osd_data = {scratch}/osd
[client.rgw]
rgw_data = {scratch}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_enable_apis = s3, admin
rgw_thread_pool_size = 128
rgw_user_quota_bucket_sync_interval = 1
rgw_bucket_quota_ttl = 0
'''

ATTEMPTS = 3  # another server may take a port between our asking for it and our using it


class CephRgw(Server):
    """Facts: url, port, region, access_key, secret_key; bucket, lock_bucket (Object Lock), versioned_bucket; small_bucket
    (holds 1 MiB); rights_bucket, in which the users writer, reader and maintainer (writer_access_key, writer_secret_key, ...)
    may do what doc/operations.md gives them.

    Commands: `small-bucket NAME SIZE` (makes one of its first user's that holds so much: "40M"), `suspend` and `enable` (that
    user)"""

    name = 'ceph'

    def __init__(self):
        super().__init__()
        self.port = 0
        self.config = ''
        self.folder = ''
        self.user = None

    def begin(self):
        for attempt in range(ATTEMPTS):
            try:
                self.begin_cluster(f'try{attempt}')
                break
            except StartError:
                self.stop()
                if attempt == ATTEMPTS - 1:
                    raise
        user = self.make_user('bkfs')
        self.user = user
        self.facts.update(url=f'http://127.0.0.1:{self.port}', port=self.port, region='us-east-1',
                          access_key=user.access_key, secret_key=user.secret_key,
                          bucket='bucket', lock_bucket='lock-bucket', versioned_bucket='versioned-bucket',
                          small_bucket='small-bucket', rights_bucket='rights-bucket')
        self.make_buckets(user)
        self.make_limited_users(user)

    def begin_cluster(self, folder):
        self.folder = self.path(folder)
        for part in ('mon', 'osd', 'rgw'):
            os.makedirs(os.path.join(self.folder, part))
        self.port = free_port()
        self.config = self.write(f'{folder}/ceph.conf', CONFIG.format(
            fsid=uuid.uuid4(), mon_port=free_port(), port=self.port, scratch=self.folder))
        self.begin_mon()
        osd = str(uuid.uuid4())
        self.ceph('osd', 'new', osd)
        self.run('ceph-osd', '-c', self.config, '-i', '0', '--mkfs', '--osd-uuid', osd)
        self.start('osd', 'ceph-osd', '-c', self.config, '-i', '0', '-f')
        self.wait_until(lambda: '1 up' in self.ceph('osd', 'stat'), 'the osd')
        self.start('rgw', 'radosgw', '-c', self.config, '-n', 'client.rgw', '-f')
        self.wait_for_port(self.port)

    def begin_mon(self):
        keyring = os.path.join(self.folder, 'keyring')
        monmap = os.path.join(self.folder, 'monmap')
        with open(self.config, encoding='utf-8') as config:
            lines = dict(line.strip().split(' = ', 1) for line in config if ' = ' in line)
        everything = ['--cap', 'mon', 'allow *', '--cap', 'osd', 'allow *', '--cap', 'mgr', 'allow *']
        self.run('ceph-authtool', '--create-keyring', keyring, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *')
        for name in ('client.admin', 'client.rgw'):
            self.run('ceph-authtool', keyring, '--gen-key', '-n', name, *everything)
        self.run('monmaptool', '--create', '--fsid', lines['fsid'], '--addv', 'a', f'[{lines["mon_host"]}]', monmap)
        self.run('ceph-mon', '-c', self.config, '--mkfs', '-i', 'a', '--monmap', monmap, '--keyring', keyring)
        self.start('mon', 'ceph-mon', '-c', self.config, '-i', 'a', '-f')

    def ceph(self, *words):
        return self.run('ceph', '-c', self.config, '--connect-timeout', '30', *words)

    def admin(self, *words):
        return self.run('radosgw-admin', '-c', self.config, *words)

    def make_user(self, name):
        """A user with made-up keys, as a client."""
        access_key, secret_key = f'AK{uuid.uuid4().hex[:18].upper()}', uuid.uuid4().hex
        self.admin('user', 'create', '--uid', name, '--display-name', name, '--access-key', access_key, '--secret-key', secret_key)
        return S3Client(self.port, access_key, secret_key)

    def make_buckets(self, user):
        for name in ('bucket', 'versioned_bucket', 'rights_bucket'):
            user.expect('PUT', '/' + self.facts[name])
        user.expect('PUT', '/' + self.facts['lock_bucket'], headers={'x-amz-bucket-object-lock-enabled': 'true'})
        user.expect('PUT', '/' + self.facts['versioned_bucket'], 'versioning=',
                    b'<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>')
        self.make_small_bucket(self.facts['small_bucket'], '1M')

    def make_small_bucket(self, name, size):
        self.user.expect('PUT', '/' + name)
        self.admin('quota', 'set', '--quota-scope', 'bucket', '--bucket', name, '--max-size', size)
        self.admin('quota', 'enable', '--quota-scope', 'bucket', '--bucket', name)

    def command(self, line):
        name, *arguments = line.split() or ['']
        if name == 'small-bucket':
            self.make_small_bucket(*arguments)
        elif name in ('suspend', 'enable'):
            self.admin('user', name, '--uid', 'bkfs')
        else:
            return super().command(line)
        return 'ok'

    def make_limited_users(self, owner):
        bucket = f'arn:aws:s3:::{self.facts["rights_bucket"]}'
        statements = []
        for name, rights in policies().items():
            user = self.make_user(name)
            self.facts[f'{name}_access_key'] = user.access_key
            self.facts[f'{name}_secret_key'] = user.secret_key
            for actions, resources in rights:
                statements.append({'Effect': 'Allow', 'Principal': {'AWS': [f'arn:aws:iam:::user/{name}']},
                                   'Action': [f's3:{action}' for action in actions],
                                   'Resource': [bucket + resource for resource in resources]})
        policy = json.dumps({'Version': '2012-10-17', 'Statement': statements})
        owner.expect('PUT', '/' + self.facts['rights_bucket'], 'policy=', policy.encode())


def policies():
    """What each kind of key needs of S3, for a repository under the prefix "repo": [(actions, resources)]."""
    see = (['ListBucket'], [''])
    read = (['GetObject'], ['/repo/*'])
    # Leases are put and taken away by everybody; a probe and claims come before what is put.
    passing = ['/repo/leases/*', '/repo/_probe-*', '/repo/_claims/*']
    return {
        'reader': [see, read, (['PutObject', 'DeleteObject'], passing)],
        'writer': [see, read, (['PutObject'], ['/repo/*']), (['DeleteObject'], passing)],
        'maintainer': [see, read, (['PutObject', 'DeleteObject'], ['/repo/*'])],
    }


if __name__ == '__main__':
    sys.exit(serve(CephRgw()))
