"""Kubeconfig files: what stands in one is read here, and what has to be fetched is the library's to fetch.

Importing kubernetes-asyncio imports all that was generated for every kind of resource: some 900 modules and
40 MB. So it is imported only where a user's credentials come from a plugin or an identity provider.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from app.kube.config import Access, Pem, TokenFile

FETCHED = ("exec", "auth-provider")
"""What a user has whose credentials do not stand in the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A cluster or a user, and the folder that its files are relative to."""

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    folder: Path = Path()

    def pem(self, key: str) -> Pem | None:
        """Return what stands under `KEY-data`, or in the file that `KEY` names."""
        if data := self.values.get(f"{key}-data"):
            return Pem(base64.b64decode(data))
        if file := self.values.get(key):
            return Pem(self.folder / file)
        return None


async def read_kubeconfig(paths: str) -> Access:
    """Return the access of the current context; of several paths (`:`), the first that has an entry counts.

    Raises:
        Exception: whatever is wrong with a file.
    """
    cluster, user = _current(paths)
    if any(user.values.get(way) for way in FETCHED):
        return await _fetched(paths)
    certificate, key = user.pem("client-certificate"), user.pem("client-key")
    return Access(
        str(cluster.values["server"]).rstrip("/"),
        authority=cluster.pem("certificate-authority"),
        certificate=(certificate, key) if certificate and key else None,
        verify=not cluster.values.get("insecure-skip-tls-verify"),
        server_name=cluster.values.get("tls-server-name"),
        proxy=cluster.values.get("proxy-url"),
        authorization=_authorization(user),
    )


def _current(paths: str) -> tuple[Entry, Entry]:
    """Return the cluster and the user of the current context."""
    entries: dict[tuple[str, str], Entry] = {}
    current = ""
    for path in (Path(one).expanduser() for one in paths.split(":") if one):
        if not path.exists():
            continue
        config = yaml.safe_load(path.read_text())
        for kind in ("cluster", "context", "user"):
            for one in config.get(f"{kind}s") or []:
                entries.setdefault((kind, one["name"]), Entry(one[kind] or {}, path.parent.absolute()))
        current = config.get("current-context") or current
    context = entries["context", current].values
    user = entries.get(("user", context.get("user") or ""), Entry())
    return entries["cluster", context["cluster"]], user


def _authorization(user: Entry) -> Callable[[], Awaitable[str | None]]:
    """Return what gives the header of a user whose credentials stand in the file."""
    values = user.values
    if values.get("tokenFile") and not values.get("token"):
        return TokenFile(user.folder / values["tokenFile"])
    said: str | None = None
    if token := values.get("token"):
        said = f"Bearer {token}"
    elif "username" in values and "password" in values:
        pair = f"{values['username']}:{values['password']}"
        said = f"Basic {base64.b64encode(pair.encode()).decode()}"

    async def authorization() -> str | None:
        return said

    return authorization


async def _fetched(paths: str) -> Access:
    """Let the library run the plugin, or ask the identity provider."""
    from kubernetes_asyncio.client import Configuration  # noqa: PLC0415  # as above
    from kubernetes_asyncio.config import load_kube_config  # noqa: PLC0415

    found = Configuration()
    await load_kube_config(config_file=paths, client_configuration=found)

    async def authorization() -> str | None:
        header: str | None = await found.get_api_key_with_prefix("BearerToken")
        return header

    files = found.cert_file, found.key_file
    certificate = (Pem(Path(files[0])), Pem(Path(files[1]))) if files[0] and files[1] else None
    return Access(
        str(found.host),
        authority=Pem(Path(found.ssl_ca_cert)) if found.ssl_ca_cert else None,
        certificate=certificate,
        verify=found.verify_ssl,
        server_name=found.tls_server_name,
        proxy=found.proxy,
        authorization=authorization,
    )
