"""A notification as a document for people: plain text, and HTML in which no team's text is markup. Pure."""

import json
import re
from collections.abc import Iterator
from html import escape

from app.domain.bounds import ENVELOPE
from app.domain.events import TEST
from app.domain.text import shortened
from app.senders.envelopes import Envelope
from app.senders.messages import NOT_ATTACHED, fill, outcome, values_of

TITLE_LIMIT = 200  # characters, of a subject or a file name
LISTED_ARTIFACTS, LISTED_CHARACTERS = 200, 40_000  # that a document lists
TOO_LARGE = "The JSON of this notification is too large to be included; the team's status has all of it."
DEFAULT_TITLE = "Team {team} in {namespace} finished: {phase}"

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CELL = 'style="padding:2px 16px 2px 0;text-align:left;vertical-align:top"'


def title(envelope: Envelope, template: str | None = None) -> str:
    """Return the notification's title on one line; a template may use the placeholders of messages."""
    values = values_of(envelope)
    line = " ".join(shortened(fill(template or DEFAULT_TITLE, values, TITLE_LIMIT), TITLE_LIMIT).split())
    line = line or fill(DEFAULT_TITLE, values, TITLE_LIMIT)
    return shortened(f"Test: {line}" if envelope.event == TEST else line, TITLE_LIMIT)


def as_text(envelope: Envelope) -> str:
    """Return the notification in plain text, valid as UTF-8."""
    rows = _rows(envelope)
    width = max(len(label) for label, _ in rows)
    parts = [envelope.message, "\n".join(f"{label:<{width}}  {value}" for label, value in rows)]
    if artifacts := list(_artifacts(envelope)):
        listed = "\n".join(f"- {name}  {path}".rstrip() for name, path in artifacts)
        parts.append("Artifacts\n" + listed + (f"\n{NOT_ATTACHED}" if envelope.names_files else ""))
    if not fits(envelope):
        parts.append(TOO_LARGE)
    parts.append(f"{envelope.event} · {envelope.id}")
    return _clean("\n\n".join(parts)) + "\n"


def as_html(envelope: Envelope, *, with_envelope: bool = False) -> str:
    """Return the notification as an HTML document; `with_envelope` appends the JSON that webhooks receive."""
    return _clean("\n".join(_html(envelope, with_envelope=with_envelope))) + "\n"


def fits(envelope: Envelope) -> bool:
    """Whether the JSON that webhooks receive is small enough to be appended."""
    return len(envelope.body()) <= ENVELOPE.most


def envelope_json(envelope: Envelope) -> str:
    """Return the JSON that webhooks receive, formatted for people."""
    return json.dumps(json.loads(envelope.body()), ensure_ascii=False, indent=2)


def _html(envelope: Envelope, *, with_envelope: bool) -> Iterator[str]:
    yield "<!DOCTYPE html>"
    yield f'<html><head><meta charset="utf-8"><title>{escape(title(envelope))}</title></head><body>'
    yield f"<h2>{escape(_headline(envelope))}</h2>"
    yield "<p>" + escape(envelope.message).replace("\n", "</p>\n<p>") + "</p>"
    yield "<table>"
    for label, value in _rows(envelope):
        yield f"<tr><th {_CELL}>{escape(label)}</th><td {_CELL}>{escape(value)}</td></tr>"
    yield "</table>"
    if artifacts := list(_artifacts(envelope)):
        yield "<h3>Artifacts</h3><ul>"
        for name, path in artifacts:
            yield f"<li>{escape(name)} <code>{escape(path)}</code></li>"
        yield "</ul>"
        if envelope.names_files:
            yield f"<p>{escape(NOT_ATTACHED)}</p>"
    if not fits(envelope):
        yield f"<p>{escape(TOO_LARGE)}</p>"
    elif with_envelope:
        shown = envelope.drafts.once("html", lambda: escape(envelope_json(envelope)))
        yield f"<h3>Envelope</h3><pre>{shown}</pre>"
    yield f"<p><small>{escape(f'{envelope.event} · {envelope.id}')}</small></p></body></html>"


def _clean(text: str) -> str:
    """Return a text as valid UTF-8 without control characters; JSON can contain half a surrogate pair."""
    text = text.encode(errors="replace").decode().replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", text)


def _headline(envelope: Envelope) -> str:
    if envelope.event == TEST:
        return f"Test: a notification of team {envelope.team}"
    _, verb = outcome(envelope.phase)
    return f"Team {envelope.team} {verb}"


def _rows(envelope: Envelope) -> list[tuple[str, str]]:
    rows = [("Team", envelope.team), ("Namespace", envelope.namespace), ("Outcome", envelope.phase)]
    return [(label, shortened(value)) for label, value in (*rows, *envelope.facts)]


def _artifacts(envelope: Envelope) -> Iterator[tuple[str, str]]:
    """Yield names and paths, and how many more there are than the document lists."""
    room = LISTED_CHARACTERS
    for place, artifact in enumerate(envelope.artifacts):
        maker = artifact["producedBy"]
        by = f" (by {shortened(maker, 100)})" if maker else ""
        name, path = shortened(artifact["name"]) + by, shortened(artifact["path"], 1000)
        room -= len(name) + len(path)
        if place == LISTED_ARTIFACTS or room < 0:
            yield f"and {len(envelope.artifacts) - place} more", ""
            return
        yield name, path
