"""Kubeconfig files: which API server to use, and as whom.

Importing kubernetes-asyncio imports generated code for every kind of resource: some 900 modules and 40 MB.
Therefore it is imported only if a user's credentials come from an identity provider (`auth-provider`).

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

import asyncio
import base64
import copy
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from app.domain.errors import ApiUnavailable, SettingsError
from app.domain.times import steady
from app.domain.tokens import bearer_token
from app.kube.config import Access, Pem, TokenFile
from app.kube.plugins import run_plugin
from app.kube.proxies import proxy_for
from app.timers import within

FETCHED = ("exec", "auth-provider")
"""The fields of a user whose credentials are not in the file."""
FETCH_TIMEOUT = 60.0  # seconds for a plugin, which may have to ask a person
SKEW = 10.0  # seconds before their expiry at which credentials are fetched again
PROVIDER_LIFE = 60.0  # seconds after which the library checks again whether a provider's token has expired


@dataclass(frozen=True, slots=True)
class Section:
    """A cluster or a user, and the folder to which its files are relative."""

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path = Path()

    def pem(self, key: str) -> Pem | None:
        """Return the content of `KEY-data`, or of the file that `KEY` names."""
        if data := self.values.get(f"{key}-data"):
            return Pem(base64.b64decode(data))
        if file := self.values.get(key):
            return Pem(self.folder / file)
        return None


async def read_kubeconfig(paths: str) -> Access:
    """Return the access of the current context; of several paths (`:`), the first that has an entry counts.

    Raises:
        SettingsError: as `_current`, or the server's address cannot be used.
        Exception: whatever else is wrong with a file.
    """
    cluster, user = _current(paths)
    server = str(cluster.values["server"]).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise SettingsError("the `server` of a kubeconfig's cluster must begin with https:// or http://")
    written = user.pem("client-certificate"), user.pem("client-key")
    authorization, renew = _authorization(user)
    fetched: Fetched | None = None
    if any(user.values.get(way) for way in FETCHED):
        fetched = Fetched(user, _told(cluster))
        await fetched.fetch()
        authorization, renew = fetched, fetched.renew

    def certificate() -> tuple[Pem, Pem] | None:
        certificate, key = (fetched and fetched.certificate) or written
        return (certificate, key) if certificate and key else None

    return Access(
        server,
        authority=cluster.pem("certificate-authority"),
        certificate=certificate,
        verify=not cluster.values.get("insecure-skip-tls-verify"),
        server_name=cluster.values.get("tls-server-name"),
        proxy=proxy_for(server, cluster.values.get("proxy-url")),
        authorization=authorization,
        renew=renew,
    )


def _current(paths: str) -> tuple[Section, Section]:
    """Return the cluster and the user of the current context.

    Raises:
        SettingsError: no file exists, or none contains what the context names; the text names it.
        Exception: whatever else is wrong with a file.
    """
    entries: dict[tuple[str, str], Section] = {}
    current, there = "", False
    for path in (Path(one).expanduser() for one in paths.split(":") if one):
        if not path.exists():
            continue
        there = True
        config = yaml.safe_load(path.read_text()) or {}  # an empty file counts as no configuration
        for kind in ("cluster", "context", "user"):
            for one in config.get(f"{kind}s") or []:
                entries.setdefault((kind, one["name"]), Section(one[kind] or {}, path.parent.absolute()))
        current = current or config.get("current-context") or ""
    if not there:
        where = f"set KUBECONFIG to a readable file: there is no {paths}"
        raise SettingsError(f"no Kubernetes API is configured: run inside a cluster, or {where}")
    if not current:
        raise SettingsError(f"{paths} names no current context; kubectl config use-context NAME sets one")
    context = _named(entries, "context", current)
    user = context.values.get("user")
    cluster = _named(entries, "cluster", str(context.values.get("cluster") or ""))
    return cluster, _named(entries, "user", str(user)) if user else Section()


def _named(entries: Mapping[tuple[str, str], Section], kind: str, name: str) -> Section:
    try:
        return entries[kind, name]
    except KeyError:
        raise SettingsError(f"the kubeconfig has no {kind} called {name!r}, which it names itself") from None


Proofs = tuple[Callable[[], Awaitable[str | None]], Callable[[], bool]]
"""Returns a user's header, and is notified that it was rejected."""


def _authorization(user: Section) -> Proofs:
    """Return both for a user whose credentials are in the file, or in a file that it names."""
    values = user.values
    token = values.get("token")
    if token is not None:
        token = bearer_token(str(token))  # it may end in a line break, as a YAML block does
    if file := values.get("tokenFile"):
        found = TokenFile(user.folder / file, token)
        return found, found.renew
    said: str | None = None
    if token:
        said = f"Bearer {token}"
    elif "username" in values and "password" in values:
        pair = f"{values['username']}:{values['password']}"
        said = f"Basic {base64.b64encode(pair.encode()).decode()}"

    async def authorization() -> str | None:
        return said

    return authorization, lambda: False


class Fetched:
    """Credentials that a plugin prints, or that the library gets from an identity provider.

    They are fetched again when they expire, and when the API server rejects them.
    """

    def __init__(self, user: Section, cluster: Mapping[str, Any]) -> None:
        self._values = copy.deepcopy(dict(user.values))  # the library writes new tokens into it
        self._folder, self._cluster = user.folder, cluster
        self.certificate: tuple[Pem, Pem] | None = None
        self._header: str | None = None
        self._until = 0.0  # on the monotonic clock
        self._fetching: asyncio.Task[None] | None = None

    async def __call__(self) -> str | None:
        """Return the value of `Authorization`.

        Raises:
            ApiUnavailable: nothing could be fetched.
        """
        if steady() >= self._until:
            # Concurrent callers share one fetch, and no caller's own time limit cancels it.
            if self._fetching is None or self._fetching.done():
                self._fetching = asyncio.create_task(self._fetched())
                self._fetching.add_done_callback(lambda task: task.exception())  # every caller may have gone
            await asyncio.shield(self._fetching)
        return self._header

    def renew(self) -> bool:
        """Fetch again before the next request."""
        self._until = 0.0
        return True

    async def _fetched(self) -> None:
        try:
            with within(FETCH_TIMEOUT):
                await self.fetch()
        except Exception as error:  # noqa: BLE001  # a plugin can raise anything
            text = f"the credentials for the Kubernetes API cannot be fetched ({type(error).__name__})"
            raise ApiUnavailable(text) from None

    async def fetch(self) -> None:
        """Fetch now.

        Raises:
            Exception: whatever is wrong with a plugin or a provider.
        """
        if plugin := self._values.get("exec"):
            found = await run_plugin(plugin, self._folder, self._cluster)
            self._header = f"Bearer {found.token}" if found.token else None
            if found.certificate:
                certificate, key = found.certificate
                self.certificate = Pem(certificate), Pem(key)
            left = (found.ends - datetime.now(UTC)).total_seconds() - SKEW if found.ends else math.inf
            self._until = steady() + left
        else:
            self._header = await self._provided()
            self._until = steady() + PROVIDER_LIFE  # the library tracks a token's expiry

    async def _provided(self) -> str:
        from kubernetes_asyncio.client import Configuration  # noqa: PLC0415  # as above
        from kubernetes_asyncio.config import load_kube_config_from_dict  # noqa: PLC0415

        config = {
            "clusters": [{"name": "it", "cluster": {"server": "https://localhost"}}],  # never called
            "users": [{"name": "it", "user": self._values}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        }
        found = Configuration()
        await load_kube_config_from_dict(config, client_configuration=found)
        header = await found.get_api_key_with_prefix("BearerToken")
        if not header:  # the library has logged the reason
            raise ValueError("nothing was fetched")
        return str(header).strip()


def _told(cluster: Section) -> Mapping[str, Any]:
    """Return the cluster's data that a plugin gets."""
    keys = "server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression"
    told = {key: cluster.values[key] for key in keys if key in cluster.values}
    if authority := cluster.pem("certificate-authority"):
        told["certificate-authority-data"] = base64.b64encode(authority.read()).decode()
    for one in cluster.values.get("extensions") or []:
        if one.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = one.get("extension")
    return told
