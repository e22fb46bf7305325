# SPDX-License-Identifier: Apache-2.0
"""Signed requests to an S3 server on loopback: what the servers' scripts need to make buckets."""
import datetime
import hashlib
import hmac
import http.client
import urllib.parse


class S3Client:
    """Requests of one user, path style."""

    def __init__(self, port, access_key, secret_key, region='us-east-1'):
        self.host = f'127.0.0.1:{port}'
        self.access_key = access_key
        self.secret_key = secret_key
        self.region = region

    def authorization(self, method, path, query, headers, date):
        names = ';'.join(sorted(headers))
        canonical = '\n'.join([method, path, query, *(f'{name}:{headers[name]}' for name in sorted(headers)), '', names,
                               headers['x-amz-content-sha256']])
        scope = f'{date}/{self.region}/s3/aws4_request'
        to_sign = '\n'.join(['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ('AWS4' + self.secret_key).encode()
        for word in (date, self.region, 's3', 'aws4_request', to_sign):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        return f'AWS4-HMAC-SHA256 Credential={self.access_key}/{scope},SignedHeaders={names},Signature={key.hex()}'

    def request(self, method, path, query='', body=b'', headers=None):
        """Returns status and body. `query` is in its canonical form ("policy=")."""
        now = datetime.datetime.now(datetime.timezone.utc)
        signed = {'host': self.host, 'x-amz-date': now.strftime('%Y%m%dT%H%M%SZ'),
                  'x-amz-content-sha256': hashlib.sha256(body).hexdigest(), **(headers or {})}
        path = urllib.parse.quote(path)
        signed['authorization'] = self.authorization(method, path, query, signed, now.strftime('%Y%m%d'))
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, path + ('?' + query if query else ''), body, signed)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def expect(self, method, path, query='', body=b'', headers=None):
        """The same for what must work."""
        status, answer = self.request(method, path, query, body, headers)
        if status >= 300:
            raise RuntimeError(f'{method} {path}?{query}: {status} {answer.decode(errors="replace")}')
        return answer
