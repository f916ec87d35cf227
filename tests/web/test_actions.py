"""Which action is asked, with what, and how it is answered."""

import re
import sys

from web import HEX40, UUID, complains, serving

from program import equal, main


def test_an_answer_to_the_byte():
    with serving() as (_, client):
        answer = client.get("/api/made")
        equal(answer.status, 201)
        pattern = (
            r'\{"serverInformation":\{"serverName":"webtest","apiVersion":"3.2.1",'
            r'"requestDuration":\d+,"currentTime":\d{13}\},"requesterInformation":\{'
            rf'"id":"({HEX40})-({UUID})","fingerprint":"({HEX40})","messageId":"({UUID})",'
            r'"remoteIP":"127.0.0.1","receivedParams":\{"action":"made"\}\}\}'
        )
        match = re.fullmatch(pattern, answer.body.decode())
        assert match, answer.body
        equal((match[1], match[2]), (match[3], match[4]))
        equal(
            answer.headers["set-cookie"],
            f"sessionID={match[1]}; Path=/; HttpOnly; SameSite=Lax",
        )
        equal(answer.headers["content-type"], "application/json")
        equal(answer.headers["access-control-allow-origin"], "*")


def test_both_blocks_can_be_switched_off():
    with serving(TEST_BARE="1") as (_, client):
        equal(client.get("/api/made").body, b"{}")
        equal(client.get("/api/teapot").json, {"error": 'I am "a teapot"'})
        equal(client.get("/api/nope?callback=f").body.decode()[:12], 'f({"error":"')


def test_a_session_is_given_once_and_believed():
    with serving() as (_, client):
        first = client.get("/api/echo")
        cookie = first.headers["set-cookie"].split(";")[0]
        second = client.get("/api/echo", Cookie=f"a=b; {cookie}; c=d")
        assert "set-cookie" not in second.headers
        equal(second.json["fingerprint"], first.json["fingerprint"])
        assert second.json["connection"] != first.json["connection"]
        fingerprint = second.json["requesterInformation"]["fingerprint"]
        equal(fingerprint, second.json["fingerprint"])
        for bad in ("", "a b", '"><script>', "x" * 129):
            odd = client.get("/api/echo", Cookie=f"sessionID={bad}")
            assert re.fullmatch(HEX40, odd.json["fingerprint"]), odd.body
            assert "set-cookie" in odd.headers


def test_where_an_action_is_found():
    with serving() as (_, client):
        for target in ("/api/made", "/api/made/", "/api?action=made"):
            equal(client.get(target).status, 201)
        equal(client.get("/api/%6dade").params, {"action": "made"})
        equal(client.get("/api/made?action=teapot").status, 201)
        equal(client.post("/api", '{"action":"made"}').status, 201)
        unknown = "unknown action or invalid apiVersion"
        for target in ("/api", "/api/", "/api/nope", "/api/made/x", "/api/mad"):
            complains(client.get(target), 404, unknown)
        complains(client.get("/api/made%00"), 404, unknown)
        complains(client.get("/apix/made"), 404, "there is nothing here")
        complains(client.get("/"), 404, "there is nothing here")
        complains(
            client.get("/api/hidden"),
            400,
            "this action does not support the connection type",
        )


def test_versions():
    with serving() as (_, client):
        equal(client.get("/api/echo").json["version"], 10)
        equal(client.get("/api/echo?apiVersion=2").json["version"], 2)
        equal(client.get("/api/echo?apiVersion=").json["version"], 10)
        answer = client.post("/api/echo", '{"apiVersion":1}')
        equal((answer.json["version"], answer.params["apiVersion"]), (1, "1"))
        for bad in ("3", "0", "x", "-1", "1.0", "99999999999"):
            answer = client.get(f"/api/echo?apiVersion={bad}")
            complains(answer, 404, "unknown action or invalid apiVersion")


def test_routes():
    with serving() as (_, client):
        number = client.get("/items/42").json
        equal((number["id"], number["version"]), ("42", 2))
        word = client.get("/ITEMS/caf%C3%A9%2fx+y").json
        equal((word["id"], word["version"]), ("café/x+y", 10))
        equal(client.get("/items/abc?apiVersion=1").json["version"], 1)
        equal(client.get("/items/42?apiVersion=1").json["version"], 2)
        equal(client.ask("PUT", "/items/42").status, 201)
        equal(client.ask("HEAD", "/items/42").status, 200)
        wrong = client.ask("DELETE", "/items/42")
        complains(wrong, 405, "the method is not allowed here")
        equal(wrong.headers["allow"], "GET, HEAD, PUT, OPTIONS")
        equal(client.get("/files/a/b%20c/d").json["rest"], "a/b c/d")
        equal(client.get("/files").json["rest"], None)
        equal(client.post("/api/teapot", "{}").status, 201)
        equal(client.get("/api/teapot").status, 418)
        equal(client.get("/items/").status, 404)
        equal(client.get("/items/a%00b").status, 404)


def test_later_parameters_win():
    with serving() as (_, client):
        equal(client.get("/items/1?id=2").json["id"], "2")
        answer = client.post("/files/x?text=query&id=query", '{"text":"body"}')
        equal((answer.json["text"], answer.json["id"]), ("body", "query"))
        equal(client.get("/api/echo?text=a&text=b").json["text"], "b")
        equal(client.get("/api/echo?text=a+b%26&nope=1").json["text"], "a b&")
        equal(client.get("/api/echo?text=1&nope=1").params, {"text": "1", "action": "echo"})


def test_inputs():
    with serving() as (_, client):
        answer = client.get("/api/logIn")
        complains(
            answer,
            422,
            "user is a required parameter for this action; "
            "password is a required parameter for this action",
        )
        equal(client.get("/api/strict?text=1").status, 201)
        answer = client.get("/api/strict?text=1&apiVersion=1&callback=f")
        equal(answer.status, 201)
        complains(
            client.get("/api/strict?text=1&other=2"),
            422,
            "other is no parameter of this action",
        )
        complains(client.get("/api/nap?ms=x"), 422, "ms has to be an integer")


def test_secrets_are_not_shown():
    with serving() as (_, client):
        answer = client.post(
            "/api/logIn",
            '{"user":"u","password":"hush","person":{"city":"V","card":"hush","x":"hush"}}',
        )
        equal(
            answer.params,
            {
                "user": "u",
                "password": "[FILTERED]",
                "person": {"city": "V", "card": "[FILTERED]"},
                "action": "logIn",
            },
        )
        for target in (
            "/api/logIn?password=hush",
            "/api/guarded?password=hush",
            "/api/nope?password=hush",
            "/api/logIn?password=hush&apiVersion=9",
        ):
            answer = client.get(target)
            assert answer.status in (422, 403, 404), answer.status
            assert b"hush" not in answer.body, answer.body


def test_statuses():
    with serving() as (_, client):
        complains(client.get("/api/teapot"), 418, 'I am "a teapot"')
        complains(client.get("/api/guarded"), 403, "not you")
        complains(client.get("/api/broken"), 500, "it is broken")
        nothing = client.get("/api/nothing")
        equal((nothing.status, nothing.body), (204, b""))
        assert "content-length" not in nothing.headers
        equal(len(client.get("/api/big").json["text"]), 300 * 1024)
        late = client.get("/api/shortNap")
        complains(late, 504, "the action took too long")
        trace = client.ask("TRACE", "/api/made")
        complains(trace, 405, "the method is not allowed here")
        equal(trace.headers["allow"], "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        head = client.ask("HEAD", "/api/made")
        equal(head.status, 201)
        assert int(head.headers["content-length"]) > 300


def test_jsonp():
    with serving() as (_, client):
        answer = client.get("/api/teapot?callback=app.on[3]")
        equal(answer.status, 418)
        assert answer.body.startswith(b'app.on[3]({"error":"I am'), answer.body
        assert answer.body.endswith(b'"callback":"app.on[3]","action":"teapot"}}});')
        equal(answer.headers["content-type"], "application/javascript")
        equal(answer.headers["x-content-type-options"], "nosniff")
        for bad in ("cb(1)%3C", "a-b", "alert%281%29//", "x" * 129, "%2f%2f"):
            answer = client.get(f"/api/made?callback={bad}")
            complains(answer, 400, "callback is not the name of a function")


def test_pages_of_other_origins():
    with serving() as (_, client):
        answer = client.ask(
            "OPTIONS", "/api/made", Origin="https://b.example", Access_Control_Request_Method="PUT"
        )
        equal((answer.status, answer.body), (200, b""))
        equal(answer.headers["access-control-allow-origin"], "*")
        assert "PUT" in answer.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in answer.headers
    with serving(TEST_BARE="1") as (_, client):
        answer = client.get("/api/made", Origin="https://a.example")
        equal(answer.headers["access-control-allow-origin"], "https://a.example")
        equal(answer.headers["vary"], "Origin")
        answer = client.get("/api/made", Origin="https://b.example")
        assert "access-control-allow-origin" not in answer.headers


def test_openapi():
    with serving() as (_, client):
        document = client.get("/openapi.json").json
        equal(document["openapi"], "3.1.0")
        equal(document["info"], {"title": "webtest", "version": "3.2.1"})
        paths = document["paths"]
        assert "/api/hidden" not in paths and "/api/echo" in paths
        equal(list(paths["/items/{id}"]), ["get", "put"])
        equal(paths["/items/{id}"]["get"]["parameters"][0]["in"], "path")
        assert "/files/{rest}" in paths
        names = set()
        for path in paths.values():
            for operation in path.values():
                assert operation["operationId"] not in names, operation
                names.add(operation["operationId"])
        body = paths["/api/logIn"]["post"]["requestBody"]["content"]
        schema = body["application/json"]["schema"]
        equal(schema["required"], ["user", "password"])
        equal(schema["properties"]["person"]["properties"]["card"]["format"], "password")


def test_pipelined_answers_come_in_order():
    with serving() as (_, client):
        request = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
        targets = ["/api/nap?ms=20"] + [f"/api/echo?text={i}" for i in range(20)]
        client.send("".join(request.format(target) for target in targets).encode())
        equal(client.answer().json["code"], 0)
        for i in range(20):
            equal(client.answer().json["text"], str(i))


if __name__ == "__main__":
    sys.exit(main(globals()))
