"""What is no request of a client's that means well."""

import json
import os
import signal
import sys
import tempfile

from web import (
    EXAMPLE,
    FORM,
    UPGRADE,
    Client,
    children,
    complains,
    raw,
    serving,
    until_leaving,
)

from program import equal, main


def test_requests_that_smuggle():
    post = b"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    second = b"GET /api/teapot HTTP/1.1\r\nHost: x\r\n\r\n"
    forms = [
        post + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + second,
        post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}\n" + second,
        post + b"Content-Length: 2, 3\r\n\r\n{}" + second,
        post + b"Content-Length: +2\r\n\r\n{}" + second,
        post + b"Content-Length: 0x2\r\n\r\n{}" + second,
        post + b"Content-Length: -1\r\n\r\n{}" + second,
        post + b"Content-Length : 2\r\n\r\n{}" + second,
        post + b"Content-Length: 99999999999999999999\r\n\r\n{}" + second,
        post + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + second,
        post + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"X: a\nTransfer-Encoding: chunked\n\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n2;a=\"\n\"\r\n{}\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n" + second,
        post + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n" + second,
        post.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
        post + b"Host: y\r\nContent-Length: 2\r\n\r\n{}" + second,
        b"GET /api/made HTTP/1.1\r\n\r\n" + second,
        b"GET /api/made HTTP/1.1\r\nHost: a b\r\n\r\n" + second,
    ]
    with serving() as (_, client):
        for data in forms:
            answer = raw(client.address, data)
            status = int(answer[9:12])
            assert status in (400, 413, 501), (data, answer)
            assert b"Connection: close" in answer, (data, answer)
            # The second one is never seen as one.
            equal(answer.count(b"HTTP/1.1 "), 1)
            assert b"teapot" not in answer, (data, answer)
            error = json.loads(answer.partition(b"\r\n\r\n")[2])
            equal(list(error), ["error", "serverInformation", "requesterInformation"])
        # A body of a method that has none is not the next request.
        data = b"GET /api/made HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(second)
        client.send(data + second)
        equal(client.answer().status, 201)
        equal(client.get("/api/teapot").status, 418)


def test_heads_that_are_too_much():
    with serving() as (_, client):
        many = b"".join(b"X-%d: y\r\n" % i for i in range(100000))
        answer = raw(client.address, b"GET /api/made HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")
        # What was sent behind the answer may have made the system drop it.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 "), answer[:100]
        many = b"".join(b"X:\r\n" for i in range(101))
        answer = raw(client.address, b"GET /api/made HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:100]
        for data in (
            b"GET /api/made HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n",
            b"GET /api/made HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
            b"GET /api/made\0 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /api/made HTTP/1.1 \r\nHost: x\r\n\r\n",
            b"G\xc3\xa9T /api/made HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /api/m\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0" * 100,
        ):
            answer = raw(client.address, data)
            assert answer.startswith(b"HTTP/1.1 400 "), (data, answer)
        for version, status in ((b"HTTP/2.0", 505), (b"HTTP/1.9", 201), (b"HTTP/0.9", 505)):
            answer = raw(client.address, b"GET /api/made %s\r\nHost: x\r\nConnection: close\r\n\r\n" % version)
            assert answer.startswith(b"HTTP/1.1 %d " % status), (version, answer)
        equal(client.get("/api/made").status, 201)


def test_nothing_outside_the_folder_is_reached():
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "public")
        os.makedirs(os.path.join(root, "sub"))
        for path, text in (("secret", "secret"), ("public/a.txt", "a"), ("public/.hidden", "secret"), ("public/sub/index.html", "index")):
            with open(os.path.join(folder, path), "w") as file:
                file.write(text)
        os.symlink("../secret", os.path.join(root, "relative"))
        os.symlink(os.path.join(folder, "secret"), os.path.join(root, "absolute"))
        os.symlink("..", os.path.join(root, "up"))
        os.symlink("a.txt", os.path.join(root, "inside"))
        os.mkfifo(os.path.join(root, "fifo"))
        with serving(TEST_PUBLIC=root) as (_, client):
            equal(client.get("/a.txt").body, b"a")
            equal(client.get("/%61.txt").body, b"a")
            equal(client.get("/sub/").body, b"index")
            for target in (
                "/../secret",
                "/sub/../../secret",
                "/%2e%2e/secret",
                "/%2E%2E%2fsecret",
                "/..%2fsecret",
                "/%252e%252e/secret",
                "/..%5csecret",
                "//../secret",
                "/./../secret",
                "/sub/%2e%2e/%2e%2e/secret",
                "/a.txt%00.html",
                "/a.txt/",
                "/a.txt/..%2f..%2fsecret",
                "/relative",
                "/absolute",
                "/up/secret",
                "/up/public/a.txt",
                "/.hidden",
                "/%2ehidden",
                "/fifo",
                "/etc/passwd",
                "/%c0%ae%c0%ae/secret",
                "/nothing",
                "/" + "a/" * 2000,
                "/" + "a" * 300,
            ):
                answer = client.get(target)
                assert answer.status in (400, 404), (target, answer.status)
                assert b"secret" not in answer.body.partition(b'"requester')[0], target
                assert "error" in answer.json, target
            # The target need not be a path.
            answer = client.get("http://x/../secret")
            assert answer.status in (400, 404), answer.body


def test_what_http_refuses_is_answered_in_kind():
    with serving() as (_, client):
        cases = [
            (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20000 + b"\r\n\r\n", 431),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
            (b"POST /api/made HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
            (
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n",
                400,
            ),
        ]
        for data, status in cases:
            with Client(client.address) as other:
                other.send(data)
                answer = other.answer()
                equal(answer.status, status)
                complains(answer, status, answer.error)
                equal(answer.headers["connection"], "close")
                equal(answer.json["requesterInformation"]["remoteIP"], "127.0.0.1")
        metrics = client.get("/metrics").body.decode()
        assert 'status="431"} 1\n' in metrics, metrics


def test_bodies_of_options_harm_nobody():
    with serving(TEST_BARE="1") as (process, client):
        workers = children(process.pid)
        for kind in ("multipart/form-data", FORM, "text/plain"):
            with Client(client.address) as other:
                answer = other.ask("OPTIONS", "/api/jsonOnly", b"nonsense", Content_Type=kind)
                equal((answer.status, answer.body), (200, b""))
        equal(children(process.pid), workers)


def test_upgrades_are_refused_in_kind():
    with serving() as (_, client):
        for path in ("/ws", "/primus"):
            answer = client.get(path)
            complains(answer, 426, "this is a WebSocket: connect with ws: or wss:")
            equal(answer.headers["sec-websocket-version"], "13")
            equal(answer.headers["upgrade"], "websocket")
            old = {**UPGRADE, "Sec_WebSocket_Version": "8"}
            complains(client.get(path, **old), 426, "the WebSocket version has to be 13")
            bad = {**UPGRADE, "Sec_WebSocket_Key": "AAAA"}
            text = "Sec-WebSocket-Key has to be 16 bytes in base64"
            complains(client.get(path, **bad), 400, text)
            answer = client.ask("POST", path, b"")
            complains(answer, 405, "a WebSocket begins with GET")
            equal(answer.headers["allow"], "GET, OPTIONS")
        metrics = client.get("/metrics").body.decode()
        assert 'status="405"} 2\n' in metrics, metrics


def test_upgrades_of_pages_of_other_origins():
    with serving(EXAMPLE, ORIGINS="https://a.example") as (_, client):
        for path in ("/ws", "/primus"):
            answer = client.get(path, Origin="https://b.example", **UPGRADE)
            complains(answer, 403, "pages of that origin may not connect to this server")
            assert "access-control-allow-origin" not in answer.headers
            answer = client.get(path, Origin="https://a.example")
            equal(answer.status, 426)
            equal(answer.headers["access-control-allow-origin"], "https://a.example")
            asked = client.ask("OPTIONS", path, Origin="https://a.example")
            equal((asked.status, asked.body), (200, b""))


def test_upgrades_of_a_server_that_leaves():
    for path in ("/ws", "/primus"):
        with serving() as (process, client):
            with Client(client.address) as other, Client(client.address) as third:
                # What has begun is let finish.
                equal(other.get("/readyz").status, 200)
                lines = [f"GET {path} HTTP/1.1", "Host: x"]
                lines += [f"{name.replace('_', '-')}: {value}" for name, value in UPGRADE.items()]
                other.send("\r\n".join(lines).encode())
                equal(third.get("/readyz").status, 200)
                process.signal(signal.SIGTERM)
                until_leaving(third, client.address)
                other.send(b"\r\n\r\n")
                complains(other.answer(), 503, "the server is shutting down")


if __name__ == "__main__":
    sys.exit(main(globals()))
