"""An answer that arrives in one piece means the same without the library's parser as with it."""

import asyncio

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from app.whole import Whole, whole
from tests.examples import unhurried
from tests.test_bounds import assert_linear
from tests.test_heads import CHUNKED, CHUNKS, LONG, OK

DATE = "Sun, 29 Nov 2026 05:37:57 GMT"

TAKEN: dict[str, tuple[bytes, Whole]] = {
    "ok": (OK + b"Content-Length: 2\r\n\r\nok", Whole(200, b"ok")),
    "no content": (OK + b"content-length:0\r\n\r\n", Whole(200, b"")),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 1 \r\n\r\n{", Whole(404, b"{")),
    "keep-alive": (OK + b"Connection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", Whole(200, b"ok")),
    "a date": (OK + f"date:{DATE}\r\nContent-Length: 2\r\n\r\nok".encode(), Whole(200, b"ok", DATE)),
    "a chunk": (OK + CHUNKED + b"\r\n" + CHUNKS, Whole(200, b"ok")),
    "a chunk with CRLF in it": (
        OK + CHUNKED + b"\r\nB\r\n\r\n0\r\n\r\n2345\r\n0\r\n\r\n",
        Whole(200, b"\r\n0\r\n\r\n2345"),
    ),
}
LEFT = {
    "two chunks": OK + CHUNKED + b"\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    "an empty chunk": OK + CHUNKED + b"\r\n0\r\n\r\n",
    "part of a chunk": OK + CHUNKED + b"\r\n3\r\nok\r\n0\r\n\r\n",
    "a chunk and more": OK + CHUNKED + b"\r\n" + CHUNKS + b"x",
    "a chunk without an end": OK + CHUNKED + b"\r\n2\r\nok\r\n",
    "a chunk with an extension": OK + CHUNKED + b"\r\n2;x\r\nok\r\n0\r\n\r\n",
    "a chunk with a zero": OK + CHUNKED + b"\r\n02\r\nok\r\n0\r\n\r\n",
    "a chunk and a trailer": OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "compressed": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
    "two dates": OK + f"Date: {DATE}\r\nDate: {DATE}\r\nContent-Length: 2\r\n\r\nok".encode(),
    "chunks and a length": OK + CHUNKED + b"Content-Length: 12\r\n\r\n" + CHUNKS,
    "no length": OK + b"Server: x\r\n\r\nok",
    "no headers": OK + b"\r\n",
    "more": OK + b"Content-Length: 2\r\n\r\nok!",
    "less": OK + b"Content-Length: 2\r\n\r\no",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\nok",
    "a length with a zero": OK + b"Content-Length: 02\r\n\r\nok",
    "closing": OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
    "closing, as told to a proxy": OK + b"Proxy-Connection: close\r\nContent-Length: 2\r\n\r\nok",
    "another protocol": OK + b"Upgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
    "a wait": OK + b"Retry-After: 5\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "interim": b"HTTP/1.1 103 Early\r\nContent-Length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n",
    "folded": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\nok",
    "a bare LF": OK + b"X: a\nContent-Length: 2\r\n\r\nok",
    "a long head": OK + LONG * 4 + b"Content-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize(("answer", "means"), TAKEN.values(), ids=TAKEN)
def test_a_plain_answer_in_one_piece_needs_no_parser(answer: bytes, means: Whole) -> None:
    assert whole(answer) == means


@pytest.mark.parametrize("answer", LEFT.values(), ids=LEFT)
def test_any_other_answer_is_left_to_the_parser(answer: bytes) -> None:
    assert whole(answer) is None


@pytest.mark.parametrize(
    "piece", [b" ", b"\t", b"x", b"x: y\r\n", b"x:\r\n", b"\xff", b"content-length: 2\r\n", b":"]
)
@pytest.mark.parametrize("begins", [b"", b"X: ", b"Content-Length: 2", b"Content-Length:"], ids=repr)
@pytest.mark.parametrize("ends", [b"", b"x\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nok"], ids=repr)
def test_an_answer_of_twice_the_size_takes_at_most_about_twice_the_work(
    begins: bytes, piece: bytes, ends: bytes
) -> None:
    half, both = (OK + begins + piece * (length // len(piece)) + ends for length in (16_000, 32_000))
    assert_linear(whole, half, both)


_NAMES = [
    b"Content-Length",
    b"content-length",
    b"X",
    b"Connection",
    b"Transfer-Encoding",
    b"Upgrade",
    b"a b",
    b"Date",
]
_VALUES = [b"0", b"2", b"02", b"2, 2", b"keep-alive", b"close", b"chunked", b"x", b"\xff", b"\x00"]
_LINES = st.tuples(
    *map(st.sampled_from, (_NAMES, [b":", b": ", b":\t", b" :"], _VALUES, [b"\r\n", b"\n"]))
).map(b"".join)
_STATUSES = [b"1.1 200 OK", b"1.1 200", b"1.0 200 OK", b"1.1 503 \xe9", b"1.1 204 x"]


@unhurried
@given(
    st.sampled_from(_STATUSES),
    st.lists(_LINES, max_size=4),
    st.sampled_from([b"", b"ok", b"ok!", CHUNKS, b"3\r\nok!\r\n0\r\n\r\n", CHUNKS + b"!"]),
)
async def test_what_needs_no_parser_means_the_same_to_one(
    status: bytes, lines: list[bytes], body: bytes
) -> None:
    loop = asyncio.get_running_loop()
    # Also with one correct length, or with chunks, which chance seldom makes.
    for more in ([], [b"Content-Length: %d\r\n" % len(body)], [CHUNKED]):
        data = b"".join([b"HTTP/", status, b"\r\n", *lines, *more, b"\r\n", body])
        answer = whole(data)
        if answer is None:
            continue
        parser = HttpResponseParser(BaseProtocol(loop), loop, 2**16, read_until_eof=True)
        [(head, content)], upgraded, tail = parser.feed_data(data)
        assert (head.code, head.should_close, upgraded, tail) == (answer.code, False, False, b"")
        assert content.is_eof()
        assert (content.read_nowait() if answer.body else b"") == answer.body
        assert head.headers.get("Date", "") == answer.date
