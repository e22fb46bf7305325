# SPDX-License-Identifier: Apache-2.0
"""For tests of what happens on the way to a store on another machine: mounts go through proxies that spoil it."""
import os
import random
import subprocess
import threading

import places
from harness import RepositoryTest

PATIENCE = 30   # seconds in which what does not wait for the store is there, on the slowest machine
STALLED = 3     # seconds: [Network] Timeout


class LineTest(RepositoryTest):
    """self.line is the fault proxy, before it for Ceph self.host, which answers with errors. bkfs itself goes straight to the store."""

    def setUp(self):
        super().setUp()
        port = self.place.port
        self.host = None
        if places.KIND == 'ceph':
            self.host = self.program('http_fault_proxy.py', port)
            port = self.host.facts['port']
        self.line = self.program('fault_proxy.py', f'127.0.0.1:{port}')
        self.far = self.place.through(self.line.facts['port'])
        self.config = self.path('far.ini')
        self.configure()

    def program(self, script, *arguments):
        program = places.Program(script, *arguments)
        self.addCleanup(program.close)
        return program

    def configure(self, timeout=STALLED):
        with open(self.config, 'w', encoding='utf-8') as file:
            file.write(f'[Repository]\nURL = {self.far}\nKeyFile = {self.master}\n[Network]\nTimeout = {timeout}\n')

    def mount(self, **options):
        options.setdefault('source', self.config)
        return super().mount(**options)

    def tearDown(self):
        self.line.ask('heal')
        super().tearDown()

    def status(self):
        return self.answer('cat', self.incoming('.status'))

    def log(self, cache=None):
        with open((cache or self.cache) + '/mount.log', encoding='utf-8') as file:
            return file.read()

    def answer(self, *command):
        """What it prints; it must not wait for the store."""
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired as waiting:
            raise AssertionError(f'{command} waits for the store') from waiting
        self.assertEqual(done.returncode, 0, f'{command}: {done.stdout}')
        return done.stdout

    def reader(self, path):
        """A process that reads the file."""
        return subprocess.Popen(['cat', path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def fill(self, folder, files, sizes, seed=None):
        """Files of random sizes and contents, fifty to a directory."""
        rng = random.Random(seed)
        for i in range(files):
            path = f'{folder}/{i // 50:03}/{i:05}'
            if i % 50 == 0:
                os.makedirs(os.path.dirname(path))
            with open(path, 'wb') as file:
                file.write(rng.randbytes(rng.choice(sizes)))


class Chaos(threading.Thread):
    """Cuts, stalls and resets a line at random until it is stopped."""

    def __init__(self, line, seed):
        super().__init__()
        self.line = line
        self.rng = random.Random(seed)
        self.over = threading.Event()
        self.done = {}

    def run(self):
        while not self.over.wait(self.rng.uniform(0.05, 0.5)):
            what = self.rng.choice(('cut', 'stall', 'reset 200000', 'reset-probability 0.5'))
            self.line.ask(what)
            self.done[what] = self.done.get(what, 0) + 1
            # A stall is longer than a request may take now and then.
            self.over.wait(self.rng.uniform(0.05, STALLED * 1.5 if what == 'stall' and self.rng.random() < 0.5 else 0.7))
            self.line.ask('heal')

    def stop(self):
        self.over.set()
        self.join()
