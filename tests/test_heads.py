"""The head of an answer decides, however it is split into packets, in every legal form."""

from collections.abc import Callable

import pytest

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.egress.heads import Heads, plain
from tests.posting import client, outcome, post
from tests.sockets import Bare, answering, listening, saying

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"2\r\nok\r\n0\r\n\r\n"
LONG = b"X-Policy: " + b"y" * 9_000 + b"\r\n"
MANY = b"".join(b"X-%d: y\r\n" % number for number in range(130))
ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    # The bytes sent; the status and content that they mean.
    "204 with chunks": (b"HTTP/1.1 204 No Content\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 204, b""),
    "204 with a last chunk": (b"HTTP/1.1 204 No Content\r\n\r\n0\r\n\r\n", 204, b""),
    "204 with content": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, b""),
    "304 with content": (b"HTTP/1.1 304 Not Modified\r\n\r\n<html>", 304, b""),
    "more than its length": (OK + b"Content-Length: 2\r\n\r\nok and more", 200, b"ok"),
    "a second answer": (OK + b"Content-Length: 2\r\n\r\nok" + OK + b"\r\n", 200, b"ok"),
    "more than its chunks": (OK + CHUNKED + b"\r\n" + CHUNKS + b"and more", 200, b"ok"),
    "an invalid chunk": (OK + CHUNKED + b"\r\n2\r\nok\r\nzz\r\n", 200, b"ok"),
    "no length": (OK + b"\r\nok", 200, b"ok"),
    "a long header": (OK + LONG + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    "three long headers": (OK + LONG * 3 + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    "many headers": (OK + MANY + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    "a long reason": (b"HTTP/1.1 503 " + b"y" * 9_000 + b"\r\nContent-Length: 0\r\n\r\n", 503, b""),
    "one length twice": (OK + b"Content-Length: 2\r\ncontent-length:2\r\n\r\nok", 200, b"ok"),
    "one length in two ways": (OK + b"Content-Length: 2\r\nContent-Length: 02\r\n\r\nok", 200, b"ok"),
    "one length in a list": (OK + b"Content-Length: 2, 2\r\n\r\nok", 200, b"ok"),
    "chunks and a length": (OK + b"Content-Length: 7\r\n" + CHUNKED + b"\r\n" + CHUNKS, 200, b"ok"),
    "a length and chunks": (OK + CHUNKED + b"Content-Length: 2\r\n\r\n" + CHUNKS, 200, b"ok"),
    "interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"\r\nok",
        200,
        b"ok",
    ),
    "lines that end in LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\n\nok", 200, b"ok"),
    "empty lines first": (b"\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
}


def halves(answer: bytes) -> tuple[bytes, ...]:
    at = len(answer) // 2
    return answer[:at], answer[at:]


def at_the_head(answer: bytes) -> tuple[bytes, ...]:
    head, end, rest = answer.rpartition(b"\r\n\r\n")
    return head + end[:3], end[3:], rest


@pytest.mark.parametrize("cut", [lambda answer: (answer,), halves, at_the_head], ids=["one", "two", "three"])
@pytest.mark.parametrize(("answer", "status", "body"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_means_the_same_in_one_packet_and_in_several(
    answer: bytes, status: int, body: bytes, cut: Callable[[bytes], tuple[bytes, ...]]
) -> None:
    async with listening(saying(*(piece for piece in cut(answer) if piece))) as bare:
        response = await post(f"http://{bare.authority}/")
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2, 3\r\n",
        b"Content-Length: 2\r\nContent-Length: +2\r\n",
        b"Content-Length: -2\r\nContent-Length: -2\r\n",
        b"Content-Length: ,\r\n",
    ],
)
async def test_contradictory_lengths_are_an_invalid_answer(head: bytes) -> None:
    async with listening(saying(OK + head + b"\r\nok")) as bare:
        error = await outcome(post(f"http://{bare.authority}/"))
    assert isinstance(error, TargetError)
    assert error.reason is Reason.INVALID_RESPONSE


async def test_a_head_above_its_limit_is_an_invalid_answer() -> None:
    async with listening(saying(OK + LONG * 6 + b"\r\n")) as bare:
        error = await outcome(post(f"http://{bare.authority}/"))
    assert isinstance(error, TargetError)
    assert error.reason is Reason.INVALID_RESPONSE


@pytest.mark.parametrize("surplus", [b" and more", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"])
async def test_a_connection_with_surplus_bytes_is_not_reused(surplus: bytes) -> None:
    async with listening(answering(OK + b"Content-Length: 2\r\n\r\nok" + surplus)) as bare, client() as http:
        for _ in range(2):
            assert (await http.post(f"http://{bare.authority}/", b"", {})).status == 200
    assert bare.accepted == 2


@pytest.mark.parametrize(
    "opened",
    [
        b"HTTP/1.1 201 Created\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 299 Fine\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_any_2xx_to_connect_opens_the_tunnel(opened: bytes) -> None:
    tunnelled: list[int] = []

    def proxy(bare: Bare) -> Callable[..., object]:
        async def talk(reader: object, writer: object) -> None:
            await bare.request(reader)  # type: ignore[arg-type]
            writer.write(opened)  # type: ignore[attr-defined]
            tunnelled.append((await reader.read(1))[0])  # type: ignore[attr-defined]

        return talk

    async with listening(proxy) as bare:  # type: ignore[arg-type]
        await outcome(post("https://hooks.test/", egress_proxy=f"http://{bare.authority}"))
    assert tunnelled == [0x16]  # the first byte of a TLS handshake


async def test_a_bare_redirect_to_connect_opens_no_tunnel() -> None:
    async with listening(saying(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")) as proxy:
        error = await outcome(post("https://hooks.test/", egress_proxy=f"http://{proxy.authority}"))
    assert isinstance(error, TargetError)
    assert error.message == "the forward proxy answered 302"


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: 2\r\nX: y\r\n\r\n",
        OK + b"Content-Length: 2\r\nX: y\r\n folded\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
    ],
)
def test_a_head_without_duplicates_is_unchanged(head: bytes) -> None:
    assert plain(head) == head


def test_bytes_are_returned_once_and_in_order() -> None:
    heads = Heads()
    sent = b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"X: y\r\n\r\nok"
    pieces = [piece for byte in sent for piece in heads.taken(bytes([byte]))]
    assert b"".join(pieces) == sent
    assert pieces[:2] == [b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"X: y\r\n\r\n"]
    assert heads.rest() == b""
