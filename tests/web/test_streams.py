"""Answers that come in pieces, and events."""

import re
import shutil
import signal
import sys

from web import TICK, Client, all_of, children, chunks, serving

from program import Program, Skipped, equal, main


def test_events():
    with serving() as (process, client):
        answer = client.get("/api/ticks?count=2&ms=1")
        equal(answer.status, 200)
        equal(answer.headers["content-type"], "text/event-stream")
        equal(answer.headers["cache-control"], "no-store")
        equal(answer.headers["x-ticks"], "yes")
        equal(answer.headers["access-control-allow-origin"], "*")
        assert answer.headers["set-cookie"].startswith("sessionID=")
        equal(chunks(client).decode(), ": \n\n" + TICK.format(1) + TICK.format(2))
        process.expect("ticks ended well")
        # The connection goes on, and a client that comes back says where it was.
        answer = client.get("/api/ticks?count=2&ms=1", Last_Event_ID="1")
        equal(chunks(client).decode(), ": \n\n" + TICK.format(2))
        # Who wants the head alone is not kept, nor is the action.
        equal(client.ask("HEAD", "/api/ticks?count=1000000&ms=1").status, 200)
        equal(client.get("/api/made").status, 201)
        metrics = client.get("/metrics").body.decode()
        assert re.search(r'requests_total\{.*status="200"\} 3\n', metrics), metrics


def test_events_as_they_are_sent():
    """curl -N, which shows each as it comes."""
    if shutil.which("curl") is None:
        raise Skipped("there is no curl")
    with serving() as (process, client):
        url = f"http://{client.address}/api/ticks?count=1000000&ms=20"
        with Program("curl", "-sN", url) as curl:
            for number in (1, 2, 3):
                curl.expect(f"^id: {number}$")
                curl.expect("^event: tick$")
        # It was killed.
        process.expect("ticks ended cancelled")
        metrics = client.get("/metrics").body.decode()
        assert re.search(r"muster_actions_running 0\n", metrics), metrics


def test_events_end_when_the_server_goes():
    with serving() as (process, client):
        answer = client.get("/api/ticks?count=1000000&ms=600000")
        equal(answer.status, 200)
        # Another one is still on its way, and is let finish.
        with Client(client.address) as other:
            other.send(b"GET /api/nap?ms=700 HTTP/1.1\r\nHost: x\r\n\r\n")
            process.expect("nap begun")
            process.signal(signal.SIGTERM)
            equal(chunks(client).decode(), ": \n\n" + TICK.format(1))
            process.expect("ticks ended cancelled")
            equal(other.answer().json["code"], 0)


def test_answers_in_pieces():
    with serving() as (process, client):
        answer = client.get("/api/pieces?count=40")
        equal(answer.headers["transfer-encoding"], "chunked")
        equal(chunks(client), b"p" * 40 * 65536)
        process.expect("pieces ended well")
        answer = client.get("/api/pieces?count=10&length=655360")
        equal((answer.status, answer.body), (200, b"p" * 655360))
        # Who fails half way is not taken for complete.
        for target in ("/api/pieces?count=2&fails=1", "/api/pieces?count=2&length=200000", "/api/pieces?count=2&length=200000&fails=1"):
            with Client(client.address) as other:
                other.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                text = all_of(other)
                assert not text.endswith(b"0\r\n\r\n"), text[-20:]
                assert text.count(b"p" * 1000) in (130, 131), len(text)
        with Client(client.address) as other:
            other.send(b"GET /api/pieces?count=2 HTTP/1.0\r\n\r\n")
            head, _, body = all_of(other).partition(b"\r\n\r\n")
            equal(body, b"p" * 131072)
            assert b"Connection: close" in head, head
        answer = client.get("/api/badlyBegun").json
        equal((answer["early"], answer["begun"], answer["header"]), (-22, -22, -22))
        answer = client.get("/api/nested").json
        equal((answer["error"], answer["inner"]), (0, {"early": -95, "begun": -95, "header": -95}))


def test_a_slow_reader_holds_up_its_own_answer_only():
    with serving() as (process, client):
        with Client(client.address) as slow:
            slow.send(b"GET /api/pieces?count=16000 HTTP/1.1\r\nHost: x\r\n\r\n")
            slow.more()
            memory = None
            for _ in range(50):
                equal(client.get("/api/made").status, 201)
            with open(f"/proc/{children(process.pid)[0]}/status") as file:
                memory = int(re.search(r"VmHWM:\s+(\d+)", file.read())[1])
            # 1 GB was to be sent; what waits is bounded.
            assert memory < 200000, memory
        process.expect("pieces ended cancelled")


if __name__ == "__main__":
    sys.exit(main(globals()))
