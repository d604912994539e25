"""Targets of a spec: their names, their types, and the errors for malformed ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.record import Listed
from app.domain.targets import (
    NAME_LIMIT,
    EmailTarget,
    GoogleDriveTarget,
    InvalidTarget,
    SlackTarget,
    WebhookTarget,
    read_targets,
)
from app.domain.text import SHOWN_LIMIT, shortened
from app.domain.urls import redacted
from tests.examples import CANARY, on_one_line, unhurried

SLACK = {"type": "slack", "credentialsSecret": "slack"}
HOOK = {"type": "webhook", "url": "https://hooks.example.com/x"}
LONG = "n" * NAME_LIMIT


def named(*names: Any) -> list[dict[str, Any]]:
    """Make webhooks with these names; None: without one."""
    return [HOOK if name is None else {**HOOK, "name": name} for name in names]


NAMES = [
    ("none", [], []),
    ("defaults count positions, not types", [HOOK, SLACK, HOOK], ["webhook-0", "slack-1", "webhook-2"]),
    ("a given name is taken", named("team", "ops"), ["team", "ops"]),
    ("an empty name is no name", named("", "ops"), ["webhook-0", "ops"]),
    ("a null name is no name", [{**HOOK, "name": None}], ["webhook-0"]),
    ("the later of two gets a number", named("a", "a"), ["a", "a-2"]),
    ("so do the third and the fourth", named("a", "a", "a", "a"), ["a", "a-2", "a-3", "a-4"]),
    ("a number never takes a name away", named("a", "a", "a-2"), ["a", "a-3", "a-2"]),
    ("nor one that comes first", named("a-2", "a", "a"), ["a-2", "a", "a-3"]),
    ("nor two of them", named("a", "a", "a-2", "a-2"), ["a", "a-3", "a-2", "a-2-2"]),
    ("a default clashes like a name", [{**HOOK, "name": "slack-1"}, SLACK], ["slack-1", "slack-1-2"]),
    ("a default that comes first has it", [HOOK, *named("webhook-0")], ["webhook-0", "webhook-0-2"]),
    ("names differ by case", named("a", "A"), ["a", "A"]),
    ("names differ by white space", named("a", "a "), ["a", "a "]),
    ("any script will do", named("отчёт", "報告", "🎉"), ["отчёт", "報告", "🎉"]),
    ("the longest name", named(LONG), [LONG]),
    ("a clash of the longest", named(LONG, LONG), [LONG, "n" * (NAME_LIMIT - 6) + "-2"]),
    ("a name that is too long", named(LONG + "n"), ["webhook-0"]),
    ("a name with a newline", named("a\nb"), ["webhook-0"]),
    ("a name with a reversing mark", named("a\u202eb"), ["webhook-0"]),
    ("a number for a name", named(7), ["webhook-0"]),
    ("a list for a name", named(["a"]), ["webhook-0"]),
    ("an unknown type", [{"type": "teams"}], ["teams-0"]),
    ("a type that is no word", [{"type": "a b"}], ["unknown-0"]),
    ("a type that is no text", [{"type": 5}], ["unknown-0"]),
    ("no type", [{}], ["unknown-0"]),
    ("no object", ["x", None, 5, ["webhook"]], ["unknown-0", "unknown-1", "unknown-2", "unknown-3"]),
]


@pytest.mark.parametrize(("spec", "names"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_every_target_has_its_own_name(spec: list[Any], names: list[str]) -> None:
    assert Listed(spec).names == names
    assert [target.name for target in read_targets(spec)] == names


def test_only_the_first_of_several_with_one_name_is_delivered() -> None:
    first, second, third = read_targets(named("a", "a", "a-2"))
    assert isinstance(first, WebhookTarget)
    assert isinstance(third, WebhookTarget)
    assert isinstance(second, InvalidTarget)
    assert second.problem == 'name: "a" is taken by an earlier target; give this one a name of its own'


_odd: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
_entries = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["webhook", "slack", "email", "google-drive", "teams"]) | _odd,
        "name": st.sampled_from(["a", "a-2", "slack-1", "unknown-0"]) | _odd,
        **dict.fromkeys(("credentialsSecret", "artifactPath", "message", "url", "to", "folder"), _odd),
    },
)


@unhurried
@given(st.lists(_entries | _odd, max_size=12))
def test_every_entry_is_read_with_its_own_name_for_any_spec(spec: list[Any]) -> None:
    targets = read_targets(spec)
    names = [target.name for target in targets]
    assert len(set(names)) == len(spec)
    assert names == Listed(spec).names
    for target in targets:
        assert 0 < len(target.name) <= NAME_LIMIT
        assert on_one_line(target.address)
        if isinstance(target, InvalidTarget):
            assert target.problem
            assert on_one_line(target.problem)


def test_a_thousand_and_one_targets_with_one_name_are_distinguished() -> None:
    names = Listed(named(*["a"] * 1001)).names
    assert len(set(names)) == 1001
    assert (names[0], names[1], names[-1]) == ("a", "a-2", "a-1001")


def test_every_field_of_every_type_is_read() -> None:
    common = {"credentialsSecret": "keys.v1", "artifactPath": "out/*.md", "message": "{team}"}
    slack, hook, mail, drive = read_targets(
        [
            {"type": "slack", "name": "one", **common},
            {"type": "webhook", "url": "https://hooks.example.com/x", **common},
            {"type": "email", "to": ["a@example.com", "b@example.com"], "subject": "Done", **common},
            {"type": "google-drive", "folder": "0AFolder", **common},
        ]
    )
    assert isinstance(slack, SlackTarget)
    assert isinstance(hook, WebhookTarget)
    assert isinstance(mail, EmailTarget)
    assert isinstance(drive, GoogleDriveTarget)
    for target in (slack, hook, mail, drive):
        assert target.credentials_secret == "keys.v1"
        assert (target.artifact_path, target.message) == ("out/*.md", "{team}")
    assert hook.url == "https://hooks.example.com/x"
    assert (mail.to, mail.subject) == (("a@example.com", "b@example.com"), "Done")
    assert drive.folder == "0AFolder"
    assert [slack.address, hook.address, mail.address, drive.address] == [
        "secret/keys.v1",
        "https://hooks.example.com/x",
        "a@example.com, b@example.com",
        "0AFolder",
    ]


def test_null_or_empty_counts_as_absent() -> None:
    empty = {"credentialsSecret": "", "artifactPath": "", "message": None, "subject": "", "to": None}
    mail, hook = read_targets([{"type": "email", **empty}, {**HOOK, **empty, "unheard-of": {"x": 1}}])
    assert isinstance(mail, EmailTarget)
    assert (mail.credentials_secret, mail.artifact_path, mail.message) == (None, None, None)
    assert (mail.to, mail.subject, mail.address) == ((), None, "")
    assert isinstance(hook, WebhookTarget)


def test_a_webhook_s_url_can_be_only_in_the_secret() -> None:
    (hook,) = read_targets([{"type": "webhook", "credentialsSecret": "keys"}])
    assert isinstance(hook, WebhookTarget)
    assert hook.address == hook.secret_address == "secret/keys"


def test_only_the_first_of_many_recipients_are_shown() -> None:
    (mail,) = read_targets([{"type": "email", "to": [f"{number}@example.com" for number in range(100)]}])
    assert mail.address.startswith("0@example.com, 1@example.com, 2@example.com, ")
    assert (len(mail.address), mail.address[-1]) == (SHOWN_LIMIT, "…")


PROBLEMS = [
    ("no object", CANARY, "a target must be an object"),
    ("no type", {"url": CANARY}, "type: None is not one of webhook, slack, email, google-drive"),
    ("unknown type", {"type": "teams", "url": CANARY}, "type: 'teams' is not one of"),
    ("type of another case", {"type": "Slack"}, "type: 'Slack' is not one of"),
    ("type no text", {"type": ["slack"]}, "type: ['slack'] is not one of"),
    ("name no text", {**HOOK, "name": {CANARY: 1}}, "name: must be text of 1 to 253 printable characters"),
    ("name false", {**HOOK, "name": False}, "name: must be text of 1 to 253 printable characters"),
    ("name zero", {**HOOK, "name": 0}, "name: must be text of 1 to 253 printable characters"),
    ("name too long", {**HOOK, "name": LONG + CANARY}, "name: must be text of 1 to 253"),
    ("name in control", {**HOOK, "name": f"a\x1b{CANARY}"}, "name: must be text of 1 to 253"),
    (
        "no Secret",
        {"type": "slack"},
        "credentialsSecret: name the Secret that holds the key slack-webhook-url",
    ),
    ("no address", {"type": "webhook"}, "url: give an https:// address"),
    ("Secret no name", {**SLACK, "credentialsSecret": f"https://{CANARY}"}, "credentialsSecret: must be the"),
    (
        "Secret of another namespace",
        {**SLACK, "credentialsSecret": f"ns/{CANARY}"},
        "credentialsSecret: must",
    ),
    ("Secret upper case", {**SLACK, "credentialsSecret": "Slack"}, "credentialsSecret: must be the name of"),
    (
        "Secret with dots",
        {**SLACK, "credentialsSecret": "../slack"},
        "credentialsSecret: must be the name of",
    ),
    ("Secret with newline", {**SLACK, "credentialsSecret": "slack\n"}, "credentialsSecret: must be the name"),
    ("Secret too long", {**SLACK, "credentialsSecret": "s" * 254}, "credentialsSecret: "),
    (
        "Secret no text",
        {**SLACK, "credentialsSecret": {"name": CANARY}},
        "credentialsSecret: input should be",
    ),
    ("url no text", {**HOOK, "url": [CANARY]}, "url: input should be a valid string"),
    ("message no text", {**HOOK, "message": {"x": CANARY}}, "message: input should be a valid string"),
    ("path no text", {**HOOK, "artifactPath": [CANARY]}, "artifactPath: input should be a valid string"),
    ("recipients no list", {"type": "email", "to": CANARY}, "to: input should be a valid list"),
    (
        "recipient no text",
        {"type": "email", "to": ["a@b", {"x": CANARY}]},
        "to.1: input should be a valid str",
    ),
    ("subject no text", {"type": "email", "subject": 5.5}, "subject: input should be a valid string"),
    ("folder no text", {"type": "google-drive", "folder": [CANARY]}, "folder: input should be a valid"),
]


@pytest.mark.parametrize(
    ("entry", "problem"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS]
)
def test_a_malformed_target_says_which_field_to_change_and_shows_no_value(entry: Any, problem: str) -> None:
    healthy, target, other = read_targets([SLACK, entry, HOOK])
    assert isinstance(target, InvalidTarget)
    assert target.problem.startswith(problem)
    assert CANARY not in repr(target)
    assert target.address == ""
    assert isinstance(healthy, SlackTarget)
    assert isinstance(other, WebhookTarget)


URLS = [
    ("https://hooks.example.com/path", "https://hooks.example.com/path"),
    ("https://hooks.example.com", "https://hooks.example.com"),
    (f"https://hooks.example.com/a/b?token={CANARY}", "https://hooks.example.com/a/b"),
    (f"https://hooks.example.com/a#{CANARY}", "https://hooks.example.com/a"),
    (f"https://hooks.example.com?{CANARY}#{CANARY}", "https://hooks.example.com"),
    (f"https://user:{CANARY}@hooks.example.com/a", "https://hooks.example.com/a"),
    (f"https://{CANARY}@hooks.example.com/a", "https://hooks.example.com/a"),
    (f"https://a:b@{CANARY}:c@hooks.example.com/a", "https://hooks.example.com/a"),
    ("HTTPS://Hooks.Example.COM:8443/Path", "https://hooks.example.com:8443/Path"),
    ("https://hooks.example.com:443/", "https://hooks.example.com:443/"),
    ("https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
    (f"https://x:{CANARY}@[::1]/a", "https://[::1]/a"),
    (f"https://hooks.example.com:{CANARY}/a", "(not a URL)"),
    ("https://hooks.example.com:99999/a", "(not a URL)"),
    ("https://[::1/a", "(not a URL)"),
    ("https:///a", "(not a URL)"),
    (f"https:user:{CANARY}@hooks.example.com", "(not a URL)"),
    (f"user:{CANARY}@hooks.example.com/a", "(not a URL)"),
    (f"//user:{CANARY}@hooks.example.com/a", "(not a URL)"),
    (CANARY, "(not a URL)"),
    (f"/{CANARY}", "(not a URL)"),
    ("https://hooks.example.com/a\x1b[31mb", "https://hooks.example.com/a [31mb"),
    ("https://hooks.example.com/\u202ea", "https://hooks.example.com/ a"),
    ("https://hooks.example.com/ü/ä", "https://hooks.example.com/ü/ä"),
]


@pytest.mark.parametrize(("url", "shown"), URLS)
def test_only_the_public_part_of_a_url_is_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_a_long_url_is_truncated() -> None:
    shown = redacted("https://hooks.example.com/" + "x" * 7_000)
    assert len(shown) == SHOWN_LIMIT
    assert shown.startswith("https://hooks.example.com/xxx")
    assert shown.endswith("…")


@unhurried
@given(st.text(max_size=20), st.text(max_size=20))
def test_user_info_query_and_fragment_are_never_shown(before: str, after: str) -> None:
    clean = before.replace("/", "").replace("?", "").replace("#", "").replace("\\", "")
    for url in (
        f"https://{clean}{CANARY}@hooks.example.com/",
        f"https://hooks.example.com/?{after}{CANARY}",
        f"https://hooks.example.com/#{after}{CANARY}",
    ):
        assert CANARY not in redacted(url)


SHORTENED = [
    ("", 10, ""),
    ("short", 10, "short"),
    ("exactly 10", 10, "exactly 10"),
    ("eleven char", 10, "eleven ch…"),
    ("a\nb\tc\x00d\u2028e", 10, "a b c d e"),
    ("🎉" * 11, 10, "🎉" * 9 + "…"),
]


@pytest.mark.parametrize(("text", "limit", "line"), SHORTENED)
def test_a_text_is_reduced_to_one_short_line(text: str, limit: int, line: str) -> None:
    assert shortened(text, limit) == line
