"""Texts for people: a notification's text, its artifacts, Slack's blocks within Slack's limits."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from app.domain.events import TERMINAL_PHASES, TEST
from app.domain.targets import read_targets
from app.senders.documents import as_html, as_text, title
from app.senders.envelopes import Artifact, Drafts, Envelope
from app.senders.messages import NOT_ATTACHED, compose, escaped, fill, slack_message
from tests.examples import artifact, envelope, picked, team, unhurried

FIXTURES = Path(__file__).parent / "fixtures"
REPORT = {"name": "report.md", "path": "/workspace/output/report.md"}
DATA = {"name": "Data", "path": "/workspace/output/data/2026.csv"}
LOG = {"name": "run.log", "path": "logs/run.log"}
RUN = {
    "startedAt": "2026-03-01T10:00:00Z",
    "completedAt": "2026-03-01T12:05:09Z",
    "estimatedCost": "4.50",
    "totalTokensUsed": 1234567,
    "tasks": {"total": 7, "completed": 6, "inProgress": 0, "pending": 1},
}


MOST = 40_000  # characters of a notification's text, by default


def composed(
    status: dict[str, Any] | None = None,
    name: str = "report",
    phase: str = "Completed",
    event: str = "team.completed",
    **target: Any,
) -> Envelope:
    """Build the notification of a team with this status for a webhook with these fields."""
    (hook,) = read_targets([{"type": "webhook", "url": "https://hooks.example.com", **target}])
    assert not hasattr(hook, "problem"), hook
    finished = team(name=name, **(status or {}))
    return compose(
        finished,
        hook,
        picked(finished, hook),
        message_id="msg_1",
        event=event,
        phase=phase,
        most=MOST,
        drafts=Drafts(),
    )


# ---------------------------------------------------------------------------------------------------------
# The text


def test_the_default_text_names_team_namespace_and_outcome() -> None:
    assert composed().message == "Team report in research finished: Completed."


VALUES = {"team": "report", "phase": "Completed", "braces": "{team}"}
TEMPLATES = [
    ("", ""),
    ("plain", "plain"),
    ("{team}", "report"),
    ("{team}: {phase}, {team}", "report: Completed, report"),
    ("{unknown}", "{unknown}"),
    ("{Team} {TEAM}", "{Team} {TEAM}"),
    ("{}", "{}"),
    ("{0}", "{0}"),
    ("{ team }", "{ team }"),
    ("{team", "{team"),
    ("team}", "team}"),
    ("{{team}}", "{report}"),
    ("{team}}", "report}"),
    ("}{", "}{"),
    ("{team!r}", "{team!r}"),
    ("{team:>1000000000}", "{team:>1000000000}"),
    ("{team.__class__}", "{team.__class__}"),
    ("{team[0]}", "{team[0]}"),
    ("{team.__class__.__mro__[1].__subclasses__}", "{team.__class__.__mro__[1].__subclasses__}"),
    ("{__import__('os').environ}", "{__import__('os').environ}"),
    ("${team} %(team)s $team", "$report %(team)s $team"),
    ("{braces}", "{team}"),
    ('{"json": {"team": "{team}"}}', '{"json": {"team": "report"}}'),
    ("{\nteam\n}", "{\nteam\n}"),
    ("\\{team\\}", "\\{team\\}"),
]


@pytest.mark.parametrize(("template", "text"), TEMPLATES)
def test_only_known_placeholders_are_replaced_and_nothing_is_evaluated(template: str, text: str) -> None:
    assert fill(template, VALUES, MOST) == text


@unhurried
@given(st.text("{}te am!.[]", max_size=60))
def test_no_template_raises_an_error(template: str) -> None:
    assert fill(template, {}, MOST) == template


@pytest.mark.parametrize("limit", [1, 10, 4_999, 5_000])
def test_a_text_is_not_longer_than_its_limit(limit: int) -> None:
    for template in ("x" * 5_001, "{team}" * 2_000, "{nobody}" * 2_000):
        text = fill(template, VALUES, limit)
        assert len(text) == limit
        assert text.endswith("…")
    assert fill("x" * limit, VALUES, limit) == "x" * limit


def test_every_placeholder_is_replaced() -> None:
    text = "{team}|{namespace}|{phase}|{artifacts}|{duration}|{cost}|{tasks}|{tokens}"
    made = composed({**RUN, "artifacts": [REPORT, DATA]}, message=text)
    assert made.message == ("report|research|Completed|report.md, Data|2 h 5 min|$4.50|6 of 7|1,234,567")


def test_a_value_missing_from_the_status_becomes_unknown() -> None:
    text = "took {duration}, cost {cost}, {tasks} tasks, {tokens} tokens, {other}"
    said = "took unknown, cost unknown, unknown tasks, unknown tokens, {other}"
    assert composed(message=text).message == said


def test_go_s_zero_time_counts_as_absent() -> None:
    unset = "0001-01-01T00:00:00Z"
    file = {"name": "a.md", "path": "/a.md", "producedBy": "writer", "producedAt": unset}
    made = composed({"startedAt": unset, "completedAt": unset, "artifacts": [file]}, message="{duration}")
    assert made.message == "unknown"
    assert [one["producedAt"] for one in made.artifacts] == [None]


def test_zero_width_joiners_are_kept_in_texts_for_people() -> None:
    family, persian = "👨\u200d👩\u200d👧", "\u0645\u06cc\u200c\u062e"
    made = composed({"artifacts": [{"name": f"{family}.md", "path": "/x"}]}, message=persian)
    assert persian in made.message
    assert family in json.dumps(slack_message(made), ensure_ascii=False)
    assert title(made, f"{family} {persian}") == f"{family} {persian}"


@pytest.mark.parametrize("sign", ["🎉", "x", "é", "&", "👨\u200d👩\u200d👧"])
def test_lengths_are_counted_as_slack_counts_them(sign: str) -> None:
    made = envelope(
        message=sign * 4000,
        team=sign * 300,
        facts=(("Cost", sign * 3000),),
        artifacts=tuple(artifact(path=sign * 500, name=sign * 150) for _ in range(20)),
    )
    message = slack_message(made)
    header, section, fields, files, _ = message["blocks"]

    def units(text: str) -> int:
        return len(text.encode("utf-16-le")) // 2

    assert units(header["text"]["text"]) <= 150
    assert max(units(section["text"]["text"]), units(files["text"]["text"]), units(message["text"])) <= 3000
    assert max(units(field["text"]) for field in fields["fields"]) <= 2000


@pytest.mark.parametrize("message", ["{artifacts}", " ", "\n\t", "{artifacts}\n{artifacts}", "\u200b\ufeff"])
def test_a_blank_text_is_replaced_by_the_default(message: str) -> None:
    made = composed(message=message)
    assert made.message == "Team report in research finished: Completed."


def test_a_text_cannot_grow_without_limit() -> None:
    artifacts = [{"name": "n" * 100, "path": f"/out/{number}"} for number in range(200)]
    made = composed({"artifacts": artifacts}, message="{artifacts}" * 2000)
    assert len(made.message) < 1_000_000
    assert made.message.startswith("n" * 100 + ", ")


def test_placeholders_in_a_value_are_not_replaced() -> None:
    made = composed({"artifacts": [{"name": "{namespace}", "path": "/x"}]}, message="{artifacts}")
    assert made.message == "{namespace}"


FACTS: list[tuple[str, dict[str, Any], tuple[tuple[str, str], ...]]] = [
    ("none", {}, ()),
    (
        "all",
        RUN,
        (("Duration", "2 h 5 min"), ("Cost", "$4.50"), ("Tasks", "6 of 7"), ("Tokens", "1,234,567")),
    ),
    ("a start alone", {"startedAt": RUN["startedAt"]}, ()),
    ("an end before its start", {"startedAt": RUN["completedAt"], "completedAt": RUN["startedAt"]}, ()),
    (
        "minutes",
        {"startedAt": "2026-03-01T10:00:00Z", "completedAt": "2026-03-01T10:03:20Z"},
        (("Duration", "3 min 20 s"),),
    ),
    (
        "seconds",
        {"startedAt": "2026-03-01T10:00:00Z", "completedAt": "2026-03-01T10:00:08.9Z"},
        (("Duration", "8 s"),),
    ),
    (
        "no time",
        {"startedAt": "2026-03-01T10:00:00Z", "completedAt": "2026-03-01T10:00:00Z"},
        (("Duration", "0 s"),),
    ),
    (
        "days",
        {"startedAt": "2026-03-01T10:00:00Z", "completedAt": "2026-03-03T11:00:00Z"},
        (("Duration", "2 d 1 h"),),
    ),
    ("no cost", {"estimatedCost": ""}, ()),
    ("a cost that is a number", {"estimatedCost": 4.5}, ()),
    ("a cost of many digits", {"estimatedCost": "9" * 99}, (("Cost", "$" + "9" * 39 + "…"),)),
    ("invalid tasks", {"tasks": [1, 2]}, ()),
    ("tasks without a total", {"tasks": {"completed": 1}}, ()),
    ("tasks, none done", {"tasks": {"total": 3}}, (("Tasks", "0 of 3"),)),
    ("tokens that are text", {"totalTokensUsed": "many"}, ()),
    ("no tokens", {"totalTokensUsed": 0}, (("Tokens", "0"),)),
    ("invalid times", {"startedAt": 5, "completedAt": ["x"]}, ()),
]


@pytest.mark.parametrize(("status", "facts"), [row[1:] for row in FACTS], ids=[row[0] for row in FACTS])
def test_values_of_the_status_about_the_run_become_facts(
    status: dict[str, Any], facts: tuple[tuple[str, str], ...]
) -> None:
    assert composed(status).facts == facts


# ---------------------------------------------------------------------------------------------------------
# The artifacts

PICKED: list[tuple[str, str | None, list[str]]] = [
    ("no pattern", None, ["report.md", "Data", "run.log"]),
    ("an exact path", "/workspace/output/report.md", ["report.md"]),
    ("an exact relative path", "logs/run.log", ["run.log"]),
    ("a name, in any folder", "report.md", ["report.md"]),
    ("a folder", "/workspace/output", ["report.md", "Data"]),
    ("a folder with a slash", "/workspace/output/", ["report.md", "Data"]),
    ("a folder within", "/workspace/output/data", ["Data"]),
    ("half a folder's name", "/workspace/out", []),
    ("the root", "/", ["report.md", "Data"]),
    ("here", ".", ["report.md", "Data", "run.log"]),
    ("here, with a slash", "./", ["report.md", "Data", "run.log"]),
    ("here, the long way", "././.", ["report.md", "Data", "run.log"]),
    ("a glob", "*.md", ["report.md"]),
    ("a glob of all", "*", ["report.md", "Data", "run.log"]),
    ("a glob with a folder", "data/*.csv", ["Data"]),
    ("an absolute glob", "/workspace/output/*.md", ["report.md"]),
    ("a glob with a set", "report.[mh]d", ["report.md"]),
    ("a glob with one letter", "run.lo?", ["run.log"]),
    ("a set that never ends", "report.[md", []),
    ("a glob in another case", "*.MD", []),
    ("something else", "/nothing/like/it", []),
    ("the pattern of a shell", "$(reboot)", []),
    ("a step up", "../*.md", []),
]


@pytest.mark.parametrize(("pattern", "names"), [row[1:] for row in PICKED], ids=[row[0] for row in PICKED])
def test_a_pattern_selects_artifacts_by_path_folder_or_glob(pattern: str | None, names: list[str]) -> None:
    made = composed({"artifacts": [REPORT, DATA, LOG]}, artifactPath=pattern)
    assert [artifact["name"] for artifact in made.artifacts] == names


ALONE = [
    ("/workspace/output/report.md", [artifact("/workspace/output/report.md", "report.md")]),
    ("/workspace/output/", [artifact("/workspace/output/", "output")]),
    ("report.md", [artifact("report.md", "report.md")]),
    ("*.md", []),
    ("report.?d", []),
    ("report.[md]", []),
    (None, []),
]


@pytest.mark.parametrize(("pattern", "artifacts"), ALONE)
@pytest.mark.parametrize("status", [{}, {"artifacts": []}, {"artifacts": None}, {"artifacts": "x"}])
def test_without_a_list_a_path_without_wildcards_is_listed_itself(
    pattern: str | None, artifacts: list[Artifact], status: dict[str, Any]
) -> None:
    assert list(composed(status, artifactPath=pattern).artifacts) == artifacts


@pytest.mark.parametrize("pattern", [".", "./", "/", "//", "..", "~"])
@pytest.mark.parametrize("listed", [True, False])
def test_every_artifact_has_a_name(pattern: str, listed: bool) -> None:
    made = composed({"artifacts": [REPORT] if listed else []}, artifactPath=pattern)
    assert all(artifact["name"] for artifact in made.artifacts)


ODD_ARTIFACTS: list[tuple[str, Any, list[Artifact]]] = [
    ("no object", ["report.md", None, 5, ["x"]], []),
    ("empty", [{}], []),
    ("no name", [{"path": "/out/report.md"}], [artifact("/out/report.md", "report.md")]),
    ("no path", [{"name": "report.md"}], [artifact("", "report.md")]),
    ("a name that is no text", [{"name": 5, "path": "/out/a"}], [artifact("/out/a", "a")]),
    ("a path that is no text", [{"name": "a", "path": {"x": 1}}], [artifact("", "a")]),
    ("neither is text", [{"name": [], "path": {}}], []),
    ("the root", [{"path": "/"}], []),
    (
        "all that is sent, and more",
        [{**REPORT, "producedBy": "writer", "size": 5, "producedAt": "2026-03-01T10:00:00Z"}],
        [artifact(REPORT["path"], REPORT["name"], "writer", "2026-03-01T10:00:00Z")],
    ),
    (
        "a maker and a time that are no text",
        [{**REPORT, "producedBy": 5, "producedAt": ["x"]}],
        [artifact(REPORT["path"], REPORT["name"])],
    ),
]


@pytest.mark.parametrize(
    ("artifacts", "sent"), [row[1:] for row in ODD_ARTIFACTS], ids=[row[0] for row in ODD_ARTIFACTS]
)
def test_four_fields_of_each_artifact_are_sent_if_present(artifacts: Any, sent: list[Artifact]) -> None:
    assert list(composed({"artifacts": artifacts}).artifacts) == sent


def test_an_artifact_without_a_path_is_selected_by_its_name() -> None:
    assert (
        len(composed({"artifacts": [{"name": "a.md"}, {"name": "a.txt"}]}, artifactPath="*.md").artifacts)
        == 1
    )


@unhurried
@given(st.text("ab*?[]!-./\\~{} ", min_size=1, max_size=12), st.text("ab/.-[]", max_size=10))
def test_no_pattern_raises_an_error(pattern: str, path: str) -> None:
    composed({"artifacts": [{"name": "a", "path": path}]}, artifactPath=pattern)
    composed(artifactPath=pattern)


def test_the_body_has_exactly_six_keys() -> None:
    by = {"producedBy": "writer", "producedAt": "2026-03-01T10:00:00Z"}
    made = composed({**RUN, "artifacts": [{**REPORT, **by}]})
    assert json.loads(made.body()) == {
        "event": "team.completed",
        "team": "report",
        "namespace": "research",
        "phase": "Completed",
        "message": "Team report in research finished: Completed.",
        "artifacts": [{"name": "report.md", "path": "/workspace/output/report.md", **by}],
    }


def test_the_producer_is_shown_and_a_named_file_is_not_attached() -> None:
    listed = {"artifacts": [{**REPORT, "producedBy": "wri<t>er"}]}
    for target, told in (({}, False), ({"artifactPath": "*.md"}, True)):
        made = composed(listed, **target)
        slack = json.dumps(checked(slack_message(made)))
        assert "report.md (by wri&lt;t&gt;er)" in slack
        assert (NOT_ATTACHED in slack) is told
        for document in (as_text(made), unescape(as_html(made))):
            assert (NOT_ATTACHED in document) is told
        assert "- report.md (by wri<t>er)  /workspace/output/report.md" in as_text(made)


# ---------------------------------------------------------------------------------------------------------
# Slack


def checked(message: dict[str, Any]) -> dict[str, Any]:
    """Check that Slack would accept the message: with the models of its SDK, and by its published limits."""
    message = json.loads(json.dumps(message))
    assert message["text"].strip()
    assert len(message["text"]) <= 40_000
    assert 1 <= len(message["blocks"]) <= 50
    for block in message["blocks"]:
        parsed = Block.parse(block)
        assert parsed is not None
        parsed.validate_json()
        assert parsed.to_dict() == block, "the model knows every field"
        texts = [block["text"]] if "text" in block else []
        match block["type"]:
            case "header":
                assert block["text"]["type"] == "plain_text"
                assert len(block["text"]["text"]) <= 150
            case "section":
                assert all(len(text["text"]) <= 3000 for text in texts)
                assert len(block.get("fields", [])) <= 10
                assert all(len(text["text"]) <= 2000 for text in block.get("fields", []))
                texts += block.get("fields", [])
            case "context":
                assert len(block["elements"]) <= 10
                texts += block["elements"]
            case other:
                raise AssertionError(other)
        assert all(text["text"].strip() for text in texts)
    return message


def words(message: dict[str, Any]) -> str:
    """Return all texts that Slack reads as mrkdwn."""
    found = [message["text"]]
    for block in message["blocks"]:
        parts = [block.get("text", {}), *block.get("fields", []), *block.get("elements", [])]
        found += [part["text"] for part in parts if part.get("type") == "mrkdwn"]
    return "\n".join(found)


def test_a_complete_message_looks_like_this() -> None:
    made = composed(
        {**RUN, "artifacts": [REPORT, {**DATA, "name": "Data <2026> & more"}]},
        message="*{team}* is done: {artifacts}",
    )
    message = checked(slack_message(made))
    expected = json.loads((FIXTURES / "slack-message.json").read_text())
    assert message == expected


def read(message: dict[str, Any]) -> str:
    """Write a message as its readers see it, block by block."""
    lines = []
    for block in message["blocks"]:
        match block:
            case {"type": "header", "text": {"text": text}}:
                lines.append(f"# {text}")
            case {"fields": fields}:
                lines += [field["text"].replace("\n", "  ") for field in fields]
            case {"elements": elements}:
                lines.append(f"({' '.join(element['text'] for element in elements)})")
            case _:
                lines.append(block["text"]["text"])
        lines.append("")
    return "\n".join(lines)


def test_every_kind_of_notification_matches_the_stored_text() -> None:
    shown = []
    for phase, event in [*((phase, "team.completed") for phase in TERMINAL_PHASES), ("Completed", TEST)]:
        status = {**RUN, "artifacts": [REPORT, DATA], "phase": phase}
        made = composed(status, phase=phase, event=event, message="{team}: {phase} after {duration}, {cost}.")
        shown.append(f"==== {phase}, {event}\n\n{read(checked(slack_message(made)))}")
    assert "\n".join(shown) == (FIXTURES / "slack-notifications.txt").read_text()


def test_the_smallest_message_is_valid_too() -> None:
    message = checked(slack_message(envelope()))
    assert [block["type"] for block in message["blocks"]] == ["header", "section", "section", "context"]


def test_each_outcome_looks_different() -> None:
    made = [checked(slack_message(envelope(phase=phase, message="x"))) for phase in TERMINAL_PHASES]
    headers = [message["blocks"][0]["text"]["text"] for message in made]
    assert len({header.split()[0] for header in headers}) == len(TERMINAL_PHASES)
    assert len({header.split(maxsplit=1)[1] for header in headers}) == len(TERMINAL_PHASES)
    for phase, message in zip(TERMINAL_PHASES, made, strict=True):
        assert phase in words(message)


def test_a_test_is_marked_with_a_symbol_and_in_words() -> None:
    message = checked(slack_message(envelope(event=TEST)))
    assert message["blocks"][0]["text"]["text"].startswith(":test_tube: Test: ")
    assert message["blocks"][-1]["elements"][0]["text"].startswith("team.test · ")


def test_an_unknown_outcome_is_shown() -> None:
    assert "Paused" in words(checked(slack_message(envelope(phase="Paused"))))


@pytest.mark.parametrize("size", [1, 149, 150, 151, 253])
def test_the_longest_names_fit(size: int) -> None:
    checked(slack_message(envelope(team="t" * size, namespace="n" * 63)))


@pytest.mark.parametrize("text", ["x", "&", "<", "🎉", "\n", "x\n", "ش", "\u202e"])
@pytest.mark.parametrize("size", [1, 2999, 3000, 3001, 100_000])
def test_a_text_of_any_length_fits(text: str, size: int) -> None:
    made = envelope(message="x" + text * size, facts=(("Cost", text * size + "x"),))
    checked(slack_message(made))


def test_facts_beyond_slack_s_limit_are_omitted() -> None:
    checked(slack_message(envelope(facts=tuple((f"Fact {number}", "x") for number in range(20)))))


def listed(artifacts: list[Artifact]) -> str:
    message = checked(slack_message(envelope(artifacts=tuple(artifacts))))
    (section,) = [block for block in message["blocks"] if block.get("text", {}).get("text", "")[:4] == "*Art"]
    text: str = section["text"]["text"]
    return text


@pytest.mark.parametrize("size", [1, 2, 30, 10_000])
@pytest.mark.parametrize("length", [1, 50, 255, 4096])
def test_as_many_artifacts_as_fit_are_listed_and_the_rest_is_counted(size: int, length: int) -> None:
    artifacts = [
        artifact(path=f"/out/{'p' * length}{number}", name=f"file-{number}.md") for number in range(size)
    ]
    lines = listed(artifacts).split("\n")
    shown = [line for line in lines if line.startswith("• ")]
    assert [line.split()[1] for line in shown] == [f"file-{number}.md" for number in range(len(shown))]
    left = size - len(shown)
    assert lines == ["*Artifacts*", *shown, *([f"and {left} more"] if left else [])]
    assert shown


def test_almost_all_of_three_thousand_characters_are_used() -> None:
    text = listed([artifact(path=f"/out/{number}", name=f"{number}") for number in range(10_000)])
    assert 2900 < len(text) <= 3000
    assert re.search(r"\nand \d+ more$", text)


def test_an_artifact_s_name_cannot_fake_another_line() -> None:
    text = listed([artifact(path="/a`\n• forged", name="a\n• forged\r\n• again\u2028• more")])
    assert len(text.splitlines()) == 2


PINGS = [
    "<!channel>",
    "<!here|here>",
    "<!everyone>",
    "<!subteam^S0123>",
    "<@U012AB3CD>",
    "<#C012AB3CD>",
    "<https://evil.example.com|report.md>",
    "<mailto:a@example.com|a>",
    "<!date^0^{date}|x>",
]


@pytest.mark.parametrize("ping", PINGS)
def test_no_text_can_mention_a_user_or_fake_a_link(ping: str) -> None:
    made = envelope(
        message=ping,
        namespace=ping,
        phase=ping,
        facts=(("Cost", ping),),
        artifacts=(artifact(path=ping, name=ping),),
    )
    said = words(checked(slack_message(made)))
    assert "<" not in said
    assert ">" not in said
    assert said.count("&lt;") >= 6


def test_slack_is_configured_not_to_create_links() -> None:
    message = slack_message(envelope(message="@channel #general https://evil.example.com"))
    sections = [
        block["text"] for block in message["blocks"] if block["type"] == "section" and "text" in block
    ]
    assert all(text["verbatim"] is True for text in sections)


ESCAPED = [
    ("", 10, ""),
    ("a & b", 100, "a &amp; b"),
    ("<b>", 100, "&lt;b&gt;"),
    ("&amp;", 100, "&amp;amp;"),
    ("x" * 10, 10, "x" * 10),
    ("x" * 11, 10, "x" * 9 + "…"),
    ("&&", 10, "&amp;&amp;"),
    ("&&&", 10, "&amp;…"),
    ("&&x", 10, "&amp;…"),
    ("x&&", 11, "x&amp;&amp;"),
    ("<<<", 11, "&lt;&lt;…"),
    ("<", 3, "…"),
    ("🎉" * 5, 10, "🎉" * 5),
    ("🎉" * 6, 10, "🎉" * 4 + "…"),
]


@pytest.mark.parametrize(("text", "limit", "shown"), ESCAPED)
def test_slack_s_markup_is_escaped_and_no_escape_is_split(text: str, limit: int, shown: str) -> None:
    assert escaped(text, limit) == shown


@unhurried
@given(st.text("&<>x;amplt", max_size=40), st.integers(1, 60))
def test_truncation_never_splits_an_escape(text: str, limit: int) -> None:
    shown = escaped(text, limit)
    assert len(shown) <= limit
    kept = shown.removesuffix("…")
    assert "<" not in kept
    assert ">" not in kept
    plain = kept.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.startswith(plain)
    assert plain == text or shown.endswith("…")


@unhurried
@given(
    st.builds(
        envelope,
        message=st.text(min_size=1, max_size=50).filter(lambda text: bool(text.strip())),
        facts=st.lists(st.tuples(st.sampled_from(["Cost", "Tasks"]), st.text(max_size=20)), max_size=4).map(
            tuple
        ),
        artifacts=st.lists(
            st.builds(
                artifact,
                path=st.text(max_size=20),
                name=st.text(min_size=1, max_size=20),
                by=st.none() | st.text(max_size=20),
            ),
            max_size=5,
        ).map(tuple),
    )
)
def test_slack_accepts_every_message(made: Envelope) -> None:
    checked(slack_message(made))
