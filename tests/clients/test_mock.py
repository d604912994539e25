"""A mock server that knows only the API's description answers as the service would."""

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.domain.problems import PROBLEM_JSON, PROBLEM_TYPE
from tests.clients.conftest import Client
from tests.clients.generators import DESCRIPTION
from tests.test_description import OPERATIONS, answers, errors_of

pytestmark = pytest.mark.timeout(1200)  # the first run downloads and compiles

EVENT = {"namespace": "research", "team": "report"}
CALLER = {"Authorization": "Bearer any"}
REQUESTS: dict[str, tuple[str, str]] = {
    "deliver": ("POST", "/deliveries"),
    "preview": ("POST", "/previews"),
    "listDeliveries": ("GET", "/deliveries"),
    "readDelivery": ("GET", "/deliveries/research/report"),
}


@pytest.fixture(scope="module")
async def mock(others: Path) -> AsyncIterator[str]:
    """Start Prism on the description, and return its address."""
    process = await asyncio.create_subprocess_exec(
        *(others / "prism", "mock", "--host", "127.0.0.1", "--port", "0", DESCRIPTION),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        assert process.stdout
        said = ""
        while not (found := re.search(r"listening on (http://127\.0\.0\.1:\d+)", said)):
            line = await process.stdout.readline()
            assert line, said
            said = line.decode()
        drained = asyncio.create_task(process.stdout.read())
        yield found[1]
    finally:
        process.kill()
        await process.wait()
    await drained


async def ask(mock: str, operation: str, **given: Any) -> tuple[int, str, dict[str, str], Any]:
    method, path = REQUESTS[operation]
    given = {"json": EVENT, **given} if method == "POST" else given
    async with aiohttp.ClientSession() as session, session.request(method, mock + path, **given) as answer:
        return (
            answer.status,
            answer.content_type,
            {name.lower(): value for name, value in answer.headers.items()},
            await answer.json(content_type=None),
        )


@pytest.mark.parametrize("operation", REQUESTS)
async def test_the_mock_returns_each_example_with_its_headers(operation: str, mock: str) -> None:
    given = set()
    for name, code, described in answers():
        if name != operation:
            continue
        [(media, content)] = described["content"].items()
        for example, shown in content["examples"].items():
            headers = {**CALLER, "Prefer": f"code={code}, example={example}"}
            status, content_type, sent, body = await ask(mock, operation, headers=headers)
            assert (status, content_type, body) == (int(code), media, shown["value"]), example
            assert not errors_of(body, content["schema"])
            assert {name.lower() for name in described.get("headers", {})} <= {*sent}, example
            given.add(example)
    assert given >= {"unauthenticated", "cluster-unavailable"}


async def test_the_mock_answers_requests_as_the_service_would(mock: str) -> None:
    async def kind(operation: str, **given: Any) -> tuple[int, str]:
        status, content_type, _, body = await ask(mock, operation, **given)
        if content_type != PROBLEM_JSON:
            return status, body.get("phase", "")
        return status, body["type"].removeprefix(PROBLEM_TYPE)

    for operation in REQUESTS:
        assert await kind(operation) == (401, "unauthenticated")
    malformed = (
        {"namespace": "Research", "team": "report"},
        {"namespace": "research"},
        {**EVENT, "address": "https://hooks.example.com"},
        {**EVENT, "phase": "Running"},
        {**EVENT, "redeliver": "some"},
    )
    for body in malformed:
        for operation in ("deliver", "preview"):
            assert await kind(operation, headers=CALLER, json=body) == (422, "malformed"), body
    assert await kind("deliver", headers=CALLER) == (200, "Delivered")
    assert await kind("deliver", headers={**CALLER, "Prefer": "wait=10"}) == (200, "Delivered")
    assert await kind("preview", headers=CALLER) == (200, "Completed")
    assert await kind("readDelivery", headers=CALLER) == (200, "Delivered")
    assert {*REQUESTS} == {name for name, one in OPERATIONS.items() if one["security"]}


async def test_each_client_understands_the_mock(client: Client, mock: str) -> None:
    steps = [{"call": call, "token": "any", **EVENT} for call in ("deliver", "preview", "read")]
    delivered, previewed, read = await client.take(mock, steps)
    assert delivered == read
    assert (delivered["phase"], [one["reason"] for one in read["targets"]]) == ("Delivered", ["Delivered"])
    assert previewed == {"would": {"archive": "Send", "slack": "Fail"}}
