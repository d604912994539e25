"""The watcher's access to the Kubernetes API."""

import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from app.domain.errors import ApiUnavailable
from app.kube.config import Access, Pem
from app.kube.connection import Connection
from app.watcher.clock import ServerClock
from app.watcher.pace import Pace
from app.watcher.source import TeamSource
from tests.harness.receiver import Receiver


def source_of(connection: Connection) -> TeamSource:
    return TeamSource(connection, group="kagents.dev", timeout=5.0, pace=Pace(), clock=ServerClock())


async def empty_list(_: web.Request) -> web.Response:
    return web.json_response({"items": [], "metadata": {"resourceVersion": "7"}})


async def test_a_renewed_certificate_authority_is_read_again(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    bundle = tmp_path / "ca.crt"
    old.cert_pem.write_to_path(bundle)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    new.issue_cert("127.0.0.1").configure_cert(tls)
    async with (
        Receiver(tls=tls, respond=empty_list) as server,
        Connection(Access(server.url, authority=Pem(bundle))) as connection,
    ):
        source = TeamSource(connection, group="kagents.dev", timeout=5.0, pace=Pace(), clock=ServerClock())
        with pytest.raises(ApiUnavailable, match="no trusted connection"):
            await source.page(None, lambda _: None)
        new.cert_pem.write_to_path(bundle)
        assert (await source.page(None, lambda _: None)).resource_version == "7"
        bundle.unlink()
        assert (await source.page(None, lambda _: None)).resource_version == "7"


async def test_an_unreadable_certificate_authority_does_not_end_the_watcher(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    bundle = tmp_path / "ca.crt"
    other.cert_pem.write_to_path(bundle)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with (
        Receiver(tls=tls, respond=empty_list) as server,
        Connection(Access(server.url, authority=Pem(bundle))) as connection,
    ):
        source = TeamSource(connection, group="kagents.dev", timeout=5.0, pace=Pace(), clock=ServerClock())
        bundle.unlink()
        with pytest.raises(ApiUnavailable, match="no trusted connection"):
            await source.page(None, lambda _: None)
