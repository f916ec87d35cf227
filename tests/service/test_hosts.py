"""Two hosts with one Redis: each has a network of its own, and the way between
them is cut in the middle of calls.

test_hosts.py SPEAKERS [TEST]; SPEAKERS is the program of test_rpc.c.
"""

import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, Program, Skipped, main

# From elsewhere, too: it has folders of its own there.
SPEAKERS = os.path.abspath(sys.argv[1])
NEAR, FAR = "10.78.0.1", "10.78.0.2"


class Speaker(Program):
    """A server that does what it is told, in the namespace of `there`."""

    def __init__(self, home, there, *words, **environment):
        self.orders = os.path.join(home, f"orders-{len(os.listdir(home))}")
        os.mkfifo(self.orders)
        # Both ways, so that it never ends.
        shell = ["sh", "-c", 'exec "$@" <>"$0"', self.orders]
        super().__init__(
            *there, *shell, SPEAKERS, "program", *words, **environment
        )

    def tell(self, line):
        with open(self.orders, "w") as orders:
            orders.write(line + "\n")


def do(*command):
    subprocess.run(command, check=True)


def inside(name):
    """Runs a function of this file in namespaces that nobody else sees."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "-Urn"]
    for needed in ("setpriv", "unshare", "ip", "nsenter", "redis-server"):
        if shutil.which(needed) is None:
            raise Skipped(f"{needed} is missing (try: make deps)")
    tried = subprocess.run(command + ["true"], capture_output=True, text=True)
    if tried.returncode != 0:
        raise Skipped(f"no namespaces here: {tried.stderr.strip()}")
    done = subprocess.run(
        command + [sys.executable, os.path.abspath(__file__), SPEAKERS, name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=10 * DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout


def test_two_hosts_speak_and_are_cut_off():
    inside("inside_two_hosts")


def inside_two_hosts():
    do("ip", "link", "set", "lo", "up")
    # Processes of its own, too: nobody here sees whether they live.
    apart = subprocess.Popen(
        ["unshare", "-npf", "--mount-proc", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        # It is there once it answers.
        apart.stdin.write(b"?")
        apart.stdin.flush()
        apart.stdout.read(1)
        with open(f"/proc/{apart.pid}/task/{apart.pid}/children") as children:
            first = children.read().strip()
        there = ["nsenter", "-t", first, "-n", "-p", "-m"]
        do("ip", "link", "add", "near", "type", "veth", "peer", "name", "far",
           "netns", first)
        do("ip", "address", "add", f"{NEAR}/24", "dev", "near")
        do("ip", "link", "set", "near", "up")
        do(*there, "ip", "address", "add", f"{FAR}/24", "dev", "far")
        do(*there, "ip", "link", "set", "far", "up")
        with tempfile.TemporaryDirectory(prefix="muster-") as home:
            speak(home, there)
    finally:
        apart.stdin.close()
        apart.wait()
        apart.stdout.close()


def speak(home, there):
    options = ["--bind", NEAR, "--port", "7001", "--protected-mode", "no"]
    store = Program("redis-server", *options, "--dir", home, "--save", "")
    environment = {"MUSTER_STORE": f"redis://{NEAR}:7001"}
    with store:
        store.expect("eady to accept connections")
        far = Speaker(home, there, "node", "app", **environment)
        caller = Speaker(home, [], "caller", **environment)
        with far, caller:
            far.expect("^joined app-worker-1$")
            caller.expect("^ready caller-worker-1$")
            caller.tell("node hello app-worker-1 1")
            caller.expect(r"^reply code=0 error= value=1 from=app-worker-1")
            far.tell("node status caller-worker-1")
            far.expect(r'^reply code=0 error= value={"id":"caller-worker-1"')
            try:
                cut_off(there, far, caller)
            except AssertionError as failure:
                said = "\n".join(["far:", *far.said, "near:", *caller.said])
                raise AssertionError(said) from failure


def cut_off(there, far, caller):
    # One call is under way, and messages come all the time.
    caller.tell("node nap app-worker-1 {\"ms\":60000}")
    far.expect("^naps$")
    caller.tell("tick")
    caller.expect("^ticks$")
    caller.tell("rest 200")
    caller.expect("^rested$")
    do(*there, "ip", "link", "set", "far", "down")
    # Both the call that was under way, and one that nobody hears.
    caller.expect(r"^reply code=-\d+ error=PEER_DOWN .* from=app-worker-1")
    caller.tell("node hello app-worker-1 2")
    caller.expect(r"^reply code=-\d+ error=NO_RESPONDERS ")
    do(*there, "ip", "link", "set", "far", "up")
    caller.tell("untick")
    sent = int(caller.expect(r"^sent=(\d+)").group(1))
    caller.tell("awaits app-worker-1")
    caller.expect("^is up: app-worker-1$")
    caller.tell("node hello app-worker-1 3")
    caller.expect(r"^reply code=0 error= value=3 from=app-worker-1")
    # What was sent meanwhile has come since, or is known to be missing.
    while True:
        far.tell("heard")
        line = far.expect(r"^heard ticks=(\d+) missed=(\d+) outages=(\d+)")
        ticks, missed = map(int, line.groups()[:2])
        assert ticks <= sent, line.group(0)
        # Among those that are missing may be the bus's own.
        if ticks + missed >= sent:
            return
        far.tell("rest 100")
        far.expect("^rested$")


if __name__ == "__main__":
    sys.exit(main(globals()))
