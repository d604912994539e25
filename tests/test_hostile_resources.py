"""AgentTeams that no CRD would accept: nothing fails, and no other target is affected."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.delivery.dispatch import reported
from app.domain.errors import ClaimInFlight, UnknownTarget
from app.domain.events import CompletionEvent
from app.domain.ledger import Plan, Terms, decide, holds, settle
from app.domain.reasons import Reason
from app.domain.receipts import Phase
from app.domain.record import Listed
from app.domain.targets import NAME_LIMIT, InvalidTarget, is_place, read_targets
from app.domain.teams import AgentTeam, needs_delivery, open_targets
from app.senders.envelopes import Drafts
from app.senders.messages import compose, slack_message
from tests.examples import NOW, on_one_line, picked, unhurried
from tests.test_messages import checked, words

HEALTHY = "healthy"
"""The name of a target with nothing amiss, and which nothing else is called."""

NASTY = (
    "", " ", "\n", "\x00", "\x1b[31m", "\u202egpj.exe", "\u2028", "\ufeff", "\ud800", "a\udfffb", "🎉",
    "<!channel>", "<@U012AB3CD> & <https://evil.example|x>", "*bold* `code` _it_", "{team}{artifacts}{tasks}",
    "{0.__class__}", "../x", "/", "//", ".", "..", "**", "[", "[!", "a" * 300, "None", "null", "-1",
    "2026-03-01T12:00:00Z", "2026-03-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00",
    "https://user:word@[::1", "http://127.0.0.66/", "https://[", "ftp://h/", "javascript:alert(1)",
    "unknown-0",
)  # fmt: skip
"""Texts that an attacker would choose."""

texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 1e308, -0.0, 1.5])
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
rubbish: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
"""Anything that JSON can say, but for numbers that no JSON parser reads."""


def among(*words: str) -> st.SearchStrategy[Any]:
    """Draw one of these, or garbage."""
    return st.sampled_from(words) | rubbish


targets = (
    st.fixed_dictionaries(
        {},
        optional={
            "type": among("webhook", "slack", "email", "google-drive", "teams"),
            "name": among("a", "a-2", "slack-1", "webhook-0"),
            "url": among("http://127.0.0.66/", "http://127.0.0.1:0/"),
            "credentialsSecret": among("absent", "../x"),
            "artifactPath": among("*.md", "/out", "**", "["),
            "message": among("{team} {artifacts} {tasks} {tokens} {cost}", "<!channel>"),
            "to": rubbish,
            "subject": rubbish,
            "folder": rubbish,
        },
    )
    | rubbish
)
entries = (
    st.fixed_dictionaries(
        {},
        optional={
            "name": among("a", "a-2", "slack-1", "webhook-0", "gone"),
            "type": among("webhook", "slack"),
            "target": rubbish,
            "phase": among("Pending", "Delivered", "Failed"),
            "reason": among("Delivered", "HTTPStatus"),
            "id": among("msg_1"),
            "claimedBy": among("somebody", "us"),
            "claimedUntil": among("2026-03-01T11:00:00Z", "2026-03-01T13:00:00Z"),
            "attempts": rubbish,
            "takeovers": st.just(99) | rubbish,
            "redeliveries": rubbish,
            "httpStatus": rubbish,
            "timestamp": rubbish,
            "message": rubbish,
            "other": rubbish,
        },
    )
    | rubbish
)
statuses = st.fixed_dictionaries(
    {},
    optional={
        "phase": among("Completed", "Running"),
        "startedAt": among("2026-03-01T10:00:00Z"),
        "completedAt": among("2026-03-01T12:00:00Z"),
        "artifacts": st.lists(
            st.fixed_dictionaries({}, optional={"name": texts | rubbish, "path": texts | rubbish}) | rubbish,
            max_size=4,
        )
        | rubbish,
        "conditions": rubbish,
        "estimatedCost": among("4.50"),
        "tasks": st.fixed_dictionaries({}, optional={"total": rubbish, "completed": rubbish}) | rubbish,
        "totalTokensUsed": rubbish,
        "delivery": st.lists(entries, max_size=4) | rubbish,
    },
)
METADATA = {"namespace": "research", "name": "report", "uid": "uid-1", "resourceVersion": "7"}


def asking(delivery: list[Any], status: Any = None) -> dict[str, Any]:
    """Write a team that requests delivery to these targets."""
    lifecycle = {"onComplete": "deliver", "delivery": delivery}
    return {"metadata": METADATA, "spec": {"lifecycle": lifecycle}, "status": status}


def mixed(odd: list[Any], place: int, healthy: dict[str, Any]) -> list[Any]:
    """Insert a healthy target among others."""
    place = min(place, len(odd))
    return [*odd[:place], healthy, *odd[place:]]


HOOK = {"type": "webhook", "name": HEALTHY, "url": "https://hooks.example.com/x"}
documents = st.builds(
    lambda odd, place, status: asking(mixed(odd, place, HOOK), status),
    st.lists(targets, max_size=6),
    st.integers(0, 6),
    statuses | rubbish,
)
"""Teams that request delivery to one healthy target among others."""

strangers = rubbish | st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional=dict.fromkeys(METADATA, rubbish)) | rubbish,
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "lifecycle": st.fixed_dictionaries(
                    {}, optional={"onComplete": among("deliver"), "delivery": rubbish}
                )
                | rubbish
            },
        )
        | rubbish,
        "status": statuses | rubbish,
    },
)
"""Documents of which nothing is sure."""

events = st.builds(
    CompletionEvent,
    namespace=st.just("research"),
    team=st.just("report"),
    redeliver=st.sampled_from(["none", "failed", "all"]),
    targets=st.none() | st.just((HEALTHY,)),
)
TERMS = Terms("us", NOW, timedelta(minutes=5), max_takeovers=10)


FOUND = {
    # Inputs found earlier, which kept the healthy target from being sent to.
    "entries without a name": asking([HOOK], {"delivery": [{}, {"id": "msg_1"}]}),
    "two entries of one name": asking([HOOK], {"delivery": [{"name": "a"}, {"name": "a", "id": "msg_1"}]}),
    "a name that is no text": asking([HOOK], {"delivery": [{"name": "\ud800", "id": "msg_1"}]}),
    "a name that is a position": asking([HOOK], {"delivery": [{"name": "slack-1", "type": "slack"}]}),
    "a phase that is no text": asking([HOOK], {"phase": "\ud800"}),
    # Inputs that would do so without precautions.
    "an invalid pattern": asking(
        [{"type": "webhook", "url": "https://h/", "artifactPath": "[!"}, HOOK], {"artifacts": [{"path": "/"}]}
    ),
    "numbers without end": asking(
        [HOOK], {"tasks": {"total": 10**4000, "completed": {}}, "totalTokensUsed": -(10**4000)}
    ),
    "a name for another": asking([{"type": "webhook", "name": f"{HEALTHY}-2"}, HOOK, [HEALTHY]], {}),
    "a name that was recorded as a number": asking([HOOK], {"delivery": [{"name": 5, "id": "msg_1"}]}),
}


def found(test: Callable[..., None]) -> Callable[..., None]:
    """Run with all earlier findings, in addition to drawn examples."""
    for document in FOUND.values():
        test = example(document)(test)
    return test


def read(document: Any) -> AgentTeam:
    """Read a document as it comes from the API server."""
    document = json.loads(json.dumps(document))
    return AgentTeam.from_resource(document if isinstance(document, dict) else {})


def assert_can_be_told(team: AgentTeam) -> None:
    """Check that the record can be returned: each target once, even if its entry was duplicated by hand."""
    told = json.loads(reported(team).model_dump_json())["targets"]
    keys = [target["name"] or target.get("id") for target in told]
    assert len(told) <= len(team.entries)
    assert len({key for key in keys if key}) == len([key for key in keys if key])
    names = [(entry.get("name"), entry.get("type")) for entry in team.entries]
    # A name that only says a position, such as `slack-1`, does not count if its target is not there.
    given = {name for name, kind in names if isinstance(name, str) and not is_place(name, kind)}
    assert given <= set(keys) | {""}


def assert_sendable(team: AgentTeam, planned: Plan) -> None:
    """Check that a message can be built for each claim, in a form that receivers accept."""
    for claim in planned.claims:
        target = claim.target
        made = compose(
            team,
            target,
            picked(team, target),
            message_id=claim.receipt.id or "",
            event="team.completed",
            phase=team.phase or "Completed",
            most=40_000,
            drafts=Drafts(),
        )
        assert json.loads(made.body())["team"] == team.name
        assert "<" not in words(checked(slack_message(made)))


def planned_for(team: AgentTeam, event: CompletionEvent) -> Plan | None:
    """Plan; None if the event is refused."""
    try:
        return decide(team, event, TERMS, start=True)
    except (UnknownTarget, ClaimInFlight):
        return None


def kept(team: AgentTeam, written: Any) -> AgentTeam:
    """Read the team again with this record."""
    status = {**team.status, "delivery": written}
    spec = {"lifecycle": {"onComplete": team.on_complete, "delivery": list(team.targets)}}
    return read({"metadata": METADATA, "spec": spec, "status": status})


@settings(unhurried, max_examples=150)
@given(strangers, events)
def test_every_document_can_be_read_and_planned(document: Any, event: CompletionEvent) -> None:
    team = read(document)
    assert_can_be_told(team)
    open_targets(team, NOW)
    due = needs_delivery(team, phases=("Completed",), max_age=timedelta(days=1), finished_since=NOW, now=NOW)
    assert due is None or due.tzinfo
    assert [target.name for target in read_targets(team.targets)] == Listed(team.targets).names
    planned = planned_for(team, event)
    if planned is not None:
        assert_sendable(team, planned)
        assert_can_be_told(kept(team, planned.entries))


@settings(unhurried, max_examples=200)
@given(documents)
@found
def test_a_healthy_target_is_claimed_and_recorded_next_to_any_others(document: Any) -> None:
    team = read(document)
    event = CompletionEvent(namespace="research", team="report")
    planned = decide(team, event, TERMS, start=True)
    assert HEALTHY in {claim.target.name for claim in planned.claims}
    assert_sendable(team, planned)

    claimed = kept(team, planned.entries)
    receipts = [claim.receipt for claim in planned.claims]
    assert holds(claimed, [*receipts, *planned.closed]), "otherwise nothing would be sent"
    outcomes = [
        receipt.model_copy(update={"phase": Phase.DELIVERED, "reason": Reason.DELIVERED, "claimed_by": None})
        for receipt in receipts
    ]
    entries, written, lost = settle(claimed, outcomes, holder=TERMS.holder)
    assert written == outcomes
    assert not lost
    done = kept(team, entries)
    assert holds(done, written)
    assert not decide(done, event, TERMS, start=True).claims
    assert_can_be_told(done)


@settings(unhurried, max_examples=150)
@given(st.lists(targets, max_size=10))
def test_an_error_of_a_target_is_one_line(spec: list[Any]) -> None:
    spec = json.loads(json.dumps(spec))
    for target in read_targets(spec):
        assert 0 < len(target.name) <= NAME_LIMIT
        assert on_one_line(target.name + target.address + target.type)
        if isinstance(target, InvalidTarget):
            assert on_one_line(target.problem)
            assert 0 < len(target.problem) <= 600
