"""Helpers of the HTTP client's tests: one POST, names from a table, and trusted certificates."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import certifi
import pytest
import trustme
from aiohttp.abc import ResolveResult

from app.domain.errors import TargetError
from app.egress.client import HttpClient, Response
from tests.examples import CANARY, loopback_settings

HEADERS = {"content-type": "application/json", "authorization": f"Bearer {CANARY}"}

Lookups = dict[str, list[str]]


def named(patch: pytest.MonkeyPatch) -> Lookups:
    """Replace DNS, so that no query leaves the machine; names that are not in this table do not exist."""
    table: Lookups = {}

    async def lookup(
        _: aiohttp.AsyncResolver, host: str, port: int = 0, family: int = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        host = host.removesuffix(".")
        if host not in table:
            raise OSError(None, "Domain name not found")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in table[host]
        ]

    patch.setattr(aiohttp.AsyncResolver, "resolve", lookup)
    return table


def trusted(patch: pytest.MonkeyPatch, authority: trustme.CA, folder: Path) -> None:
    """Make the machine trust this certificate authority instead of the public ones."""
    path = folder / "authorities.pem"
    authority.cert_pem.write_to_path(str(path))
    patch.setattr(certifi, "where", lambda: str(path))


@asynccontextmanager
async def client(**changes: Any) -> AsyncIterator[HttpClient]:
    """Open a client that may call 127.0.0.1, also without TLS."""
    async with HttpClient(loopback_settings(**changes)) as http:
        yield http


async def post(url: str, *, body: bytes = b"{}", **changes: Any) -> Response:
    """Post once with a new client; fail if this takes more than 5 s."""
    async with asyncio.timeout(5), client(**changes) as http:
        return await http.post(url, body, HEADERS)


async def refused(url: str, **changes: Any) -> TargetError:
    """Return the error of a post."""
    with pytest.raises(TargetError) as caught:
        await post(url, **changes)
    assert CANARY not in repr(caught.value) + caught.value.message
    return caught.value


async def outcome(posting: Awaitable[Response]) -> Response | ValueError | TargetError:
    """Return the answer, or the error if it is one of the documented ones."""
    try:
        return await posting
    except (ValueError, TargetError) as error:
        return error
