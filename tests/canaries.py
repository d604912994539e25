"""Secrets planted where no output may repeat them, and the search for each in every encoding."""

import base64
import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

STEM = "c4naRyQ7z"
"""In every canary, so that half of one is found as well."""

# They contain characters that encodings write differently.
HOST = "host-c4nary-8kq2.example"  # a resolver writes names in lower case
PATH = f"T0/{STEM}+path~Zq4=x9"
QUERY = f"sig={STEM}+query/ü7Wd&x={STEM}"
FRAGMENT = f"{STEM}-fragment/Lx3m"
USER_INFO = f"{STEM}-user:{STEM}$word"
SIGNING_BYTES = STEM.encode() + b"\xff\x00\x1b'\"key"
SIGNING_KEY = "whsec_" + base64.b64encode(SIGNING_BYTES).decode()
AUTHORIZATION = f'Bearer {STEM}"authorization\\Rb8c+/='
CALLER = f"{STEM}.caller-token~Vn5+/="
PROXY_USER, PROXY_PASSWORD = f"{STEM}-proxy", f"{STEM}~pass-Jd6w"
WRITTEN = f"{STEM}-written-by-a-receiver"
ASKED = f"{STEM}-asked-by-a-caller"


class Canary(NamedTuple):
    """The planted secrets, and what each one is."""

    name: str
    value: bytes


PLANTED = (
    Canary("the host of a secret URL", HOST.encode()),
    Canary("the path of a secret URL", PATH.encode()),
    Canary("a query", QUERY.encode()),
    Canary("a fragment", FRAGMENT.encode()),
    Canary("a user info", USER_INFO.encode()),
    Canary("a signing key", SIGNING_KEY.encode()),
    Canary("a signing key's bytes", SIGNING_BYTES),
    Canary("an authorization", AUTHORIZATION.encode()),
    Canary("a caller's token", CALLER.encode()),
    Canary("a proxy's password", PROXY_PASSWORD.encode()),
    Canary("what a receiver wrote", WRITTEN.encode()),
    Canary("what a caller wrote", ASKED.encode()),
    Canary("a part of a canary", STEM.encode()),
)


EVERYTHING = " ".join(value.decode() for _, value in PLANTED if value != SIGNING_BYTES)
"""What a receiver may know, and say."""


def assert_absent(output: str, text: Any) -> None:
    """Fail if an output contains a canary in any form; bytes are searched as they are, all else as text."""
    views = _views(text if isinstance(text, bytes) else str(text).encode(errors="surrogatepass"))
    found = [f"{name}, {form}: {around}" for name, form, around in _sightings(views)]
    assert not found, f"in {output}:\n" + "\n".join(found)


def secret_url(authority: str = HOST, *, scheme: str = "https", user_info: str = "") -> str:
    """Make a URL whose every part is secret."""
    return f"{scheme}://{user_info}{authority}/services/{PATH}?{QUERY}#{FRAGMENT}"


def telling(status: int, *headers: bytes) -> bytes:
    """Write an answer that repeats everything: in its reason phrase, its headers and its body."""
    told = EVERYTHING.encode()
    lines = [
        b"HTTP/1.1 %d %s" % (status, told),
        b"X-Echo: " + told,
        b"Set-Cookie: a=" + told,
        b"WWW-Authenticate: Basic realm=" + told,
        *headers,
        b"Content-Length: %d" % len(told),
    ]
    return b"\r\n".join([*lines, b"", told])


def _sightings(views: list[bytes]) -> Iterator[tuple[str, str, str]]:
    """Yield each canary that is found: its name, its form, and its place with some context."""
    for canary in PLANTED:
        for (form, needle), view in product(_FORMS[canary], views):
            place = view.find(needle)
            if place >= 0:
                around = view[max(0, place - 30) : place + len(needle) + 10]
                yield canary.name, form, ascii(around.decode(errors="replace"))
                break


def _views(text: bytes) -> list[bytes]:
    """Yield a text as it is, and with up to two layers of encoding removed."""
    views = [text]
    for _ in range(2):
        for view in list(views):
            for decode in _DECODERS:
                decoded = decode(view)
                if decoded not in views:
                    views.append(decoded)
    return views


def _unescaped(how: Callable[[int], bytes]) -> Callable[[bytes], bytes]:
    r"""Undo what JSON, `repr` and `ascii` do; `how` says what `\xHH` is: a byte, or a character."""

    def one(match: re.Match[bytes]) -> bytes:
        four, two, other = match.groups()
        if four:
            return chr(int(four, 16)).encode(errors="surrogatepass")
        return how(int(two, 16)) if two else _LETTERS.get(other, other)

    return lambda text: _ESCAPE.sub(one, text)


_ESCAPE = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_DECODERS: tuple[Callable[[bytes], bytes], ...] = (
    unquote_to_bytes,
    lambda text: unquote_to_bytes(text.replace(b"+", b" ")),
    _unescaped(lambda number: bytes([number])),
    _unescaped(lambda number: chr(number).encode()),
)


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Return a value in the encoded forms that are searched for directly."""
    yield "as it is", value
    yield "in hex", value.hex().encode()
    yield "in hex", value.hex().upper().encode()
    for before in range(3):
        for form, encode in (
            ("in base64", base64.b64encode),
            ("in base64 for URLs", base64.urlsafe_b64encode),
        ):
            # Its position in a group of three bytes decides its form; its ends depend on the bytes around it.
            whole = len(value) + before - (len(value) + before) % 3
            yield form, encode(bytes(before) + value)[(0, 2, 3)[before] : whole // 3 * 4]


_FORMS = {canary: tuple(_forms(canary.value)) for canary in PLANTED}
