# SPDX-License-Identifier: Apache-2.0
"""What starts a real server for the tests, and takes it down again.

Each module here is a server: a class for Python tests (`with Sshd() as sshd: ...`), and a program for the others, which
prints one line of JSON, `server.facts`, once the server answers, and stops it when its standard input ends. So nothing is
left over when a test dies."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


class StartError(Exception):
    """The server did not come up; says what it printed."""


def free_port():
    """A loopback port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Server:
    """Base: a scratch folder, child processes with their output in files, an end to all of it. A subclass has begin(), which
    returns when the server answers and has filled in self.facts."""

    name = 'server'

    def __init__(self):
        self.facts = {}
        self.scratch = None
        self.children = []

    def begin(self):
        raise NotImplementedError

    def command(self, line):
        """What a line of the program's standard input asks for; returns the answer, one line."""
        return f'unknown command: {line}'

    def __enter__(self):
        self.scratch = tempfile.mkdtemp(prefix=f'bkfs-{self.name}-')
        os.chmod(self.scratch, 0o755)
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.scratch, *parts)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), 'w', encoding='utf-8') as file:
            file.write(text)
        os.chmod(self.path(name), mode)
        return self.path(name)

    def run(self, *command, **options):
        """A command that ends by itself. Returns what it printed."""
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, text=True, errors='replace', timeout=120, check=False, **options)
        if done.returncode != 0:
            raise StartError(f'{command} exited {done.returncode}: {done.stdout}')
        return done.stdout

    def start(self, name, *command, **options):
        """A child that stays, in a process group of its own; its output goes to <scratch>/<name>.out."""
        with open(self.path(name + '.out'), 'ab') as out:
            child = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                     start_new_session=True, **options)
        self.children.append((name, child))
        return child

    def output(self, name):
        with open(self.path(name + '.out'), encoding='utf-8', errors='replace') as out:
            return out.read()

    def wait_until(self, answers, what, seconds=60):
        """Until answers() is true; StartError when a child ends before, or it takes too long."""
        until = time.monotonic() + seconds
        while not answers():
            for name, child in self.children:
                if child.poll() is not None:
                    raise StartError(f'{name} ended with {child.returncode}: {self.output(name)}')
            if time.monotonic() > until:
                raise StartError(f'{what} does not answer')
            time.sleep(0.05)

    def wait_for_port(self, port, seconds=60):
        def answers():
            try:
                socket.create_connection(('127.0.0.1', port), timeout=1).close()
            except OSError:
                return False
            return True
        self.wait_until(answers, f'port {port}', seconds)

    def stop_child(self, name):
        """Ends the children of that name, by their process groups."""
        for known, child in self.children:
            if known == name:
                end(child)
        self.children = [(known, child) for known, child in self.children if known != name]

    def stop(self):
        for _, child in reversed(self.children):
            end(child)
        self.children = []


def end(child):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            continue
        # The group may have more than its leader; what is left of it gets no second warning.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return


def serve(server):
    """The program: facts on standard output, then an answer of one line to each line of standard input, until that ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with server:
        print(json.dumps(server.facts), flush=True)
        for line in sys.stdin:
            print(server.command(line.strip()), flush=True)
