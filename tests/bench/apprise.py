"""Apprise with the same work: it sends each event to several JSON webhooks, and reads and records nothing.

python -m tests.bench.apprise FOLDER EVENTS FANOUT AT_ONCE PREFIX     prints its figures as JSON
"""

import asyncio
import json
import logging
import resource
import sys
import time
from pathlib import Path
from typing import Any

from apprise import Apprise

from tests.bench.floor import cpu


async def main(folder: Path, events: int, fanout: int, at_once: int) -> dict[str, Any]:
    """Process the events; return the figures."""
    logging.disable(logging.CRITICAL)
    receiver = json.loads((folder / "ports.json").read_text())["receiver"].removeprefix("http://")
    notifier = Apprise()
    for number in range(fanout):
        notifier.add(f"json://{receiver}/hook/{number}")
    left = iter(range(events))
    seconds: list[float] = []

    async def work() -> None:
        for _ in left:
            began = time.perf_counter()
            assert await notifier.async_notify(title="Team report", body="Team report finished")
            seconds.append(time.perf_counter() - began)

    await notifier.async_notify(title="Team report", body="Team report finished")
    before, began = cpu(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return {"cpu": cpu() - before, "wall": time.perf_counter() - began, "seconds": seconds}


if __name__ == "__main__":
    folder, events, fanout, at_once, _ = sys.argv[1:]
    measured = asyncio.run(main(Path(folder), int(events), int(fanout), int(at_once)))
    measured["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump(measured, sys.stdout)
