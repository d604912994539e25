"""The search for secrets in outputs finds each in each encoding, and nothing in clean output."""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from tests import canaries
from tests.canaries import PLANTED, assert_absent


def lower(value: bytes) -> str:
    """Percent-encode with lower-case digits."""
    return re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quote(value, safe=""))


def among(encode: Callable[[bytes], bytes], before: int, after: int) -> Callable[[bytes], bytes]:
    """Encode a value with this many bytes around it."""
    return lambda value: encode(b"u" * before + value + b"p" * after)


WRITTEN: dict[str, Callable[[bytes], bytes | str]] = {
    "raw": bytes,
    "percent-encoded": lambda value: quote(value, safe=""),
    "percent-encoded in lower case": lower,
    "percent-encoded with slashes left": quote,
    "percent-encoded as a form": quote_plus,
    "percent-encoded throughout": lambda value: "".join(f"%{byte:02X}" for byte in value),
    "percent-encoded throughout in lower case": lambda value: "".join(f"%{byte:02x}" for byte in value),
    "percent-encoded twice": lambda value: quote(quote(value, safe=""), safe=""),
    **{
        f"{encode.__name__}, {before} bytes before and {after} after": among(encode, before, after)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
        for before in range(4)
        for after in range(3)
    },
    "base64 without padding": lambda value: base64.b64encode(value).rstrip(b"="),
    "repr of bytes": repr,
    "repr of bytes in a repr": lambda value: repr([repr(value)]),
    "hex": lambda value: value.hex(),
    "upper-case hex": lambda value: value.hex().upper(),
}
"""Ways of writing any bytes."""

WRITTEN_AS_TEXT: dict[str, Callable[[str], str]] = {
    "JSON": json.dumps,
    "JSON with letters left": lambda value: json.dumps(value, ensure_ascii=False),
    "JSON throughout": lambda value: "".join(f"\\u{ord(character):04x}" for character in value),
    "JSON with slashes escaped": lambda value: json.dumps(value).replace("/", "\\/"),
    "JSON in JSON": lambda value: json.dumps({"message": json.dumps({"url": value})}),
    "repr": repr,
    "ascii": ascii,
    "percent-encoded in JSON": lambda value: json.dumps(quote(value, safe="")),
}
"""Ways of writing text."""


@pytest.mark.parametrize("form", WRITTEN)
def test_each_canary_is_found_in_every_form_of_bytes(form: str) -> None:
    for canary in PLANTED:
        written = WRITTEN[form](canary.value)
        text = written if isinstance(written, bytes) else written.encode()
        with pytest.raises(AssertionError, match=f"(?s)in the log:.*{canary.name}, "):
            assert_absent("the log", b"before ... " + text + b" ... after")


@pytest.mark.parametrize("form", WRITTEN_AS_TEXT)
def test_each_canary_is_found_in_every_form_of_text(form: str) -> None:
    for name, value in PLANTED:
        if value == canaries.SIGNING_BYTES:
            continue  # not text
        with pytest.raises(AssertionError, match=f"(?s)in an answer:.*{name}, "):
            assert_absent("an answer", f"before ... {WRITTEN_AS_TEXT[form](value.decode())} ... after")


def test_a_whole_url_is_found_by_each_of_its_parts() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_absent("the log", canaries.secret_url(user_info=f"{canaries.USER_INFO}@"))
    for part in ("host of a secret URL", "path of a secret URL", "query", "fragment", "user info"):
        assert part in str(caught.value)


def test_half_a_canary_is_found() -> None:
    with pytest.raises(AssertionError, match="a part of a canary"):
        assert_absent("the log", canaries.AUTHORIZATION[:20])


def test_the_report_shows_little_of_the_context() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_absent("the log", "x" * 10_000 + canaries.CALLER + "y" * 10_000)
    assert "xxx" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ["", "canary", "%", "\\", "\\u12", "%zz", "ü\ud800", b"\xff\x00", None, 7])
def test_nothing_is_found_in_clean_output(text: object) -> None:
    assert_absent("the log", text)
