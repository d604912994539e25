"""The mark at the end of an entry's `error`: written and read back, and never found in other text."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.marks import LONGEST, Mark, split
from tests.examples import NOW, unhurried

MARK = Mark(
    id="msg_1",
    holder="agentteam-delivery-0123",
    until=NOW,
    attempts=2,
    has=("a@example.com", "b+c@example.com"),
)
WRITTEN = (
    " [agentteam-delivery/1 id=msg_1 holder=agentteam-delivery-0123 until=2026-03-01T12:00:00Z attempts=2"
    " has=a@example.com,b+c@example.com]"
)

_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_times = st.none() | st.integers(-(10**10), 10**10).map(lambda seconds: NOW + timedelta(seconds=seconds))
_numbers = st.integers(0, 2**31)
_marks = st.builds(
    Mark,
    id=_texts,
    name=st.just("") | _texts,
    holder=st.just("") | _texts,
    until=_times,
    retry=_times,
    since=_times,
    reason=st.just("") | _texts,
    status=_numbers,
    attempts=_numbers,
    takeovers=_numbers,
    redeliveries=_numbers,
    retries=_numbers,
    has=st.lists(_texts, max_size=3).map(tuple),
)


def test_a_mark_is_short_and_readable() -> None:
    assert str(MARK) == WRITTEN
    assert split("Timeout: no answer" + WRITTEN) == ("Timeout: no answer", MARK)


@unhurried
@given(_marks, st.text(max_size=40))
def test_every_mark_is_read_back_after_any_text(mark: Mark, text: str) -> None:
    assert split(f"{text}{mark}") == (text, mark)
    assert str(mark).isprintable()


IMITATIONS: list[tuple[str, str]] = [
    ("nothing", ""),
    ("no mark", "Post failed"),
    ("another version", WRITTEN.replace("/1 ", "/2 ")),
    ("no version", WRITTEN.replace("/1 ", " ")),
    ("no blank before it", WRITTEN[1:]),
    ("something behind it", WRITTEN + "."),
    ("a line end behind it", WRITTEN + "\n"),
    ("not closed", WRITTEN[:-1]),
    ("no id", WRITTEN.replace("id=msg_1 ", "")),
    ("an empty id", WRITTEN.replace("msg_1", "")),
    ("another order", WRITTEN.replace("id=msg_1 ", "").replace(" attempts", " id=msg_1 attempts")),
    ("a field twice", WRITTEN.replace("attempts=2", "attempts=2 attempts=2")),
    ("an unknown field", WRITTEN.replace("attempts", "tries")),
    ("a default that is written", WRITTEN.replace("attempts=2", "attempts=0")),
    ("a number with a sign", WRITTEN.replace("attempts=2", "attempts=+2")),
    ("a number with a nought before it", WRITTEN.replace("attempts=2", "attempts=02")),
    ("a number in other digits", WRITTEN.replace("attempts=2", "attempts=٢")),
    ("an endless number", WRITTEN.replace("attempts=2", f"attempts={'9' * 5000}")),
    ("an invalid time", WRITTEN.replace("2026-03-01T12:00:00Z", "soon")),
    ("a time in another spelling", WRITTEN.replace("12:00:00Z", "13:00:00+01:00")),
    ("a time without a zone", WRITTEN.replace("12:00:00Z", "12:00:00")),
    ("a text in another spelling", WRITTEN.replace("msg_1", "%6dsg_1")),
    ("a text that is not escaped", WRITTEN.replace("msg_1", "msg/1")),
    ("two blanks", WRITTEN.replace(" attempts", "  attempts")),
    ("a bracket within", WRITTEN.replace("msg_1", "msg[1")),
    ("a mark within a mark", WRITTEN[:-1] + WRITTEN),
    ("longer than any", f" [agentteam-delivery/1 id={'x' * LONGEST}]"),
]


@pytest.mark.parametrize("error", [row[1] for row in IMITATIONS], ids=[row[0] for row in IMITATIONS])
def test_text_that_is_not_exactly_a_mark_is_none(error: str) -> None:
    found = split(error)
    assert found is None or "[agentteam-delivery/1" in found[0], "the last mark counts"


@unhurried
@given(st.text() | st.text("[agentteam-delivery/1 id=msg_]%0123456789", max_size=80))
def test_no_other_text_is_read_as_a_mark(text: str) -> None:
    found = split(text)
    if found is not None:  # by chance, it was one
        before, mark = found
        assert f"{before}{mark}" == text


@unhurried
@given(_marks, st.data())
def test_a_mark_with_one_changed_letter_is_none_or_another(mark: Mark, data: Any) -> None:
    written = str(mark)
    at = data.draw(st.integers(0, len(written) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda one: one != written[at]))
    found = split(written[:at] + letter + written[at + 1 :])
    assert found is None or found[1] != mark or found[0]
