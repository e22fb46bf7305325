#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the fault proxy: that a line is as bad as it was asked to be, since other tests believe it."""
import http.client
import http.server
import socket
import sys
import threading
import time
import unittest

import fault_proxy


class Echo(threading.Thread):
    """Sends back whatever comes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    @staticmethod
    def answer(connection):
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass
        connection.close()


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()

    do_PUT = do_GET

    def log_message(self, *_):
        pass


class FaultProxyTest(unittest.TestCase):
    def setUp(self):
        self.proxy = self.enterContext(fault_proxy.FaultProxy(Echo().port))

    def connect(self):
        return self.enterContext(socket.create_connection(('127.0.0.1', self.proxy.port), timeout=10))

    def command(self, line):
        self.assertEqual(self.proxy.command(line), 'ok')

    def echo(self, connection, data=b'hello'):
        def send():
            try:
                connection.sendall(data)
            except OSError:
                pass
        threading.Thread(target=send, daemon=True).start()
        got = b''
        while len(got) < len(data):
            more = connection.recv(65536)
            if not more:
                break
            got += more
        return got

    def breaks(self, size):
        """Whether a connection does not carry that much. Which of a socket's users gets the error is chance; the other sees an end."""
        try:
            return len(self.echo(self.connect(), b'x' * size)) < size
        except OSError:
            return True

    def test_passes_on_and_counts(self):
        data = bytes(range(256)) * 8192
        self.assertEqual(self.echo(self.connect(), data), data)
        self.assertEqual(self.proxy.command('count'), f'1 {len(data)} {len(data)}')

    def test_end_of_one_direction(self):
        connection = self.connect()
        connection.sendall(b'x' * 1000)
        connection.shutdown(socket.SHUT_WR)
        got = b''
        while more := connection.recv(4096):
            got += more
        self.assertEqual(len(got), 1000)

    def test_delay_is_a_pipe(self):
        connection = self.connect()
        self.command('delay 100')
        begun = time.monotonic()
        self.echo(connection)
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)
        data = b'x' * 2_000_000  # in pieces of 64 KiB one after the other this would take over three seconds
        begun = time.monotonic()
        self.assertEqual(self.echo(connection, data), data)
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)
        self.assertLess(time.monotonic() - begun, 3)

    def test_rate(self):
        connection = self.connect()
        self.command('rate 1000000 0')
        begun = time.monotonic()
        self.echo(connection, b'x' * 500_000)
        self.assertGreaterEqual(time.monotonic() - begun, 0.45)

    def test_cut_and_heal(self):
        connection = self.connect()
        self.echo(connection)
        self.command('cut')
        self.assertEqual(connection.recv(10), b'')
        with self.assertRaises(ConnectionRefusedError):
            self.connect()
        self.command('heal')
        self.assertEqual(self.echo(self.connect()), b'hello')

    def test_stall_and_heal(self):
        connection = self.connect()
        self.echo(connection)
        self.command('stall')
        connection.sendall(b'late')
        connection.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            connection.recv(10)
        self.command('heal')
        connection.settimeout(10)
        self.assertEqual(connection.recv(10), b'late')

    def test_reset(self):
        self.command('reset 100000')
        self.assertTrue(self.breaks(1_000_000))
        # Both ways together, and what was read at once with the last of it.
        _, up, down = self.proxy.count()
        self.assertGreaterEqual(up + down, 50_000)
        self.assertLessEqual(up + down, 150_000 + fault_proxy.CHUNK)

    def test_reset_probability(self):
        for probability, expected in (('0', 0), ('1', 10)):
            self.command(f'reset-probability {probability}')
            self.assertEqual(sum(self.breaks(2_000_000) for _ in range(10)), expected)

    def test_requests(self):
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Web)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        proxy = self.enterContext(fault_proxy.FaultProxy(server.server_port))
        client = http.client.HTTPConnection('127.0.0.1', proxy.port)
        self.addCleanup(client.close)
        for method, body in (('GET', None), ('PUT', b'GET me\nnot\n'), ('PUT', b'x' * 300_000), ('GET', None)):
            client.request(method, '/a?b', body)
            client.getresponse().read()
        self.assertEqual(proxy.command('requests'), '{"GET": 2, "PUT": 2}')

    def test_unknown_commands(self):
        self.assertIn('unknown', self.proxy.command('explode'))
        self.assertIn('unknown', self.proxy.command(''))


if __name__ == '__main__':
    sys.exit(unittest.main())
