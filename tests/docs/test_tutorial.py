"""Types docs/tutorial.md into a shell: test_tutorial.py TUTORIAL BUILD

A box of sh is typed as it stands, and each line of the box of text that follows
it has to appear, "..." being anything. The only thing that is changed is where
servers are: an address that nobody else uses, in the place of localhost.
"""

import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TUTORIAL, BUILD = (os.path.abspath(path) for path in sys.argv[1:3])
del sys.argv[2:3]

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, Skipped, main, own_address

HOST = own_address().split(":")[0]
WAIT_S = 4 * DEADLINE_S


def boxes():
    """What is typed, and the lines that it is answered with, in order."""
    with open(TUTORIAL) as file:
        found = re.findall(r"^```(\w+)\n(.*?)^```$", file.read(), re.M | re.S)
    steps = []
    for kind, text in found:
        assert kind in ("sh", "text"), f"what is a box of {kind}?"
        if kind == "sh":
            steps.append((text, []))
        else:
            assert steps and not steps[-1][1], f"nothing was typed before {text}"
            steps[-1][1].extend(text.splitlines())
    return steps


def elsewhere(typed):
    typed = re.sub(r"//localhost:", f"//{HOST}:", typed)
    typed = typed.replace("/dev/tcp/localhost/", f"/dev/tcp/{HOST}/")
    typed = re.sub(r"--(listen|tcp) (\d+)", rf"--\1 {HOST}:\2", typed)
    typed = typed.replace("redis-server ", f"redis-server --bind {HOST} ")
    return typed.replace("redis-cli ", f"redis-cli -h {HOST} ")


def pattern_of(line):
    parts = [re.escape(part) for part in line.split("...")]
    return re.compile(r"\s*" + ".*".join(parts) + r"\s*")


# Whoever loses a parent is this process's child, and nobody is left behind.
PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Shell:
    def __init__(self, home):
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PORT", "TCP_PORT", "WORKERS", "STORE", "MAKEFLAGS", "CFLAGS")
            and not name.startswith("MUSTER_")
        }
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **kept,
                "HOME": home,
                "PATH": f"{BUILD}:{os.environ['PATH']}",
                "PKG_CONFIG_PATH": os.path.join(BUILD, "meson-uninstalled"),
                "PORT": f"{HOST}:8080",
            },
        )
        self.said = b""
        self.count = 0

    def type(self, text):
        self.said = b""
        self.count += 1
        end = f"\nprintf '\\n%s\\n' typed-{self.count}\n"
        self.process.stdin.write(text.encode() + end.encode())
        self.process.stdin.flush()

    def lines(self):
        return self.said.decode(errors="replace").splitlines()

    def read(self, until):
        left = until - time.monotonic()
        if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
            return False
        block = os.read(self.process.stdout.fileno(), 65536)
        self.said += block
        return block != b""

    def wait(self, wanted):
        """Until it has all been typed, and all that was wanted was said."""
        until = time.monotonic() + WAIT_S
        while True:
            said = self.lines()
            missing = [line for line in wanted if not any(map(pattern_of(line).fullmatch, said))]
            if f"typed-{self.count}" not in said:
                missing.append("the next prompt")
            if not missing:
                return
            if not self.read(until):
                raise AssertionError(f"missing: {missing}\n" + "\n".join(said))

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            pass


def test_every_command_does_what_it_is_said_to_do():
    for needed in ("bash", "curl", "redis-server", "redis-cli", "make", "pkg-config"):
        if shutil.which(needed) is None:
            raise Skipped(f"{needed} is missing (try: make deps)")
    steps = boxes()
    assert len(steps) > 15 and sum(len(wanted) for _, wanted in steps) > 30
    with tempfile.TemporaryDirectory() as home:
        shell = Shell(home)
        try:
            for typed, wanted in steps:
                shell.type(elsewhere(typed))
                try:
                    shell.wait(wanted)
                except AssertionError as reason:
                    raise AssertionError(f"{typed}\n{reason}") from None
        finally:
            shell.close()


sys.exit(main(globals()))
