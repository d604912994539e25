"""Names resolve as in glibc: failing search domains are skipped, `ndots` and final dots count.

The name server is on loopback, and c-ares queries it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pycares
import pytest
from aiohttp import AsyncResolver

from app.egress import names as looked_up
from app.egress.names import Names, Search, unresolved
from tests.harness.dns import answer

SERVFAIL, REFUSED = 2, 5
POD = ("research.svc.cluster.test", "svc.cluster.test", "cluster.test")
IN_A_POD = f"nameserver 127.0.0.1\nsearch {' '.join(POD)} corp.test\noptions ndots:5\n"


@dataclass
class Server(asyncio.DatagramProtocol):
    """A name server: its names, and domains for which it answers with a code, or (None) not at all."""

    known: dict[str, list[str]] = field(default_factory=dict)
    unwell: dict[str, int | None] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)

    def asked(self, host: str) -> list[str]:
        """Return the queries for a host, each name once; retries of other tests may arrive late."""
        return [name for name in dict.fromkeys(self.questions) if f"{name}.".startswith(f"{host}.")]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name = _asked(data)
        self.questions.append(name)
        said = answer(data, self.known)
        for domain, code in self.unwell.items():
            if name.endswith(f".{domain}"):
                if code is None:
                    return
                said = said[:3] + bytes([said[3] & 0xF0 | code]) + said[4:6] + bytes(6) + data[12:]
        self._transport.sendto(said, addr)


def _asked(query: bytes) -> str:
    labels, position = [], 12
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode().lower())
        position += 1 + length
    return ".".join(labels)


Asking = tuple[Server, Callable[..., Names]]


@pytest.fixture(scope="module")
async def channel() -> AsyncIterator[tuple[Server, AsyncResolver, int]]:
    """Serve names on a new port, and query them on a channel of c-ares that stays open."""
    server, loop = Server(), asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    resolver = AsyncResolver(nameservers=[f"127.0.0.1:{port}"], timeout=2, tries=2)
    yield server, resolver, port
    await resolver.close()
    transport.close()


@pytest.fixture
def asking(channel: tuple[Server, AsyncResolver, int], conf: Path) -> Asking:
    """Return an empty name server, and a function that makes a resolver with these settings."""
    server, resolver, _ = channel
    server.known, server.unwell, server.questions = {}, {}, []
    return server, lambda text=IN_A_POD: (conf.write_text(text), Names(resolver, resolv_conf=conf))[1]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """Return a resolver's settings."""
    return tmp_path / "resolv.conf"


async def found(names: Names, host: str) -> list[str]:
    """Return the addresses of a host."""
    return [one["host"] for one in await names.resolve(host, 443, socket.AF_UNSPEC)]


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED, None], ids=["SERVFAIL", "REFUSED", "silence"])
async def test_a_failing_search_domain_is_skipped(
    code: int | None, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked_up, "SEARCH_PATIENCE", 0.2)
    far, made = asking
    host = f"code-{code}".lower()
    far.known[f"{host}.example.test"] = ["192.0.2.1"]
    far.unwell["corp.test"] = code
    assert await found(made(), f"{host}.example.test") == ["192.0.2.1"]
    assert far.asked(host) == [
        *(f"{host}.example.test.{domain}" for domain in (*POD, "corp.test")),
        f"{host}.example.test",
    ]


async def test_all_search_domains_can_fail(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked_up, "SEARCH_PATIENCE", 0.1)
    far, made = asking
    far.known["h2.example.test"] = ["192.0.2.1", "2001:db8::1"]
    far.unwell = dict.fromkeys(("cluster.test", "corp.test"))
    assert set(await found(made(), "h2.example.test")) == {"192.0.2.1", "2001:db8::1"}


async def test_a_silent_domain_does_not_delay_the_next_name(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked_up, "SEARCH_PATIENCE", 0.1)
    now = [1000.0]
    monkeypatch.setattr(looked_up, "steady", lambda: now[0])
    far, made = asking
    far.known |= {"a.example.test": ["192.0.2.1"], "b.example.test": ["192.0.2.2"], "c.test": ["192.0.2.3"]}
    far.unwell["corp.test"] = None
    names = made()
    for host, later in (("a.example.test", 1.0), ("b.example.test", 61.0), ("c.test", 0.0)):
        await found(names, host)
        now[0] += later
    searched = [
        bool(far.asked(f"{host}.corp.test")) for host in ("a.example.test", "b.example.test", "c.test")
    ]
    assert searched == [True, False, True]


async def test_a_short_name_is_found_in_its_search_domain(asking: Asking) -> None:
    far, made = asking
    far.known |= {"gateway.research.svc.cluster.test": ["10.0.0.1"], "gateway": ["192.0.2.66"]}
    assert await found(made(), "gateway") == ["10.0.0.1"]
    assert far.asked("gateway") == ["gateway.research.svc.cluster.test"]


async def test_a_name_with_enough_dots_is_queried_unchanged(asking: Asking) -> None:
    far, made = asking
    far.known |= {"h5.example.test": ["192.0.2.1"], "gateway.research.svc.cluster.test": ["10.0.0.1"]}
    names = made(IN_A_POD.replace("ndots:5", "ndots:2"))
    assert await found(names, "h5.example.test") == ["192.0.2.1"]
    assert far.asked("h5") == ["h5.example.test"]
    assert await found(names, "gateway.research.svc") == ["10.0.0.1"]


async def test_a_final_dot_disables_search_domains(asking: Asking) -> None:
    far, made = asking
    far.known["h6.example.test"] = ["192.0.2.1"]
    assert await found(made(), "h6.example.test.") == ["192.0.2.1"]
    assert far.asked("h6") == ["h6.example.test"]


async def test_an_unknown_name_does_not_resolve(asking: Asking) -> None:
    far, made = asking
    with pytest.raises(OSError, match="not found"):
        await found(made(), "h7.example.test")
    assert far.asked("h7")[-1] == "h7.example.test"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (SERVFAIL, "the name server failed to look the host name up (SERVFAIL)"),
        (REFUSED, "the name server refuses to look the host name up (REFUSED)"),
        (3, "the host name does not resolve"),
        (0, "the host name does not resolve"),  # the name exists, without an address
    ],
)
async def test_a_failed_lookup_says_why(code: int, words: str, asking: Asking) -> None:
    far, made = asking
    far.unwell["example.test"] = code
    with pytest.raises(OSError) as raised:  # noqa: PT011  # its text is checked
        await found(made("search corp.test\n"), f"failing-{code}.example.test")
    assert unresolved(raised.value) == words


async def test_a_silent_or_absent_server_is_not_an_absent_name(tmp_path: Path) -> None:
    quick = tmp_path / "resolv.conf"
    quick.write_text("search .\noptions timeout:1 attempts:1\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        silent = f"127.0.0.1:{bound.getsockname()[1]}"
        names = Names(nameservers=[silent], resolv_conf=quick)
        with pytest.raises(OSError) as raised:  # noqa: PT011  # its text is checked
            await found(names, "silent.example.test")
        assert unresolved(raised.value) == "no name server answered for the host name in time"
        await names.close()


async def test_no_option_of_a_channel_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    # pycares frees a text (`lookups`, `resolvconf_path`) before c-ares reads it: of a hundred channels,
    # one or more resolved nothing, as long as their process ran.
    given: list[object] = []

    class Channel(pycares.Channel):
        def __init__(self, **options: Any) -> None:
            given.extend(options.values())
            super().__init__(**options)

    monkeypatch.setattr(pycares, "Channel", Channel)
    await Names(nameservers=["127.0.0.1"]).close()
    assert given
    assert not [value for value in given if isinstance(value, str | bytes)]


async def test_a_changed_file_is_read_again(asking: Asking) -> None:
    far, made = asking
    far.known |= {"a.one.test": ["192.0.2.1"], "a.second.test": ["192.0.2.2"]}
    names = made("search one.test\n")
    assert await found(names, "a") == ["192.0.2.1"]
    made("search second.test\n")
    assert await found(names, "a") == ["192.0.2.2"]


@pytest.mark.parametrize(
    ("text", "environment", "search"),
    [
        (
            "search a.test. B.test\noptions ndots:3 timeout:1 attempts:3 rotate\n",
            {},
            Search(("a.test", "b.test"), 3, timeout=1, attempts=3),
        ),
        ("options timeout:0 attempts:0\nsearch a.test\n", {}, Search(("a.test",), timeout=1, attempts=1)),
        ("options timeout:99 attempts:99\nsearch a.test\n", {}, Search(("a.test",), timeout=30, attempts=5)),
        ("search a.test # b.test\noptions ndots:2 ; ndots:9\n", {}, Search(("a.test",), 2)),
        ("search a.test\ndomain b.test c.test\n", {}, Search(("b.test",))),
        ("# search a.test\n; options ndots:9\nsearch b.test\n", {}, Search(("b.test",))),
        ("options ndots:99\nsearch a.test\n", {}, Search(("a.test",), 15)),
        ("options ndots:x ndots:\nsearch a.test\n", {}, Search(("a.test",))),
        (
            "search a.test\noptions ndots:5\n",
            {"LOCALDOMAIN": "b.test c.test", "RES_OPTIONS": "ndots:0"},
            Search(("b.test", "c.test"), 0),
        ),
        ("search .\n", {}, Search(("",))),
    ],
)
def test_the_configuration_file_is_parsed_as_glibc_does(
    text: str, environment: dict[str, str], search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCALDOMAIN", "RES_OPTIONS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "resolv.conf"
    path.write_text(text)
    assert Search.read(path) == search


def test_without_a_search_list_the_machine_s_own_domain_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node.dc.test")
    assert Search.read(tmp_path / "absent").domains == ("dc.test",)


@pytest.mark.parametrize(
    ("host", "search", "names"),
    [
        ("a.b", Search(("x.test",), 2), ["a.b.x.test.", "a.b."]),
        ("a.b", Search(("x.test",), 1), ["a.b.", "a.b.x.test."]),
        ("a", Search(("x.test",), 0), ["a.", "a.x.test."]),
        ("a", Search(("", "x.test")), ["a.", "a.x.test."]),
        ("a", Search(), ["a."]),
        ("a.", Search(("x.test",)), ["a."]),
    ],
)
def test_which_names_are_queried_for_a_host(host: str, search: Search, names: list[str]) -> None:
    assert [name for name, _ in search.names(host)] == names
