"""A small Kubernetes API over real HTTP, equal to a real one in the behaviour on which this project relies.

It stores namespaces, Secrets, Events, CRDs and the custom resources that these define, with schemas, status
subresources, optimistic concurrency, paged lists and watches. It reviews tokens and permissions. It rejects
everything else (JSON patch, server-side apply, selectors, dry runs). One contract suite runs against it and
against a real API server.

As a process: python -m tests.harness.fake_cluster --kubeconfig PATH
"""

import argparse
import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.harness.fake_api import FakeApi, Refused, Resource
from tests.harness.kubeconfig import write_kubeconfig
from tests.harness.processes import until_stopped
from tests.harness.reviews import Reviews
from tests.harness.store import Document, place

BOOKMARK_EVERY = 60.0
WATCH_SECONDS = 1800.0
DISCOVERY = re.compile(r"/apis/([^/]+)/([^/]+)")
ADDRESS = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[^/]+))?"
)

Intercept = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class FakeCluster:
    """The API on a loopback port. Its data survives `stop`, as etcd survives an API server."""

    def __init__(self, *, port: int = 0, latency: float = 0.0) -> None:
        self.port = port
        self.latency = latency  # seconds of delay for every answer
        self.behind = 0  # how many of the last changes its cache has not seen
        self.token = secrets.token_hex(16)
        self.api = FakeApi()
        self.reviews = Reviews()
        self.requests: list[tuple[str, str]] = []  # (method, path) in order; a watch is WATCH
        self.intercept: Intercept | None = None  # may answer, delay or (None) pass on
        self._watches = 0  # the generation of watches; a watch of an earlier generation ends

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=3 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self.drop_watches()
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def kubeconfig(self, path: Path) -> Path:
        """Write the kubeconfig of an account with every permission."""
        return write_kubeconfig(path, self.url, self.token)

    async def drop_watches(self) -> None:
        """End all watches, as a restart of the server does."""
        self._watches += 1
        self.api.store.wake()
        await asyncio.sleep(0)

    def compact(self) -> None:
        """Drop the history: a watch or page from an earlier revision now gets 410."""
        self.api.store.compact()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        watching = _asks(request, "watch")
        self.requests.append(("WATCH" if watching else request.method, request.path))
        await asyncio.sleep(self.latency)
        try:
            self._authenticate(request)
            answer = await self.intercept(request) if self.intercept else None
            return await self.answer(request) if answer is None else answer
        except Refused as refused:
            return web.json_response(refused.status, status=refused.code)

    def _authenticate(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized", "Unauthorized")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer as the API does; an interceptor may also call this, and then lose the answer."""
        if request.path in {"/readyz", "/livez", "/healthz"}:
            return web.Response(text="ok")
        if request.path in {"/version", "/version/"}:
            return web.json_response({"major": "1", "minor": "36", "gitVersion": "v1.36.0-fake"})
        if request.method == "POST":
            review = self.reviews.answer(request.path, await _document(request))
            if review is not None:
                return web.json_response(review, status=201)
        address = ADDRESS.fullmatch(request.path)
        resource = address and self.api.resource(
            address["group"] or "", address["version"], address["plural"]
        )
        if not address or not resource or address["part"] not in {None, "status"}:
            return self._discovered(request.path)
        for option in ("labelSelector", "fieldSelector", "dryRun"):
            if option in request.query:
                raise Refused(400, "BadRequest", f"this server does not know {option}")
        if _asks(request, "watch"):
            return await self._watch(request, resource, address["namespace"] or "")
        created = request.method == "POST"
        body = await self._change(request, resource, address)
        return web.json_response(body, status=201 if created else 200)

    def _discovered(self, path: str) -> web.Response:
        """List the resources that CRDs define in a version of a group; empty for other paths."""
        known = DISCOVERY.fullmatch(path)
        if known and (found := self.api.served(*known.groups())):
            resources = [{"name": one.plural, "kind": one.kind} for one in found]
            return web.json_response({"kind": "APIResourceList", "resources": resources})
        return web.Response(status=404, text="404 page not found\n")

    async def _change(self, request: web.Request, resource: Resource, address: re.Match[str]) -> Document:
        """Process a request that is answered with one document."""
        home = (resource, address["namespace"] or "")
        match request.method, address["name"], address["part"]:
            case "GET", None, None:
                limit, token = int(request.query.get("limit", 0)), request.query.get("continue", "")
                return self.api.list(*home, limit, token)
            case "POST", None, None:
                return self.api.create(*home, await _document(request))
            case "GET", str(name), _:
                behind = self.behind if request.query.get("resourceVersion") == "0" else 0
                return self.api.get(*home, name, behind)
            case "PUT", str(name), part:
                return self.api.replace(*home, name, part, await _document(request))
            case "PATCH", str(name), part:
                return self.api.patch(*home, name, part, await _merge_patch(request))
            case "DELETE", str(name), None:
                options = await _document(request) if request.can_read_body else {}
                return self.api.delete(*home, name, options)
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method here")

    async def _watch(self, request: web.Request, resource: Resource, namespace: str) -> web.StreamResponse:
        store, current = self.api.store, self._watches
        end = time.monotonic() + float(request.query.get("timeoutSeconds", WATCH_SECONDS))
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})

        async def send(change: str, document: Document) -> None:
            await stream.write(json.dumps({"type": change, "object": document}).encode() + b"\n")

        bookmarks = _asks(request, "allowWatchBookmarks")
        since = int(request.query.get("resourceVersion") or 0)
        known = store.select(resource.key, namespace) if not since else []
        position = store.position(since or store.revision)
        await stream.prepare(request)
        if 0 < since < store.compacted:
            expired = Refused(410, "Expired", f"too old resource version: {since} ({store.compacted})")
            await send("ERROR", expired.status)
            return stream
        try:
            for document in known:
                await send("ADDED", document)
            while current == self._watches and (left := end - time.monotonic()) > 0:
                if position < len(store.history):
                    change = store.history[position]
                    position += 1
                    if change.kind == resource.key and namespace in {"", place(change.document)[0]}:
                        await send(change.type, change.document)
                elif not await store.news(min(left, BOOKMARK_EVERY)) and bookmarks:
                    await send("BOOKMARK", _bookmark(resource, store.revision))
        except ConnectionResetError:
            pass  # the client disconnected
        return stream


def _bookmark(resource: Resource, revision: int) -> Document:
    metadata = {"resourceVersion": str(revision), "creationTimestamp": None}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _asks(request: web.Request, option: str) -> bool:
    return request.query.get(option, "").lower() in {"1", "true"}


async def _merge_patch(request: web.Request) -> Document:
    """Read a merge patch; answer a dict sent as JSON patch, a common mistake, as the real API does."""
    if request.content_type == "application/merge-patch+json":
        return await _document(request)
    if request.content_type == "application/json-patch+json" and await _document(request):
        message = "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
        raise Refused(400, "BadRequest", message)
    raise Refused(415, "UnsupportedMediaType", "this server knows application/merge-patch+json only")


async def _document(request: web.Request) -> Document:
    try:
        body: Any = json.loads(await request.read())
    except ValueError as error:
        raise Refused(400, "BadRequest", f"the object provided is unrecognized: {error}") from None
    if not isinstance(body, dict):
        raise Refused(400, "BadRequest", "the object provided is unrecognized: not a JSON object")
    return body


async def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description="A small fake Kubernetes API on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    async with FakeCluster(port=options.port, latency=options.latency) as cluster:
        cluster.kubeconfig(options.kubeconfig)
        await until_stopped()


if __name__ == "__main__":
    asyncio.run(main())
