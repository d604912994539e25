"""The minimum: a bare aiohttp script that makes the HTTP calls of one event, and nothing else.

python -m tests.bench.floor FOLDER EVENTS FANOUT AT_ONCE PREFIX     prints its figures as JSON
"""

import asyncio
import base64
import json
import resource
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from tests.bench.far_side import NAMESPACE, TEAMS

Document = dict[str, Any]


class Floor:
    """Reads a team, claims, reads the Secret, posts to every target, records."""

    def __init__(self, api: aiohttp.ClientSession, http: aiohttp.ClientSession) -> None:
        self._api = api
        self._http = http

    async def event(self, name: str) -> None:
        """Make the requests of one event."""
        async with self._api.get(TEAMS + name) as answer:
            team = await answer.json()
        targets = team["spec"]["lifecycle"]["delivery"]
        claimed = await self._write(name, team, [entry(target, "Pending") for target in targets])
        async with self._api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/slack") as answer:
            secret = await answer.json()
        slack = base64.b64decode(secret["data"]["slack-webhook-url"]).decode()
        text = {"event": "team.completed", "team": name, "namespace": NAMESPACE, "phase": "Completed"}
        body = json.dumps({**text, "message": "finished", "artifacts": []}).encode()
        await asyncio.gather(*(self._post(target.get("url", slack), body) for target in targets))
        await self._write(name, claimed, [entry(target, "Delivered") for target in targets])

    async def _write(self, name: str, team: Document, entries: list[Document]) -> Document:
        version = team["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "status": {"delivery": entries}}
        async with self._api.patch(
            f"{TEAMS}{name}/status",
            data=json.dumps(patch).encode(),
            headers={"content-type": "application/merge-patch+json"},
        ) as answer:
            written: Document = await answer.json()
            return written

    async def _post(self, url: str, body: bytes) -> None:
        async with self._http.post(url, data=body, headers={"content-type": "application/json"}) as answer:
            await answer.read()


def entry(target: Document, phase: str) -> Document:
    """Return the record's entry for a target."""
    return {"name": target["name"], "type": target["type"], "phase": phase, "attempts": 1}


async def main(folder: Path, events: int, fanout: int, at_once: int, prefix: str) -> Document:
    """Process the events; return the figures."""
    ports = json.loads((folder / "ports.json").read_text())
    tls = ssl.create_default_context(cafile=folder / "ca.pem")
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    headers = {"authorization": "Bearer bench"}
    async with (
        aiohttp.ClientSession(ports["api"], connector=connector, headers=headers) as api,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        floor = Floor(api, http)
        names = iter([f"f{fanout}-{prefix}-{number}" for number in range(events)])
        seconds: list[float] = []

        async def work() -> None:
            for name in names:
                began = time.perf_counter()
                await floor.event(name)
                seconds.append(time.perf_counter() - began)

        await asyncio.gather(*(floor.event(f"f{fanout}-{prefix}w-{at}") for at in range(at_once)))
        before, began = cpu(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return {"cpu": cpu() - before, "wall": time.perf_counter() - began, "seconds": seconds}


def cpu() -> float:
    """Return the seconds of CPU that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    folder, events, fanout, at_once, prefix = sys.argv[1:]
    measured = uvloop.run(main(Path(folder), int(events), int(fanout), int(at_once), prefix))
    measured["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump(measured, sys.stdout)
