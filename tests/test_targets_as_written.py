"""URLs are sent octet for octet as written, because a signature covers exactly that."""

from typing import Any

import pytest

from app.domain.errors import TargetError
from app.egress.guard import Guard
from app.senders.envelopes import Verdict
from tests.posting import Lookups, client, named, post
from tests.senders.sending import attempt_on_loopback
from tests.sockets import OK, Bare, answering, listening, saying

AS_WRITTEN = [
    "/hook%40team",
    "/a%3Ab%2Fc%2fd",
    "/?sig=AbC%2Bdef%3D",
    "/?sig=a+b=c&&d=&e",
    "/a/../b/./c",
    "/%2e%2e/%7Euser/~user",
    "//a//b/",
    "/a;b=c,d:e@f!$&'()*",
    "/?a[]=1&next=https://h/?x@y",
    "/p?",
    "/p??",
    "/%zz%",
    "/%c3%A4",
]
ENCODED = [
    ("/ä?ö=ü", "/%C3%A4?%C3%B6=%C3%BC"),
    ('/"<>`{|}^', "/%22%3C%3E%60%7B%7C%7D%5E"),
    ("", "/"),
    ("?a=b", "/?a=b"),
    ("/a?b#c?d", "/a?b"),
    ("#a", "/"),
]


def target(bare: Bare) -> str:
    """Return the target of the only request that was read."""
    [head] = bare.heads
    return head.split(b" ")[1].decode()


@pytest.mark.parametrize("written", AS_WRITTEN)
async def test_a_url_is_sent_as_written(written: str) -> None:
    async with listening(answering(OK)) as bare:
        assert (await post(f"http://{bare.authority}{written}")).status == 200
    assert target(bare) == written


@pytest.mark.parametrize(("written", "sent"), ENCODED)
async def test_invalid_characters_of_a_url_are_encoded_and_a_fragment_is_not_sent(
    written: str, sent: str
) -> None:
    async with listening(answering(OK)) as bare:
        await post(f"http://{bare.authority}{written}")
    assert target(bare) == sent


async def test_a_url_is_sent_to_a_proxy_as_written() -> None:
    async with listening(answering(OK)) as proxy:
        url = "http://hooks.test/hook%40team/../a?sig=a%2Bb"
        await post(url, egress_proxy=f"http://{proxy.authority}", egress_http=True)
    assert target(proxy) == url


@pytest.mark.parametrize("kind", ["webhook", "webhook by its Secret", "slack"])
async def test_every_sender_keeps_the_url_as_written(kind: str) -> None:
    async with listening(answering(OK)) as bare:
        url = f"http://{bare.authority}/hook%40team?sig=AbC%2Bdef%3D"
        kinds: dict[str, tuple[dict[str, Any], dict[str, str | bytes] | None]] = {
            "webhook": ({"type": "webhook", "url": url}, None),
            "webhook by its Secret": ({"type": "webhook", "credentialsSecret": "keys"}, {"url": url}),
            "slack": ({"type": "slack", "credentialsSecret": "keys"}, {"slack-webhook-url": url}),
        }
        spec, secret = kinds[kind]
        sent = await attempt_on_loopback(spec, secret)
    assert isinstance(sent, Verdict)
    assert sent.delivered
    assert target(bare) == "/hook%40team?sig=AbC%2Bdef%3D"


# ---------------------------------------------------------------------------------------------------------
# A final dot: the name without search domains (RFC 1034, section 3.1)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Lookups:
    """No DNS query leaves the machine."""
    return named(monkeypatch)


async def test_a_final_dot_is_used_for_the_lookup_and_not_in_the_request(names: Lookups) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    async with listening(answering(OK)) as bare:
        await post(f"http://Hooks.test.:{bare.port}/")
    assert f"Host: hooks.test:{bare.port}\r\n".encode() in bare.heads[0]


async def test_a_host_with_a_final_dot_is_excepted_like_the_one_without(names: Lookups) -> None:
    names["hooks.test"] = ["127.0.0.1"]
    async with listening(answering(OK)) as bare, listening(answering(OK)) as proxy:
        changes: dict[str, Any] = {
            "egress_proxy": f"http://{proxy.authority}",
            "egress_no_proxy": "hooks.test",
        }
        await post(f"http://hooks.test.:{bare.port}/", egress_http=True, egress_allow="127.0.0.1", **changes)
    assert (bare.accepted, proxy.accepted) == (1, 0)


async def test_a_proxy_gets_no_final_dot() -> None:
    async with (
        listening(saying(b"HTTP/1.1 502 Away\r\n\r\n")) as proxy,
        client(egress_proxy=f"http://{proxy.authority}") as http,
    ):
        with pytest.raises(TargetError):
            await http.post("https://hooks.test./", b"", {})
    assert target(proxy) == "hooks.test:443"


@pytest.mark.parametrize("host", ["127.0.0.1.", "localhost.", "0x7f.1.", "10.0.0.1."])
def test_a_final_dot_does_not_bypass_the_guard(host: str) -> None:
    with pytest.raises(TargetError):
        Guard().check(f"https://{host}/")


async def test_slack_s_host_may_have_a_final_dot() -> None:
    async with listening(answering(OK)) as bare:
        url = f"http://127.0.0.1.:{bare.port}/"
        spec = {"type": "slack", "credentialsSecret": "keys"}
        sent = await attempt_on_loopback(spec, {"slack-webhook-url": url})
    assert isinstance(sent, Verdict)
    assert sent.delivered
