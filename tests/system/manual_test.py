# SPDX-License-Identifier: Apache-2.0
"""Help texts, man pages and completion tell of the same commands and options."""
import os
import re
import subprocess
import unittest

BKFS = os.environ['BKFS']
MOUNT_BKFS = os.environ['MOUNT_BKFS']
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout


def read(path):
    with open(os.path.join(TOP, path), encoding='utf-8') as file:
        return file.read()


def long_options(text):
    return set(re.findall(r'--([a-z][a-z-]*)', text))


def plain(roff):
    """The words of a man page."""
    return re.sub(r'\\f[BRI]', '', roff).replace('\\-', '-')


def complete(line):
    """What bash offers at the end of the line."""
    script = f'''source {TOP}/tools/completion/bkfs.bash
        COMP_WORDS=({line}); [[ "{line}" == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _bkfs; printf '%s\\n' "${{COMPREPLY[@]}}"'''
    return set(output('bash', '-c', script).split())


class ManualTest(unittest.TestCase):

    def setUp(self):
        self.commands = re.findall(r'^  ([a-z]+(?: list| show| revoke)?) ', output(BKFS, 'help').split('Commands:')[1], re.M)
        page = plain(read('doc/man/bkfs.1'))
        self.general = long_options(page.split('GENERAL OPTIONS')[1].split('.SH COMMANDS')[0])
        parts = re.split(r'\.TP\n', page.split('.SH COMMANDS')[1].split('.SH EXIT')[0])[1:]
        self.manual = {}
        for part in parts:
            head = part.split('\n')[0].removeprefix('.B ')
            name = ' '.join(head.split()[:2]) if head.startswith('key ') else head.split()[0]
            self.manual[name] = long_options(part)

    def options_in_help(self, command):
        text = output(BKFS, *command.split(), '--help')
        own, general = text.split('General options:')
        return long_options(own), long_options(general)

    def test_each_command_is_in_the_manual(self):
        self.assertEqual(set(self.commands), set(self.manual))

    def test_options_of_each_command(self):
        for command in self.commands:
            own, general = self.options_in_help(command)
            self.assertEqual(own, self.manual[command] - self.general, command)
            self.assertEqual(general, self.general, command)

    def test_completion(self):
        self.assertEqual(complete('bkfs '), {c.split()[0] for c in self.commands} | {'help'})
        self.assertEqual(complete('bkfs key '), {'list', 'show', 'revoke'})
        self.assertEqual(complete('bkfs ba'), {'backup'})
        for command in self.commands:
            own, general = self.options_in_help(command)
            self.assertEqual(complete(f'bkfs {command} --'), {'--' + o for o in own | general}, command)

    def test_mount_options(self):
        text = output(MOUNT_BKFS, '--help')
        listed = text.split('Options:')[1].split('and those of')[0]
        words = set()
        for line in listed.strip().split('\n'):
            words |= {w.split('=')[0] for w in re.split(r', ', line.strip().split('  ')[0])}
        page = plain(read('doc/man/mount.bkfs.8')).split('.SH OPTIONS')[1]
        told = set(re.findall(r'\b([a-z_]+)=', page)) | {w for w in ('ro', 'rw', 'allow_other') if re.search(rf'\b{w}\b', page)}
        self.assertEqual(words - told, set())
        self.assertEqual(told - words, {'uhelper'})  # which is for umount(8)

    def test_pages_are_sound(self):
        for page in ('bkfs.1', 'mount.bkfs.8'):
            self.assertEqual(output('groff', '-man', '-Tutf8', '-ww', '-z', f'{TOP}/doc/man/{page}'), '')


if __name__ == '__main__':
    unittest.main(verbosity=2)
