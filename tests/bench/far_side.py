"""The fake servers of a benchmark in one process: a Kubernetes API over TLS and a receiver, both minimal.

Any team exists as soon as a caller reads it, and has finished: `f8-123` has eight targets, half of them
webhooks and half Slack; of `t8-123`, with eight webhooks, the arrivals are recorded; of `h8-123`, the first
never answers. Like the real API, it refuses a stale resourceVersion; it checks nothing else.

    python -m tests.bench.far_side FOLDER     writes FOLDER/kubeconfig and FOLDER/ports.json
"""

import argparse
import asyncio
import base64
import json
import ssl
import time
from pathlib import Path
from typing import Any, ClassVar, cast

import httptools
import trustme
import uvloop

from tests.harness.kubeconfig import write_kubeconfig
from tests.harness.processes import until_stopped

NAMESPACE = "bench"
TEAMS = f"/apis/kagents.dev/v1alpha1/namespaces/{NAMESPACE}/agentteams/"
FINISHED = "2026-01-01T00:00:00Z"

REVIEWED = json.dumps(
    {
        "status": {
            "authenticated": True,
            "audiences": ["agentteam-delivery"],
            "user": {"username": "system:serviceaccount:bench:caller"},
            "allowed": True,
        }
    }
).encode()
"""An answer to both reviews."""

Document = dict[str, Any]


def targets(team: str, receiver: str, hanging: str) -> list[Document]:
    """Return the targets that a team's name describes."""
    kind, number = team[0], int(team[1:].partition("-")[0])
    if kind == "f":
        return [
            {"type": "slack", "name": f"slack-{at}", "credentialsSecret": "slack"}
            if at % 2
            else {"type": "webhook", "name": f"webhook-{at}", "url": f"{receiver}/hook/{at}"}
            for at in range(number)
        ]
    first = hanging if kind == "h" else receiver
    urls = [f"{receiver if at else first}/timed/{team}/{at}" for at in range(number)]
    return [{"type": "webhook", "name": f"webhook-{at}", "url": url} for at, url in enumerate(urls)]


class Api:
    """Teams, Secrets, Events and reviews, in memory."""

    def __init__(self, receiver: str, hanging: str) -> None:
        self._receiver = receiver
        self._hanging = hanging
        self._teams: dict[str, Document] = {}
        self._secret = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "slack", "namespace": NAMESPACE, "labels": {}},
                "data": {"slack-webhook-url": base64.b64encode(f"{receiver}/slack".encode()).decode()},
            }
        ).encode()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Handle a request."""
        if path.startswith(TEAMS):
            name = path[len(TEAMS) :].partition("?")[0].removesuffix("/status")
            if method == "GET":
                return 200, json.dumps(self._team(name)).encode()
            return self._patch(name, json.loads(body))
        if "/secrets/" in path:
            return 200, self._secret
        if path.endswith("reviews"):
            return 201, REVIEWED
        return (201, body) if method == "POST" else (200, b"{}")

    def _team(self, name: str) -> Document:
        if name not in self._teams:
            self._teams[name] = {
                "apiVersion": "kagents.dev/v1alpha1",
                "kind": "AgentTeam",
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "uid": f"00000000-0000-0000-0000-{hash(name) & 0xFFFFFFFFFFFF:012x}",
                    "resourceVersion": "1",
                },
                "spec": {
                    "lead": {"prompt": "Plan the report."},
                    "lifecycle": {
                        "onComplete": "deliver",
                        "delivery": targets(name, self._receiver, self._hanging),
                    },
                },
                "status": {
                    "phase": "Completed",
                    "startedAt": FINISHED,
                    "completedAt": FINISHED,
                    "estimatedCost": "4.50",
                    "totalTokensUsed": 1482000,
                    "tasks": {"total": 7, "completed": 7, "inProgress": 0, "pending": 0},
                    "artifacts": [{"name": "report.md", "path": "/workspace/output/report.md"}],
                },
            }
        return self._teams[name]

    def _patch(self, name: str, patch: Document) -> tuple[int, bytes]:
        team = self._team(name)
        metadata = team["metadata"]
        if (
            patch["metadata"].get("resourceVersion", metadata["resourceVersion"])
            != metadata["resourceVersion"]
        ):
            return 409, b'{"kind": "Status", "code": 409, "message": "the object has been modified"}'
        version = str(int(metadata["resourceVersion"]) + 1)
        self._teams[name] = {
            **team,
            "metadata": {**metadata, "resourceVersion": version},
            "status": {**team["status"], **patch["status"]},
        }
        return 200, json.dumps(self._teams[name]).encode()


class Speaker(asyncio.Protocol):
    """An HTTP/1.1 connection: one request after the other."""

    def __init__(self, api: Api | None) -> None:
        self._api = api
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, for the answers."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass data to the parser."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Start a request."""
        self._url = url
        self._body = []

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        if self._api is None:
            status, content = 200, self._hook()
        else:
            method = self._parser.get_method().decode()
            status, content = self._api.answer(method, self._url.decode(), b"".join(self._body))
        head = (
            f"HTTP/1.1 {status} X\r\nDate: {_date()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self._transport.write(head.encode() + content)

    def _hook(self) -> bytes:
        if self._url == b"/count":
            return str(_Known.hooks).encode()
        if self._url == b"/arrivals":
            return json.dumps(_Known.arrivals).encode()
        _Known.hooks += 1
        if self._url.startswith(b"/timed/"):
            _Known.arrivals[self._url.decode().removeprefix("/timed/")] = time.perf_counter()
        return b"ok"


class _Known:
    """The state of the process: requests by target, their times, and the text of the current second."""

    hooks = 0
    arrivals: ClassVar[dict[str, float]] = {}  # by team and target
    second = 0
    text = ""


def _date() -> str:
    now = int(time.time())
    if now != _Known.second:
        _Known.second = now
        _Known.text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))
    return _Known.text


async def serve(folder: Path) -> None:
    """Listen, write the ports to the folder, and run until stopped."""
    loop = asyncio.get_running_loop()
    receiver = await loop.create_server(lambda: Speaker(None), "127.0.0.1", 0)
    hook = f"http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}"
    silent = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    hanging = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    known = Api(hook, hanging)
    api = await loop.create_server(lambda: Speaker(known), "127.0.0.1", 0, ssl=tls)
    url = f"https://127.0.0.1:{api.sockets[0].getsockname()[1]}"
    (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
    write_kubeconfig(folder / "kubeconfig", url, "bench", **{"certificate-authority": str(folder / "ca.pem")})
    written = folder / "ports"
    written.write_text(json.dumps({"api": url, "receiver": hook}))
    written.rename(folder / "ports.json")  # a reader finds all of it or nothing
    async with receiver, silent, api:
        await until_stopped()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    uvloop.run(serve(parser.parse_args().folder))
