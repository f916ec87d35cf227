"""How a server is configured: test_config.py CONFIGURED MAN [TEST]

CONFIGURED is config_app.c, MAN the source of muster_app(3).
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

CONFIGURED, MAN = sys.argv[1:3]
del sys.argv[2:3]

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from program import DEADLINE_S, HOME, WRAPPER, Program, equal, get, main, own_address

CONFIGURED = os.path.abspath(CONFIGURED)
# What this machine says for itself is not to be mistaken for what a test says.
OWN = {
    name: value
    for name, value in os.environ.items()
    if name not in ("PORT", "TCP_PORT", "WORKERS", "STORE", "ORIGINS") and not name.startswith("MUSTER_")
}


@contextlib.contextmanager
def folder(**files):
    """A working directory with these files; '_' in a name stands for '.'."""
    with tempfile.TemporaryDirectory() as path:
        for name, text in files.items():
            with open(os.path.join(path, name.replace("_", ".")), "wb") as file:
                file.write(text if isinstance(text, bytes) else text.encode())
        yield path


def run(path, *arguments, **environment):
    done = subprocess.run(
        WRAPPER + [CONFIGURED, *arguments],
        cwd=path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**OWN, "MUSTER_HOME": HOME.name, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def shown(path, *arguments, **environment):
    """What is in force: {name: (value as text, who said so)}."""
    code, printed, complaint = run(path, "--show-config", *arguments, **environment)
    equal((code, complaint), (0, ""))
    found = {}
    for line in printed.splitlines():
        match = re.fullmatch(r'([a-z-]+|  "[^"]+"):(?: (.*?))?  # (.*)', line)
        if match:
            found[match[1].strip(' "')] = (match[2], match[3])
    return found


def complains(text, *parts, arguments=(), code=2, **environment):
    """One line, which has all the parts, for this file."""
    with folder(configured_yml=text) as path:
        got, printed, complaint = run(path, "--check", *arguments, **environment)
    equal((got, printed), (code, ""))
    equal(complaint.count("\n"), 1)
    for part in ("configured: ",) + parts:
        assert part in complaint, f"{part!r} is not in {complaint!r}"


def test_the_stronger_one_counts():
    with folder(configured_yml="idle-time: 2s\n") as path:
        equal(shown(path)["idle-time"], ("2s", "configured.yml:1"))
        equal(shown(path, MUSTER_IDLE_TIME="3s")["idle-time"], ("3s", "MUSTER_IDLE_TIME"))
        got = shown(path, "--idle-time", "4s", MUSTER_IDLE_TIME="3s")
        equal(got["idle-time"], ("4s", "--idle-time"))
        equal(shown(path, MUSTER_IDLE_TIME="")["idle-time"], ("2s", "configured.yml:1"))
    with folder() as path:
        equal(shown(path)["idle-time"], ("60s", "default"))
        equal(shown(path)["headers"], ("50", "the application"))
        equal(shown(path, "--headers=60")["headers"], ("60", "--headers"))


def test_yaml_and_json_say_the_same():
    yaml = "workers: 3\nlisten:\n  - 8081\n  - 127.0.0.1:8082\nbody_size: 2MiB\nlog: off\n"
    text = '{"workers": 3, "listen": [8081, "127.0.0.1:8082"],\n\t"body-size": "2MiB", "log": "off"}'
    got = []
    for name, content in (("configured_yml", yaml), ("configured_yaml", yaml), ("configured_json", text)):
        with folder(**{name: content}) as path:
            found = shown(path)
            got.append({name: value for name, (value, _) in found.items()})
    equal(got[0], got[1])
    equal(got[0], got[2])
    equal(got[0]["listen"], '["8081", "127.0.0.1:8082"]')
    equal((got[0]["workers"], got[0]["body-size"], got[0]["log"]), ('"3"', "2MiB", '"off"'))


def test_lists_replace_lists():
    with folder(configured_yml="origins: [https://a.example, https://b.example]\n") as path:
        equal(shown(path)["origins"][0], '["https://a.example", "https://b.example"]')
        got = shown(path, ORIGINS="https://c.example , https://d.example")
        equal(got["origins"][0], '["https://c.example", "https://d.example"]')
        got = shown(path, "--origins", "https://e.example", "--origins", "https://f.example")
        equal(got["origins"][0], '["https://e.example", "https://f.example"]')


def test_which_file_it_is():
    with folder(configured_yml="workers: 1\n", other_yml="workers: 2\n") as path:
        equal(shown(path)["workers"], ('"1"', "configured.yml:1"))
        equal(shown(path, MUSTER_CONFIG="other.yml")["workers"][0], '"2"')
        got = shown(path, "--config", "configured.yml", MUSTER_CONFIG="other.yml")
        equal(got["workers"][0], '"1"')
        code, _, complaint = run(path, "--config", "missing.yml", "--check")
        equal(code, 2)
        assert "'missing.yml': No such file" in complaint, complaint
        code, _, complaint = run(path, "--config", ".", "--check")
        equal(code, 2)
        assert "'.': Is a directory" in complaint, complaint
    with folder(configured_yml="", configured_json="{}") as path:
        code, _, complaint = run(path, "--check")
        equal(code, 2)
        assert "'configured.yml' and 'configured.json' are both here" in complaint


def test_sections():
    text = """
default:
  workers: 1
  app: {mailer: {host: a, port: 1}}
development:
  workers: 2
production:
  workers: 3
  app: {mailer: {host: b}}
test:
"""
    with folder(configured_yml=text) as path:
        equal(shown(path)["workers"], ('"2"', "configured.yml:6"))
        got = shown(path, MUSTER_ENV="production")
        equal(got["workers"], ('"3"', "configured.yml:8"))
        equal(got["mailer"][0], '{"host": "b", "port": "1"}')
        equal(shown(path, "--environment", "test", MUSTER_ENV="x")["workers"][0], '"1"')
        code, _, complaint = run(path, "--check", MUSTER_ENV="prodution")
        equal(code, 2)
        assert "no section 'prodution': did you mean 'production'?" in complaint
    complains("default:\nworkers: 2\n", "configured.yml:2: workers is beside sections")
    with folder(configured_yml="workers: 2\n") as path:
        equal(shown(path, MUSTER_ENV="anything")["workers"][0], '"2"')
        equal(shown(path, "--config", "/dev/null")["workers"][0], '"max"')


def test_what_is_wrong_is_told_with_its_line():
    complains("# x\nwokers: 2\n", "configured.yml:2: there is no setting 'wokers': did you mean 'workers'?")
    complains("zzzzzzzz: 2\n", "configured.yml:1: there is no setting 'zzzzzzzz' (")
    complains("workers: many\n", "configured.yml:1: workers wants a number from 1 to 1024, or max, not 'many'")
    complains("workers: [1]\n", "configured.yml:1: workers wants one value, not a list")
    complains("listen: {a: b}\n", "configured.yml:1: listen wants a list, not a map")
    complains("listen: [[1]]\n", "configured.yml:1: listen wants texts, not a list")
    complains("listen: []\n", "configured.yml:1: listen wants a port or an address")
    complains("idle-time: 5y\n", "idle-time wants a time as in 250ms, 10s, 2m, not '5y'")
    complains("idle-time: -5\n", "idle-time wants a time")
    complains("body-size: 5GiB\n", "body-size wants a size")
    complains("headers: 0\n", "headers wants a number from 1 to 10000, not '0'")
    complains("origins: [a.example]\n", "origins wants origins as in https://a.example, or *")
    complains("log: loud\n", "log wants off, error, warn, info or debug, not 'loud'")
    complains("access-log-format: xml\n", "wants combined or json, not 'xml'")
    complains("workers: 1\nworkers: 2\n", "configured.yml:2: 'workers' is here a second time (line 1")
    complains("body-size: 1\nbody_size: 2\n", "configured.yml:2: body-size is here a second time (line 1")
    complains("port: 1\nlisten: 2\n", "configured.yml:2: listen is here a second time (line 1")
    complains("a: [1,\n", "configured.yml:2: ")
    complains(b"a: \xff\n", "configured.yml:1: it is not UTF-8")
    complains("- a\n", "configured.yml:1: a configuration has to be")
    complains("just text", "configured.yml:1: a configuration has to be")
    complains("config: x\n", "configured.yml:1: config cannot be said in a file")
    complains("check: true\n", "configured.yml:1: there is no setting 'check'")
    complains("app: 1\n", "configured.yml:1: app wants a map")
    complains("a: *b\n", "nothing above is called &b")
    complains("a: 1\n", "did you mean --workers?", arguments=["--wrkers", "1"])
    complains("", "'more' is no option", arguments=["more"])
    complains("", "--listen wants a value", arguments=["--listen"])
    complains("", "MUSTER_IDLE_TIME wants a time", MUSTER_IDLE_TIME="soon")


def test_ten_lines_do_not_become_a_billion():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    for i in range(1, 9):
        lines.append(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]")
    complains("\n".join(lines), "more than 10000 values")


def test_a_value_of_null_is_none():
    with folder(configured_yml="workers:\nlisten: ~\napp:\n") as path:
        got = shown(path)
        equal((got["workers"][1], got["listen"][1]), ("default", "default"))


def test_what_is_shown_is_a_configuration():
    text = "listen: [8081, 'a\"b\\c']\nstore: redis://h:6379/1\nprefix: '1e3'\napp: {x: {y: [1, 'a: b', null]}}\n"
    with folder(configured_yml=text) as path:
        _, first, _ = run(path, "--show-config")
        with open(os.path.join(path, "again.yml"), "w") as file:
            file.write(first)
        _, second, _ = run(path, "--show-config", "--config", "again.yml")
    values = [
        [line.split("  # ")[0] for line in shown.splitlines() if not line.startswith("#")]
        for shown in (first, second)
    ]
    equal(values[0], values[1])
    assert 'listen: ["8081", "a\\"b\\\\c"]' in values[0], values[0]


def test_secrets_are_not_shown():
    text = "store: redis://me:hidden1@h:6379/1?x=y\napp: {mailer: {password: hidden2, apiKey: hidden3, host: h}}\n"
    with folder(configured_yml=text, secret_txt="hidden4\n") as path:
        for more, environment in (([], {"MUSTER_TOKEN": "hidden4"}), (["--token-file", "secret.txt"], {})):
            code, printed, complaint = run(path, "--show-config", *more, **environment)
            equal((code, complaint), (0, ""))
            assert "hidden" not in printed, printed
            assert '"redis://me:***@h:6379/1?x=y"' in printed, printed
        got = shown(path, MUSTER_TOKEN="hidden4")
        equal(got["token"], ('"***"', "MUSTER_TOKEN"))
    complains("token: '***'\n", "token is '***', which is how a secret is shown")
    complains(f"token: {'hidden' * 1000}\n", "token wants", "not '***'")


def test_the_token_of_a_file():
    with folder(secret_txt="s3cret\r\n", empty_txt="\n", long_txt="x" * 5000) as path:
        equal(run(path, "--check", "--token-file", "secret.txt")[0], 0)
        for name, why in (("empty", "has no token"), ("long", "has no token"), ("missing", "No such file")):
            code, _, complaint = run(path, "--check", "--token-file", f"{name}.txt")
            equal(code, 2)
            assert why in complaint, complaint
        code, _, complaint = run(path, "--check", "--token-file", "secret.txt", "--token", "x")
        equal(code, 2)
        assert "only one of them" in complaint, complaint
        # The stronger one counts, so that the other is not even read.
        equal(run(path, "--check", "--token", "x", MUSTER_TOKEN_FILE="missing.txt")[0], 0)


def test_actions_are_told_as_json():
    with folder() as path:
        code, printed, complaint = run(path, "--actions")
    equal((code, complaint, printed.count("\n")), (0, "", 1))
    told = json.loads(printed)
    equal((told["name"], told["version"]), ("configured", "3"))
    first, second = told["actions"]
    equal((first["name"], first["version"]), ("settings", 1))
    equal(first["transports"], ["web", "websocket", "tcp"])
    equal(second["transports"], ["web", "tcp"])
    equal(second["inputs"]["text"]["required"], True)
    equal(second["inputs"]["secret"]["secret"], True)


def test_check_says_that_all_is_good():
    with folder(configured_yml="workers: 2\n") as path:
        code, printed, complaint = run(path, "--check")
        equal((code, complaint), (0, ""))
        assert "are good" in printed, printed


def test_check_finds_what_a_worker_would():
    complains("store: redis://h:6379\n", "no token", code=1, MUSTER_TOKEN="")
    complains("store: redis://h:6379\ntoken: secret\n", "everyone knows this token", code=1)
    complains("store: ftp://h\n", "its scheme is unknown", code=1, MUSTER_TOKEN="abcdef")
    complains("listen: [8080, 'h:99999']\n", "99999", code=1)
    complains("tcp: 'h:'\n", "'h:'", code=1)
    complains("public: no-such\n", "'no-such': No such file", code=1)
    with folder(configured_yml="") as path:
        for kind, why in (("cron", "its minute cannot be read"), ("zone", "No/Zone"), ("twice", "is there twice")):
            code, _, complaint = run(path, "--check", TASKS=kind)
            equal((code, complaint.count("\n")), (1, 1))
            assert why in complaint, complaint


def test_help_and_the_man_page_have_the_same_options():
    with folder(configured_yml="broken: [") as path:
        code, printed, complaint = run(path, "--help")
    equal((code, complaint), (0, ""))
    helped = {}
    for line in printed.splitlines():
        match = re.match(r"  --([a-z-]+)", line)
        if match:
            end = re.search(r"; ([A-Z_]+(?: or [A-Z_]+)?)$", line)
            helped[match[1]] = end[1].split(" or ") if end else []
    with open(MAN) as file:
        text = file.read()
    told = {}
    for line in text[text.index(".Ss Options") :].splitlines():
        match = re.match(r"\.It Fl -([a-z-]+)", line)
        if match:
            told[match[1]] = re.findall("[A-Z_]{2,}", line.partition(" Ev ")[2])
    assert len(helped) > 20, helped
    equal(told, helped)


def test_a_server_is_as_it_is_configured():
    address = own_address()
    host = address.split(":")[0]
    text = f"""
listen: [{address}, {host}:8081]
workers: 1
body-size: 100
url-size: 200
origins: https://a.example
timeout: 50ms
access-log: access.log
access-log-format: json
app:
  mailer: {{host: mail.example.com, port: 25, tls: no}}
"""
    with folder(configured_yml=text) as path:
        with serving(path) as program:
            for there in (address, f"{host}:8081"):
                got = json.loads(get(there, "/api/settings").text)
                equal((got["host"], got["port"], got["tls"]), ("mail.example.com", 25, False))
            equal(ask(address, "POST", "/api/settings", "x" * 101, Content_Type="application/json")[0], 413)
            equal(ask(address, "GET", "/api/settings?a=" + "x" * 200)[0], 414)
            equal(ask(address, "GET", "/api/wait?text=a")[0], 504)
            _, headers = ask(address, "GET", "/api/settings", Origin="https://b.example")
            equal(headers.get("Access-Control-Allow-Origin"), None)
            _, headers = ask(address, "GET", "/api/settings", Origin="https://a.example")
            equal(headers.get("Access-Control-Allow-Origin"), "https://a.example")
            stop(program)
        with open(os.path.join(path, "access.log")) as log:
            json.loads(log.readline())


def test_all_addresses_are_told_with_that_for_tcp():
    address = own_address()
    host = address.split(":")[0]
    text = f"listen: [{address}, {host}:8081]\ntcp: {host}:5000\nworkers: 2\n"
    with folder(configured_yml=text) as path:
        with serving(path, "http://localhost:8080, http://localhost:8081$", TCP_PORT="") as program:
            program.expect("telnet localhost 5000 ")
            with socket.create_connection((host, 5000), DEADLINE_S) as client:
                with client.makefile("rwb") as lines:
                    assert b"Welcome" in lines.readline()
                    lines.write(b"settings\r\n")
                    lines.flush()
                    equal(json.loads(lines.readline())["host"], "nowhere")
            stop(program)
        with serving(path, TCP_PORT="none") as program:
            try:
                socket.create_connection((host, 5000), DEADLINE_S).close()
                raise AssertionError("TCP is served")
            except ConnectionRefusedError:
                pass
            stop(program)


def test_a_client_that_stays_runs_as_many_as_it_may():
    address = own_address()
    text = f"listen: {address}\ntcp: {address.split(':')[0]}:5000\nworkers: 1\nsimultaneous-actions: 2\n"
    with folder(configured_yml=text) as path:
        with serving(path, TCP_PORT=""):
            with socket.create_connection((address.split(":")[0], 5000), DEADLINE_S) as client:
                with client.makefile("rwb") as lines:
                    assert b"Welcome" in lines.readline()
                    wait = b'{"action": "wait", "params": {"text": "a"}}\r\n'
                    lines.write(wait + wait + b"settings\r\n")
                    lines.flush()
                    answer = json.loads(lines.readline())
                    assert "too many" in answer["error"], answer


def test_a_reload_brings_the_file_into_force():
    address = own_address()
    text = f"listen: {address}\nworkers: 1\napp: {{mailer: {{host: HOST}}}}\n"
    with folder(configured_yml=text.replace("HOST", "old")) as path:
        with serving(path) as program:
            equal(json.loads(get(address, "/api/settings").text)["host"], "old")
            with open(os.path.join(path, "configured.yml"), "w") as file:
                file.write(text.replace("HOST", "new"))
            program.signal(signal.SIGHUP)
            while json.loads(get(address, "/api/settings").text)["host"] != "new":
                pass
            stop(program)


def test_a_reload_of_a_broken_file_changes_nothing():
    address = own_address()
    text = f"listen: {address}\nworkers: 1\n"
    with folder(configured_yml=text) as path:
        with serving(path) as program:
            with open(os.path.join(path, "configured.yml"), "w") as file:
                file.write(text + "wokers: 1\n")
            program.signal(signal.SIGHUP)
            program.expect("there is no setting 'wokers'")
            program.expect("reload failed")
            equal(get(address, "/api/settings").status, 200)
            stop(program)


@contextlib.contextmanager
def serving(path, said="workers serve", **environment):
    command = ["sh", "-c", 'cd "$0" && exec "$@"', path, CONFIGURED]
    with Program(*command, **environment) as program:
        program.expect(said)
        yield program


def stop(program):
    program.signal(signal.SIGTERM)
    program.end()


def ask(address, method, target, body=None, **headers):
    connection = http.client.HTTPConnection(*address.split(":"), DEADLINE_S)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body, sent)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers
    finally:
        connection.close()


sys.exit(main(globals()))
