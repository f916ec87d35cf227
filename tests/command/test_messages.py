"""muster rpc, publish, subscribe: test_messages.py MUSTER HELLO_CLUSTER BACKEND"""

import json
import os
import signal
import subprocess
import sys
import time

MUSTER, HELLO, BACK_END = sys.argv[1:4]
del sys.argv[2:4]  # what follows are names of tests

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, WRAPPER, Program, equal, main
from store import OwnStore

FIRST, SECOND = "hello-cluster-worker-1", "hello-cluster-worker-2"


class Cluster:
    """Two servers with the method "hello", and the command beside them."""

    def __enter__(self):
        self.own = OwnStore(BACK_END)
        self.environment = {
            **self.own.environment,
            "MUSTER_TOKEN": "of these tests alone",
        }
        self.servers = Program(HELLO, "2", **self.environment)
        self.servers.__enter__()
        self.await_methods()
        return self

    def await_methods(self):
        """Until both serve: gathering answers for each that has a record."""
        until = time.monotonic() + DEADLINE_S
        while True:
            code, printed, _ = self.run("rpc", "hello", "--all", "--json")
            if code == 0 and len(printed.splitlines()) == 2:
                return
            assert time.monotonic() < until, "the servers do not come up"

    def __exit__(self, *failure):
        self.servers.__exit__(*failure)
        self.own.close(*failure)

    def run(self, *arguments, **environment):
        done = subprocess.run(
            WRAPPER + [MUSTER, *arguments],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**os.environ, **self.environment, **environment},
        )
        return done.returncode, done.stdout, done.stderr

    def does(self, *arguments):
        code, printed, complaint = self.run(*arguments)
        equal((code, complaint), (0, ""))
        return printed

    def complains(self, *arguments, code, about, **environment):
        got, printed, complaint = self.run(*arguments, **environment)
        equal((got, complaint.splitlines()[0].startswith("muster: ")), (code, True))
        assert about in complaint, complaint
        return printed


def test_a_method_is_called_of_one_and_of_all():
    with Cluster() as cluster:
        equal(cluster.does("rpc", "hello"), "true\n")
        equal(cluster.does("rpc", "hello", "--node", SECOND), "true\n")
        answer = json.loads(cluster.does("rpc", "hello", "-n", SECOND, "--json"))
        equal(answer, {"from": SECOND, "value": True})
        lines = cluster.does("rpc", "hello", '{"a": 1}', "--all").splitlines()
        equal(lines, [f"{FIRST}  true", f"{SECOND}  true"])
        lines = cluster.does("rpc", "hello", "--all", "-j").splitlines()
        equal([json.loads(line)["from"] for line in lines], [FIRST, SECOND])


def test_what_fails_has_its_word_and_its_code():
    with Cluster() as cluster:
        cluster.complains("rpc", "nothing", code=1, about="no such method")
        printed = cluster.complains(
            "rpc", "nothing", "--node", FIRST, "--json", code=1, about="nothing"
        )
        equal(json.loads(printed)["error"], "NO_SUCH_METHOD")
        equal(json.loads(printed)["from"], FIRST)
        gone = ("rpc", "hello", "--node", "hello-cluster-worker-9")
        cluster.complains(*gone, code=1, about="no such server")
        # What was not allowed is not there.
        cluster.complains("rpc", "status", code=1, about="no such method")
        cluster.complains("rpc", "hello", "-c", "x", code=1, about="connection")
        code, printed, _ = cluster.run("rpc", "nothing", "--all")
        equal(code, 1)
        assert printed.startswith(f"{FIRST}  NO_SUCH_METHOD: "), printed
        cluster.complains("rpc", code=2, about="METHOD")
        cluster.complains("rpc", "hello", "{", code=2, about="JSON")
        cluster.complains("rpc", "hello", "-t", "soon", code=2, about="soon")
        cluster.complains("rpc", "hello", "-a", "-n", FIRST, code=2, about="--all")
        cluster.complains("publish", "/a", code=2, about="JSON")
        cluster.complains("publish", "/a", "{", code=2, about="JSON")
        cluster.complains("publish", "/a/", "1", code=1, about="cannot be sent")
        cluster.complains("publish", "do", "1", code=1, about="'do'")
        cluster.complains("subscribe", "/*/a", code=1, about="'/*/a'")
        cluster.complains("subscribe", code=2, about="CHANNEL")
        cluster.complains("subscribe", "/a", "-n", "0", code=2, about="from 1 on")
        if BACK_END == "redis":
            told = {"MUSTER_TOKEN": ""}
            cluster.complains("rpc", "hello", code=1, about="MUSTER_TOKEN", **told)


def test_messages_are_sent_and_shown():
    with Cluster() as cluster:
        cluster.does("publish", "greeted", '"me"')
        heard = r'worker-(\d) hears that guest-\S+ greeted "me"'
        servers = [cluster.servers.expect(heard).group(1) for _ in range(2)]
        equal(sorted(servers), ["1", "2"])
        plain = Program(MUSTER, "subscribe", "/a/*", "t", **cluster.environment)
        typed = Program(
            MUSTER, "subscribe", "/a/**", "-n", "2", "-j", **cluster.environment
        )
        with plain, typed:
            plain.expect("^listening")
            # It says nothing when it listens: asked until it has heard.
            until = time.monotonic() + DEADLINE_S
            while not typed.said:
                cluster.does("publish", "/a/b", '{"n": 1}')
                try:
                    typed.read(time.monotonic() + 0.2)
                except AssertionError:
                    assert time.monotonic() < until
            first = json.loads(typed.said[0])
            equal(first["channel"], "/a/b")
            equal(first["payload"], {"n": 1})
            assert first["from"].startswith("guest-"), first
            assert abs(first["sentAt"] / 1000 - time.time()) < DEADLINE_S, first
            plain.expect(r'^/a/b  guest-\S+  {"n": ?1}')
            cluster.does("publish", "t", "2")
            plain.expect(r"^t     guest-\S+  2$")
            cluster.does("publish", "/a/b/c", "3")
            equal(typed.process.wait(DEADLINE_S), 0)
            plain.signal(signal.SIGINT)
            equal(plain.process.wait(DEADLINE_S), 0)
        if BACK_END == "redis":
            said = json.loads(cluster.does("publish", "/nobody/here", "1", "--json"))
            equal(said, {"channel": "/nobody/here", "receivers": 0})


def test_what_is_kept_is_shown_to_who_comes_later():
    with Cluster() as cluster:
        cluster.does("publish", "/a", "0")
        for number in "123":
            cluster.does("publish", "/a", number, "--replay", "2")
        said = cluster.does("subscribe", "/a", "--since", "60s", "-n", "2", "-j")
        payloads = [json.loads(line)["payload"] for line in said.splitlines()]
        equal(payloads, [2, 3])
        since = ("--since", "60s")
        cluster.complains("subscribe", "/a/*", *since, code=1, about="'/a/*'")
        cluster.complains("subscribe", "/a", "--since", "x", code=2, about="time")
        few = ("--replay", "0")
        cluster.complains("publish", "/a", "1", *few, code=2, about="from 1")
        cluster.complains("publish", "t", "1", "--replay", "1", code=1, about="'t'")


if __name__ == "__main__":
    sys.exit(main(globals()))
