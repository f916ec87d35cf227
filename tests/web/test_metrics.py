"""What machines ask: is it well, and what has it counted."""

import os
import re
import signal
import sys

from web import EXAMPLE, Client, children, exposed, serving, status_of, until, value_of

from program import equal, main


def test_pages_for_machines():
    with serving() as (_, client):
        equal(client.get("/healthz").body, b"ok\n")
        equal(client.get("/readyz").body, b"ready\n")
        equal(client.ask("POST", "/healthz").status, 405)
        equal(client.ask("POST", "/healthz").headers["allow"], "GET, HEAD, OPTIONS")
        client.get("/api/teapot")
        metrics = client.get("/metrics")
        equal(metrics.headers["content-type"], "text/plain; version=0.0.4")
        samples = exposed(metrics.body.decode())
        equal(samples["muster_http_requests_total"]['{status="418"}'], 1)
        equal(samples["muster_fibers"].keys(), {'{node="webtest-worker-1"}'})


def test_one_scrape_tells_of_all_workers():
    with serving(WORKERS="3") as (process, client):
        others = []
        try:
            # Three of each worker's, not all of which listen yet.
            seen = {f"webtest-worker-{i}": 0 for i in (1, 2, 3)}

            def is_complete():
                other = Client(client.address)
                others.append(other)
                text = other.get("/metrics").body.decode()
                name = re.search('muster_fibers{node="(.*?)"}', text)[1]
                seen[name] += 1
                if seen[name] > 3:
                    others.pop().socket.close()
                return len(others) == 9

            until(is_complete)
            for other in others:
                equal(other.get("/api/teapot").status, 418)
            asked = len(others)
            until(lambda: value_of(client, "muster_http_connections") == asked + 1)
            for other in others:
                equal(value_of(other, "muster_http_requests_total", '{status="418"}'), asked)
            equal(value_of(client, "muster_actions_running"), 0)
            others[0].send(b"GET /api/longNap HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: value_of(client, "muster_actions_running") == 1)
            # One who dies, and one who takes its place, change no counter.
            for pid in children(process.pid):
                os.kill(int(pid), signal.SIGKILL)
        finally:
            for other in others:
                other.socket.close()
        until(lambda: status_of(client.address, "/api/teapot") == 418)
        with Client(client.address) as other:
            assert value_of(other, "muster_http_requests_total", '{status="418"}') > asked
            until(lambda: value_of(other, "muster_actions_running") == 0)
            until(lambda: value_of(other, "muster_http_connections") == 1)


def test_services_are_measured():
    with serving(EXAMPLE) as (process, client):
        equal(client.get("/api/cacheTest?key=kkk&value=vvv").status, 200)
        equal(value_of(client, "muster_cache_hits_total"), 1)
        client.post("/api/enqueueTask", '{"name":"sayHello","params":{}}')
        process.expect("hello, world")
        until(lambda: value_of(client, "muster_tasks_completed_total") == 1)
        equal(value_of(client, "muster_tasks_running"), 0)
        client.post("/api/enqueueTask", '{"name":"fail"}')
        until(lambda: value_of(client, "muster_tasks_failed_total") >= 1)


if __name__ == "__main__":
    sys.exit(main(globals()))
