"""The texts about a finished team: the envelope's text and Slack's blocks. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from app.domain.events import TEST
from app.domain.targets import PLACEHOLDERS, Target
from app.domain.teams import AgentTeam
from app.domain.text import shortened
from app.senders.envelopes import Artifact, Drafts, Envelope, Listing, Progress, forget

TEST_MARK = "This is a test; no team has finished."
NOT_ATTACHED = "The files themselves are not attached; they are in the team's output volume."
DEFAULT_MESSAGE = "Team {team} in {namespace} finished: {phase}."

# https://docs.slack.dev/reference/block-kit/blocks
HEADER_LIMIT = 150
SECTION_LIMIT = 3_000
FIELD_LIMIT = 2_000
FIELDS_LIMIT = 10
ESCAPED = 6  # bytes of a non-ASCII character in JSON, at least for the first 65,536

_OUTCOMES = {
    "Completed": (":white_check_mark:", "finished"),
    "Failed": (":x:", "failed"),
    "TimedOut": (":hourglass:", "ran out of time"),
    "BudgetExceeded": (":money_with_wings:", "ran over budget"),
}
UNKNOWN = "unknown"
NOTHING = Progress()

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ESCAPED = str.maketrans(_ESCAPES)
_LONGEST = max(map(len, _ESCAPES.values()))


def compose(  # noqa: PLR0913  # the parts of a message
    team: AgentTeam,
    target: Target,
    artifacts: Listing,
    *,
    message_id: str,
    event: str,
    phase: str,
    most: int,
    drafts: Drafts,
    progress: Progress = NOTHING,
    note: Callable[[Progress], None] = forget,
) -> Envelope:
    """Build what is sent to one target: `artifacts` that it selects, at most `most` characters of text.

    Targets with the same message and artifacts share their `drafts`.
    """

    def message() -> str:
        values = _values(team.name, team.namespace, phase, artifacts, team.facts)
        return _filled(target.message, values, most, test=event == TEST)

    return Envelope(
        id=message_id,
        event=event,
        team=team.name,
        namespace=team.namespace,
        phase=phase,
        message=drafts.once("message", message),
        artifacts=artifacts,
        names_files=bool(target.artifact_path or target.attached),
        facts=team.facts,
        drafts=drafts,
        progress=progress,
        note=note,
    )


def _filled(asked: str | None, values: dict[str, str], most: int, *, test: bool) -> str:
    template = asked or DEFAULT_MESSAGE
    if test:
        template = f"{TEST_MARK} {asked or ''}".strip()
    message = fill(template, values, most)
    if any(sign.isprintable() and sign != " " for sign in message):
        return message
    return fill(DEFAULT_MESSAGE, values, most)  # Slack rejects a blank text


def most_bytes(target: Target, listing: Listing, most: int) -> int:
    """Return the approximate bytes of JSON of a target's message: never less, and a few hundred more at most.

    `most`: characters of its text.
    """
    template, names = target.message or "", len(listing.names)
    text = min(most, len(template) + names * template.count("{artifacts}"))
    return len(listing.json) + text * (1 if template.isascii() and not names else ESCAPED)


def values_of(envelope: Envelope) -> dict[str, str]:
    """Return the value of each placeholder."""
    return _values(envelope.team, envelope.namespace, envelope.phase, envelope.artifacts, envelope.facts)


def _values(
    team: str, namespace: str, phase: str, artifacts: Listing, facts: Iterable[tuple[str, str]]
) -> dict[str, str]:
    return {
        **dict.fromkeys(PLACEHOLDERS, UNKNOWN),
        "team": team,
        "namespace": namespace,
        "phase": phase,
        "artifacts": artifacts.names,
        **{label.lower(): value for label, value in facts},
    }


def fill(template: str, values: dict[str, str], limit: int) -> str:
    """Fill named placeholders; unknown ones and stray braces stay, and nothing is evaluated.

    It stops at `limit` characters: many placeholders for a long list would produce gigabytes.
    """
    pieces, length, end = [], 0, 0
    for match in _PLACEHOLDER.finditer(template):
        piece = template[end : match.start()] + values.get(match[1], match[0])
        pieces.append(piece)
        length, end = length + len(piece), match.end()
        if length > limit:
            break
    text = "".join(pieces) + template[end:]
    return text if len(text) <= limit else text[: limit - 1] + "…"


def outcome(phase: str) -> tuple[str, str]:
    """Return Slack's emoji and the words for a team's phase."""
    return _OUTCOMES.get(phase, (":information_source:", "finished"))


def slack_message(envelope: Envelope) -> dict[str, Any]:
    """Return the Block Kit message for an incoming webhook, with a plain fallback, in Slack's limits."""
    text, *blocks = envelope.drafts.once(
        "slack", lambda: (escaped(envelope.message, SECTION_LIMIT), *_blocks(envelope))
    )
    signed = {"type": "context", "elements": [_mrkdwn(f"{envelope.event} · {envelope.id}")]}
    return {"text": text, "blocks": [*blocks, signed]}


def _blocks(envelope: Envelope) -> list[dict[str, Any]]:
    """Return the blocks that are the same for all targets with this message and these artifacts."""
    icon, verb = outcome(envelope.phase)
    title = f"{icon} Team {envelope.team} {verb}"
    if envelope.event == TEST:
        title = f":test_tube: Test: a notification of team {envelope.team}"
    fields = [("Team", envelope.team), ("Namespace", envelope.namespace), ("Outcome", envelope.phase)]
    fields += envelope.facts
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {
                "type": "plain_text",
                "text": _cut(shortened(title), HEADER_LIMIT),
                "emoji": True,
            },
        },
        {"type": "section", "text": _mrkdwn(escaped(envelope.message, SECTION_LIMIT))},
        {
            "type": "section",
            "fields": [
                _mrkdwn(f"*{label}*\n{escaped(value, FIELD_LIMIT - 100)}")
                for label, value in fields[:FIELDS_LIMIT]
            ],
        },
    ]
    if envelope.artifacts:
        listed = _artifact_list(envelope.artifacts)
        listed += f"\n_{NOT_ATTACHED}_" if envelope.names_files else ""
        blocks.append({"type": "section", "text": _mrkdwn(listed)})
    return blocks


def escaped(text: str, limit: int) -> str:
    """Escape `& < >`, so that no text can notify a channel, and cut to `limit` without splitting an escape.

    https://docs.slack.dev/messaging/formatting-message-text/#escaping
    """
    whole = text[: limit + 1].translate(_ESCAPED)
    fits = _LONGEST * len(text) <= limit or counted(whole) <= limit
    return whole if fits else _cut(text, limit, _ESCAPES)


def counted(text: str) -> int:
    """Return a text's length as Slack counts it, in UTF-16 units: a character beyond the BMP counts twice."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _cut(text: str, limit: int, escapes: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return at most `limit` units of a text, without splitting a character or an escape."""
    if not escapes and counted(text) <= limit:
        return text
    pieces = [escapes.get(character, character) for character in text[: limit + 1]]
    whole = "".join(pieces)
    if counted(whole) <= limit:
        return whole
    length, kept = 1, []
    for piece in pieces:
        length += counted(piece)
        if length > limit:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def _mrkdwn(text: str) -> dict[str, Any]:
    # verbatim: Slack does not turn a bare word into a mention, a channel or a link.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _artifact_list(artifacts: tuple[Artifact, ...]) -> str:
    """Return as many artifacts as a section can hold, and how many more there are."""
    lines = ["*Artifacts*"]
    room = SECTION_LIMIT - len(lines[0]) - len(f"\n_{NOT_ATTACHED}_") - len(f"\nand {len(artifacts)} more")
    for position, artifact in enumerate(artifacts):
        name, path = shortened(artifact["name"], 200), shortened(artifact["path"].replace("`", ""), 600)
        by = f" (by {escaped(shortened(maker, 100), 100)})" if (maker := artifact["producedBy"]) else ""
        line = f"• {escaped(name, 200)}{by}  `{escaped(path, 600)}`"
        room -= counted(line) + 1
        if room < 0:
            lines.append(f"and {len(artifacts) - position} more")
            break
        lines.append(line)
    return "\n".join(lines)
