"""Bad input: a problem or a `Failed` entry says what to change, and no other target is affected."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.harness.service import FORBIDDEN
from tests.service.conftest import Bench

GOOD = {"namespace": "research", "team": "report"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"", "body: is required", id="empty"),
        pytest.param(b"{", "not valid JSON", id="not-json"),
        pytest.param(b'"text"', "", id="text"),
        pytest.param(b"[]", "", id="list"),
        pytest.param(b"null", "", id="null"),
        pytest.param(b'{"namespace": "\xff", "team": "report"}', "not valid JSON", id="invalid-utf-8"),
        pytest.param(b"[" * 100_000, "", id="deep"),
        pytest.param(b'{"namespace": NaN, "team": "report"}', "NaN", id="nan"),
    ],
)
async def test_a_body_that_is_not_an_event_is_refused(bench: Bench, body: bytes, says: str) -> None:
    answer = await bench.service.request(
        "POST", "/deliveries", data=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.problem) == (422, "malformed")
    assert says in answer.body["detail"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"namespace": None}, "namespace", id="null-namespace"),
        pytest.param(
            {"namespace": "../secrets"}, "namespace: must be a lower-case DNS name", id="path-trick"
        ),
        pytest.param(
            {"team": "../../api/v1/secrets/x"}, "team: must be a lower-case DNS name", id="team-path"
        ),
        pytest.param({"team": "a" * 300}, "team: ", id="300-characters"),
        pytest.param({"team": "Report"}, "team: ", id="upper-case"),
        pytest.param({"team": "report\n"}, "team: ", id="newline"),
        pytest.param({"team": ""}, "team: ", id="empty"),
        pytest.param({"team": 7}, "team: ", id="number"),
        pytest.param({"uid": 7}, "uid: ", id="uid-number"),
        pytest.param({"event": "team.started"}, "event: ", id="unknown-event"),
        pytest.param({"phase": "Running"}, "phase must be one of Completed", id="phase-not-terminal"),
        pytest.param({"redeliver": "some"}, "redeliver: ", id="redeliver"),
        pytest.param({"targets": "webhook-0"}, "targets: ", id="targets-text"),
        pytest.param({"targets": []}, "targets: ", id="no-targets"),
        pytest.param({"test": "yes"}, "test: ", id="test-text"),
        pytest.param({"url": "https://evil.example.com"}, "url: is not a field", id="a-url"),
        pytest.param({"message": "hi"}, "message: is not a field", id="a-text"),
    ],
)
async def test_an_event_with_an_invalid_field_is_refused_with_the_field_s_name(
    bench: Bench, fields: dict[str, Any], says: str
) -> None:
    answer = await bench.service.request("POST", "/deliveries", json={**GOOD, **fields})
    assert answer.status == 422
    assert says in answer.body["detail"]


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_of_two_mebibytes_is_not_read(bench: Bench, declared: bool) -> None:
    body = json.dumps({**GOOD, "uid": "x" * 2 * 1024 * 1024}).encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {"Content-Type": "application/json"}
    if declared:
        headers["Content-Length"] = str(len(body))
    answer = await bench.service.request("POST", "/deliveries", data=chunks(), headers=headers)
    assert (answer.status, answer.problem) == (413, "body-too-large")


@pytest.mark.parametrize("query", ["dryRun=Some", "dryRun=", "dryrun=All", "x=1"])
async def test_an_unknown_parameter_never_sends(bench: Bench, query: str) -> None:
    namespace = await bench.finished({"type": "webhook", "url": bench.hook.url})
    before = len(bench.hook.requests)
    answer = await bench.service.deliver(namespace, "report", path=f"/deliveries?{query}")
    assert (answer.status, answer.problem) == (422, "malformed")
    assert len(bench.hook.requests) == before
    answer = await bench.service.deliver(namespace, "report", path=f"/previews?{query}")
    assert (answer.status, answer.problem) == (422, "malformed")


@pytest.mark.parametrize(
    "path", ["/deliveries/..%2Fsecrets/x", "/deliveries/a/B", f"/deliveries/a/{'b' * 300}"]
)
async def test_an_invalid_name_in_the_path_is_refused(bench: Bench, path: str) -> None:
    answer = await bench.service.request("GET", path)
    assert answer.status in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_team_that_does_not_exist_is_not_found(bench: Bench) -> None:
    for answer in (
        await bench.service.deliver("research", "absent"),
        await bench.service.read("research", "absent"),
    ):
        assert (answer.status, answer.problem) == (404, "team-not-found")


async def test_a_team_with_another_uid_is_another_team(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "url": bench.hook.url})
    answer = await bench.service.deliver(namespace, "report", uid="another")
    assert (answer.status, answer.problem) == (409, "uid-changed")


async def test_an_unknown_target_is_refused_with_the_known_names(bench: Bench) -> None:
    namespace = await bench.finished({"type": "webhook", "url": bench.hook.url})
    answer = await bench.service.deliver(namespace, "report", targets=["slack-9"])
    assert (answer.status, answer.problem) == (422, "unknown-target")
    assert "webhook-0" in answer.body["detail"]


SECRET = {"type": "slack", "name": "bad", "credentialsSecret": "credentials"}
KEY = "slack-webhook-url"


@pytest.mark.parametrize(
    ("target", "secret", "reason", "says"),
    [
        pytest.param(SECRET, {}, "SecretKeyMissing", KEY, id="no-key"),
        pytest.param(SECRET, {KEY: ""}, "SecretInvalid", "is empty", id="empty-value"),
        pytest.param(SECRET, {KEY: " \n"}, "SecretInvalid", "is empty", id="blank-value"),
        pytest.param(SECRET, {KEY: b"\xff\xfe"}, "SecretInvalid", "is not UTF-8 text", id="no-text"),
        pytest.param(SECRET, {KEY: "a\nb"}, "SecretInvalid", "one line", id="two-lines"),
        pytest.param(SECRET, {KEY: "hello"}, "SecretInvalid", "https://", id="no-url"),
        pytest.param(SECRET, {KEY: "http://127.0.0.1:99999/x"}, "SecretInvalid", "port", id="port-in-secret"),
        pytest.param(
            SECRET, {KEY: "http://u:hidden@127.0.0.1/"}, "SecretInvalid", "user info", id="user-info"
        ),
        pytest.param(SECRET, {KEY: "http://127.0.0.2/x"}, "EgressDenied", "host of Slack", id="not-slack"),
        pytest.param(
            {"type": "slack", "name": "bad"}, {}, "InvalidTarget", "credentialsSecret", id="no-secret"
        ),
        pytest.param(
            {"type": "slack", "name": "bad", "credentialsSecret": "../x"},
            {},
            "InvalidTarget",
            "credentialsSecret",
            id="secret-path",
        ),
        pytest.param({"type": "webhook", "name": "bad"}, {}, "InvalidTarget", "url", id="no-url-at-all"),
        pytest.param(
            {"type": "webhook", "name": "bad", "url": ""}, {}, "InvalidTarget", "url", id="empty-url"
        ),
        pytest.param(
            {"type": "webhook", "name": "bad", "url": "http://127.0.0.1:99999/"},
            {},
            "InvalidTarget",
            "port",
            id="port",
        ),
        pytest.param(
            {"type": "webhook", "name": "bad", "url": "https://me:hidden@h.example.com/"},
            {},
            "InvalidTarget",
            "user info",
            id="user-info-in-spec",
        ),
        pytest.param(
            {"type": "webhook", "name": "bad", "url": f"http://{FORBIDDEN}/"},
            {},
            "EgressDenied",
            "not public",
            id="private-address",
        ),
        pytest.param(
            {"type": "webhook", "name": "bad", "credentialsSecret": "absent"},
            {},
            "SecretNotFound",
            "create it",
            id="no-such-secret",
        ),
    ],
)
async def test_a_bad_target_says_what_to_change_and_the_other_is_delivered(
    bench: Bench, target: dict[str, Any], secret: dict[str, str | bytes], reason: str, says: str
) -> None:
    answer = await bench.delivered(target, {"type": "webhook", "url": bench.hook.url}, credentials=secret)
    bad, neighbour = answer.body["targets"]
    assert answer.status == 200
    assert (bad["phase"], bad["reason"]) == ("Failed", reason)
    assert says in bad["message"]
    assert "hidden" not in answer.content.decode()
    assert neighbour["phase"] == "Delivered"


async def test_a_trailing_newline_in_a_secret_is_accepted(bench: Bench) -> None:
    url = f"{bench.hook.url}/services/T/B/x\n"
    answer = await bench.delivered(SECRET, credentials={KEY: url})
    assert answer.body["phase"] == "Delivered"
    assert bench.hook.requests[-1].path == "/services/T/B/x"


async def test_200_targets_are_delivered(bench: Bench) -> None:
    answer = await bench.delivered(*[{"type": "webhook", "url": bench.hook.url}] * 200)
    assert answer.body["phase"] == "Delivered"
    assert len({target["name"] for target in answer.body["targets"]}) == 200


async def test_1001_targets_are_refused_as_a_whole(bench: Bench) -> None:
    before = len(bench.hook.requests)
    namespace = await bench.finished(*[{"type": "webhook", "url": bench.hook.url}] * 1001)
    answer = await bench.service.deliver(namespace, "report")
    assert (answer.status, answer.problem) == (422, "too-many-targets")
    assert "1000" in answer.body["detail"]
    assert len(bench.hook.requests) == before
    assert not await bench.kube.delivery(namespace, "report")


async def test_of_two_targets_with_one_name_the_first_is_delivered(bench: Bench) -> None:
    target = {"type": "webhook", "name": "chat", "url": bench.hook.url}
    answer = await bench.delivered(target, target)
    assert [(found["name"], found["reason"]) for found in answer.body["targets"]] == [
        ("chat", "Delivered"),
        ("chat-2", "InvalidTarget"),
    ]


async def test_an_unknown_path_or_method_is_a_problem_too(bench: Bench) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/deliveries", 405)):
        answer = await bench.service.request(method, path)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"a":' * 17 + "1" + "}" * 17, "it is nested more than 16 deep"),
        ("[" * 500, "it is nested more than 16 deep"),
        ("[" + ",".join(["[]"] * 10_001) + "]", "it contains more than 10000 lists and objects"),
        # A body without deep nesting is read, however large it is, and brackets inside text do not count.
        ('{"namespace": "x", "team": "y", "targets": [' + ",".join(["[]"] * 100) + "]}", "targets.0: "),
        ('{"namespace": "x", "team": "y", "more": "' + "[" * 100 + '"}', "more: is not a field"),
        ('{"namespace": "x", "team": "y", "more": ' + "[" * 15 + "]" * 15 + "}", "more: is not a field"),
        ("]" * 20 + "[" * 20, "the body is not valid JSON"),
    ],
    ids=["objects", "open", "many", "wide", "text", "as deep as may be", "crossed"],
)
async def test_deep_nesting_is_refused(bench: Bench, body: str, says: str) -> None:
    headers = {"content-type": "application/json"}
    answer = await bench.service.request("POST", "/deliveries", data=body.encode(), headers=headers)
    assert (answer.status, answer.problem) == (422, "malformed")
    assert says in answer.body["detail"]
