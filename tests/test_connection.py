"""The connection to the Kubernetes API: by whom it is trusted, and which way it takes."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from app.domain.errors import ApiUnavailable
from app.kube.cluster import Cluster
from app.kube.connection import connect
from tests.harness.kubeconfig import write_kubeconfig
from tests.harness.receiver import Receiver

TEAM = {"metadata": {"name": "report", "namespace": "research", "uid": "u", "resourceVersion": "1"}}


async def team(_: web.Request) -> web.Response:
    return web.json_response(TEAM)


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand outside of any cluster, where no proxy is named."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@asynccontextmanager
async def door(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **cluster: Any
) -> AsyncIterator[Cluster]:
    """Open the door to the API that a kubeconfig names."""
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(folder / "kubeconfig", url, "t", **cluster)))
    async with connect(lambda *_: None) as api:
        yield Cluster(api, group="kagents.dev", timeout=5.0)


async def test_an_authority_that_was_renewed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = trustme.CA(), trustme.CA()
    bundle = tmp_path / "ca.crt"
    old.cert_pem.write_to_path(bundle)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    new.issue_cert("127.0.0.1").configure_cert(tls)
    trusted = {"certificate-authority": str(bundle)}
    async with (
        Receiver(tls=tls, respond=team) as server,
        door(server.url, tmp_path, monkeypatch, **trusted) as cluster,
    ):
        with pytest.raises(ApiUnavailable):
            await cluster.read_team("research", "report")
        new.cert_pem.write_to_path(bundle)
        assert (await cluster.read_team("research", "report")).team.uid == "u"
        bundle.unlink()
        assert (await cluster.read_team("research", "report")).team.uid == "u"


async def test_the_proxy_of_the_environment_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(respond=team) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with door("http://api.test", tmp_path, monkeypatch) as cluster:
            assert (await cluster.read_team("research", "report")).team.uid == "u"
    [request] = proxy.requests
    assert request.headers["host"] == "api.test"
    assert request.headers["authorization"] == "Bearer t"


async def test_who_is_not_to_be_reached_by_proxy_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Receiver(respond=team) as proxy, Receiver(respond=team) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with door(server.url, tmp_path, monkeypatch) as cluster:
            assert (await cluster.read_team("research", "report")).team.uid == "u"
    assert (len(proxy.requests), len(server.requests)) == (0, 1)
