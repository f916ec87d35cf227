"""The servers that are measured, and how each is started."""

import os

from harness import BODY, CLOSES_ALWAYS, CLOSES_NEVER, HERE, Server

POLICIES = ("least", "rr", "shared", "reuseport")

NGINX = """
daemon off;
worker_processes {workers};
{user}
error_log stderr error;
pid {directory}/nginx-{port}.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    keepalive_timeout 3600;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    server {{
        listen 127.0.0.1:{port} backlog=4096{reuseport};
        location = / {{ return 200 "hello, world\\n"; }}
        location = /worker {{ return 200 "$pid\\n"; }}
        location /files/ {{ root {directory}; sendfile on; tcp_nopush on; {cache} }}
    }}
}}
"""


def muster(run, policy="least", workers=1, delay_ms=0, name=None, env=None):
    program = run.program("hello")
    return program and Server(
        name or f"muster {policy}",
        lambda port, _: [program, str(port), str(workers), str(delay_ms)],
        workers,
        env={"MUSTER_SCHED_POLICY": policy, **(env or {})},
        announces=True,
    )


def actions(run, name="muster"):
    """An API server; its "/" is a file, so that it can be seen to serve."""
    program = run.program("actions")
    folder = os.path.join(run.directory, "public")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "index.html"), "wb") as file:
        file.write(BODY)
    options = ["--workers", "1", "--public", folder]
    return program and Server(
        name,
        lambda port, _: [program, "--listen", f"127.0.0.1:{port}"] + options,
        env={"MUSTER_HOME": run.directory, "MUSTER_STORE": "", "STORE": ""},
    )


def floor(run, close=False):
    program = run.program("floor_epoll")
    if not program:
        return None
    server = Server(
        "epoll, parses nothing",
        lambda port, _: [program, str(port)] + (["close"] if close else []),
    )
    server.closes = CLOSES_ALWAYS if close else CLOSES_NEVER
    return server


def nginx(run, workers=1, reuseport=False, name=None, caches=False):
    program = run.tool("nginx")

    def command(port, directory):
        path = os.path.join(directory, f"nginx-{port}.conf")
        with open(path, "w") as file:
            file.write(
                NGINX.format(
                    workers=workers,
                    user="user root;" if os.getuid() == 0 else "",
                    directory=directory,
                    port=port,
                    reuseport=" reuseport" if reuseport else "",
                    cache="open_file_cache max=1000 inactive=60s;" if caches else "",
                )
            )
        return [program, "-p", directory, "-c", path, "-e", "stderr"]

    name = name or ("nginx reuseport" if reuseport else "nginx")
    return program and Server(name, command, workers)


def node(run, policy="rr", workers=1, name=None):
    """policy: rr, none, or single for one process without the cluster module"""
    program = run.tool("node")
    script = os.path.join(HERE, "peers", "http.js")
    return program and Server(
        name or f"node cluster {policy}",
        lambda port, _: [program, script, str(port), str(workers), policy],
        workers,
        announces=policy != "single",
    )
