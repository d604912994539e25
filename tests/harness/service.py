"""The service and the watcher as real processes."""

import asyncio
import json
import os
import signal
import ssl
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.harness import described
from tests.harness.forked import Forked
from tests.harness.kube import Kube
from tests.harness.waiting import until

SCRIPT = Path(sys.executable).parent / "agentteam-delivery"

FORBIDDEN = "127.0.0.66"
"""Stands for an address inside the cluster; on loopback, so that a hole in the guard harms nobody."""

LOOPBACK = {
    # The receivers of the tests listen on loopback, without TLS.
    "DELIVERY_EGRESS_ALLOW": "127.0.0.0/8,::1/128",
    "DELIVERY_EGRESS_DENY": FORBIDDEN,
    "DELIVERY_EGRESS_HTTP": "true",
    "DELIVERY_SLACK_HOSTS": "127.0.0.1",
}


def lifecycle(*targets: dict[str, Any], on_complete: str = "deliver") -> dict[str, Any]:
    """Return the spec of a team with these targets."""
    return {"lifecycle": {"onComplete": on_complete, "delivery": list(targets)}}


async def finished(kube: Kube, *targets: dict[str, Any], **secrets: Mapping[str, str | bytes]) -> str:
    """Finish a team, `report`, with these targets and Secrets in a new namespace; return the namespace."""
    namespace = await kube.fresh_namespace()
    for name, data in secrets.items():
        await kube.secret(namespace, name, data)
    await kube.team(namespace, "report", lifecycle(*targets))
    await kube.finish(namespace, "report")
    return namespace


@dataclass(frozen=True)
class Answer:
    """The service's answer."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def problem(self) -> str:
        """The last segment of a problem's type."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.body["type"]).rpartition(":")[2]


@dataclass
class Program:
    """One `agentteam-delivery` process; settings are given in lower case, without their prefix."""

    command: str
    kubeconfig: Path | None = None
    settings: dict[str, object] = field(default_factory=dict)
    started: str = ""  # the log event with the port
    lines: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    covered: bool = True  # False if its speed or size is measured
    port: int = 0
    tls: ssl.SSLContext | None = None  # whom a caller trusts, if the port has TLS
    process: Process | Forked | None = None
    _reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, and return when it listens."""
        self.process = await self._launched()
        self._reading = asyncio.create_task(self._read(self.process))
        await until(lambda: self.port or self.ended, 60)
        assert self.port, "".join(self.raw)

    async def _launched(self) -> Process | Forked:
        """Start it by a fork, unless it is measured or is another program."""
        arguments = self.arguments()
        if self.covered and arguments[0] == str(SCRIPT):
            return await Forked.start(arguments, self.environment())
        return await asyncio.create_subprocess_exec(
            *arguments, env=self.environment(), stderr=PIPE, stdin=asyncio.subprocess.DEVNULL
        )

    async def refused(self) -> tuple[int, str]:
        """Start it when it must end by itself; return its exit code and its output."""
        process = await Forked.start(self.arguments(), self.environment())
        said, code = await asyncio.wait_for(asyncio.gather(process.stderr.read(), process.wait()), 60)
        return code, said.decode()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.process
        assert self._reading
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await self.process.wait()
        await self._reading
        return code

    async def request(self, method: str, path: str, **kwargs: Any) -> Answer:
        """Make one request on a new connection."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, ssl=self.tls or True, **kwargs) as response,
        ):
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())

    @property
    def ended(self) -> bool:
        return self.process is not None and self.process.returncode is not None

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == event]

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            if self.process:
                await self.stop(signal.SIGKILL)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.ended:
            await self.stop()

    def arguments(self) -> list[str]:
        """The command."""
        return [str(SCRIPT), self.command]

    def environment(self) -> dict[str, str]:
        """The machine's environment without settings of the service, and the settings of this process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DELIVERY_")}
        kube = {"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {}
        given = {f"DELIVERY_{name.upper()}": str(value) for name, value in self.settings.items()}
        return {**kept, **kube, **LOOPBACK, **given}

    async def _read(self, process: Process | Forked) -> None:
        assert process.stderr
        async for line in process.stderr:
            self.raw.append(line.decode())
            try:
                document = json.loads(line)
            except ValueError:
                continue
            self.lines.append(document)
            if document.get("event") == self.started:
                self.port = document["port"]


class Service(Program):
    """`agentteam-delivery serve` on a port of its own."""

    def __init__(self, kubeconfig: Path | None, **settings: object) -> None:
        # Most tests need attempts to end the delivery; tests of postponed targets set this.
        own = {"auth": "none", "port": 0, "backoff_initial": 0.05, "rate_limit": 100_000, "retry_for": 0}
        settings = {**own, **settings}
        super().__init__("serve", kubeconfig, settings, started="serving")

    async def start(self) -> None:
        """Start the process, and return when it is ready."""
        await super().start()

        async def ready() -> bool:
            return (await self.request("GET", "/readyz")).status == HTTPStatus.OK

        await until(ready)

    async def request(self, method: str, path: str, **kwargs: Any) -> Answer:
        """Make one request; the answer must match the API's description."""
        answer = await super().request(method, path, **kwargs)
        described.check(method, path, answer.status, answer.headers, answer.content)
        return answer

    async def deliver(
        self,
        namespace: str,
        team: str,
        prefer: str | None = None,
        path: str = "/deliveries",
        **fields: object,
    ) -> Answer:
        """Post an event."""
        body = {"namespace": namespace, "team": team, **fields}
        return await self.request("POST", path, json=body, headers={"Prefer": prefer} if prefer else {})

    async def read(self, namespace: str, team: str) -> Answer:
        """Read a team's record."""
        return await self.request("GET", f"/deliveries/{namespace}/{team}")


class Watcher(Program):
    """`agentteam-delivery watch`, on a port that the system chooses."""

    def __init__(self, kubeconfig: Path, url: str, **settings: object) -> None:
        super().__init__("watch", kubeconfig, {"url": url, "watch_port": 0, **settings}, started="watching")
