"""A list read in pieces: every item is returned once, wherever the bytes are split."""

import json
from itertools import chain, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kube.lists import NoList, Pieces
from tests.examples import unhurried

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=4)
AROUND = st.fixed_dictionaries(
    {"kind": st.just("AgentTeamList"), "metadata": OBJECTS, "number": st.integers()}
)


def read(text: bytes, size: int) -> tuple[list[Any], Pieces]:
    """Feed a text in pieces of this size."""
    pieces = Pieces()
    items: list[Any] = []
    for start in range(0, len(text), size):
        items += pieces.feed(text[start : start + size])
    items += pieces.end()
    return items, pieces


@unhurried
@given(st.lists(OBJECTS, max_size=5), AROUND, st.integers(1, 40), st.integers(0, 3), st.booleans())
def test_the_result_equals_the_standard_library_s(
    items: list[Any], around: dict[str, Any], size: int, place: int, ascii_only: bool
) -> None:
    fields = list(around.items())
    document = dict([*fields[:place], ("items", items), *fields[place:]])
    text = json.dumps(document, ensure_ascii=ascii_only, indent=size % 3 or None)
    found, pieces = read(text.encode(errors="replace"), size)
    expected = json.loads(text.encode(errors="replace").decode())
    assert found == expected.pop("items")
    assert pieces.around == expected


@pytest.mark.parametrize("size", [7, 4096, 1_000_000])
def test_an_item_nested_too_deep_is_skipped_and_others_are_read(size: int) -> None:
    deep = b"[" * 3000 + b'"]]\\"]"' + b"]" * 3000
    text = b'{"items":[{"a":1},{"x":' + deep + b'},{"b":2}],"metadata":{"resourceVersion":"7"}}'
    found, pieces = read(text, size)
    assert found == [{"a": 1}, None, {"b": 2}]
    assert pieces.around == {"metadata": {"resourceVersion": "7"}}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"items":[{}',
        b'{"items":[{}]',
        b'{"items":null}',
        b'{"kind":"Status"}',
        b'"x"',
    ],
)
def test_an_incomplete_list_is_reported(text: bytes) -> None:
    with pytest.raises(NoList):
        read(text, 4)


def test_an_endless_item_is_given_up() -> None:
    pieces = Pieces()
    endless = chain([b'{"items":[{"a":"'], repeat(b"x" * 65_536, 300))
    with pytest.raises(NoList):
        list(chain.from_iterable(map(pieces.feed, endless)))


def test_at_most_one_item_is_buffered() -> None:
    pieces = Pieces()
    text = json.dumps({"items": [{"a": "x" * 100_000}] * 50, "metadata": {}}).encode()
    most = number = 0
    for start in range(0, len(text), 65_536):
        number += len(list(pieces.feed(text[start : start + 65_536])))
        most = max(most, len(pieces._text))  # noqa: SLF001  # this test is about the buffer
    assert number + len(list(pieces.end())) == 50
    assert most < 400_000
