#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that spoils what passes: a long, narrow, or broken line in front of a server of the tests. As a program:

    fault_proxy.py HOST:PORT

facts: host, port, of the proxy. Commands on standard input, each answered with one line, "ok" unless said otherwise:

    delay MS            each way, for all connections from now on; a pipe, it does not limit what goes through
    rate UP DOWN        bytes a second from and to the client, for all connections together; 0: no limit
    cut                 closes all connections; new ones are refused until `heal`
    stall               forwards nothing until `heal`; connections stay, new ones are taken
    reset N             each connection gets a RST after about N bytes (half to one and a half of it, at random); 0: none
    reset-probability P a new connection is one that gets a RST with this probability, somewhere in its first MiB
    heal                ends all of the above but delay and rate
    count               answers "CONNECTIONS UP DOWN": connections taken, and bytes forwarded each way
    requests            answers with a JSON object: HTTP/1.1 requests on plain connections, by method
"""
import asyncio
import collections
import json
import random
import re
import socket
import struct
import sys
import threading
import time

import launcher

CHUNK = 256 * 1024
# What may be under way in a direction of a connection before its sender has to wait.
MOST_UNDER_WAY = 32 * 1024 * 1024
RESET_WITHIN = 1024 * 1024
REQUEST_END = b' HTTP/1.1\r\n'
# Not at the beginning of a line alone: the body before need not end with one.
REQUEST = re.compile(rb'(GET|HEAD|PUT|POST|DELETE|OPTIONS|PATCH) [^ \r\n]+$')
LONGEST_REQUEST = 8192


class Line:
    """One direction's share of the bandwidth, of all connections together."""

    def __init__(self):
        self.rate = 0
        self.free_at = 0.0

    async def carry(self, size):
        if not self.rate:
            return
        now = time.monotonic()
        self.free_at = max(self.free_at, now) + size / self.rate
        if self.free_at > now:
            await asyncio.sleep(self.free_at - now)


class Connection:
    """One connection through the proxy: two directions, each a reader and a writer with a queue in between, where bytes wait until
    their delay is over."""

    def __init__(self, proxy, client, server):
        self.proxy = proxy
        self.sockets = (client, server)
        self.tasks = []
        self.under_way = {'up': 0, 'down': 0}
        self.left = proxy.bytes_until_reset()
        self.tail = b''

    async def run(self):
        client, server = self.sockets
        up, down = asyncio.Queue(), asyncio.Queue()
        self.tasks = [asyncio.create_task(part) for part in (
            self.read(client, up, 'up'), self.write(server, up, 'up'),
            self.read(server, down, 'down'), self.write(client, down, 'down'))]
        try:
            await asyncio.gather(*self.tasks)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.close()
            # Only then: the loop must have forgotten the descriptors before others get their numbers.
            await asyncio.gather(*self.tasks, return_exceptions=True)
            for one in self.sockets:
                one.close()

    async def read(self, source, queue, way):
        loop = asyncio.get_running_loop()
        line = self.proxy.lines[way]
        while True:
            while self.under_way[way] > MOST_UNDER_WAY:
                await asyncio.sleep(0.001)
            size = CHUNK if not line.rate else max(1024, min(CHUNK, line.rate // 50))
            data = await loop.sock_recv(source, size)
            if not data:
                queue.put_nowait((time.monotonic() + self.proxy.delay, None))
                return
            await self.proxy.flowing.wait()
            if way == 'up':
                self.count_requests(data)
            await line.carry(len(data))
            self.proxy.bytes[way] += len(data)
            self.under_way[way] += len(data)
            queue.put_nowait((time.monotonic() + self.proxy.delay, data))
            if self.left is not None:
                self.left -= len(data)
                if self.left <= 0:
                    self.reset()
                    return
            # None of the above needs to wait while bytes keep coming; others want their turn.
            await asyncio.sleep(0)

    async def write(self, target, queue, way):
        loop = asyncio.get_running_loop()
        while True:
            due, data = await queue.get()
            wait = due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            await self.proxy.flowing.wait()
            if data is None:
                target.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(target, data)
            self.under_way[way] -= len(data)

    def count_requests(self, data):
        # A request's line may come in two pieces.
        text = self.tail + data
        begin = 0
        while (end := text.find(REQUEST_END, begin)) >= 0:
            found = REQUEST.search(text[max(begin, end - LONGEST_REQUEST):end])
            if found:
                self.proxy.requests[found.group(1).decode()] += 1
            begin = end + len(REQUEST_END)
        self.tail = text[max(begin, len(text) - LONGEST_REQUEST):]

    def reset(self):
        """Both sides get a RST, and what has not been forwarded is lost."""
        for one in self.sockets:
            try:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            except OSError:
                pass
        self.close()

    def close(self):
        for task in self.tasks:
            task.cancel()
        self.proxy.connections.discard(self)


class FaultProxy(launcher.Server):
    """In front of host:port. Every command is also a method, to be called from any thread once begun."""

    name = 'proxy'

    def __init__(self, port, host='127.0.0.1'):
        super().__init__()
        self.target = (host, port)
        self.port = None
        self.delay = 0.0
        self.lines = {'up': Line(), 'down': Line()}
        self.bytes = {'up': 0, 'down': 0}
        self.requests = collections.Counter()
        self.taken = 0
        self.reset_after = 0
        self.reset_probability = 0.0
        self.connections = set()
        self.tasks = set()
        self.loop = None
        self.flowing = None
        self.listener = None
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def begin(self):
        self.thread.start()
        self.ready.wait()
        self.facts = {'host': '127.0.0.1', 'port': self.port}

    def stop(self):
        super().stop()
        if self.loop is not None and self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()

    def serve(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self.open())
        self.ready.set()
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.unlisten()
        self.loop.close()

    async def open(self):
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.listen()

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port or 0))
        self.listener.listen(256)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.loop.add_reader(self.listener, self.accept)

    def unlisten(self):
        if self.listener is not None:
            self.loop.remove_reader(self.listener)
            self.listener.close()
            self.listener = None

    def accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        task = self.loop.create_task(self.forward(client))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def forward(self, client):
        self.taken += 1
        server = socket.socket()
        for one in (client, server):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.sleep(self.delay)
            await self.flowing.wait()
            await self.loop.sock_connect(server, self.target)
        except OSError:
            client.close()
            server.close()
            return
        connection = Connection(self, client, server)
        self.connections.add(connection)
        await connection.run()

    def bytes_until_reset(self):
        """None: never."""
        if self.reset_after:
            return random.randint(self.reset_after // 2, self.reset_after * 3 // 2)
        if self.reset_probability and random.random() < self.reset_probability:
            return random.randint(1, RESET_WITHIN)
        return None

    def call(self, function, *arguments):
        """Runs it on the proxy's own thread."""
        async def run():
            return function(*arguments)
        return asyncio.run_coroutine_threadsafe(run(), self.loop).result()

    def set_delay(self, milliseconds):
        self.delay = float(milliseconds) / 1000

    def set_rate(self, up, down):
        self.lines['up'].rate = int(up)
        self.lines['down'].rate = int(down)

    def set_reset(self, size):
        self.reset_after = int(size)
        for connection in self.connections:
            connection.left = self.bytes_until_reset()

    def set_reset_probability(self, probability):
        self.reset_probability = float(probability)

    def cut(self):
        self.call(self.cut_here)

    def cut_here(self):
        self.unlisten()
        for connection in list(self.connections):
            connection.close()

    def stall(self):
        self.call(self.flowing.clear)

    def heal(self):
        self.call(self.heal_here)

    def heal_here(self):
        self.set_reset(0)
        self.set_reset_probability(0)
        for connection in self.connections:
            connection.left = None
        self.flowing.set()
        if self.listener is None:
            self.listen()

    def count(self):
        return self.taken, self.bytes['up'], self.bytes['down']

    def command(self, line):
        name, *arguments = line.split() or ['']
        setters = {'delay': self.set_delay, 'rate': self.set_rate, 'reset': self.set_reset,
                   'reset-probability': self.set_reset_probability}
        if name in setters:
            self.call(setters[name], *arguments)
        elif name in ('cut', 'stall', 'heal'):
            getattr(self, name)()
        elif name == 'count':
            return ' '.join(str(number) for number in self.count())
        elif name == 'requests':
            return json.dumps(dict(self.requests))
        else:
            return super().command(line)
        return 'ok'


def main():
    host, _, port = sys.argv[1].rpartition(':')
    launcher.serve(FaultProxy(int(port), host or '127.0.0.1'))


if __name__ == '__main__':
    sys.exit(main())
