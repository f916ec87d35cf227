"""More than there is room for, of one client or of many."""

import contextlib
import http.client
import re
import resource
import select
import sys

from web import Client, all_of, children, complains, running, serving, status_of, until

from program import DEADLINE_S, WRAPPER, Skipped, equal, main


def test_a_client_that_asks_too_often():
    with serving(TEST_RATE="1", TEST_BURST="5") as (_, client):
        answers = [client.get("/api/made") for _ in range(40)]
        equal({answer.status for answer in answers[:5]}, {201})
        refused = [answer for answer in answers if answer.status == 429]
        assert refused, answers
        complains(refused[0], 429, "you have asked too often, try again later")
        equal(refused[0].headers["retry-after"], "1")
        # What is no action is not counted, and one's address is one's own.
        equal(client.get("/healthz").status, 200)
        host, port = client.address.rsplit(":", 1)
        other = http.client.HTTPConnection(host, int(port), DEADLINE_S, ("127.0.0.9", 0))
        other.request("GET", "/api/made")
        equal(other.getresponse().status, 201)
        other.close()


def test_requests_of_a_connection():
    with serving(TEST_REQUESTS="3") as (_, client):
        with Client(client.address) as other:
            for connection in (None, None, "close"):
                answer = other.get("/api/made")
                equal((answer.status, answer.headers.get("connection")), (201, connection))
            equal(all_of(other), b"")


def test_connections_of_a_worker():
    with serving(TEST_CONNECTIONS="2") as (_, client):
        equal(client.get("/api/made").status, 201)
        with Client(client.address) as second:
            equal(second.get("/api/made").status, 201)
            third = Client(client.address)
            third.send(b"GET /api/made HTTP/1.1\r\nHost: x\r\n\r\n")
            # It waits until there is room.
            for _ in range(20):
                equal(client.get("/api/made").status, 201)
            equal(select.select([third.socket], [], [], 0)[0], [])
        equal(third.answer().status, 201)
        third.socket.close()


def test_slow_clients_harm_nobody():
    """A thousand of them, each in its own way, and one that is quick."""
    wanted = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * wanted:
        raise Skipped("too few files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * wanted), hard))
    begun = (
        b"",
        b"GET /api/made HTTP/1.1\r\nHo",
        b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /api/pieces?count=1000 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/nap?ms=600000 HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    with serving(TEST_HEAD_MS="3000", TEST_BODY_MS="3000") as (process, client):
        # It is an idle one from here on, not one that never asked.
        equal(client.get("/api/made").status, 201)
        slow = []
        for number in range(wanted):
            other = Client(client.address)
            other.send(begun[number % len(begun)])
            slow.append(other)
        for number in range(500):
            answer = client.get(f"/api/echo?text={number}")
            equal((answer.status, answer.json["text"]), (200, str(number)))
        # Those who began something are told that it took too long.
        for kind in (1, 2, 3):
            for other in slow[kind :: len(begun)]:
                answer = other.answer()
                complains(answer, 408, "the request took too long")
        for other in slow[:: len(begun)]:
            with contextlib.suppress(ConnectionResetError):
                all_of(other)
        equal(client.get("/api/made").status, 201)
        for other in slow:
            other.socket.close()
        until(lambda: running(client) == 0)


def memory_of(pid):
    """Its own, in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M)[1])


def test_ten_thousand_actions_wait_at_once():
    """On as many connections as there may be, and then on fewer."""
    wanted = 10000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = hard if hard != resource.RLIM_INFINITY else 1 << 20
    wanted = min(wanted, room - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(room, wanted + 200), hard))
    with serving() as (process, client):
        equal(client.get("/api/made").status, 201)
        worker = children(process.pid)[0]
        before = memory_of(worker)
        # Their output is not read: it tells of each.
        waiting = []
        for _ in range(wanted):
            other = Client(client.address)
            other.send(b"GET /api/longNap HTTP/1.1\r\nHost: x\r\n\r\n")
            waiting.append(other)
        until(lambda: running(client) == wanted)
        each = (memory_of(worker) - before) / wanted
        print(f"# {wanted} actions wait, {each:.1f} KiB each", flush=True)
        assert each < 200 or WRAPPER, each
        equal(client.get("/api/made").status, 201)
        for other in waiting:
            other.socket.close()
        until(lambda: running(client) == 0)
        equal(client.get("/api/made").status, 201)


def test_a_stack_that_overflows_is_named():
    with serving(WORKERS="2") as (process, client):
        with Client(client.address) as other:
            other.send(b"GET /api/overflow HTTP/1.1\r\nHost: x\r\n\r\n")
            process.expect("overflow")
            with contextlib.suppress(ConnectionResetError):
                equal(all_of(other), b"")
        until(lambda: status_of(client.address, "/api/made") == 201)


if __name__ == "__main__":
    sys.exit(main(globals()))
