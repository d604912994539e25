"""The errors of commands if the service does not answer or refuses: each case, and what to change."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.console.client import Client
from app.console.reaching import unreached
from app.console.trouble import Away, Trouble
from tests.harness.receiver import Receiver
from tests.service.conftest import Bench


async def trouble(url: str, token: str | None = None) -> Trouble:
    """Make a request in a thread, because a command blocks until its answer."""
    with pytest.raises(Trouble) as raised:
        await asyncio.to_thread(Client(url, token).read, "research", "report")
    return raised.value


async def test_the_error_distinguishes_a_closed_port_from_a_silent_one(bench: Bench) -> None:
    async def close(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    def gone(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()  # like a port-forward whose pod is gone

    server = await asyncio.start_server(gone, "127.0.0.1")
    forwarded = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Receiver(respond=close) as closing, server:
        told = {
            forwarded: "was closed without an answer; check that the service runs",
            bench.service.url.replace("http", "https"): "no TLS connection to this port",
            "http://127.0.0.1:1": "no service answers at http://127.0.0.1:1; set its address with --url",
            closing.url: "was closed without an answer; check that the service runs",
        }
        for url, says in told.items():
            found = await trouble(url)
            assert says in str(found)
            # A late answer is waited for.
            assert isinstance(found, Away) == (not says.startswith("no TLS"))


def test_an_unknown_host_is_reported() -> None:
    error = httpx.ConnectError("no")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    found = unreached(httpx.URL("http://absent.invalid:8080"), error)
    assert (type(found), str(found)) == (
        Away,
        "the host name absent.invalid does not resolve; check --url or DELIVERY_URL",
    )


@pytest.mark.parametrize(
    ("status", "slug", "detail", "token", "says"),
    [
        (
            401,
            "unauthenticated",
            "send `Authorization: Bearer …`",
            None,
            "use --service-acc",
        ),
        (
            401,
            "unauthenticated",
            "the token is not valid",
            "t",
            "--service-account NAME has kubectl make",
        ),
        (422, "malformed", "nothing was done: targets.0: is too long", None, "--target.0: is too long"),
        (431, "head-too-large", "send fewer headers", "t", "the token is too long"),
        (413, "body-too-large", "the body is too large", None, "select fewer with --target"),
        (404, "no-such-path", "see /openapi.json", None, "check --url"),
        (405, "method-not-allowed", "see /openapi.json", None, "check --url"),
    ],
    ids=["nobody", "a stale token", "a field", "a long token", "a long body", "a path", "a method"],
)
async def test_a_refusal_names_options_and_no_headers(
    status: int, slug: str, detail: str, token: str | None, says: str
) -> None:
    problem: dict[str, Any] = {"type": f"urn:agentteam-delivery:{slug}", "title": "No", "detail": detail}

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response(problem, status=status)

    async with Receiver(respond=refuse) as service:
        said = str(await trouble(service.url, token))
    assert says in said
    for word in ("Authorization", "Bearer", "header", "body", "openapi", "targets"):
        assert word not in said
