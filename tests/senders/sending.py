"""Helpers of the senders' tests: a client, one attempt, and one delivery with all its effects."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import httpx
import respx
import structlog
from aiohttp.streams import StreamReader

from app.delivery.errand import NEVER, Errand
from app.delivery.fanout import fan_out
from app.delivery.pacer import Pacer
from app.delivery.places import Places, asleep
from app.delivery.rehearsal import show
from app.delivery.retry import RetryPolicy, Timing
from app.domain.errors import TargetError
from app.domain.events import CompletionEvent
from app.domain.ledger import Terms, decide
from app.domain.receipts import Receipt
from app.domain.targets import InvalidTarget, Target, read_targets
from app.domain.times import asked_to_wait, steady
from app.egress.client import HEADERS, HttpClient, Response, Transport, head_of_body
from app.egress.guard import Checked
from app.senders.artifacts import Artifacts
from app.senders.credentials import Credentials
from app.senders.envelopes import Envelope, Preview, Sender, Verdict, Way
from app.senders.registry import build_senders
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing
from tests.examples import NOW, envelope, loopback_settings, team

EVENT = CompletionEvent(namespace="research", team="report")


@contextmanager
def faked() -> Iterator[respx.Router]:
    """Fake the network behind the HTTP client; an unexpected request fails."""
    router = respx.Router(assert_all_called=False)

    async def answer(  # as the client is called
        _: Transport, method: str, url: Checked, body: bytes, headers: dict[str, str], **limits: float
    ) -> Response:
        request = httpx.Request(
            method, str(url), stream=httpx.ByteStream(body), headers={**HEADERS, **headers}
        )
        answered = await router.async_handler(request)
        said = await head_of_body(_Coming(answered), int(limits["most"]), limits["patience"])
        return Response(answered.status_code, asked_to_wait(answered.headers), said)

    with mock.patch.object(Transport, "request", answer):
        yield router


class _Coming(StreamReader):
    """The content of a fake answer, as aiohttp passes it on."""

    def __init__(self, answered: httpx.Response) -> None:
        self._answered = answered

    def is_eof(self) -> bool:
        return False

    def iter_any(self) -> Any:
        return cast("httpx.AsyncByteStream", self._answered.stream).__aiter__()


class Body(httpx.AsyncByteStream):
    """A body that is not read yet, like one from a socket."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def answer(status: int, body: bytes | str = b"", **headers: str) -> httpx.Response:
    """Make an answer; write header names with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body.encode() if isinstance(body, str) else body
    return httpx.Response(status, headers=named, stream=Body(content))


@asynccontextmanager
async def outlets(settings: ServiceSettings) -> AsyncIterator[Any]:
    """Open the senders of an installation."""
    async with HttpClient(settings) as http:
        yield build_senders(settings, http, Tracing())


async def attempt(
    spec: dict[str, Any],
    secret: dict[str, str | bytes] | None = None,
    made: Envelope | None = None,
    settings: ServiceSettings | None = None,
) -> Verdict | TargetError:
    """Make one attempt at a target with these values in its Secret, and return the verdict."""
    (target,) = read_targets([spec])
    assert not isinstance(target, InvalidTarget), target
    values = {
        key: value.encode() if isinstance(value, str) else value for key, value in (secret or {}).items()
    }
    async with outlets(settings or ServiceSettings.load()) as senders:
        try:
            sender, credentials = senders[target.type], Credentials("keys", values)
            way = sender.way(target, credentials)
            sent: Verdict = await sender.send(made or envelope(), target, credentials, way)
        except TargetError as error:
            return error
    return sent


async def attempt_on_loopback(
    spec: dict[str, Any], secret: dict[str, str | bytes] | None = None, made: Envelope | None = None
) -> Verdict | TargetError:
    """Make one attempt where receivers are on loopback, without TLS."""
    return await attempt(spec, secret, made, loopback_settings(slack_hosts="127.0.0.1"))


@dataclass
class Watched:
    """A sender that keeps the result of each attempt."""

    sender: Sender[Any]
    told: list[Verdict | BaseException] = field(default_factory=list)

    @property
    def keys(self) -> frozenset[str]:
        """The Secret's keys that the sender reads."""
        return self.sender.keys

    @property
    def copies(self) -> int:
        """What its message takes."""
        return self.sender.copies

    def way(self, target: Target, credentials: Credentials) -> Way:
        """Pass the call on; an error here is the result of the attempt."""
        try:
            return self.sender.way(target, credentials)
        except BaseException as error:
            self.told.append(error)
            raise

    async def send(self, made: Envelope, target: Target, credentials: Credentials, way: Way) -> Verdict:
        """Pass one attempt on, and keep its result."""
        try:
            verdict = await self.sender.send(made, target, credentials, way)
        except BaseException as error:
            self.told.append(error)
            raise
        self.told.append(verdict)
        return verdict

    async def preview(self, made: Envelope, target: Target, credentials: Credentials) -> Preview:
        """Pass the call on."""
        return await self.sender.preview(made, target, credentials)


@dataclass(frozen=True)
class Delivered:
    """The results of one delivery: of its attempts, in the record, and in the metrics."""

    told: list[Verdict | BaseException]
    receipt: Receipt
    counted: Metrics
    shown: dict[str, Any]  # every object that took part

    @property
    def metrics(self) -> str:
        """The metrics as Prometheus would scrape them."""
        return self.counted.render()[0].decode()


async def deliver(
    spec: dict[str, Any],
    secret: Mapping[str, str | bytes],
    settings: ServiceSettings,
    *,
    attempt_timeout: float = 10.0,
    attempts: int = 1,
    entries: Sequence[Mapping[str, Any]] = (),
    event: CompletionEvent = EVENT,
    metrics: Metrics | None = None,
) -> Delivered:
    """Deliver to a target with these values in its Secret and these entries on record."""
    finished, metrics = team([spec], entries=entries), metrics or Metrics()
    values = {key: value.encode() if isinstance(value, str) else value for key, value in secret.items()}
    credentials = Credentials("keys", values)

    async def resolve(_name: str | None, _seconds: float | None = None) -> Credentials:
        return credentials

    async def at_once(_: float) -> bool:
        return True

    terms = Terms("holder", NOW, settings.claim_life, settings.max_takeovers)
    planned = decide(finished, event, terms, start=True)
    receipts: list[Receipt] = [*planned.closed]
    async with outlets(settings) as senders:
        watched = {kind: Watched(sender) for kind, sender in senders.items()}
        errand = Errand(
            team=finished,
            event="team.completed",
            phase="Completed",
            senders=watched,
            resolve=resolve,
            policy=RetryPolicy(attempts=attempts, attempt_timeout=attempt_timeout),
            postponement=NEVER,
            pacer=Pacer(0.0),
            timing=Timing(sleep=at_once),
            metrics=metrics,
            tracing=Tracing(),
            log=structlog.get_logger(__name__),
            ends=steady() + 60,
            now=lambda: NOW,
            max_message=settings.max_message,
            artifacts=Artifacts(finished),
            places=Places(settings, metrics),
            rest=asleep,
        )
        async with asyncio.TaskGroup() as group:
            fan_out(group, errand, planned.claims, receipts.append)
        previews = [target.model_dump_json() for target in await show(errand, planned.claims)]
    (receipt,) = receipts
    told = [one for sender in watched.values() for one in sender.told]
    shown = {"team": finished, "plan": planned, "credentials": credentials, "previews": previews}
    return Delivered(told, receipt, metrics, shown)
