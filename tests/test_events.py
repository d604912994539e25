"""The body of an event: what is accepted, and what is rejected before any work."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.domain.events import CompletionEvent

LABEL = "n" * 63
DOTTED = ".".join(["n" * 50] * 4) + "." + "n" * 49  # 253 characters


def event(**fields: Any) -> CompletionEvent:
    return CompletionEvent.model_validate({"namespace": "research", "team": "report", **fields})


def test_namespace_and_team_are_sufficient() -> None:
    assert event().model_dump() == {
        "namespace": "research",
        "team": "report",
        "uid": None,
        "event": "team.completed",
        "phase": None,
        "redeliver": "none",
        "targets": None,
        "test": False,
    }


def test_every_field_is_accepted() -> None:
    given = {
        "uid": "5f8c",
        "event": "team.completed",
        "phase": "Failed",
        "redeliver": "failed",
        "targets": ["slack-1", "hook"],
        "test": True,
    }
    taken = event(**given)
    assert taken.model_dump(exclude={"namespace", "team"}) == {**given, "targets": ("slack-1", "hook")}


@pytest.mark.parametrize("missing", ["namespace", "team"])
def test_namespace_and_team_are_required(missing: str) -> None:
    given = {"namespace": "research", "team": "report"}
    del given[missing]
    with pytest.raises(ValidationError, match=missing):
        CompletionEvent.model_validate(given)


GOOD_NAMES = [
    ("namespace", "a"),
    ("namespace", "0"),
    ("namespace", "a-b-0"),
    ("namespace", LABEL),
    ("team", "a"),
    ("team", "report.v1"),
    ("team", "a-b.c-d.0"),
    ("team", DOTTED),
]


@pytest.mark.parametrize(("field", "name"), GOOD_NAMES)
def test_names_that_kubernetes_accepts_are_accepted(field: str, name: str) -> None:
    assert getattr(event(**{field: name}), field) == name


BAD_NAMES = [
    "",
    " ",
    "A",
    "Report",
    "a_b",
    "-a",
    "a-",
    ".a",
    "a.",
    "a..b",
    "a.-b",
    "a b",
    "a/b",
    "../secrets",
    "a?watch=1",
    "a%2fb",
    "a#b",
    "a\n",
    "\na",
    "a\x00",
    "ä",
    "а",  # noqa: RUF001  # Cyrillic, on purpose
    "\N{ARABIC-INDIC DIGIT ONE}",
    "🎉",
]


@pytest.mark.parametrize("field", ["namespace", "team"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_not_a_dns_name_is_refused(field: str, name: str) -> None:
    with pytest.raises(ValidationError, match=field):
        event(**{field: name})


REFUSED = [
    ("a namespace with dots", "namespace", "a.b"),
    ("a namespace that is too long", "namespace", LABEL + "n"),
    ("a team that is too long", "team", DOTTED + "n"),
    ("a namespace that is no text", "namespace", 5),
    ("a team that is null", "team", None),
    ("a team that is a list", "team", ["report"]),
    ("a uid that is no text", "uid", 5),
    ("a uid that is too long", "uid", "u" * 129),
    ("another event", "event", "team.started"),
    ("no event", "event", None),
    ("a phase that is no text", "phase", True),
    ("a phase that is too long", "phase", "P" * 65),
    ("a redelivery of another kind", "redeliver", "everything"),
    ("a redelivery that is a flag", "redeliver", True),
    ("no targets", "targets", []),
    ("targets that are one text", "targets", "slack-1"),
    ("targets that are an object", "targets", {"slack-1": True}),
    ("a target that is no text", "targets", ["slack-1", 5]),
    ("a target without a name", "targets", [""]),
    ("a target whose name is too long", "targets", ["n" * 254]),
    ("too many targets", "targets", [f"slack-{number}" for number in range(1001)]),
    ("a flag that is text", "test", "true"),
    ("a flag that is a number", "test", 1),
    ("a url", "url", "https://hooks.example.com"),
    ("a text", "message", "hello"),
    ("a field of another case", "Team", "report"),
    ("a slip", "redelivery", "all"),
]


@pytest.mark.parametrize(("field", "value"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_invalid_field_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        event(**{field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


def test_a_thousand_targets_with_the_longest_names_are_accepted() -> None:
    names = [f"{number:0253}" for number in range(1000)]
    assert event(targets=names).targets == tuple(names)


def test_an_event_is_immutable() -> None:
    with pytest.raises(ValidationError):
        event().team = "other"  # type: ignore[misc]
