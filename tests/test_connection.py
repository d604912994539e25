"""The connection to the Kubernetes API: which certificates it trusts, and which route it takes."""

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
from app.kube.config import in_cluster
from app.kube.connection import connect
from app.kube.proxies import proxy_for
from tests.harness.kubeconfig import write_kubeconfig
from tests.harness.receiver import Receiver

TEAM = {"metadata": {"name": "report", "namespace": "research", "uid": "u", "resourceVersion": "1"}}


async def team(_: web.Request) -> web.Response:
    return web.json_response(TEAM)


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run outside of any cluster, without a proxy in the environment."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@asynccontextmanager
async def door(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **cluster: Any
) -> AsyncIterator[Cluster]:
    """Connect to the API that a kubeconfig names."""
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(folder / "kubeconfig", url, "t", **cluster)))
    async with connect(lambda *_: None) as api:
        yield Cluster(api, group="kagents.dev", timeout=5.0)


async def test_a_renewed_certificate_authority_is_read_again(
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


async def test_the_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(respond=team) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with door("http://api.test", tmp_path, monkeypatch) as cluster:
            assert (await cluster.read_team("research", "report")).team.uid == "u"
    [request] = proxy.requests
    assert request.headers["host"] == "api.test"
    assert request.headers["authorization"] == "Bearer t"


async def test_the_proxy_of_the_kubeconfig_takes_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Receiver(respond=team) as proxy, Receiver(respond=team) as other:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("NO_PROXY", "*")
        async with door("http://api.test", tmp_path, monkeypatch, **{"proxy-url": proxy.url}) as cluster:
            assert (await cluster.read_team("research", "report")).team.uid == "u"
    assert (len(proxy.requests), len(other.requests)) == (1, 0)


@pytest.mark.parametrize(
    ("server", "apart", "direct"),
    [
        ("https://10.96.0.1", "10.0.0.0/8,.svc", True),
        ("https://kubernetes.default.svc", "10.0.0.0/8,.svc", True),
        ("https://11.0.0.1", "10.0.0.0/8,.svc", False),
        ("https://api.example.com", "10.0.0.0/8, .svc", False),
        ("https://api.example.com", "*.example.com", True),
        ("https://api.example.com", "example.com", True),
        ("https://badexample.com", "example.com", False),
        ("https://api.example.com:6443", "api.example.com:6443", True),
        ("https://api.example.com:6443", "api.example.com:443", False),
        ("https://[fd00::1]:6443", "fd00::/8", True),
        ("https://[::ffff:10.0.0.1]", "10.0.0.0/8", True),
        ("https://192.0.2.1", "192.0.2.1", True),
        ("https://api.example.com.", "API.example.com", True),
        ("https://api.example.com", "not:a:thing,api.example.com", True),
        ("https://api.example.com", "*", True),
        ("https://api.xn--bcher-kva.example", "bücher.example", True),
        ("https://api.bücher.example", "*.BÜCHER.example", True),
        ("https://straße.example", "strasse.example", False),
        ("https://127.0.0.1:6443", "", True),
        ("https://[::1]:6443", "", True),
        ("https://localhost:6443", "", True),
        ("https://api.example.com", "", False),
    ],
)
def test_which_servers_are_called_without_the_proxy(
    server: str, apart: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", apart)
    assert proxy_for(server, None) == (None if direct else "http://proxy.test:3128")


def test_an_unusable_proxy_is_refused() -> None:
    with pytest.raises(ValueError, match="http"):
        proxy_for("https://api.test", "socks5://proxy.test:1080")


async def test_a_pod_calls_its_own_api_server_without_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    (tmp_path / "token").write_text("t")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert in_cluster("10.96.0.1", "443", tmp_path).proxy is None


async def test_a_host_in_no_proxy_is_called_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver(respond=team) as proxy, Receiver(respond=team) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with door(server.url, tmp_path, monkeypatch) as cluster:
            assert (await cluster.read_team("research", "report")).team.uid == "u"
    assert (len(proxy.requests), len(server.requests)) == (0, 1)
