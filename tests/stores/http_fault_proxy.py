#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A proxy of HTTP requests that answers some of them with an error: a host that is overloaded, or loses its head. As a program:

    http_fault_proxy.py PORT

facts: host, port, of the proxy, before 127.0.0.1:PORT. Commands on standard input:

    errors SHARE   that share of the requests (0 to 1) is answered with 500, 502, 503 or 429 from now on: one half of them instead
                   of being carried out, the other half after it, so that what was done looks as if it was not
    count          answers "REQUESTS ERRORS"
"""
import http.client
import http.server
import random
import sys
import threading

import launcher

ANSWERS = (500, 502, 503, 429)
# Of the connection, not of the message.
HOP = ('connection', 'keep-alive', 'transfer-encoding', 'expect')


class Handler(http.server.BaseHTTPRequestHandler):
    """One client's connection, with a connection to the server of its own."""

    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    behind = None

    def carry(self):
        body = self.rfile.read(int(self.headers.get('content-length', 0)))
        fault = self.server.fault()
        if fault == 'before':
            return self.refuse()
        try:
            answer, data = self.ask(body)
        except OSError:
            self.close_connection = True
            return None
        if fault == 'after':
            return self.refuse()
        self.send_response_only(answer.status, answer.reason)
        length = answer.getheader('content-length') if self.command == 'HEAD' else len(data)
        for name, value in answer.getheaders():
            if name.lower() not in HOP + ('content-length',):
                self.send_header(name, value)
        if length is not None and answer.status != 204:
            self.send_header('content-length', length)
        self.end_headers()
        self.wfile.write(data)
        return None

    def ask(self, body):
        if self.behind is None:
            self.behind = http.client.HTTPConnection('127.0.0.1', self.server.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        try:
            self.behind.request(self.command, self.path, body, headers)
            answer = self.behind.getresponse()
            return answer, answer.read()
        except http.client.HTTPException as error:
            self.behind.close()
            raise OSError(str(error)) from error

    def refuse(self):
        self.send_response(random.choice(ANSWERS))
        self.send_header('content-length', '0')
        self.end_headers()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = carry

    def finish(self):
        super().finish()
        if self.behind is not None:
            self.behind.close()

    def log_message(self, *_):
        pass


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, target):
        super().__init__(('127.0.0.1', 0), Handler)
        self.target = target
        self.share = 0.0
        self.requests = 0
        self.errors = 0
        self.lock = threading.Lock()

    def fault(self):
        with self.lock:
            self.requests += 1
            if random.random() >= self.share:
                return None
            self.errors += 1
            return random.choice(('before', 'after'))

    def handle_error(self, request, client_address):
        """A client that is gone, as half of them are in these tests."""


class HttpFaultProxy(launcher.Server):
    """In front of 127.0.0.1:port."""

    name = 'http-proxy'

    def __init__(self, port):
        super().__init__()
        self.listener = Listener(port)

    def begin(self):
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()
        self.facts = {'host': '127.0.0.1', 'port': self.listener.server_address[1]}

    def stop(self):
        super().stop()
        self.listener.shutdown()
        self.listener.server_close()

    def command(self, line):
        name, *arguments = line.split() or ['']
        if name == 'errors':
            self.listener.share = float(arguments[0])
        elif name == 'count':
            return f'{self.listener.requests} {self.listener.errors}'
        else:
            return super().command(line)
        return 'ok'


if __name__ == '__main__':
    launcher.serve(HttpFaultProxy(int(sys.argv[1])))
