"""Waiting for something to become true, without guessing how long it takes."""

import asyncio
import inspect
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import Any

import aiohttp


async def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Call a function, sync or async, until its result is true, and return that; fail after `seconds`."""
    deadline = monotonic() + seconds
    while True:
        answer = holds()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s: {inspect.getsource(holds).strip()}")
        await asyncio.sleep(0.01)


async def until_ready(url: str, seconds: float = 30.0) -> None:
    """Request a URL until the answer is 200."""

    async def ready() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False

    await until(ready, seconds)
