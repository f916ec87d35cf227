"""Starts a program, waits for what it says, and leaves nothing behind.

Tests are functions whose names start with test_; main() runs them and prints
TAP. Every wait is for a descriptor and has a deadline; nothing sleeps.
"""

import http.client
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback

# A command in front of the program, valgrind for example.
WRAPPER = shlex.split(os.environ.get("MUSTER_TEST_WRAPPER", ""))
DEADLINE_S = 300 if WRAPPER else 30
# Where what a program keeps is, unless a test says so; gone with this process.
HOME = tempfile.TemporaryDirectory(prefix="muster-home-")


def own_address():
    """A loopback address that no other test uses while this one runs."""
    pid = os.getpid()
    return f"127.{64 + pid // 65536 % 128}.{pid // 256 % 256}.{pid % 256}:8080"


class Skipped(Exception):
    """What the test needs is not there, and why."""


class Program:
    failed_with = []  # what the one of a failed test said

    def __init__(self, *command, **environment):
        self.lines = []  # said and not yet expected
        self.said = []
        self.partial = b""
        self.process = subprocess.Popen(
            WRAPPER + list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # The example has a port of TCP, which is not to be taken by each test.
            env={
                **os.environ,
                "MUSTER_HOME": HOME.name,
                "TCP_PORT": "none",
                **environment,
            },
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()
        if kind:
            Program.failed_with = self.said

    @property
    def pid(self):
        return self.process.pid

    def read(self, until):
        """Reads what there is; False at the end of the output."""
        left = max(0, until - time.monotonic())
        if not select.select([self.process.stdout], [], [], left)[0]:
            raise AssertionError("the deadline passed")
        block = os.read(self.process.stdout.fileno(), 65536)
        *lines, self.partial = (self.partial + block).split(b"\n")
        for line in lines:
            self.lines.append(line.decode())
            self.said.append(line.decode())
        return block != b""

    def expect(self, pattern):
        """Waits for a line that matches and that no expect() took before."""
        until = time.monotonic() + DEADLINE_S
        while True:
            for index, line in enumerate(self.lines):
                match = re.search(pattern, line)
                if match:
                    del self.lines[index]
                    return match
            try:
                if self.read(until):
                    continue
            except AssertionError:
                pass
            raise AssertionError(f"no line matches '{pattern}'")

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self, code=0):
        """Waits for its end, and that of all who hold its output."""
        until = time.monotonic() + DEADLINE_S
        while self.read(until):
            pass
        got = self.process.wait(DEADLINE_S)
        assert got == code, f"ended with {got}, not {code}"


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.type = response.getheader("Content-Type")
        self.text = response.read().decode()


def get(address, path="/", source=None):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(
        host, int(port), DEADLINE_S, (source, 0) if source else None
    )
    try:
        connection.request("GET", path)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def equal(got, wanted):
    assert got == wanted, f"{got!r} is not {wanted!r}"


def main(tests):
    """Runs those named on the command line, else all; answers the exit code."""
    names = sys.argv[2:] or [name for name in tests if name.startswith("test_")]
    failed = 0
    print(f"1..{len(names)}", flush=True)
    for number, name in enumerate(names, 1):
        title = name.removeprefix("test_").replace("_", " ")
        try:
            tests[name]()
            print(f"ok {number} - {title}", flush=True)
        except Skipped as reason:
            print(f"ok {number} - {title} # SKIP {reason}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {title}")
            for line in traceback.format_exc().splitlines() + Program.failed_with:
                print(f"# {line}", flush=True)
    return 1 if failed else 0
