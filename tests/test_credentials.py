"""A Secret's values: each is validated when it is read, and none is ever shown."""

import pytest

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.senders.credentials import Credentials
from tests.examples import CANARY

GOOD = [
    ("plain", b"value", "value"),
    ("a trailing newline", b"value\n", "value"),
    ("a trailing newline of Windows", b"value\r\n", "value"),
    ("white space around", b" \t value \n\n", "value"),
    ("white space inside", b"Bearer value", "Bearer value"),
    ("another script", "schlüssel".encode(), "schlüssel"),
]


@pytest.mark.parametrize(("value", "text"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])
def test_a_value_is_text_without_surrounding_white_space(value: bytes, text: str) -> None:
    credentials = Credentials("keys", {"key": value})
    assert credentials.require("key") == credentials.get("key") == text


BAD = [
    ("empty", b"", "is empty"),
    ("white space only", b" \n\t ", "is empty"),
    ("not UTF-8", b"\xff\xfe" + CANARY.encode(), "is not UTF-8 text"),
    ("UTF-16", CANARY.encode("utf-16"), "is not UTF-8 text"),
    ("several lines", f"a\n{CANARY}".encode(), "must be one line without control characters"),
    ("a control character", f"{CANARY}\x00a".encode(), "must be one line without control characters"),
    ("a line separator", f"{CANARY}\u2028a".encode(), "must be one line without control characters"),
    ("a byte order mark", f"\ufeff{CANARY}".encode(), "must be one line without control characters"),
    ("a header inside", f"{CANARY}\r\nX: 1".encode(), "must be one line without control characters"),
]


@pytest.mark.parametrize(("value", "problem"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_an_error_about_an_invalid_value_names_the_secret_and_its_key(value: bytes, problem: str) -> None:
    credentials = Credentials("keys", {"key": value})
    for read in (credentials.require, credentials.get):
        with pytest.raises(TargetError) as caught:
            read("key")
        assert caught.value.reason is Reason.SECRET_INVALID
        assert caught.value.message == f'key "key" of Secret "keys" {problem}'
        assert (caught.value.retryable, caught.value.attempted) == (False, False)
        assert caught.value.__cause__ is None


def test_a_missing_key_is_reported_with_a_remedy() -> None:
    credentials = Credentials("keys", {"other": CANARY.encode()})
    with pytest.raises(TargetError) as caught:
        credentials.require("key")
    assert caught.value.reason is Reason.SECRET_KEY_MISSING
    assert caught.value.message == 'Secret "keys" has no key "key"; add it'
    assert (caught.value.retryable, caught.value.attempted) == (False, False)


def test_an_optional_key_can_be_missing() -> None:
    credentials = Credentials("keys", {"other": b"x"})
    assert credentials.get("key") is None
    assert "key" not in credentials
    assert "other" in credentials


def test_no_printed_form_shows_a_value() -> None:
    credentials = Credentials("keys", {"key": CANARY.encode()})
    shown = f"{credentials} {credentials!r} {credentials.invalid('key', 'is wrong')!r}"
    assert CANARY not in shown
    assert "keys" in shown
