"""A small Kubernetes client for tests, for the fake API and for a real one."""

import asyncio
import base64
import itertools
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import yaml
from multidict import CIMultiDictProxy

from tests.harness.documents import read_yaml

GROUP = "kagents.dev"
VERSION = "v1alpha1"
TEAMS = "agentteams"
CRDS = "customresourcedefinitions"
API = "https://kubernetes.default.svc"
"""The audience of tokens for the API server itself."""

MERGE_PATCH = "application/merge-patch+json"

REQUIRED: dict[str, Any] = {
    "auth": {"apiKeySecret": "api-key"},
    "lead": {"model": "opus", "prompt": "Write the report."},
    "teammates": [{"name": "writer", "prompt": "Write it to the output folder."}],
}
"""The required fields of a team's spec, besides its lifecycle."""

Document = dict[str, Any]
Params = Mapping[str, str | int]
Documents = list[Document]  # an alias, because the client's method `list` hides the type


class Answer(NamedTuple):
    """The API's answer."""

    status: int
    body: Any
    headers: CIMultiDictProxy[str]


class Kube:
    """An authenticated client. Its verbs return every answer of the API; its helpers fail on an error."""

    def __init__(self, kubeconfig: Path, *, group: str = GROUP) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.group = group  # of the AgentTeams
        self.kubeconfig = kubeconfig
        self.url: str = cluster["server"]
        self.token: str = config["users"][0]["user"]["token"]
        self._authority: str | None = cluster.get("certificate-authority")
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=self._authority) if self._authority else True
        self._http = aiohttp.ClientSession(
            self.url,
            headers={"Authorization": f"Bearer {self.token}"},
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    def path(self, plural: str, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Return the path of a collection, of an object in it, or of an object's subresource."""
        homes = {CRDS: "/apis/apiextensions.k8s.io/v1", TEAMS: f"/apis/{self.group}/{VERSION}"}
        scope = f"namespaces/{namespace}" if namespace else ""
        parts = (homes.get(plural, "/api/v1"), scope, plural, name, subresource)
        return "/".join(part for part in parts if part)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        params: Params | None = None,
    ) -> Answer:
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": content_type}
        async with self._http.request(
            method, path, data=data, headers=headers, params=params or {}
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return Answer(response.status, json.loads(text) if is_json else text, response.headers)

    async def create(self, plural: str, namespace: str | None, body: Document) -> Answer:
        return await self.request("POST", self.path(plural, namespace), body)

    async def get(self, plural: str, namespace: str | None, name: str) -> Answer:
        return await self.request("GET", self.path(plural, namespace, name))

    async def put(
        self, plural: str, namespace: str | None, name: str, body: Document, *, subresource: str = ""
    ) -> Answer:
        return await self.request("PUT", self.path(plural, namespace, name, subresource), body)

    async def patch(
        self,
        plural: str,
        namespace: str | None,
        name: str,
        body: Any,
        *,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
        params: Params | None = None,
    ) -> Answer:
        address = self.path(plural, namespace, name, subresource)
        return await self.request("PATCH", address, body, content_type=content_type, params=params)

    async def delete(self, plural: str, namespace: str | None, name: str) -> Answer:
        return await self.request("DELETE", self.path(plural, namespace, name))

    async def list(self, plural: str, namespace: str | None = None, **params: str | int) -> Answer:
        return await self.request("GET", self.path(plural, namespace), params=params)

    async def watch(
        self, plural: str, namespace: str | None = None, **params: str | int
    ) -> AsyncIterator[Document]:
        """Yield the events of one watch, of 5 seconds by default."""
        address = self.path(plural, namespace)
        query: Params = {"watch": "1", "timeoutSeconds": 5, **params}
        async with self._http.get(address, params=query) as response:
            async for line in response.content:
                yield json.loads(line)

    async def install_crd(self, crd: Path | Document) -> None:
        """Install or change a CRD, and wait until its resource is served."""
        body = read_yaml(crd) if isinstance(crd, Path) else crd
        if (await self.create(CRDS, None, body)).status == 409:
            _done(await self.patch(CRDS, None, body["metadata"]["name"], body))
        async with asyncio.timeout(30):
            while not await self._serves(body):  # noqa: ASYNC110 - the API offers nothing better than to ask
                await asyncio.sleep(0.05)

    async def _serves(self, crd: Document) -> bool:
        spec = crd["spec"]
        address = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        status = _done(await self.get(CRDS, None, crd["metadata"]["name"])).get("status", {})
        conditions = {one["type"]: one["status"] for one in status.get("conditions") or []}
        return conditions.get("Established") == "True" and (await self.request("GET", address)).status == 200

    async def namespace(self, name: str) -> Document:
        """Create a namespace."""
        return _done(await self.create("namespaces", None, {"metadata": {"name": name}}))

    async def fresh_namespace(self) -> str:
        """Create a namespace that nobody else uses, and return its name."""
        name = f"test-{next(self._numbers)}-{secrets.token_hex(4)}"
        await self.namespace(name)
        return name

    async def secret(
        self,
        namespace: str,
        name: str,
        data: Mapping[str, str | bytes],
        *,
        labels: Mapping[str, str] | None = None,
    ) -> Document:
        """Create or replace a Secret."""
        encoded = {
            key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
            for key, value in data.items()
        }
        metadata = {"name": name, "labels": labels or {}}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
        answer = await self.create("secrets", namespace, body)
        if answer.status == 409:
            answer = await self.put("secrets", namespace, name, body)
        return _done(answer)

    async def account_token(self, namespace: str, account: str, audience: str) -> str:
        """Create a token of a service account for an audience."""
        path = f"{self.path('serviceaccounts', namespace, account)}/token"
        spec = {"audiences": [audience], "expirationSeconds": 3600}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = _done(await self.request("POST", path, body))
        return str(answer["status"]["token"])

    async def team(self, namespace: str, name: str, spec: Document) -> Document:
        """Create an AgentTeam."""
        return _done(await self.create(TEAMS, namespace, self.team_document(name, spec)))

    def team_document(self, name: str, spec: Document) -> Document:
        """Write an AgentTeam down without creating it, with what its API requires beside what is given."""
        api_version = f"{self.group}/{VERSION}"
        spec = {**REQUIRED, **spec}
        return {"apiVersion": api_version, "kind": "AgentTeam", "metadata": {"name": name}, "spec": spec}

    async def finish(self, namespace: str, name: str, phase: str = "Completed", **status: Any) -> Document:
        """Finish a team as its operator does: write its phase, its times, and other given fields."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"status": {"phase": phase, "startedAt": now, "completedAt": now, **status}}
        return _done(await self.patch(TEAMS, namespace, name, body, subresource="status"))

    async def delivery(self, namespace: str, name: str) -> Documents:
        """Read the entries of a team's `status.delivery`."""
        team = _done(await self.get(TEAMS, namespace, name))
        ledger: Documents = team.get("status", {}).get("delivery", [])
        return ledger


def _done(answer: Answer) -> Document:
    assert answer.status in {200, 201}, answer.body
    body: Document = answer.body
    return body
