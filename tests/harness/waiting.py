"""Waiting for something to become true, without guessing how long it takes."""

import asyncio
import inspect
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import Any

import aiohttp

SHORTEST, LONGEST = 0.01, 0.25  # seconds between two calls


async def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Call a function, sync or async, until its result is true, and return that; fail after `seconds`.

    An async function asks another process, which costs both of them, so its pauses grow.
    """
    deadline, pause = monotonic() + seconds, SHORTEST
    while True:
        answer = holds()
        if inspect.isawaitable(answer):
            answer = await answer
            pause = min(1.4 * pause, LONGEST)
        if answer:
            return answer
        if monotonic() > deadline:
            raise AssertionError(f"not true within {seconds} s: {inspect.getsource(holds).strip()}")
        await asyncio.sleep(pause)


async def until_ready(url: str, seconds: float = 30.0) -> None:
    """Request a URL until the answer is 200."""

    async def ready() -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False

    await until(ready, seconds)
