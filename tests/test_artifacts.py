"""The artifact list of a notification: read once, built once per selection, and cut if it is too long."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from app.domain import bounds
from app.domain.mailboxes import Mailbox
from app.domain.targets import EmailTarget, InvalidTarget, Target, read_targets
from app.senders.artifacts import Artifacts
from app.senders.documents import LISTED_CHARACTERS, TOO_LARGE, as_html, as_text
from app.senders.envelopes import Listing
from app.senders.mail import compose_mail
from tests.examples import NOW, artifact, envelope, team

FILES = [{"name": f"{n}.md", "path": f"/workspace/output/{n}.md"} for n in range(20)]
HOOK = {"type": "webhook", "url": "https://h/"}


def read(spec: Sequence[Any]) -> list[Target]:
    return [target for target in read_targets(spec) if not isinstance(target, InvalidTarget)]


async def listings(*targets: dict[str, Any], files: Any = FILES) -> list[Listing]:
    finished = team(targets, artifacts=files)
    artifacts = Artifacts(finished)
    return [await artifacts.listed_for(target) for target in read(finished.targets)]


def test_an_artifact_that_several_targets_list_is_built_once() -> None:
    patterns = (None, "*", "**", "/workspace/", "*.md")
    first, *others = asyncio.run(listings(*[{**HOOK, "artifactPath": pattern} for pattern in patterns]))
    assert len(first) == len(FILES)
    assert first.json == json.dumps(first)
    assert all(other == first for other in others)
    assert len({id(other) for other in others}) == 1


def test_a_file_to_attach_is_listed_after_the_selected_ones() -> None:
    mail: dict[str, Any] = {"type": "email", "to": ["a@b.c"], "artifactPath": "1*.md"}
    same, more, unknown = asyncio.run(
        listings(*[{**mail, "attachmentPath": path} for path in ("12.md", "2.md", "/other.pdf")])
    )
    assert [one["name"] for one in same] == [one["name"] for one in FILES if one["name"].startswith("1")]
    assert [one["name"] for one in (more[-1], unknown[-1])] == ["2.md", "other.pdf"]
    assert all(json.loads(one.json) == list(one) for one in (same, more, unknown))


def test_a_long_text_of_an_artifact_is_truncated() -> None:
    ((one,),) = asyncio.run(listings(HOOK, files=[{"name": "n" * 5_000, "path": f"/{'p' * 5_000}"}]))
    assert {len(one["name"]), len(one["path"])} == {bounds.ARTIFACT_TEXT.most}
    assert one["path"].endswith("…")


def test_a_long_list_is_truncated_for_people_and_its_json_is_omitted() -> None:
    made = envelope(artifacts=[artifact(f"/{'p' * 900}/{n}", f"{n}.md") for n in range(500)])
    assert len(made.body()) > bounds.ENVELOPE.most
    for text in (as_text(made), as_html(made), as_html(made, with_envelope=True)):
        assert "more" in text
        assert TOO_LARGE in text.replace("&#x27;", "'")
        assert len(text) < 2 * LISTED_CHARACTERS
    (target,) = read_targets([{"type": "email", "to": ["a@b.c"]}])
    assert isinstance(target, EmailTarget)
    mail = compose_mail(made, target, ("a@b.c",), Mailbox("a@b.c"), at=NOW)
    assert not list(mail.iter_attachments())
    assert len(mail.as_bytes()) < 6 * LISTED_CHARACTERS


def test_a_list_that_fits_is_included_as_json() -> None:
    made = envelope(artifacts=[artifact("/a", "a")])
    assert TOO_LARGE not in as_text(made)
    assert "Envelope" in as_html(made, with_envelope=True)
