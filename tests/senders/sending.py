"""What the senders' tests share: a client, and one attempt."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import respx

from app.credentials import Credentials
from app.egress import HttpClient
from app.envelopes import Envelope, Verdict
from app.errors import TargetError
from app.senders import build_senders
from app.settings import ServiceSettings
from app.targets import InvalidTarget, read_targets
from tests.examples import envelope, loopback_settings


@contextmanager
def faked() -> Iterator[respx.MockRouter]:
    """Fake what is beyond the HTTP client; a request that nobody expects fails."""
    with respx.mock(using="httpx", assert_all_called=False) as router:
        yield router


class Body(httpx.AsyncByteStream):
    """A body that is still to be read, as one from a socket is."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def answer(status: int, body: bytes | str = b"", **headers: str) -> httpx.Response:
    """Make an answer; header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body.encode() if isinstance(body, str) else body
    return httpx.Response(status, headers=named, stream=Body(content))


@asynccontextmanager
async def outlets(settings: ServiceSettings) -> AsyncIterator[Any]:
    """Open the senders of an installation."""
    async with HttpClient(settings) as http:
        yield build_senders(settings, http)


async def attempt(
    spec: dict[str, Any],
    secret: dict[str, str | bytes] | None = None,
    made: Envelope | None = None,
    settings: ServiceSettings | None = None,
) -> Verdict | TargetError:
    """Make one attempt at a target with these values in its Secret, and return what it comes to."""
    (target,) = read_targets([spec])
    assert not isinstance(target, InvalidTarget), target
    values = {
        key: value.encode() if isinstance(value, str) else value for key, value in (secret or {}).items()
    }
    async with outlets(settings or ServiceSettings.load()) as senders:
        try:
            sent: Verdict = await senders[target.type].send(
                made or envelope(), target, Credentials("keys", values)
            )
        except TargetError as error:
            return error
    return sent


async def attempt_on_loopback(
    spec: dict[str, Any], secret: dict[str, str | bytes] | None = None, made: Envelope | None = None
) -> Verdict | TargetError:
    """Make one attempt where receivers are on loopback, without TLS."""
    return await attempt(spec, secret, made, loopback_settings(slack_hosts="127.0.0.1"))
