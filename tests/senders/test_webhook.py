"""The webhook sender: what it posts, how it signs, and how it interprets the answer."""

import base64
import json
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.senders.envelopes import Verdict
from tests.examples import CANARY, artifact, envelope
from tests.harness.receiver import Receiver
from tests.senders.sending import answer, attempt, attempt_on_loopback, faked

URL = "https://hooks.example.com/x"
HOOK = {"type": "webhook", "url": URL, "credentialsSecret": "keys"}
KEY = "whsec_" + base64.b64encode(b"a key of some length").decode()
MADE = envelope(
    message='Fertig: „Bericht“ <b> 🎉\n"quoted" \u2028 end',
    artifacts=(artifact("/workspace/output/übersicht.md", "übersicht.md", "writer", "2026-03-01T10:00:00Z"),),
)


async def test_the_envelope_is_json_with_six_keys() -> None:
    async with Receiver() as receiver:
        verdict = await attempt_on_loopback({**HOOK, "url": f"{receiver.url}/a?b=c"}, made=MADE)
    assert verdict == Verdict(Reason.DELIVERED, "answered 200", 200)
    (received,) = receiver.requests
    assert (received.method, received.path) == ("POST", "/a?b=c")
    assert received.headers["content-type"] == "application/json"
    assert json.loads(received.body) == {
        "event": "team.completed",
        "team": "report",
        "namespace": "research",
        "phase": "Completed",
        "message": 'Fertig: „Bericht“ <b> 🎉\n"quoted" \u2028 end',
        "artifacts": [
            {
                "name": "übersicht.md",
                "path": "/workspace/output/übersicht.md",
                "producedBy": "writer",
                "producedAt": "2026-03-01T10:00:00Z",
            }
        ],
    }


async def test_without_keys_a_request_has_an_id_and_a_time_but_no_signature() -> None:
    async with Receiver() as receiver:
        await attempt_on_loopback({"type": "webhook", "url": receiver.url})
    headers = receiver.requests[0].headers
    assert headers["webhook-id"] == "msg_0123456789abcdef"
    assert headers["webhook-timestamp"].isdigit()
    assert "webhook-signature" not in headers
    assert "authorization" not in headers


@pytest.mark.parametrize("secret", [KEY, f"{KEY}\n", f"  {KEY}  "], ids=["plain", "newline", "white space"])
async def test_the_signature_covers_the_exact_bytes_as_the_standard_requires(secret: str) -> None:
    async with Receiver() as receiver:
        await attempt_on_loopback({**HOOK, "url": receiver.url}, {"signing-secret": secret}, MADE)
    (received,) = receiver.requests
    verifier = Webhook(KEY)
    assert verifier.verify(received.body, received.headers)["team"] == "report"
    with pytest.raises(WebhookVerificationError):
        verifier.verify(received.body + b" ", received.headers)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(received.body, {**received.headers, "webhook-id": "msg_other"})
    with pytest.raises(WebhookVerificationError):
        Webhook(base64.b64encode(b"another key").decode()).verify(received.body, received.headers)


async def test_a_retry_has_the_same_id() -> None:
    async with Receiver() as receiver:
        for _ in range(2):
            await attempt_on_loopback({**HOOK, "url": receiver.url}, {"signing-secret": KEY})
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


async def test_the_authorization_header_comes_from_the_secret() -> None:
    async with Receiver() as receiver:
        await attempt_on_loopback(
            {**HOOK, "url": receiver.url}, {"authorization": f"Bearer {CANARY}\n", "unheard-of": "x"}
        )
    assert receiver.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert CANARY.encode() not in receiver.requests[0].body


async def test_the_secret_s_url_takes_precedence() -> None:
    async with Receiver() as public, Receiver() as private:
        for spec in ({**HOOK, "url": public.url}, {"type": "webhook", "credentialsSecret": "keys"}):
            verdict = await attempt_on_loopback(spec, {"url": f"{private.url}/{CANARY}\n"})
            assert verdict == Verdict(Reason.DELIVERED, "answered 200", 200)
    assert not public.requests
    assert [request.path for request in private.requests] == [f"/{CANARY}"] * 2


BAD_KEYS = [
    ("without its prefix", base64.b64encode(b"key").decode()),
    ("a prefix alone", "whsec_"),
    ("no base64", f"whsec_{CANARY}!"),
    ("no base64 at the end", "whsec_YWJj?"),
    ("white space inside", "whsec_YWJj YWJj"),
    ("no padding", "whsec_YQ"),
    ("base64 for URLs", "whsec_-_-_"),
    ("another script", "whsec_schlüssel"),
    ("a private key", f"-----BEGIN PRIVATE KEY----- {CANARY}"),
    ("an asymmetric key of the standard", "whsk_" + base64.b64encode(b"key").decode()),
]


@pytest.mark.parametrize("secret", [row[1] for row in BAD_KEYS], ids=[row[0] for row in BAD_KEYS])
async def test_an_invalid_signing_secret_is_reported_and_nothing_is_sent(secret: str) -> None:
    with faked() as router:
        error = await attempt(HOOK, {"signing-secret": secret})
        assert not router.calls
    assert isinstance(error, TargetError)
    assert error.reason is Reason.SECRET_INVALID
    assert error.message == 'key "signing-secret" of Secret "keys" must be whsec_ followed by base64'


BAD_VALUES: list[tuple[str, str, str | bytes, str]] = [
    ("an empty signing secret", "signing-secret", "", "is empty"),
    ("a signing secret in two lines", "signing-secret", f"{KEY}\n{KEY}", "must be one line"),
    ("an empty authorization", "authorization", "\n", "is empty"),
    ("an authorization of two lines", "authorization", f"a\r\nX-Evil: {CANARY}", "must be one line"),
    ("an authorization that is no ASCII", "authorization", f"Bearer ü{CANARY}", "must be ASCII"),
    ("an authorization that is no text", "authorization", b"\xff\xfe", "is not UTF-8 text"),
    ("an empty url", "url", "", "is empty"),
    ("a url that is no text", "url", b"\xff\xfe", "is not UTF-8 text"),
    ("a url of two lines", "url", f"{URL}\n{URL}", "must be one line"),
    ("a url without https", "url", f"hooks.example.com/{CANARY}", "must start with https://"),
    ("a url without a host", "url", f"https:///{CANARY}", "has no host"),
    ("a url with user info", "url", f"https://a:{CANARY}@hooks.example.com/", "must not contain user info"),
    ("a url with white space", "url", f"https://hooks.example.com/ {CANARY}", "must not contain white space"),
    (
        "a url with a bad port",
        "url",
        f"https://hooks.example.com:{CANARY}/",
        "has a port that is not a number",
    ),
    ("a url with a bad host", "url", f"https://a..{CANARY}/", "is not a valid URL"),
]


@pytest.mark.parametrize(
    ("key", "value", "problem"), [row[1:] for row in BAD_VALUES], ids=[row[0] for row in BAD_VALUES]
)
async def test_an_invalid_value_in_the_secret_is_reported_and_nothing_is_sent(
    key: str, value: str | bytes, problem: str
) -> None:
    with faked() as router:
        error = await attempt(HOOK, {key: value})
        assert not router.calls
    assert isinstance(error, TargetError)
    assert error.reason is Reason.SECRET_INVALID
    assert error.message.startswith(f'key "{key}" of Secret "keys" {problem}')
    assert CANARY not in error.message
    assert (error.retryable, error.attempted) == (False, False)


BAD_URLS = [
    ("hooks.example.com/x", "url: must start with https://"),
    ("https://", "url: has no host"),
    (f"https://user:{CANARY}@hooks.example.com/", "url: must not contain user info"),
    ("https://hooks.example.com:0/", "url: has a port that is not a number from 1 to 65535"),
    ("https://hooks.example.com/\n", "url: must not contain white space or control characters"),
    ("https://[::1", "url: is not a valid URL"),
    (f"https://{'a' * 64}.example.com", "url: is not a valid URL"),
]


@pytest.mark.parametrize(("url", "problem"), BAD_URLS)
async def test_an_invalid_url_in_the_spec_is_an_error_of_the_target(url: str, problem: str) -> None:
    with faked() as router:
        error = await attempt({**HOOK, "url": url})
        assert not router.calls
    assert isinstance(error, TargetError)
    assert error.reason is Reason.INVALID_TARGET
    assert error.message.startswith(problem)
    assert CANARY not in error.message
    assert (error.retryable, error.attempted) == (False, False)


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com/", "https://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/"]
)
@pytest.mark.parametrize("secret", [True, False], ids=["from the Secret", "from the spec"])
async def test_an_address_that_is_not_allowed_is_denied(url: str, secret: bool) -> None:
    with faked() as router:
        error = await attempt(HOOK if secret else {**HOOK, "url": url}, {"url": url} if secret else {})
        assert not router.calls
    assert isinstance(error, TargetError)
    assert (error.reason, error.retryable, error.attempted) == (Reason.EGRESS_DENIED, False, False)


async def test_without_a_url_the_error_names_the_missing_key() -> None:
    error = await attempt({"type": "webhook", "credentialsSecret": "keys"}, {"authorization": "x"})
    assert isinstance(error, TargetError)
    assert error.reason is Reason.SECRET_KEY_MISSING
    assert error.message == 'Secret "keys" has no key "url"; add it'


STATUSES: list[tuple[int, Reason, bool, str]] = [
    (200, Reason.DELIVERED, False, "answered 200"),
    (201, Reason.DELIVERED, False, "answered 201"),
    (202, Reason.DELIVERED, False, "answered 202"),
    (204, Reason.DELIVERED, False, "answered 204"),
    (299, Reason.DELIVERED, False, "answered 299"),
    *(
        (
            status,
            Reason.REDIRECTED,
            False,
            f"answered {status}: redirects are refused; give the final address",
        )
        for status in (300, 301, 302, 303, 304, 307, 308, 399)
    ),
    (400, Reason.HTTP_STATUS, False, "answered 400 Bad Request"),
    (401, Reason.HTTP_STATUS, False, "answered 401 Unauthorized"),
    (403, Reason.HTTP_STATUS, False, "answered 403 Forbidden"),
    (404, Reason.HTTP_STATUS, False, "answered 404 Not Found"),
    (407, Reason.HTTP_STATUS, False, "answered 407 Proxy Authentication Required"),
    (408, Reason.HTTP_STATUS, True, "answered 408 Request Timeout"),
    (409, Reason.HTTP_STATUS, False, "answered 409 Conflict"),
    (410, Reason.HTTP_STATUS, False, "answered 410 Gone"),
    (425, Reason.HTTP_STATUS, True, "answered 425 Too Early"),
    (429, Reason.RATE_LIMITED, True, "answered 429 Too Many Requests"),
    (431, Reason.HTTP_STATUS, False, "answered 431 Request Header Fields Too Large"),
    (499, Reason.HTTP_STATUS, False, "answered 499"),
    (500, Reason.HTTP_STATUS, True, "answered 500 Internal Server Error"),
    (501, Reason.HTTP_STATUS, False, "answered 501 Not Implemented"),
    (502, Reason.HTTP_STATUS, True, "answered 502 Bad Gateway"),
    (503, Reason.HTTP_STATUS, True, "answered 503 Service Unavailable"),
    (504, Reason.HTTP_STATUS, True, "answered 504 Gateway Timeout"),
    (505, Reason.HTTP_STATUS, False, "answered 505 HTTP Version Not Supported"),
    (599, Reason.HTTP_STATUS, False, "answered 599"),
    (999, Reason.HTTP_STATUS, False, "answered 999"),
]


@pytest.mark.parametrize(("status", "reason", "retryable", "message"), STATUSES)
async def test_every_status_has_its_verdict(
    status: int, reason: Reason, retryable: bool, message: str
) -> None:
    with faked() as router:
        route = router.post(URL).mock(return_value=answer(status, CANARY, location=f"https://{CANARY}/"))
        verdict = await attempt(HOOK)
    assert route.call_count == 1
    assert isinstance(verdict, Verdict)
    assert (verdict.reason, verdict.retryable, verdict.message) == (reason, retryable, message)
    assert (verdict.http_status, verdict.attempted) == (status, True)


RETRY_AFTERS: list[tuple[int, str, float | None]] = [
    (429, "7", 7.0),
    (503, "120", 120.0),
    (500, "soon", None),
    (404, "7", None),
    (301, "7", None),
    (200, "7", None),
]


@pytest.mark.parametrize(("status", "value", "seconds"), RETRY_AFTERS)
async def test_retry_after_counts_only_if_another_attempt_follows(
    status: int, value: str, seconds: float | None
) -> None:
    with faked() as router:
        router.post(URL).mock(return_value=answer(status, retry_after=value))
        verdict = await attempt(HOOK)
    assert isinstance(verdict, Verdict)
    assert verdict.retry_after == seconds


async def test_environment_variables_do_not_change_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    headers: list[httpx.Headers] = []

    def note(request: httpx.Request) -> httpx.Response:
        headers.append(request.headers)
        return answer(204)

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with faked() as router:
        router.post(URL).mock(side_effect=note)
        given: dict[str, Any] = {"signing-secret": KEY, "authorization": "Basic eDp5"}
        await attempt(HOOK, given)
    assert {name for name in headers[0] if name not in {"accept", "user-agent", "connection"}} == {
        "content-type",
        "accept-encoding",
        "authorization",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }
