"""Hostile receivers against the running service: each affects its own target only."""

import gzip
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest
import trustme

from app.domain.reasons import Reason
from app.domain.times import parse_time
from tests.certificates import expired, of_an_unknown_authority, of_another_address, self_signed
from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.processes import Memory
from tests.harness.receiver import Receiver
from tests.harness.service import Service, finished
from tests.harness.waiting import until
from tests.sockets import OK, Bare, Speak, closing, endless, listening, resetting, saying, silent

pytestmark = pytest.mark.quiet

Fake = Cluster[FakeCluster]

ATTEMPT, ATTEMPTS = 2.5, 2  # seconds; the waits between two attempts are at most 0.05 s
LONGEST = ATTEMPT * ATTEMPTS + 4.0  # seconds, with a margin for other work on the machine
AT_ONCE = 2.0
"""Seconds: 0.2 on an idle machine, and on a busy one still less than any receiver that hangs takes."""

HEAD = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(b"0" * 10_000_000)


class Outcome(NamedTuple):
    """The outcome of a target: reason, attempts, and the shortest and the longest time it may take."""

    reason: Reason
    attempts: int = 1
    after: float = 0.0
    within: float = AT_ONCE


DELIVERED = Outcome(Reason.DELIVERED)  # the complete head alone decides
NO_ANSWER = Outcome(Reason.INVALID_RESPONSE)
BROKEN = Outcome(Reason.CONNECTION_FAILED, attempts=ATTEMPTS)
CUT_OFF = Outcome(Reason.TIMEOUT, attempts=ATTEMPTS, after=ATTEMPT * ATTEMPTS * 0.9, within=LONGEST)
NOT_TRUSTED = Outcome(Reason.TLS_FAILED)

HOSTILE: dict[str, tuple[Callable[[Bare], Speak], Outcome]] = {
    "header-lines-without-end": (endless(HEAD, b"X-Line: y\r\n" * 100), NO_ANSWER),
    "a-header-line-without-end": (endless(HEAD + b"X-Line: ", b"y" * 1024), NO_ANSWER),
    "a-status-line-without-end": (endless(b"HTTP/1.1 200 O", b"K" * 1024), NO_ANSWER),
    "body-without-end": (endless(HEAD + b"\r\n", b"x" * 65_536), DELIVERED),
    "chunks-without-end": (
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"),
        DELIVERED,
    ),
    "body-of-a-byte-a-second": (endless(HEAD + b"Content-Length: 100\r\n\r\n", b"x", pause=1.0), DELIVERED),
    "head-of-a-byte-a-second": (endless(b"HTTP/1.1 200 OK\r\nX: ", b"y", pause=1.0), CUT_OFF),
    "gzip-bomb": (
        saying(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
        DELIVERED,
    ),
    "length-too-large": (saying(HEAD + b"Content-Length: 100\r\n\r\nok"), DELIVERED),
    "length-too-small": (saying(HEAD + b"Content-Length: 1\r\n\r\nok and more"), DELIVERED),
    "length-beyond-measure": (saying(HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nok"), NO_ANSWER),
    "a-chunk-that-is-none": (saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n"), DELIVERED),
    "two-lengths": (saying(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"), NO_ANSWER),
    "negative-length": (saying(HEAD + b"Content-Length: -2\r\n\r\nok"), NO_ANSWER),
    "closes-at-once": (closing, BROKEN),
    "closes-without-a-word": (saying(), BROKEN),
    "closes-within-the-head": (saying(HEAD + b"X: y"), BROKEN),
    "resets-without-a-word": (resetting(b""), BROKEN),
    "resets-within-the-body": (resetting(HEAD + b"Content-Length: 100\r\n\r\nok"), DELIVERED),
    "http-0.9": (saying(b"<html>accepted</html>\r\n"), NO_ANSWER),
    "junk": (saying(b"\x00\x01\x02\xff\r\n\r\n"), NO_ANSWER),
    "another-protocol": (saying(b"220 mail.example.com ESMTP\r\n"), NO_ANSWER),
    "silent": (silent, CUT_OFF),
    "interim-answers-without-end": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000), NO_ANSWER),
    "switches-protocols": (
        saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        Outcome(Reason.HTTP_STATUS),
    ),
}
UNTRUSTED = {
    "tls-of-another-host": of_another_address,
    "tls-expired": expired,
    "tls-signed-by-itself": self_signed,
    "tls-of-an-unknown-authority": of_an_unknown_authority,
}


def webhook(name: str, url: str) -> dict[str, Any]:
    return {"type": "webhook", "name": name, "url": url}


def seconds_between(begun: datetime, timestamp: str) -> float:
    ended = parse_time(timestamp)
    assert ended
    return (ended - begun).total_seconds()


async def test_each_hostile_receiver_fails_alone_and_in_time_and_healthy_ones_are_served_immediately(
    fake_cluster: Fake, tmp_path: Path
) -> None:
    authority, path = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    settings = {"attempt_timeout": ATTEMPT, "attempts": ATTEMPTS, "egress_ca_file": path}
    async with (
        AsyncExitStack() as stack,
        Receiver() as hook,
        Receiver() as slack,
        Service(fake_cluster.kubeconfig, **settings) as service,
    ):
        targets = []
        for name, (speak, _) in HOSTILE.items():
            bare = await stack.enter_async_context(listening(speak))
            targets.append(webhook(name, f"http://{bare.authority}/"))
        for name, make in UNTRUSTED.items():
            tls = make(authority, "127.0.0.1")
            bare = await stack.enter_async_context(listening(saying(OK), tls))
            targets.append(webhook(name, f"https://{bare.authority}/"))
        targets.append(webhook("healthy", hook.url))
        targets.append({"type": "slack", "name": "chat", "credentialsSecret": "slack"})
        secret = {"slack-webhook-url": f"{slack.url}/services/T/B/x"}
        namespace = await finished(fake_cluster.kube, *targets, slack=secret)

        begun, started = datetime.now(UTC), monotonic()
        report = (await service.deliver(namespace, "report")).body
        took = monotonic() - started
        await until(lambda: len(service.logged("target_settled")) == len(targets))
        logged = {line["target"]: line for line in service.logged("target_settled")}
        entries = {entry["name"]: entry for entry in await fake_cluster.kube.delivery(namespace, "report")}

    expected = {name: outcome for name, (_, outcome) in HOSTILE.items()}
    expected |= dict.fromkeys(UNTRUSTED, NOT_TRUSTED) | dict.fromkeys(("healthy", "chat"), DELIVERED)
    ended = {name: (entry["reason"], entry["attempts"]) for name, entry in entries.items()}
    assert ended == {name: (outcome.reason, outcome.attempts) for name, outcome in expected.items()}
    delivered = {name for name, entry in entries.items() if entry["phase"] == "Delivered"}
    assert delivered == {name for name, outcome in expected.items() if outcome.reason is Reason.DELIVERED}
    assert {entry["phase"] for entry in entries.values()} == {"Delivered", "Failed"}
    assert report["phase"] == "PartiallyDelivered"
    assert took < LONGEST

    settled = {name: seconds_between(begun, line["timestamp"]) for name, line in logged.items()}
    late = {name: settled[name] for name, outcome in expected.items() if settled[name] > outcome.within}
    early = {name: settled[name] for name, outcome in expected.items() if settled[name] < outcome.after}
    assert (late, early) == ({}, {})
    assert max(received.at for received in hook.requests + slack.requests) - started < AT_ONCE


async def test_a_hanging_host_costs_only_its_own_targets_time(
    fake_cluster: Fake,
) -> None:
    bounds = {"max_connections_per_host": 10, "place_timeout": ATTEMPT / 2}
    settings = {"attempt_timeout": ATTEMPT, "attempts": 1, **bounds}
    async with (
        listening(silent) as stuck,
        Receiver() as hook,
        Service(fake_cluster.kubeconfig, **settings) as service,
    ):
        targets = [webhook(f"stuck-{number}", f"http://{stuck.authority}/{number}") for number in range(220)]
        namespace = await finished(fake_cluster.kube, *targets, webhook("neighbour", hook.url))
        started = monotonic()
        report = (await service.deliver(namespace, "report")).body
        took = monotonic() - started

    reasons = Counter(target["reason"] for target in report["targets"][:-1])
    assert reasons == {"Timeout": 5, None: 215}
    assert {target["phase"] for target in report["targets"][:-1]} == {"Failed", "Pending"}
    assert report["targets"][-1]["phase"] == "Delivered"
    assert hook.requests[0].at - started < AT_ONCE
    assert ATTEMPT < took < LONGEST
    # Five of ten at a time, and not 44 rounds: targets that wait for a connection are released.
    assert stuck.most_open == 5


FULL = HEAD + b"Content-Length: 1073741824\r\n\r\n"
PACKED = gzip.compress(bytes(200_000_000), compresslevel=1)
ZIPPED = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED)
LARGE: dict[str, tuple[Callable[[Bare], Speak], str, float]] = {
    # The answer, the resulting reason, and the memory in MB that ten such answers may add to the process.
    "a gigabyte": (endless(FULL, bytes(65_536)), "Delivered", 40),
    "chunks without end": (
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65_536) + b"\r\n"),
        "Delivered",
        40,
    ),
    "a gzip bomb": (saying(ZIPPED + PACKED), "Delivered", 10),
    "a header line without end": (endless(HEAD + b"X: ", b"y" * 65_536), "InvalidResponse", 10),
    "header lines without end": (endless(HEAD, b"X-Line: y\r\n" * 5000), "InvalidResponse", 10),
    "interim answers without end": (
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000),
        "InvalidResponse",
        60,  # aiohttp parses everything that one read of a socket returns, before any limit applies
    ),
}


async def test_an_excessive_answer_takes_little_memory_and_is_not_waited_for(
    fake_cluster: Fake,
) -> None:
    service = Service(fake_cluster.kubeconfig)
    service.covered = False
    async with Receiver() as hook, service:
        memory = Memory(service.pid)

        async def ten(url: str) -> list[str]:
            targets = (webhook(f"large-{number}", url) for number in range(10))
            namespace = await finished(fake_cluster.kube, *targets)
            report = (await service.deliver(namespace, "report")).body
            return [target["reason"] for target in report["targets"]]

        async def measured(speak: Callable[[Bare], Speak]) -> tuple[set[str], float, float]:
            async with listening(speak) as bare:
                memory.forget_peak()
                before = memory.held
                reasons = await ten(f"http://{bare.authority}/")
                grown = (memory.peak - before) / 2**20
                await until(lambda: not bare.open)  # the service has closed the connections
                return set(reasons), grown, bare.sent / 2**20

        for _ in range(3):  # until one-time work is done
            await ten(hook.url)
        seen = {name: await measured(speak) for name, (speak, *_) in LARGE.items()}

    assert {name: reasons for name, (reasons, *_) in seen.items()} == {
        name: {reason} for name, (_, reason, _) in LARGE.items()
    }
    assert {name: grown for name, (_, grown, _) in seen.items() if grown > LARGE[name][-1]} == {}
    # Each of the ten answers could fill the sockets' buffers with a gigabyte or more.
    assert {name: sent for name, (*_, sent) in seen.items() if sent > 10 * 16} == {}
