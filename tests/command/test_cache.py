"""muster cache as a user meets it: test_cache.py MUSTER BACKEND"""

import json
import os
import subprocess
import sys
import tempfile
import time

MUSTER, BACK_END = sys.argv[1:3]
del sys.argv[2:3]  # what follows are names of tests

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, WRAPPER, equal, main
from store import OwnStore


def temporary():
    """Where an embedded store keeps its cache if it may: in memory."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="muster-", dir=memory)


class Store:
    """One of its own, and the command on it."""

    def __enter__(self):
        self.own = OwnStore(BACK_END, temporary())
        return self

    def __exit__(self, *failure):
        self.own.close(*failure)

    def file(self, name):
        return os.path.join(self.own.path, name)

    def run(self, *arguments, given=b""):
        done = subprocess.run(
            WRAPPER + [MUSTER, "cache", *arguments],
            input=given,
            capture_output=True,
            timeout=DEADLINE_S,
            env={**os.environ, **self.own.environment},
        )
        return done.returncode, done.stdout, done.stderr.decode()

    def does(self, *arguments, given=b""):
        code, printed, complaint = self.run(*arguments, given=given)
        equal((code, complaint), (0, ""))
        return printed

    def says(self, *arguments):
        return json.loads(self.does(*arguments, "--json"))

    def complains(self, code, *arguments, about):
        got, printed, complaint = self.run(*arguments)
        equal((got, printed, complaint.count("\n")), (code, b"", 1))
        assert complaint.startswith("muster: ") and about in complaint, complaint


def test_set_get_del():
    with Store() as store:
        equal(store.does("set", "greeting", "hello"), b"")
        equal(store.does("get", "greeting"), b"hello\n")
        equal(store.does("get", "greeting", "--raw"), b"hello")
        equal(store.does("del", "greeting"), b"")
        store.complains(1, "get", "greeting", about="there is no 'greeting'")
        store.complains(1, "del", "greeting", about="there is no 'greeting'")
        equal(store.does("set", "--", "-x", "--y"), b"")
        equal(store.does("get", "--", "-x"), b"--y\n")


def test_values_are_bytes():
    value = bytes(range(256)) * 40
    with Store() as store:
        store.does("set", "bytes", given=value)
        equal(store.does("get", "bytes", "--raw"), value)
        assert "base64" in store.says("get", "bytes")["value"]
        store.does("set", "empty", given=b"")
        equal(store.does("get", "empty", "--raw"), b"")
        store.complains(1, "set", "a\nb", "x", about="control bytes")
        store.complains(1, "set", "", "x", about="empty")
        store.complains(1, "set", "k" * 1025, "x", about="1024 bytes")
    with Store() as store:
        code, _, complaint = store.run("set", "big", given=b"x" * (1 << 20) + b"x")
        assert code == 1 and "1048576 are the most" in complaint, complaint


def test_json_says_all():
    before = time.time() * 1000
    with Store() as store:
        store.does("set", "a", "x", "--ttl", "1h", "--type", "text/plain")
        found = store.says("get", "a")
        equal((found["key"], found["value"]), ("a", "x"))
        equal(found["type"], "text/plain")
        assert abs(found["createdAt"] - before) < 60000, found
        assert abs(found["expireTimestamp"] - found["createdAt"] - 3600000) < 2000
        store.does("set", "b", "x")
        equal(store.says("get", "b")["expireTimestamp"], None)
        # Read with a time it is kept that long.
        store.does("get", "b", "--ttl", "1m")
        assert store.says("get", "b")["expireTimestamp"] is not None
        store.does("set", "c", "x", "--ttl", "1ms")
        code, until = 0, time.monotonic() + DEADLINE_S
        while code == 0 and time.monotonic() < until:
            code = store.run("get", "c")[0]
        equal(code, 1)


def test_keys_size_clear():
    with Store() as store:
        for name in ("a:1", "a:2", "b:1"):
            store.does("set", name, "x")
        equal(sorted(store.does("keys").split()), [b"a:1", b"a:2", b"b:1"])
        equal(sorted(store.says("keys", "a:")), ["a:1", "a:2"])
        equal(store.does("size"), b"3\n")
        equal(store.says("size"), {"size": 3})
        equal(store.does("clear", "a:"), b"2\n")
        store.complains(2, "clear", about="--all")
        store.complains(2, "clear", "b:", "--all", about="--all")
        equal(store.says("clear", "--all"), {"destroyed": 1})
        equal(store.says("keys"), [])
        equal(store.does("keys"), b"")


def test_dump_and_restore():
    with Store() as store, Store() as other:
        for number in range(3):
            store.does("set", f"k{number}", "x")
        store.does("set", "brief", "y", "--ttl", "1h")
        file = store.file("dump")
        equal(store.does("dump", file), b"4\n")
        equal(os.stat(file).st_mode & 0o777, 0o600)
        lines = [json.loads(line) for line in open(file)]
        equal((lines[0]["muster"], lines[-1]), ("cache", {"end": 4}))
        equal(other.says("restore", file), {"restored": 4, "expired": 0})
        equal(other.does("get", "k2"), b"x\n")
        kept = other.says("get", "brief")["expireTimestamp"]
        equal(kept, store.says("get", "brief")["expireTimestamp"])
        other.complains(1, "restore", "/etc/passwd", about="not a dump")
        other.complains(1, "restore", file + "x", about="No such file")
        with open(file) as whole, open(file + ".torn", "w") as torn:
            torn.write(whole.read()[:-3])
        other.complains(1, "restore", file + ".torn", about="not whole")
        other.complains(1, "dump", "/no/such/folder", about="No such file")


def test_a_store_that_is_away_is_exit_code_1():
    if BACK_END == "redis":
        with Store() as store:
            store.own.url += "x"
            store.complains(1, "size", about="store")


if __name__ == "__main__":
    sys.exit(main(globals()))
