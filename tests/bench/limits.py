"""Compares what a time limit costs on uvloop that is not reached: asyncio's and ours.

python -m tests.bench.limits
"""

import asyncio
import time

import uvloop
from rich.console import Console

from app.timers import within

LIMITS = 100_000


async def measure() -> None:
    """Print the microseconds of each."""
    begun = time.process_time()
    for _ in range(LIMITS):
        async with asyncio.timeout(5):  # noqa: ASYNC100  # nothing else is measured
            pass
    between = time.process_time()
    for _ in range(LIMITS):
        with within(5):
            pass
    theirs, ours = between - begun, time.process_time() - between
    each = f"asyncio.timeout {theirs / LIMITS * 1e6:.1f} µs, within {ours / LIMITS * 1e6:.1f} µs"
    Console().print(f"{each}: {ours / theirs:.2f} of it")


if __name__ == "__main__":
    uvloop.run(measure())
