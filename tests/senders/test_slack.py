"""The Slack sender: where it posts, and how it interprets Slack's answers."""

import json

import pytest

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.senders.envelopes import Verdict
from app.senders.messages import slack_message
from app.senders.slack import ERRORS
from app.settings import ServiceSettings
from tests.examples import CANARY, envelope
from tests.harness.receiver import Receiver
from tests.senders.sending import answer, attempt, attempt_on_loopback, faked

URL = "https://hooks.slack.com/services/T000/B000/XXXX"
SPEC = {"type": "slack", "credentialsSecret": "keys"}
MADE = envelope(message="Fertig: „Bericht“ <!channel> 🎉")


async def test_the_message_is_sent_as_json_and_nothing_else() -> None:
    async with Receiver() as receiver:
        verdict = await attempt_on_loopback(
            SPEC, {"slack-webhook-url": f"{receiver.url}/services/{CANARY}\n", "authorization": "x"}, MADE
        )
    assert verdict == Verdict(Reason.DELIVERED, "answered 200", 200)
    (received,) = receiver.requests
    assert (received.method, received.path) == ("POST", f"/services/{CANARY}")
    assert received.headers["content-type"] == "application/json"
    assert json.loads(received.body) == slack_message(MADE)
    assert not {"authorization", "webhook-id", "webhook-signature"} & set(received.headers)
    assert b"<!channel>" not in received.body


async def test_the_channel_of_the_target_is_requested() -> None:
    async with Receiver() as receiver:
        secret: dict[str, str | bytes] = {"slack-webhook-url": f"{receiver.url}/services/{CANARY}"}
        await attempt_on_loopback({**SPEC, "channel": "#weekly-digest"}, secret, MADE)
    (received,) = receiver.requests
    assert json.loads(received.body) == {"channel": "#weekly-digest", **slack_message(MADE)}


HOSTS = [
    ("https://hooks.slack.com/services/x", True),
    ("https://hooks.slack-gov.com/services/x", True),
    ("https://HOOKS.Slack.COM/services/x", True),
    ("https://hooks.slack.com:443/services/x", True),
    ("https://hooks.slack.com:8443/services/x", True),
    (f"https://hooks.slack.com.{CANARY}.example/services/x", False),
    ("https://evil-hooks.slack.com/services/x", False),
    ("https://slack.com/services/x", False),
    (f"https://{CANARY}.example/hooks.slack.com/", False),
    (f"https://{CANARY}.example/?hooks.slack.com", False),
    (f"https://{CANARY}.example/#@hooks.slack.com", False),
    ("https://hооks.slack.com/services/x", False),  # noqa: RUF001  # two Cyrillic letters, on purpose
    ("http://hooks.slack.com/services/x", False),
    ("https://127.0.0.1/services/x", False),
    ("https://10.0.0.1/services/x", False),
]


@pytest.mark.parametrize(("url", "allowed"), HOSTS)
async def test_messages_are_sent_only_to_slack_s_own_hosts(url: str, allowed: bool) -> None:
    with faked() as router:
        route = router.post(url__regex=".*").mock(return_value=answer(200, "ok"))
        told = await attempt(SPEC, {"slack-webhook-url": url})
        assert route.called is allowed
    assert told.reason is (Reason.DELIVERED if allowed else Reason.EGRESS_DENIED)
    assert CANARY not in told.message
    if isinstance(told, TargetError):
        assert (told.retryable, told.attempted) == (False, False)


async def test_an_error_about_another_host_names_the_secret_and_its_key() -> None:
    error = await attempt(SPEC, {"slack-webhook-url": f"https://{CANARY}.example/"})
    assert error.message == 'key "slack-webhook-url" of Secret "keys" is not on a host of Slack'


async def test_slack_s_hosts_are_a_setting() -> None:
    settings = ServiceSettings.load(slack_hosts="Slack.Example.com")
    with faked() as router:
        router.post("https://slack.example.com/x").mock(return_value=answer(200, "ok"))
        ours = await attempt(SPEC, {"slack-webhook-url": "https://slack.example.com/x"}, settings=settings)
        theirs = await attempt(SPEC, {"slack-webhook-url": URL}, settings=settings)
    assert (ours.reason, theirs.reason) == (Reason.DELIVERED, Reason.EGRESS_DENIED)


BAD_URLS: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "is empty"),
    ("white space", " \n", "is empty"),
    ("no text", b"\xff\xfe", "is not UTF-8 text"),
    ("two lines", f"{URL}\n{URL}", "must be one line"),
    ("a command", f"curl -X POST {URL}/{CANARY}", "must not contain white space"),
    ("no scheme", f"hooks.slack.com/services/{CANARY}", "must start with https://"),
    ("quoted", f'"{URL}/{CANARY}"', "must start with https://"),
    ("another scheme", f"ftp://hooks.slack.com/{CANARY}", "must start with https://"),
    ("no host", f"https:///services/{CANARY}", "has no host"),
    ("user info", f"https://{CANARY}@hooks.slack.com/", "must not contain user info"),
    ("a bad port", f"https://hooks.slack.com:{CANARY}/", "has a port that is not a number"),
    ("no URL", f"https://[{CANARY}]/", "is not a valid URL"),
]


@pytest.mark.parametrize(
    ("value", "problem"), [row[1:] for row in BAD_URLS], ids=[row[0] for row in BAD_URLS]
)
async def test_an_error_about_an_invalid_url_names_the_secret_and_its_key(
    value: str | bytes, problem: str
) -> None:
    with faked() as router:
        error = await attempt(SPEC, {"slack-webhook-url": value})
        assert not router.calls
    assert isinstance(error, TargetError)
    assert error.reason is Reason.SECRET_INVALID
    assert error.message.startswith(f'key "slack-webhook-url" of Secret "keys" {problem}')
    assert CANARY not in error.message
    assert (error.retryable, error.attempted) == (False, False)


async def test_an_error_about_a_secret_without_the_url_names_the_missing_key() -> None:
    error = await attempt(SPEC, {"url": URL})
    assert isinstance(error, TargetError)
    assert error.reason is Reason.SECRET_KEY_MISSING
    assert error.message == 'Secret "keys" has no key "slack-webhook-url"; add it'


WORDS = [
    (400, "invalid_payload", "Slack did not understand the message"),
    (400, "user_not_found", "the user is gone; make a webhook for another"),
    (403, "action_prohibited", "an administrator of the workspace forbids this; ask them"),
    (403, "invalid_token", "the webhook is no longer valid; make a new one"),
    (404, "channel_not_found", "the channel is gone; make a webhook for another"),
    (404, "no_service", "the webhook is disabled, removed or not valid; make a new one"),
    (404, "no_team", "the URL is not complete, or the workspace is gone; copy it again"),
    (410, "channel_is_archived", "unarchive the channel, or make a webhook for another"),
]


@pytest.mark.parametrize(("status", "word", "advice"), WORDS)
async def test_slack_s_error_is_reported_with_a_remedy(status: int, word: str, advice: str) -> None:
    with faked() as router:
        router.post(URL).mock(return_value=answer(status, f"{word}\n"))
        verdict = await attempt(SPEC, {"slack-webhook-url": URL})
    assert verdict == Verdict(Reason.HTTP_STATUS, f"answered {status} {word}: {advice}", status)


@pytest.mark.parametrize("word", ERRORS)
async def test_every_error_of_slack_has_advice_on_one_line(word: str) -> None:
    assert word.isidentifier()
    assert ERRORS[word].isprintable()
    assert len(ERRORS[word]) > 10


FOREIGN_BODIES = [
    ("an unknown word", CANARY.encode()),
    ("a known word and more", b"no_service " + CANARY.encode()),
    ("a known word at the end", CANARY.encode() + b" no_service"),
    ("HTML", f"<html>{CANARY}</html>".encode()),
    ("JSON", json.dumps({"error": CANARY}).encode()),
    ("no text", b"\xff\xfe\x00" + CANARY.encode()),
    ("a long text", CANARY.encode() * 1000),
    ("nothing", b""),
]


@pytest.mark.parametrize("body", [row[1] for row in FOREIGN_BODIES], ids=[row[0] for row in FOREIGN_BODIES])
async def test_no_other_text_of_an_answer_is_shown(body: bytes) -> None:
    with faked() as router:
        router.post(URL).mock(return_value=answer(404, body))
        verdict = await attempt(SPEC, {"slack-webhook-url": URL})
    assert verdict == Verdict(Reason.HTTP_STATUS, "answered 404 Not Found", 404)


STATUSES: list[tuple[int, Reason, bool]] = [
    (200, Reason.DELIVERED, False),
    (204, Reason.DELIVERED, False),
    (301, Reason.REDIRECTED, False),
    (302, Reason.REDIRECTED, False),
    (400, Reason.HTTP_STATUS, False),
    (403, Reason.HTTP_STATUS, False),
    (404, Reason.HTTP_STATUS, False),
    (408, Reason.HTTP_STATUS, True),
    (410, Reason.HTTP_STATUS, False),
    (425, Reason.HTTP_STATUS, True),
    (429, Reason.RATE_LIMITED, True),
    (500, Reason.HTTP_STATUS, True),
    (502, Reason.HTTP_STATUS, True),
    (503, Reason.HTTP_STATUS, True),
    (504, Reason.HTTP_STATUS, True),
]


@pytest.mark.parametrize(("status", "reason", "retryable"), STATUSES)
async def test_every_status_has_its_verdict(status: int, reason: Reason, retryable: bool) -> None:
    with faked() as router:
        router.post(URL).mock(return_value=answer(status))
        verdict = await attempt(SPEC, {"slack-webhook-url": URL})
    assert isinstance(verdict, Verdict)
    assert (verdict.reason, verdict.retryable, verdict.http_status) == (reason, retryable, status)


async def test_slack_s_rate_limit_is_reported_with_its_wait() -> None:
    with faked() as router:
        router.post(URL).mock(return_value=answer(429, "rate_limited", retry_after="30"))
        verdict = await attempt(SPEC, {"slack-webhook-url": URL})
    assert verdict == Verdict(
        Reason.RATE_LIMITED,
        "answered 429 rate_limited: too many messages at once",
        429,
        retryable=True,
        retry_after=30.0,
    )
