"""The example, which answers as its forerunner in actionHero."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse

from web import EXAMPLE, Client, complains, serving

import http2
from program import DEADLINE_S, Skipped, equal, main


def test_the_example_answers_as_its_forerunner():
    """What actionHero's example says, in the same order and types."""
    with serving(EXAMPLE) as (_, client):
        answer = client.get("/api/cacheTest?key=kkk&value=vvv").json
        results = answer["cacheTestResults"]
        equal(
            list(results), ["saveResp", "sizeResp", "loadResp", "deleteResp"]
        )
        equal(
            list(results["loadResp"]),
            ["key", "value", "expireTimestamp", "createdAt", "readAt"],
        )
        equal(results["loadResp"]["key"], "cacheTest_kkk")
        equal(results["loadResp"]["readAt"], None)
        equal(results["deleteResp"], True)
        equal(
            answer["requesterInformation"]["receivedParams"],
            {"key": "kkk", "value": "vvv", "action": "cacheTest"},
        )
        complains(
            client.get("/api/cacheTest"),
            422,
            "key is a required parameter for this action; "
            "value is a required parameter for this action",
        )
        nap = client.get("/api/sleepTest?sleepDuration=50").json
        equal(
            list(nap)[:4],
            ["sleepStarted", "sleepEnded", "sleepDelta", "sleepDuration"],
        )
        assert nap["sleepDelta"] >= 49 and nap["sleepDuration"] == 50
        assert nap["serverInformation"]["requestDuration"] >= 49
        documentation = client.get("/api/showDocumentation").json["documentation"]
        equal(
            list(documentation["cacheTest"]["1"]),
            ["name", "version", "description", "inputs", "outputExample"],
        )


def test_the_example_enqueues_tasks():
    with serving(EXAMPLE) as (process, client):
        body = '{"name":"sayHello","params":{"name":"Ann"}}'
        equal(client.post("/api/enqueueTask", body).json["enqueued"], True)
        process.expect("hello, Ann, from api-worker-1")
        equal(client.get("/api/enqueueTask?name=nope").status, 404)
        equal(client.get("/api/enqueueTask?name=sayHello&delay=-1").status, 422)


def test_the_example_over_http2():
    if shutil.which("curl") is None:
        raise Skipped("there is no curl")
    with serving(EXAMPLE) as (_, client):
        url = f"http://{client.address}/openapi.json"
        old, new = (
            subprocess.run(
                ["curl", "-sS", "--compressed", version, url],
                capture_output=True,
                timeout=DEADLINE_S,
                check=True,
            ).stdout
            for version in ("--http1.1", "--http2-prior-knowledge")
        )
        equal(new, old)
        equal(json.loads(new)["openapi"], "3.1.0")
        with http2.connect(client.address, DEADLINE_S) as other:
            other.ask(1, "GET", "/api/randomNumber")
            status, body = other.reply(1)
            equal((status, "randomNumber" in json.loads(body)), (200, True))


class Chatter:
    """A client that comes now and then, each time over a new connection."""

    def __init__(self, address):
        self.address = address
        self.cookie = os.urandom(20).hex()

    def ask(self, method, **params):
        query = urllib.parse.urlencode({"method": method, **params})
        with Client(self.address) as client:
            return client.get(
                f"/api/chat?{query}", Cookie=f"sessionID={self.cookie}"
            )

    def heard(self):
        return [each["message"] for each in self.ask("messages").json["messages"]]


def test_the_example_has_rooms_for_those_who_come_over_http():
    with serving(EXAMPLE, WORKERS="2") as (_, client):
        alice, bob = Chatter(client.address), Chatter(client.address)
        ids = []
        for chatter in [alice, bob]:
            details = chatter.ask("detailsView").json["details"]
            equal(details["rooms"], ["defaultRoom"])
            assert re.fullmatch("[0-9a-f]{32}", details["id"]), details
            ids.append(details["id"])
        status = alice.ask("roomView").json["roomStatus"]
        equal(list(status), ["room", "members", "membersCount"])
        equal((status["room"], status["membersCount"]), ("defaultRoom", 2))
        equal(sorted(status["members"]), sorted(ids))
        # Nobody learns who others are to the server.
        assert bob.cookie not in json.dumps(status)
        equal(bob.ask("say", message="hello from bob").status, 200)
        messages = alice.ask("messages").json["messages"]
        equal(len(messages), 1)
        sent_at = messages[0].pop("sentAt")
        assert abs(sent_at - time.time() * 1000) < 600000, sent_at
        equal(
            messages[0],
            {
                "message": "hello from bob",
                "room": "defaultRoom",
                "from": ids[1],
                "context": "user",
            },
        )
        equal(alice.heard(), [])
        equal(bob.heard(), ["hello from bob"])


def test_the_example_makes_rooms():
    with serving(EXAMPLE, WORKERS="2") as (_, client):
        alice, bob = Chatter(client.address), Chatter(client.address)
        made = client.get("/api/createChatRoom?name=room7").json
        equal((made["name"], made["didCreate"]), ("room7", True))
        made = client.get("/api/createChatRoom?name=room7").json
        equal(made["didCreate"], False)
        equal(client.get("/api/createChatRoom").status, 422)
        equal(client.get("/api/createChatRoom?name=a%7Cb").status, 422)
        equal(alice.ask("roomChange", room="room7").json["room"], "room7")
        equal(alice.ask("detailsView").json["details"]["rooms"], ["room7"])
        equal(alice.ask("roomAdd", room="defaultRoom").status, 200)
        equal(bob.ask("roomAdd", room="room7").json["room"], "room7")
        complains(
            bob.ask("roomAdd", room="room7"),
            409,
            "connection already in this room (room7)",
        )
        complains(bob.ask("roomChange", room="nope"), 404, "room does not exist")
        complains(
            bob.ask("say", room="defaultRoom", message="x"),
            409,
            "connection not in this room (defaultRoom)",
        )
        complains(
            bob.ask("roomView", room="defaultRoom"),
            409,
            "connection not in this room (defaultRoom)",
        )
        equal(bob.ask("say", room="room7").status, 422)
        equal(bob.ask("hum").status, 422)
        equal(bob.ask("say", room="room7", message="seven").status, 200)
        equal(alice.heard(), ["seven"])
        equal(alice.ask("roomLeave", room="room7").json["room"], "room7")
        equal(bob.ask("say", room="room7", message="eight").status, 200)
        equal(alice.heard(), [])
        equal(bob.heard(), ["seven", "eight"])


if __name__ == "__main__":
    sys.exit(main(globals()))
