"""A request as it goes over a connection."""

import pytest
from yarl import URL

from app.exchange import Origin

ALWAYS = {"accept": "*/*", "user-agent": "test"}


async def test_a_request_has_its_own_headers_and_those_of_every_request() -> None:
    origin = Origin(URL("http://127.0.0.1:8080/"), ALWAYS)
    assert origin.asked("POST", "/a?b=c", {"x-one": "1"}, b"{}") == (
        b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:8080\r\naccept: */*\r\nuser-agent: test\r\n"
        b"x-one: 1\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("target", "headers"),
    [("/a\r\nx-two: 2", {}), ("/", {"x-one": "1\r\nx-two: 2"}), ("/", {"x-one\x85": "1"}), ("/\u2028", {})],
)
async def test_nothing_in_a_request_ends_a_line_of_its_head(target: str, headers: dict[str, str]) -> None:
    origin = Origin(URL("http://127.0.0.1:8080/"), ALWAYS)
    with pytest.raises(ValueError, match="a header holds a control character"):
        origin.asked("GET", target, headers, b"")


@pytest.mark.parametrize(
    ("url", "always"),
    [("http://a\x85b/", {}), ("http://127.0.0.1/", {"user-agent": "test\r\nx-two: 2"})],
)
async def test_nothing_in_an_origin_does(url: str, always: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a header holds a control character"):
        Origin(URL(url, encoded=True), always)
