"""Twice the input takes at most twice the work, and input over a limit takes none."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from time import process_time
from typing import Any

import pytest

from app.delivery.dispatch import reported
from app.domain import bounds
from app.domain.errors import TargetError
from app.domain.events import CompletionEvent
from app.domain.ledger import Terms, decide
from app.domain.mailboxes import Mailbox
from app.domain.record import Listed
from app.domain.targets import EmailTarget, InvalidTarget, is_notified, labels_of, read_targets
from app.domain.teams import AgentTeam
from app.egress.client import HttpClient
from app.egress.guard import Guard
from app.egress.sockets import Dialler
from app.senders import artifacts as picking
from app.senders.artifacts import Artifacts
from app.senders.credentials import Credentials
from app.senders.documents import as_html, as_text, title
from app.senders.envelopes import Drafts, Envelope
from app.senders.google_folders import names_of
from app.senders.google_tokens import read_service_account
from app.senders.mail import compose_mail, recipients_of, written
from app.senders.messages import compose, slack_message
from app.senders.relays import relay_of
from app.senders.webhook import WebhookSender
from app.telemetry.tracing import Tracing
from tests.examples import NOW, envelope, loopback_settings, team

MOST_GROWTH = 3.2
"""Of CPU time over a doubling: two for what is linear, four for what is quadratic."""
FLOOR = 0.001  # seconds; work that takes less is not compared
LONG = 0.02  # seconds
PATIENCE = 20  # further measurements of what seems to take too long
MOST_CALL_GROWTH = 2.2  # a count of calls, which does not depend on the machine
MOST_CALLS = 40_000  # work with fewer calls passes

REPEATED = (
    " ", "a", "a.", "/", "/..", "[", "[a]*", "*a", "**/", "{team}", "{a", "<", "a@", "%", "é", "\u0301\u0315",
    "İ", "xn--", "1", "=?", ",", '"', "\n", "&", "🎉", "\ud800", " [agentteam-delivery/1 ",
)  # fmt: skip
"""Texts that an author could repeat without end."""


def webhook(text: str) -> str:
    return f"https://{text}"


SHAPES: dict[str, Callable[[str], str]] = {
    "bare": str,
    "as a host": webhook,
    "in a path": "https://h/{}".format,
}

Work = Callable[[str], Any]


def a_target(**fields: Any) -> None:
    """Do everything that the service does with a target before it sends."""
    entry = {"type": "webhook", **fields}
    (target,) = read_targets([entry])
    for label in labels_of(entry):
        hash(label)
    if isinstance(target, InvalidTarget):
        return
    finished = team([entry], artifacts=[{"name": "a", "path": "/workspace/output/" + "a" * 200}])
    made = asyncio.run(composed(finished, target))
    if url := getattr(target, "url", None):
        Guard().check(url)
    if isinstance(target, EmailTarget):
        recipients_of(target)
        written(compose_mail(made, target, ("a@b.c",), Mailbox("a@b.c"), at=NOW))
    if folder := getattr(target, "folder", None):
        names_of(folder)


async def composed(finished: AgentTeam, target: Any, artifacts: Artifacts | None = None) -> Envelope:
    return compose(
        finished,
        target,
        await (artifacts or Artifacts(finished)).listed_for(target),
        message_id="msg_1",
        event="team.completed",
        phase="Completed",
        most=40_000,
        drafts=Drafts(),
    )


def a_status(**status: Any) -> None:
    """Read a team with this status, plan for it, and write its texts for people."""
    finished = team([{"type": "webhook", "url": "https://h/"}, {"type": "email", "to": ["a@b.c"]}], **status)
    finished.record.reads_back({}, finished.record.written({}))
    terms = Terms("us", NOW, timedelta(minutes=3), 10)
    decide(finished, CompletionEvent(namespace="research", team="report"), terms, start=True)
    (target, _) = read_targets(finished.targets)
    made = asyncio.run(composed(finished, target))
    for write in (as_text, as_html, slack_message, title, Envelope.body):
        write(made)


def a_secret(key: str, text: str) -> None:
    """Read the value of a Secret's key, as its sender does."""
    value = text.encode(errors="replace")
    credentials = Credentials.kept("keys", {**SECRETS.get(key, {}), key: value}, {key, *SECRETS.get(key, {})})
    if key in {"url", "signing-secret", "authorization"}:
        (target,) = read_targets([{"type": "webhook", "url": "https://h/", "credentialsSecret": "keys"}])
        made = asyncio.run(composed(team(), target))
        asyncio.run(sent(made, target, credentials))
    elif key == "service-account.json":
        read_service_account(credentials)
    elif key == "slack-webhook-url":
        Guard().check(credentials.require(key))
    else:
        relay = relay_of(SETTINGS, "keys", credentials)
        Dialler(CLIENT).check(relay.host, relay.port)


async def sent(made: Envelope, target: Any, credentials: Credentials) -> None:
    sender = WebhookSender(CLIENT, Tracing())
    sender._outgoing(made, credentials, sender.way(target, credentials))  # noqa: SLF001  # the message that would be sent


SETTINGS = loopback_settings()
CLIENT = HttpClient(SETTINGS)
RELAY = {"smtp-host": b"relay.example.com", "from": b"a@b.c"}
OF_A_RELAY = ("smtp-host", "smtp-port", "smtp-tls", "smtp-username", "smtp-password", "from")
SECRETS = dict.fromkeys(OF_A_RELAY, RELAY)
ENTRY = {"type": "webhook", "success": False, "deliveredAt": "2026-03-01T11:00:00Z", "target": "https://h/"}
MARK = " [agentteam-delivery/1 id="
CHAT = {"type": "slack", "credentialsSecret": "keys"}

ENTRANCES: dict[str, tuple[int, Work]] = {
    "name": (bounds.NAME.most, lambda text: a_target(url="https://h/", name=text)),
    "type": (63, lambda text: a_target(type=text)),
    "url": (bounds.URL.most, lambda text: a_target(url=text)),
    "message": (bounds.MESSAGE.most, lambda text: a_target(url="https://h/", message=text)),
    "artifactPath": (bounds.PATTERN.most, lambda text: a_target(url="https://h/", artifactPath=text)),
    "channel": (bounds.CHANNEL.most, lambda text: a_target(**CHAT, channel=text)),
    "credentialsSecret": (253, lambda text: a_target(type="slack", credentialsSecret=text)),
    "to": (bounds.RECIPIENT.most, lambda text: a_target(type="email", to=[text])),
    "subject": (bounds.SUBJECT.most, lambda text: a_target(type="email", to=["a@b.c"], subject=text)),
    "attachmentPath": (bounds.PATTERN.most, lambda text: a_target(type="email", attachmentPath=text)),
    "folder": (bounds.FOLDER.most, lambda text: a_target(type="google-drive", folder=text)),
    "an artifact's path": (bounds.ARTIFACT_TEXT.most, lambda text: a_status(artifacts=[{"path": text}])),
    "an artifact's name": (
        bounds.ARTIFACT_TEXT.most,
        lambda text: a_status(artifacts=[{"name": text, "producedBy": text, "producedAt": text}]),
    ),
    "an entry": (50_000, lambda text: a_status(entries=[{**ENTRY, "target": text, "message": text}])),
    "an entry's error": (
        50_000,
        lambda text: a_status(entries=[{**ENTRY, "error": f"Pending: {text}{MARK}{text}]"}]),
    ),
    "a time, a phase, a cost": (
        50_000,
        lambda text: a_status(completedAt=text, estimatedCost=text, entries=[{"claimedUntil": text}]),
    ),
    **{
        f"Secret: {key}": (bound.most, partial(a_secret, key))
        for key, bound in bounds.SECRET.items()
    },
}  # fmt: skip


def seconds(work: Callable[[Any], Any], given: Any) -> float:
    """Measure the CPU time for processing an input, whether it is accepted or refused."""
    started = process_time()
    with suppress(TargetError, ValueError):
        work(given)
    return max(process_time() - started, FLOOR)


def holds(within: Callable[..., bool], work: Callable[[Any], Any], *given: Any) -> bool:
    """Return whether the smallest measured cost of each is within a bound.

    Other work only adds to a cost, so each is measured until the smallest fit, or `PATIENCE` is used up.
    """
    least = [seconds(work, one) for one in given]
    for _ in range(PATIENCE):
        if within(*least):
            return True
        least = [min(was, seconds(work, one)) for was, one in zip(least, given, strict=True)]
    return within(*least)


def assert_linear(work: Callable[[Any], Any], half: Any, whole: Any, about: str = "") -> None:
    """Check that twice the input takes at most about twice the work."""
    if seconds(work, whole) <= MOST_GROWTH * FLOOR:
        return  # such a small cost is never a problem
    assert holds(lambda before, after: after <= MOST_GROWTH * before, work, half, whole), about


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_twice_the_text_takes_at_most_twice_the_work_and_text_over_the_limit_takes_none(
    entrance: str,
) -> None:
    most, work = ENTRANCES[entrance]
    has_url = entrance in {"url", "Secret: url", "Secret: slack-webhook-url"}
    for shape in SHAPES.values() if has_url else (str,):
        for piece in REPEATED:
            half, whole, beyond = (
                shape(piece * (length // len(piece))) for length in (most // 2, most, 8 * most)
            )
            assert_linear(work, half, whole, piece)
            if seconds(work, beyond) > 2 * LONG:
                assert holds(lambda before, after: after <= LONG + 8 * before, work, whole, beyond), piece


def long_names(number: int) -> None:
    stem = "n" * 240
    assert len(set(Listed([{"name": f"{stem}{n // 2:013}"} for n in range(number)]).names)) == number


def many_artifacts(number: int) -> None:
    listed = [{"path": f"/workspace/output/{n}/report.md"} for n in range(number)]
    finished = team([{"type": "webhook", "url": "https://h/", "artifactPath": "*e*r*"}], artifacts=listed)
    (target,) = read_targets(finished.targets)
    assert len(asyncio.run(composed(finished, target)).artifacts) == number


def many_patterns(number: int) -> None:
    listed = [{"path": f"/workspace/output/{n}/report.md"} for n in range(50)]
    hooks = [
        {"type": "webhook", "url": "https://h/", "artifactPath": f"*r?port*/{n}" if n % 2 else f"out*/{n}/"}
        for n in range(number)
    ]
    finished = team(hooks, artifacts=listed)
    assert len(asyncio.run(all_composed(finished))) == number


async def all_composed(finished: AgentTeam) -> list[Envelope]:
    artifacts = Artifacts(finished)
    return [await composed(finished, target, artifacts) for target in read_targets(finished.targets)]


def nameless_entries(number: int) -> None:
    spec = [{"type": "webhook", "url": f"https://h/{n % 3}"} for n in range(number)]
    entries = [{**ENTRY, "target": f"https://h/{n % 5}"} for n in range(number)]
    finished = team(spec, entries=entries)
    terms = Terms("us", NOW, timedelta(minutes=3), 10)
    decide(finished, CompletionEvent(namespace="research", team="report"), terms, start=True)


def many_recipients(number: int) -> None:
    spec = {"type": "email", "to": [f"jane{n}@example.com" for n in range(number)]}
    (target,) = read_targets([spec])
    assert isinstance(target, EmailTarget)
    written(compose_mail(envelope(), target, recipients_of(target), Mailbox("a@b.c"), at=NOW))


def phases(number: int) -> None:
    (target,) = read_targets([{"type": "webhook", "url": "https://h/", "on": ["x"] * number}])
    assert isinstance(target, InvalidTarget)
    is_notified({"on": ["x"] * number}, "Completed")


def stray_entries(number: int) -> None:
    finished = team([{"type": "webhook", "url": "https://h/"}], entries=[ENTRY] * number)
    reported(finished).model_dump_json()
    terms = Terms("us", NOW, timedelta(minutes=3), 10)
    decide(finished, CompletionEvent(namespace="research", team="report"), terms, start=True)


MANY = {
    "phases": (phases, bounds.PHASES.most),
    "entries without a target": (stray_entries, bounds.ENTRIES.most),
    "long names that differ at their ends": (long_names, 2_000),
    "artifacts": (many_artifacts, 1_000),
    "patterns": (many_patterns, 200),
    "entries without a name": (nameless_entries, 400),
    "recipients": (many_recipients, bounds.RECIPIENTS.most),
}


@pytest.mark.parametrize("what", MANY)
def test_twice_the_number_takes_at_most_twice_the_work(what: str) -> None:
    work, number = MANY[what]
    half, whole = (calls(partial(work, many)) for many in (number // 2, number))
    assert whole <= MOST_CALL_GROWTH * half
    assert_linear(work, number // 2, number)


def calls(work: Callable[[], Any]) -> int:
    """Count the calls, in Python and in C, because their number does not depend on the machine."""
    counted = 0

    def count(_: Any, what: str, __: Any) -> None:
        nonlocal counted
        counted += what in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("message", ["é" * 40_000, "a\n" * 20_000, "&" * 40_000])
def test_the_largest_mail_is_built_in_few_steps_and_a_recipient_adds_almost_none(message: str) -> None:
    finished = team([{"type": "email", "to": ["a@b.c"], "message": message}])
    (target,) = read_targets(finished.targets)
    assert isinstance(target, EmailTarget)
    made = asyncio.run(composed(finished, target))
    assert len(made.body()) < bounds.ENVELOPE.most  # so that it is attached

    def to(number: int) -> int:
        recipients = tuple(f"{n}{'a' * 60}@{'b' * 60}.example.com" for n in range(number))
        return calls(lambda: written(compose_mail(made, target, recipients, Mailbox("a@b.c"), at=NOW)))

    one, all_of_them = to(1), to(bounds.RECIPIENTS.most)
    assert one < MOST_CALLS
    assert all_of_them - one < 10 * bounds.RECIPIENTS.most


def test_the_total_work_of_a_team_s_patterns_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [{"path": f"/workspace/output/{n}"} for n in range(50)]
    hooks = [{"type": "webhook", "url": "https://h/", "artifactPath": f"*[!{n}]*"} for n in range(20)]
    finished = team(hooks, artifacts=listed)
    assert len(asyncio.run(all_composed(finished))) == len(hooks)
    monkeypatch.setattr(picking, "PICKING", replace(bounds.PICKING, most=20_000))
    with pytest.raises(
        TargetError, match=r"^artifactPath: picking a team's artifacts has more than 20,000 steps"
    ):
        asyncio.run(all_composed(finished))


def test_too_many_artifacts_are_an_error_of_the_team() -> None:
    listed = [{"path": "/a"}] * (bounds.ARTIFACTS.most + 1)
    with pytest.raises(
        TargetError, match=r"^status\.artifacts: has more than 10,000 artifacts; write fewer files"
    ):
        asyncio.run(all_composed(team([{"type": "webhook", "url": "https://h/"}], artifacts=listed)))


def test_other_tasks_run_while_artifacts_are_selected() -> None:
    listed = [{"path": f"/{'d' * 80}/{n}"} for n in range(2_000)]

    async def turns() -> int:
        finished = team(
            [{"type": "webhook", "url": "https://h/", "artifactPath": "*d*[!x]*"}], artifacts=listed
        )
        (target,) = read_targets(finished.targets)
        picking = asyncio.create_task(composed(finished, target))
        turns = 0
        while not picking.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert asyncio.run(turns()) > 50


def test_too_many_outcomes_in_a_target_are_an_error() -> None:
    on = ["Completed"] * (bounds.PHASES.most + 1)
    (refused,) = read_targets([{"type": "webhook", "url": "https://h/", "on": on}])
    assert isinstance(refused, InvalidTarget)
    assert refused.problem == f"on: {bounds.PHASES.words}"
    assert is_notified({"on": on}, "Failed"), "so that its author gets the error"


def test_entries_of_a_record_beyond_the_limit_are_ignored() -> None:
    spec = [{"type": "webhook", "url": "https://h/"}]
    finished = team(spec, entries=[ENTRY, *[{**ENTRY, "target": "x"}] * (2 * bounds.ENTRIES.most)])
    assert len(finished.entries) == bounds.ENTRIES.most
    terms = Terms("us", NOW, timedelta(minutes=3), 10)
    plan = decide(finished, CompletionEvent(namespace="research", team="report"), terms, start=True)
    assert not plan.claims, "the target's own entry is among those that are read"


HOOK = {"type": "webhook", "url": "https://h/"}
FIELDS: dict[bounds.Limit, tuple[str, dict[str, Any]]] = {
    bounds.URL: ("url", HOOK),
    bounds.MESSAGE: ("message", HOOK),
    bounds.PATTERN: ("artifactPath", HOOK),
    bounds.CHANNEL: ("channel", {"type": "slack", "credentialsSecret": "s"}),
    bounds.SUBJECT: ("subject", {"type": "email"}),
    bounds.FOLDER: ("folder", {"type": "google-drive"}),
}


@pytest.mark.parametrize("bound", FIELDS, ids=lambda bound: bound.what)
def test_a_field_at_its_limit_is_accepted_and_one_above_it_gets_an_error(bound: bounds.Limit) -> None:
    field, entry = FIELDS[bound]
    (taken,) = read_targets([{**entry, field: at_most(bound, entry.get(field))}])
    assert not isinstance(taken, InvalidTarget)
    (refused,) = read_targets([{**entry, field: at_most(bound, entry.get(field)) + "x"}])
    assert isinstance(refused, InvalidTarget)
    assert refused.problem == f"{field}: {bound.words}"


def at_most(bound: bounds.Limit, start: str | None) -> str:
    return (start or "").ljust(bound.most, "x")


@pytest.mark.parametrize("key", bounds.SECRET)
def test_a_secret_s_value_above_its_limit_is_an_error_and_is_not_stored(key: str) -> None:
    most = bounds.SECRET[key].most
    credentials = Credentials.kept("keys", {key: b"x" * 1_000_000}, {key})
    assert len(credentials.values[key]) == most + 1
    for read in (credentials.document, credentials.require):
        with pytest.raises(TargetError) as told:
            read(key)
        assert told.value.message == f'key "{key}" of Secret "keys" {bounds.SECRET[key].words}'
    assert Credentials.kept("keys", {key: b"x" * most}, {key}).require(key) == "x" * most
