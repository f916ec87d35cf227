"""muster rooms, and muster peers, as a user meets them, beside servers whose
clients come over HTTP: test_rooms.py MUSTER API BACKEND"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

MUSTER, API, BACK_END = sys.argv[1:4]
del sys.argv[2:4]  # what follows are names of tests

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, WRAPPER, Program, equal, main, own_address


class Cluster:
    """Two workers of the example, and the command on their store."""

    def __init__(self, stack):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="muster-"))
        url = f"lmdb:{folder}/store"
        if BACK_END == "redis":
            url = f"unix:{folder}/redis.sock"
            options = ["--port", "0", "--unixsocket", f"{folder}/redis.sock"]
            options += ["--dir", folder, "--save", "", "--appendonly", "no"]
            server = Program(shutil.which("redis-server"), *options)
            stack.enter_context(server)
            server.expect("eady to accept connections")
        self.address = own_address()
        self.environment = {
            "MUSTER_STORE": url,
            "MUSTER_TOKEN": "of this test alone",
            "MUSTER_HOME": folder,
            "XDG_RUNTIME_DIR": folder,
        }
        options = ["--listen", self.address, "--workers", "2", "--tcp", "none"]
        api = Program(API, *options, **self.environment)
        stack.enter_context(api)
        api.expect("workers serve")
        self.cookie = os.urandom(20).hex()

    def chat(self, method, **params):
        query = urllib.parse.urlencode({"method": method, **params})
        request = urllib.request.Request(
            f"http://{self.address}/api/chat?{query}",
            headers={"Cookie": f"sessionID={self.cookie}"},
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.loads(answer.read())

    def run(self, *arguments, command="rooms"):
        done = subprocess.run(
            WRAPPER + [MUSTER, command, *arguments],
            capture_output=True,
            timeout=DEADLINE_S,
            env={**os.environ, **self.environment},
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def does(self, *arguments):
        code, printed, complaint = self.run(*arguments)
        equal((code, complaint), (0, ""))
        return printed

    def says(self, *arguments):
        return json.loads(self.does(*arguments, "--json"))

    def complains(self, *arguments, about):
        code, printed, complaint = self.run(*arguments)
        equal((code, printed, complaint.count("\n")), (1, "", 1))
        assert complaint.startswith("muster: ") and about in complaint, complaint


@contextlib.contextmanager
def cluster():
    with contextlib.ExitStack() as stack:
        yield Cluster(stack)


def test_peers_say_where_they_serve():
    with cluster() as rooms:
        code, printed, _ = rooms.run("--json", command="peers")
        equal(code, 0)
        peers = json.loads(printed)
        equal([peer["urls"] for peer in peers], [[f"http://{rooms.address}"]] * 2)


def test_rooms_are_shown_and_spoken_to():
    with cluster() as rooms:
        equal(rooms.says("members", "defaultRoom"), [])
        details = rooms.chat("detailsView")["details"]
        (room,) = rooms.says("ls")
        equal((room["room"], room["membersCount"]), ("defaultRoom", 1))
        equal(rooms.does("ls").split(), ["ROOM", "MEMBERS", "defaultRoom", "1"])
        (member,) = rooms.says("members", "defaultRoom")
        equal((member["id"], member["web"]), (details["id"], True))
        assert member["server"].startswith("api-worker-"), member
        assert details["id"] in rooms.does("members", "defaultRoom")
        equal(rooms.does("say", "defaultRoom", '{"a":1}'), "")
        (message,) = rooms.chat("messages")["messages"]
        equal((message["message"], message["from"]), ({"a": 1}, "0"))


def test_rooms_come_and_go():
    with cluster() as rooms:
        equal(rooms.does("create", "a room"), "")
        rooms.complains("create", "a room", about="already")
        rooms.chat("roomAdd", room="a room")
        equal(rooms.does("destroy", "a room"), "")
        (message,) = rooms.chat("messages")["messages"]
        equal(message["message"], "this room has been deleted")
        for verb in [["destroy"], ["members"], ["say", "1"]]:
            rooms.complains(verb[0], "a room", *verb[1:], about="no room 'a room'")
        rooms.complains("say", "defaultRoom", "{", about="no JSON")
        rooms.complains("create", "a|b", about="cannot be a room's name")


if __name__ == "__main__":
    sys.exit(main(globals()))
