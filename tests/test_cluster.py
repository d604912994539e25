"""Access to the Kubernetes API: its reads and writes, and that it raises only our own errors."""

import asyncio
import base64
import gzip
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp import web

from app.domain.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    ObjectNotFound,
    Rejected,
    SettingsError,
)
from app.kube.cluster import Cluster, open_cluster
from app.kube.config import Access
from app.kube.connection import Connection, connect
from app.settings import ServiceSettings
from tests.examples import CANARY, team
from tests.harness.cluster import Cluster as Prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import GROUP
from tests.harness.receiver import Receiver
from tests.logged import everything_logged
from tests.sockets import Bare, Speak, answering, closing, endless, listening, resetting, saying, silent

Fake = Prepared[FakeCluster]
Ask = Callable[[Cluster], Awaitable[Any]]

SPEC = {"lifecycle": {"onComplete": "deliver", "delivery": [{"type": "slack", "credentialsSecret": "keys"}]}}
ENTRY = {
    "name": "slack-0",
    "type": "slack",
    "success": False,
    "deliveredAt": "2026-03-01T10:00:00Z",
    "phase": "Pending",
    "attempts": 0,
    "id": "msg_1",
    "claimedBy": "me",
}

ASKS: dict[str, Ask] = {
    "read a team": lambda cluster: cluster.read_team("research", "report"),
    "write a record": lambda cluster: cluster.write_delivery(team(), [ENTRY]),
    "read a Secret": lambda cluster: cluster.read_secret("research", "keys"),
    "ping": lambda cluster: cluster.ping(),
}


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run outside of any cluster."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture
async def door(fake_cluster: Fake, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    """Connect to a fake API that has one team with one Secret."""
    await fake_cluster.kube.namespace("research")
    await fake_cluster.kube.team("research", "report", SPEC)
    await fake_cluster.kube.secret("research", "keys", {"slack-webhook-url": CANARY, "empty": ""})
    name_kubeconfig(monkeypatch, fake_cluster.kubeconfig)
    async with open_cluster(ServiceSettings.load(api_timeout=5.0), lambda *_: None) as cluster:
        yield cluster


def name_kubeconfig(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Return the environment that names a kubeconfig."""
    monkeypatch.setenv("KUBECONFIG", str(path))


def client_of(url: str) -> Connection:
    """Connect to the server at an address."""
    return Connection(Access(url))


@asynccontextmanager
async def door_to(url: str, *, limit: float = 5.0) -> AsyncIterator[Cluster]:
    """Connect to this API."""
    async with client_of(url) as api:
        yield Cluster(api, group=GROUP, timeout=limit)


@dataclass(frozen=True)
class FarSide:
    """An API that gives the same answer to every request, and the connection to it."""

    receiver: Receiver
    cluster: Cluster

    def answers(self, body: str | bytes, status: int = 200, **headers: str) -> None:
        """Set the answer."""

        async def answer(_: web.Request) -> web.StreamResponse:
            content = body.encode() if isinstance(body, str) else body
            return web.Response(status=status, body=content, headers=headers)

        self.receiver.respond = answer


@pytest.fixture(scope="module")
async def far() -> AsyncIterator[FarSide]:
    """Start the API once; each test sets its own answer."""
    async with Receiver() as receiver, client_of(receiver.url) as api:
        yield FarSide(receiver, Cluster(api, group=GROUP, timeout=5.0))


# ---------------------------------------------------------------------------------------------------------
# Requests


async def test_a_team_is_read_in_its_current_state(door: Cluster, fake_cluster: Fake) -> None:
    before = datetime.now(UTC)
    read = await door.read_team("research", "report")
    assert (read.team.namespace, read.team.name, read.team.phase) == ("research", "report", "")
    assert read.team.wants_delivery
    await fake_cluster.kube.finish("research", "report")
    again = await door.read_team("research", "report")
    assert (again.team.phase, again.team.uid) == ("Completed", read.team.uid)
    assert again.team.resource_version != read.team.resource_version
    assert abs(read.date - before) < timedelta(seconds=3)
    assert read.date.microsecond == 0
    assert abs(read.now - datetime.now(UTC)) < timedelta(seconds=3)


async def test_a_record_is_written_with_the_version_that_was_read(door: Cluster, fake_cluster: Fake) -> None:
    read = await door.read_team("research", "report")
    written = await door.write_delivery(read.team, [ENTRY])
    assert list(written.team.entries) == [ENTRY]
    assert await fake_cluster.kube.delivery("research", "report") == [ENTRY]
    with pytest.raises(Conflict):
        await door.write_delivery(read.team, [])
    assert await fake_cluster.kube.delivery("research", "report") == [ENTRY]
    assert list((await door.write_delivery(written.team, [])).team.entries) == []


async def test_a_write_changes_only_the_record(door: Cluster, fake_cluster: Fake) -> None:
    await fake_cluster.kube.finish("research", "report", estimatedCost="4.50")
    before = (await fake_cluster.kube.get("agentteams", "research", "report")).body
    await door.write_delivery((await door.read_team("research", "report")).team, [ENTRY])
    after = (await fake_cluster.kube.get("agentteams", "research", "report")).body
    assert after["status"].pop("delivery") == [ENTRY]
    assert after["status"].pop("deliverySummary") == "Pending 0/1"
    assert after["status"] == before["status"]
    assert after["spec"] == before["spec"]


async def test_a_secret_is_read_as_bytes(door: Cluster, fake_cluster: Fake) -> None:
    binary = bytes(range(256))
    await fake_cluster.kube.secret("research", "binary", {"key": binary})
    keys = await door.read_secret("research", "keys")
    assert keys.values == {"slack-webhook-url": CANARY.encode(), "empty": b""}
    assert CANARY not in repr(keys)
    assert (await door.read_secret("research", "binary")).values == {"key": binary}


async def test_the_requests_are_those_that_the_service_has_permission_for(
    door: Cluster, fake_cluster: Fake
) -> None:
    fake_cluster.server.requests.clear()
    read = await door.read_team("research", "report")
    await door.write_delivery(read.team, [])
    await door.read_secret("research", "keys")
    await door.ping()
    home = f"/apis/{GROUP}/v1alpha1/namespaces/research/agentteams/report"
    assert fake_cluster.server.requests == [
        ("GET", home),
        ("PATCH", f"{home}/status"),
        ("GET", "/api/v1/namespaces/research/secrets/keys"),
        ("GET", "/version/"),
    ]


async def test_an_absent_object_is_a_not_found_error(door: Cluster) -> None:
    with pytest.raises(ObjectNotFound):
        await door.read_team("research", "other")
    with pytest.raises(ObjectNotFound):
        await door.read_team("elsewhere", "report")
    with pytest.raises(ObjectNotFound):
        await door.read_secret("research", "other")


async def test_the_time_of_a_read_is_the_server_s_and_never_too_late(far: FarSide) -> None:
    past = "Sun, 01 Mar 2026 12:00:00 GMT"
    far.answers(json.dumps(NAMED), Date=past)
    read = await far.cluster.read_team("research", "report")
    assert read.date == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert timedelta(0) <= read.now - read.date < timedelta(seconds=3)


@pytest.mark.parametrize("date", ["", "soon", "Sun, 99 Mar 2026 12:00:00 GMT"])
async def test_without_a_date_the_local_clock_is_used(far: FarSide, date: str) -> None:
    far.answers(json.dumps(NAMED), Date=date)
    read = await far.cluster.read_team("research", "report")
    assert abs(read.date - datetime.now(UTC)) < timedelta(seconds=3)


NAMED = {"metadata": {"uid": "u", "resourceVersion": "1"}}
ODD_TEAMS = [
    {**NAMED, "spec": None, "status": None},
    {**NAMED, "spec": "x", "status": 5},
    {**NAMED, "spec": {"lifecycle": {"delivery": {"a": 1}}}, "status": {"delivery": "x", "artifacts": 5}},
    {**NAMED, "status": {"delivery": [None, 5, "x", []], "completedAt": {}}},
]


@pytest.mark.parametrize("document", ODD_TEAMS)
async def test_an_odd_team_can_be_read(far: FarSide, document: dict[str, Any]) -> None:
    far.answers(json.dumps(document))
    assert not (await far.cluster.read_team("research", "report")).team.wants_delivery


@pytest.mark.parametrize("document", [{}, {"metadata": []}, {"metadata": {"uid": "u"}}, {"kind": "Status"}])
async def test_an_answer_that_is_not_a_team_is_not_read_as_one_without_delivery(
    far: FarSide, document: dict[str, Any]
) -> None:
    far.answers(json.dumps(document))
    with pytest.raises(ApiUnavailable):
        await far.cluster.read_team("research", "report")


# ---------------------------------------------------------------------------------------------------------
# Answers

STATUSES: list[tuple[int, type[ClusterError]]] = [
    (400, Rejected),
    (401, AccessDenied),
    (403, AccessDenied),
    (404, ObjectNotFound),
    (405, Rejected),
    (406, Rejected),
    (409, Conflict),
    (410, Rejected),
    (413, Rejected),
    (415, Rejected),
    (418, Rejected),
    (422, Rejected),
    (429, ApiUnavailable),
    (500, ApiUnavailable),
    (501, ApiUnavailable),
    (502, ApiUnavailable),
    (503, ApiUnavailable),
    (504, ApiUnavailable),
    (507, ApiUnavailable),
    (599, ApiUnavailable),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_every_refusal_becomes_an_error_of_ours(
    far: FarSide, status: int, kind: type[ClusterError]
) -> None:
    far.answers(json.dumps({"kind": "Status", "message": "it\nsays so"}), status)
    for ask in ASKS.values():
        with pytest.raises(ClusterError) as caught:
            await ask(far.cluster)
        assert type(caught.value) is kind
        assert str(caught.value) == f"the Kubernetes API answered {status}: it says so"


BODIES = [
    ("empty", ""),
    ("HTML", f"<html><body>Service Unavailable {CANARY}</body></html>"),
    ("a list", json.dumps([{"message": CANARY}])),
    ("a text", json.dumps(CANARY)),
    ("null", "null"),
    ("a message that is no text", json.dumps({"message": {"x": CANARY}})),
    ("no UTF-8", b"\xff\xfe\x00" + CANARY.encode()),
    ("cut short", '{"message": "' + CANARY),
    ("nested beyond measure", "[" * 100_000),
]
NO_OBJECTS = [row for row in BODIES if row[0] != "a message that is no text"]


@pytest.mark.parametrize("body", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
async def test_a_refusal_without_a_status_object_shows_nothing_of_its_body(
    far: FarSide, body: str | bytes
) -> None:
    far.answers(body, 503)
    with pytest.raises(ApiUnavailable) as caught:
        await far.cluster.read_team("research", "report")
    assert str(caught.value) == "the Kubernetes API answered 503"


@pytest.mark.parametrize("body", [row[1] for row in NO_OBJECTS], ids=[row[0] for row in NO_OBJECTS])
async def test_an_answer_that_is_not_an_object_counts_as_no_answer(far: FarSide, body: str | bytes) -> None:
    far.answers(body)
    for ask in ASKS.values():
        with pytest.raises(ApiUnavailable) as caught:
            await ask(far.cluster)
        assert CANARY not in str(caught.value)


async def test_a_long_refusal_is_truncated(far: FarSide) -> None:
    far.answers(json.dumps({"message": "x" * 100_000}), 422)
    with pytest.raises(Rejected) as caught:
        await far.cluster.read_team("research", "report")
    assert len(str(caught.value)) < 400


WAITS = [("7", 7.0), ("0", 0.0), ("soon", None), ("", None), ("9" * 99, 31_536_000.0)]


@pytest.mark.parametrize(("value", "seconds"), WAITS)
@pytest.mark.parametrize("status", [429, 503])
async def test_the_server_s_retry_after_is_passed_on(
    far: FarSide, status: int, value: str, seconds: float | None
) -> None:
    far.answers("{}", status, **{"Retry-After": value})
    with pytest.raises(ApiUnavailable) as caught:
        await far.cluster.read_team("research", "report")
    assert caught.value.retry_after == seconds


SECRETS: list[tuple[str, Any]] = [
    ("junk", {"key": "!"}),
    ("no padding", {"key": "YQ"}),
    ("not ASCII", {"key": "schlüssel"}),
    ("a number", {"key": 5}),
    ("null", {"key": None}),
    ("an object", {"key": {"a": "b"}}),
    ("a list for data", ["YQ=="]),
    ("a text for data", "YQ=="),
    ("a number for data", 5),
]


@pytest.mark.parametrize("data", [row[1] for row in SECRETS], ids=[row[0] for row in SECRETS])
async def test_a_secret_with_invalid_base64_is_an_error_of_ours(far: FarSide, data: Any) -> None:
    far.answers(json.dumps({"kind": "Secret", "data": data}))
    with pytest.raises(ClusterError) as caught:
        await far.cluster.read_secret("research", "keys")
    assert "schl" not in str(caught.value)


@pytest.mark.parametrize("document", [{}, {"data": None}, {"data": {}}, {"data": ""}])
async def test_a_secret_without_data_is_empty(far: FarSide, document: dict[str, Any]) -> None:
    far.answers(json.dumps(document))
    assert not (await far.cluster.read_secret("research", "keys")).values


# ---------------------------------------------------------------------------------------------------------
# Forms of one answer

JSON = b'{"metadata": {"name": "report", "namespace": "research", "uid": "u", "resourceVersion": "1"}}'
DATED = b"HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 05:37:57 GMT\r\n"
HALF = len(JSON) // 2
LENGTH = DATED + b"Content-Length: %d\r\n\r\n" % len(JSON)
CHUNKED = DATED + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKS = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (JSON, JSON[:HALF], JSON[HALF:])]
END = b"0\r\n\r\n"
PRESSED = gzip.compress(JSON)
FORMS = {
    "in one piece": [LENGTH + JSON],
    "its head first": [LENGTH, JSON],
    "in two pieces": [LENGTH + JSON[:HALF], JSON[HALF:]],
    "in a chunk": [CHUNKED + CHUNKS[0] + END],
    "in a chunk whose end comes later": [CHUNKED + CHUNKS[0], END],
    "in two chunks": [CHUNKED + CHUNKS[1] + CHUNKS[2] + END],
    "compressed": [DATED + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PRESSED) + PRESSED],
    "until it closes": [DATED + b"Connection: close\r\n\r\n" + JSON],
    "after an interim answer": [b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH + JSON],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_an_answer_means_the_same_in_each_form(form: list[bytes]) -> None:
    async with listening(saying(*form)) as bare, door_to(f"http://{bare.authority}") as cluster:
        for _ in range(2):
            read = await cluster.read_team("research", "report")
            assert (read.team.uid, read.size, read.date) == (
                "u",
                len(JSON),
                datetime(2026, 11, 29, 5, 37, 57, tzinfo=UTC),
            )


async def test_what_arrives_unasked_is_no_answer() -> None:
    other = LENGTH + JSON.replace(b'"u"', b'"v"')
    async with (
        listening(answering(LENGTH + JSON + other)) as bare,
        door_to(f"http://{bare.authority}") as cluster,
    ):
        for _ in range(3):
            assert (await cluster.read_team("research", "report")).team.uid == "u"
    assert bare.accepted == 3


# ---------------------------------------------------------------------------------------------------------
# Failures instead of an answer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BROKEN: list[tuple[str, Callable[[Bare], Speak]]] = [
    ("closed at once", closing),
    ("closed after the request", saying()),
    ("reset", resetting(HEAD)),
    ("cut short", saying(HEAD + b"Content-Length: 100\r\n\r\n{}")),
    ("reset within the body", resetting(HEAD + b"Content-Length: 100\r\n\r\n{")),
    ("a bad chunk", saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n{}\r\n")),
    ("junk", saying(b"\x00\x01\x02\r\n\r\n")),
    ("a head without end", saying(HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n{}")),
    ("bad compression", saying(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}")),
    ("a redirect in a circle", saying(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")),
]


@pytest.mark.parametrize("speak", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_a_broken_answer_counts_as_no_answer(speak: Callable[[Bare], Speak]) -> None:
    async with listening(speak) as bare, door_to(f"http://{bare.authority}", limit=0.5) as cluster:
        assert [type(error) for error in await errors(cluster)] == [ApiUnavailable] * len(ASKS)


async def test_a_refused_connection_counts_as_no_answer() -> None:
    async with listening(silent) as bare:
        address = f"http://{bare.authority}"
    async with door_to(address) as cluster:
        assert [type(error) for error in await errors(cluster)] == [ApiUnavailable] * len(ASKS)


async def errors(cluster: Cluster) -> list[Any]:
    """Make every kind of request, and return the errors."""
    return await asyncio.gather(*(ask(cluster) for ask in ASKS.values()), return_exceptions=True)


HANGS: list[tuple[str, Callable[[Bare], Speak]]] = [
    ("silence", silent),
    ("a head alone", endless(HEAD + b"Content-Length: 100\r\n\r\n", b"", pause=0.05)),
    ("a trickle", endless(HEAD + b"\r\n", b" ", pause=0.02)),
]


@pytest.mark.quiet
@pytest.mark.parametrize("speak", [row[1] for row in HANGS], ids=[row[0] for row in HANGS])
async def test_a_hanging_server_is_given_up_in_time(speak: Callable[[Bare], Speak]) -> None:
    async with listening(speak) as bare, door_to(f"http://{bare.authority}", limit=0.2) as cluster:
        started = time.monotonic()
        told = await errors(cluster)
        assert 0.15 < time.monotonic() - started < 1.5
    assert {str(error) for error in told} == {"the Kubernetes API does not answer in time"}


def closing_kept_connections(bare: Bare) -> Speak:
    """Answer the first request of each connection; close it without an answer at the second."""
    body = b'{"metadata": {"name": "report", "namespace": "research", "uid": "u", "resourceVersion": "1"}}'

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await bare.request(reader)
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        await bare.request(reader)

    return talk


async def test_a_read_on_a_kept_connection_that_closes_is_made_again_and_a_write_is_not() -> None:
    async with listening(closing_kept_connections) as bare, door_to(f"http://{bare.authority}") as cluster:
        read = await cluster.read_team("research", "report")
        assert (await cluster.read_team("research", "report")).team.uid == read.team.uid
        with pytest.raises(ApiUnavailable):
            await cluster.write_delivery(read.team, [])
    methods = [head.partition(b" ")[0] for head in bare.heads]
    assert (methods, bare.accepted) == ([b"GET", b"GET", b"GET", b"PATCH"], 2)


def kinds(root: type[BaseException]) -> Iterator[type[BaseException]]:
    """Yield a class of exceptions and all its subclasses."""
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


FOREIGN = sorted(
    {
        *kinds(aiohttp.ClientError),
        *(kind for kind in kinds(OSError) if kind.__module__ in {"builtins", "ssl", "socket"}),
        TimeoutError,
        ValueError,  # a token file that cannot be read again
    },
    key=lambda kind: f"{kind.__module__}.{kind.__qualname__}",
)


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
async def test_no_library_s_exception_passes_through(
    far: FarSide, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> NoReturn:
        raise kind.__new__(kind, CANARY)

    monkeypatch.setattr(aiohttp.BaseConnector, "connect", fail)  # the lowest call into the library
    for error in await errors(far.cluster):
        assert type(error) is ApiUnavailable
        assert CANARY not in str(error)
        assert error.__cause__ is None


async def test_a_cancelled_request_ends_immediately() -> None:
    async with listening(silent) as bare, door_to(f"http://{bare.authority}") as cluster:
        task = asyncio.create_task(cluster.read_team("research", "report"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# ---------------------------------------------------------------------------------------------------------
# Addresses and credentials


UNREADABLE, NO_CONTEXT = "set KUBECONFIG to a readable file", "names no current context"
ABSENT_CONTEXT = "current-context: x\ncontexts: []\nclusters: []\nusers: []\n"
KUBECONFIGS = {
    "missing": (None, UNREADABLE),
    "empty": ("", NO_CONTEXT),
    "no YAML": ("a: [", UNREADABLE),
    "no config": ("5", UNREADABLE),
    "a list": ("[]", NO_CONTEXT),
    "without a context": ("apiVersion: v1\nkind: Config\n", NO_CONTEXT),
    "a context that is not there": (ABSENT_CONTEXT, "no context called 'x'"),
    "binary": ("\x00\x01", UNREADABLE),
}


@pytest.mark.parametrize(("content", "words"), KUBECONFIGS.values(), ids=KUBECONFIGS)
async def test_an_environment_without_a_cluster_is_an_error(
    content: str | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    name_kubeconfig(monkeypatch, path)
    with pytest.raises(SettingsError, match=words):
        async with connect(lambda *_: None):
            pass


async def test_inside_a_cluster_a_token_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(SettingsError, match="no Kubernetes API is configured"):
        async with connect(lambda *_: None):
            pass


# ---------------------------------------------------------------------------------------------------------
# Logs


async def test_no_log_line_contains_a_secret_or_a_token(
    far: FarSide, door: Cluster, fake_cluster: Fake
) -> None:
    encoded = base64.b64encode(CANARY.encode()).decode()
    with everything_logged("DEBUG") as logged:
        assert await door.read_secret("research", "keys")
        read = await door.read_team("research", "report")
        await door.write_delivery(read.team, [ENTRY])
        with pytest.raises(ObjectNotFound):
            await door.read_secret("research", "other")
        far.answers(json.dumps({"data": {"key": f"{encoded}!"}, "message": 5}), 500)
        with pytest.raises(ApiUnavailable):
            await far.cluster.read_secret("research", "keys")
    for secret in (CANARY, encoded, fake_cluster.server.token):
        assert secret not in logged.text


def test_ssl_errors_are_among_the_tested_exceptions() -> None:
    assert ssl.SSLCertVerificationError in FOREIGN
    assert aiohttp.ClientConnectorCertificateError in FOREIGN
