# SPDX-License-Identifier: Apache-2.0
"""nginx as a TLS proxy on loopback before another server, with a certificate of an authority made for the occasion."""
import argparse
import os
import sys

from launcher import Server, StartError, free_port, serve

CONFIG = '''daemon off;
worker_processes 1;
error_log {scratch}/error.log;
pid {scratch}/nginx.pid;
{user}
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  split_clients "$request_id" $failing {{ {failing}* ""; }}
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {scratch}/server.pem;
    ssl_certificate_key {scratch}/server.key;
    client_max_body_size 0;
    location / {{
      if ($failing) {{ return {status}; }}
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
      proxy_buffering {buffering};
      {limit}
    }}
  }}
}}
'''

ATTEMPTS = 3  # another server may take the port between our asking for it and our using it


class TlsProxy(Server):
    """Facts: url (https://127.0.0.1:PORT), port, ca_file. Options: `wrong_name`: the certificate is for another host;
    `expired`: it is no longer valid; `fail_percent` of the requests get `status` for an answer;
    `limit_rate`, bytes a second of each answer."""

    name = 'tls'

    def __init__(self, upstream, wrong_name=False, expired=False, fail_percent=0, status=503, limit_rate=0):
        super().__init__()
        self.upstream = upstream
        self.wrong_name = wrong_name
        self.expired = expired
        self.fail_percent = fail_percent
        self.status = status
        self.limit_rate = limit_rate

    def begin(self):
        self.make_certificates()
        for attempt in range(ATTEMPTS):
            port = free_port()
            self.write('nginx.conf', self.config(port))
            self.start('nginx', 'nginx', '-p', self.scratch, '-c', self.path('nginx.conf'))
            try:
                self.wait_for_port(port)
                break
            except StartError:
                self.stop()
                if attempt == ATTEMPTS - 1:
                    raise
        self.facts = {'url': f'https://127.0.0.1:{port}', 'port': port, 'ca_file': self.path('ca.pem')}

    def config(self, port):
        return CONFIG.format(scratch=self.scratch, port=port, upstream=self.upstream, status=self.status,
                             user='user root;' if os.geteuid() == 0 else '',
                             failing=f'{self.fail_percent}% yes; ' if self.fail_percent else '',
                             limit=f'limit_rate {self.limit_rate};' if self.limit_rate else '',
                             # Without its buffers nginx does not keep to the rate.
                             buffering='on' if self.limit_rate else 'off')

    def make_certificates(self):
        self.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
                     '-subj', '/CN=bkfs test authority', '-keyout', self.path('ca.key'), '-out', self.path('ca.pem'))
        name = 'DNS:elsewhere.example' if self.wrong_name else 'DNS:localhost,IP:127.0.0.1'
        extensions = self.write('server.ext', f'subjectAltName={name}\nbasicConstraints=CA:FALSE\n')
        self.openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=bkfs test',
                     '-keyout', self.path('server.key'), '-out', self.path('server.csr'))
        self.write('ca.conf', AUTHORITY.format(scratch=self.scratch))
        self.write('index.txt', '')
        self.write('serial', '01\n')
        begin, end = ('20200101000000Z', '20200102000000Z') if self.expired else ('20200101000000Z', '20491231000000Z')
        self.openssl('ca', '-batch', '-config', self.path('ca.conf'), '-in', self.path('server.csr'), '-out',
                     self.path('server.pem'), '-extfile', extensions, '-startdate', begin, '-enddate', end, '-notext')

    def openssl(self, *words):
        self.run('openssl', *words)


AUTHORITY = '''[ca]
default_ca = test
[test]
database = {scratch}/index.txt
serial = {scratch}/serial
new_certs_dir = {scratch}
certificate = {scratch}/ca.pem
private_key = {scratch}/ca.key
default_md = sha256
policy = any
[any]
commonName = supplied
'''


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--upstream', type=int, required=True)
    parser.add_argument('--wrong-name', action='store_true')
    parser.add_argument('--expired', action='store_true')
    parser.add_argument('--fail-percent', type=int, default=0)
    parser.add_argument('--status', type=int, default=503)
    parser.add_argument('--limit-rate', type=int, default=0)
    return serve(TlsProxy(**vars(parser.parse_args())))


if __name__ == '__main__':
    sys.exit(main())
