"""Actions over HTTP/2."""

import json
import re
import shutil
import subprocess
import sys
import tempfile

from web import TICK, is_left, running, serving, until, uploading, value_of

import http2
from program import DEADLINE_S, Program, Skipped, equal, main


def test_actions_over_http2():
    with serving() as (process, client), http2.connect(client.address, DEADLINE_S) as other:
        # Answers do not wait for one another.
        other.ask(1, "GET", "/api/nap")
        process.expect("nap begun")
        other.ask(3, "GET", "/api/echo?text=a%20b")
        status, body = other.reply(3)
        equal((status, json.loads(body)["text"]), (200, "a b"))
        other.send(http2.frame(http2.RST_STREAM, 0, 1, b"\0\0\0\x08"))
        process.expect("nap ended cancelled")
        asks = [
            ("POST", "/api/echo", b'{"text":"c"}', 200),
            ("GET", "/api/made", None, 201),
            ("GET", "/api/teapot", None, 418),
            ("GET", "/api/nope", None, 404),
            ("POST", "/api/echo", b"{", 400),
            ("POST", "/api/echo", b" " * 65537, 413),
        ]
        identity = None
        for stream, (method, target, content, wanted) in enumerate(asks):
            stream = 5 + 2 * stream
            fields = [("content-type", "application/json")] if content else []
            if identity:
                fields.append(("cookie", f"sessionID={identity}"))
            end = 0 if content else http2.END_STREAM
            head = http2.request(method, target, *fields)
            other.send(http2.frame(http2.HEADERS, http2.END_HEADERS | end, stream, head))
            for at in range(0, len(content or b""), 16384):
                some = content[at : at + 16384]
                end = http2.END_STREAM if at + len(some) == len(content) else 0
                other.send(http2.frame(http2.DATA, end, stream, some))
            status, body = other.reply(stream)
            equal((target, status), (target, wanted))
            who = json.loads(body)["requesterInformation"]
            equal(who["remoteIP"], "127.0.0.1")
            identity = identity or who["fingerprint"]
            if status < 400:
                equal(who["fingerprint"], identity)
        other.ask(31, "GET", "/api/ticks?count=2&ms=1")
        equal(other.reply(31), (200, (": \n\n" + TICK.format(1) + TICK.format(2)).encode()))
        process.expect("ticks ended well")
        metrics = client.get("/metrics").body.decode()
        assert 'status="418"} 1\n' in metrics, metrics
        assert 'status="413"} 1\n' in metrics, metrics
        assert re.search(r"^muster_actions_running 0$", metrics, re.M), metrics


def test_the_same_over_http2():
    if shutil.which("curl") is None or "HTTP2" not in subprocess.run(
        ["curl", "--version"], capture_output=True, text=True, check=True
    ).stdout:
        raise Skipped("there is no curl with HTTP/2")
    with uploading() as (process, client, folder):

        def ask(target, *more, code=0):
            command = ["curl", "-sS", "--http2-prior-knowledge", "-w", "\n%{http_code}"]
            got = subprocess.run(
                [*command, *more, f"http://{client.address}{target}"],
                capture_output=True,
                timeout=DEADLINE_S,
                check=False,
            )
            equal(got.returncode, code)
            body, _, status = got.stdout.rpartition(b"\n")
            return body, int(status)

        with tempfile.NamedTemporaryFile() as file:
            file.write(b"begin" + b"x" * 200000)
            file.flush()
            body, status = ask("/api/upload", "-F", "title=t", "-F", f"picture=@{file.name};type=a/b")
            equal((status, json.loads(body)["size"], json.loads(body)["type"]), (200, 200005, "a/b"))
            body, status = ask("/api/uploadSmall", "-F", f"picture=@{file.name}")
            equal((status, json.loads(body)["error"]), (413, "the body is too large"))
        equal(is_left(process.pid, folder), False)
        body, status = ask("/api/jsonOnly", "-d", "a=b")
        equal((status, json.loads(body)["error"]), (415, "the action takes no such body"))
        body, status = ask("/api/ticks?count=2&ms=1")
        equal((status, body.decode()), (200, ": \n\n" + TICK.format(1) + TICK.format(2)))
        equal(ask("/api/pieces?count=40"), (b"p" * 40 * 65536, 200))
        # 92: a stream was reset, and 18: a file is not complete.
        try:
            ask("/api/pieces?count=2&fails=1", code=92)
        except AssertionError:
            ask("/api/pieces?count=2&fails=1", code=18)
        url = f"http://{client.address}/api/ticks?count=1000000&ms=20"
        with Program("curl", "-sN", "--http2-prior-knowledge", url) as curl:
            curl.expect("^id: 2$")
        process.expect("ticks ended cancelled")
        equal(running(client), 0)
        until(lambda: value_of(client, "muster_http_connections") == 1)


if __name__ == "__main__":
    sys.exit(main(globals()))
