"""The Kubernetes API's address and credentials, from pods and kubeconfigs."""

import asyncio
import base64
import gc
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
import uvloop
from aiohttp import web

from app.domain.errors import ApiUnavailable, SettingsError
from app.kube.config import Access, in_cluster
from app.kube.connection import Connection
from app.kube.kubeconfig import read_kubeconfig
from app.kube.plugins import run_plugin
from tests.harness.receiver import Receiver

NOBODY: dict[str, Any] = {}


async def nothing(_: web.Request) -> web.Response:
    return web.json_response({})


def written(path: Path, user: dict[str, Any], name: str = "test", **cluster: Any) -> Path:
    """Write a kubeconfig with one context."""
    config = {
        "clusters": [{"name": name, "cluster": {"server": "https://api.test/", **cluster}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config))
    return path


PLUGIN = {
    "apiVersion": "client.authentication.k8s.io/v1",
    "kind": "ExecCredential",
    "status": {"token": "from a plugin"},
}
USERS = {
    "nobody": (NOBODY, None),
    "a token": ({"token": "t"}, "Bearer t"),
    "a token's file": ({"tokenFile": "token"}, "Bearer in-a-file"),
    "a token's file before a token": ({"token": "t", "tokenFile": "token"}, "Bearer in-a-file"),
    "a token, since its file is not there": ({"token": "t", "tokenFile": "absent"}, "Bearer t"),
    "a token with a final newline": ({"token": "t\n"}, "Bearer t"),
    "a name and a password": (
        {"username": "ann", "password": "p"},
        f"Basic {base64.b64encode(b'ann:p').decode()}",
    ),
    "a plugin": (
        {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": sys.executable,
                "args": ["-c", f"print({json.dumps(PLUGIN)!r})"],
                "interactiveMode": "Never",
            }
        },
        "Bearer from a plugin",
    ),
}


@pytest.mark.parametrize("user", USERS)
async def test_each_kind_of_credentials_in_a_kubeconfig_is_used(user: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("in-a-file\n")
    values, header = USERS[user]
    access = await read_kubeconfig(str(written(tmp_path / "config", values)))
    assert access.host == "https://api.test"
    assert await access.authorization() == header


async def test_relative_paths_are_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    elsewhere = written(tmp_path / "b/config", {"tokenFile": "token"}, "other")
    (tmp_path / "b/token").write_text("there")
    first = tmp_path / "a"
    first.write_text(json.dumps({"current-context": "other"}))
    paths = f"{tmp_path / 'absent'}:{first}:{elsewhere}"
    access = await read_kubeconfig(paths)
    assert await access.authorization() == "Bearer there"


async def test_the_first_of_several_files_with_a_name_counts(tmp_path: Path) -> None:
    first = written(tmp_path / "a/config", {"token": "first"})
    second = written(tmp_path / "b/config", {"token": "second"})
    access = await read_kubeconfig(f"{first}:{second}")
    assert await access.authorization() == "Bearer first"


async def test_the_first_file_with_a_current_context_determines_it(tmp_path: Path) -> None:
    first = written(tmp_path / "a/config", {"token": "first"}, "a")
    second = written(tmp_path / "b/config", {"token": "second"}, "b")
    assert await (await read_kubeconfig(f"{first}:{second}")).authorization() == "Bearer first"


@pytest.mark.parametrize(
    "text", ["", "\n", "---\n", "# nothing yet\n", "apiVersion: v1\nkind: Config\nclusters: null\n"]
)
async def test_an_empty_first_file_is_ignored(text: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(text)
    second = written(tmp_path / "b/config", {"token": "second"})
    access = await read_kubeconfig(f"{tmp_path / 'empty'}:{second}")
    assert await access.authorization() == "Bearer second"


async def test_an_empty_token_file_is_tolerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("app.kube.config.steady", lambda: now[0])
    file = tmp_path / "token"
    file.write_text("")
    access = await read_kubeconfig(str(written(tmp_path / "config", {"tokenFile": "token"})))
    with pytest.raises(ValueError, match="no token"):
        await access.authorization()
    for text, header in (("old\n", "old"), ("", "old"), ("new\n", "new")):
        file.write_text(text)
        now[0] += 61.0
        assert await access.authorization() == f"Bearer {header}"


async def refusing(header: str, request: web.Request) -> web.Response:
    """Accept only the newer credentials."""
    return web.json_response({}, status=200 if request.headers["authorization"] == header else 401)


async def test_a_refused_token_is_read_again_immediately(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    async with Receiver(respond=partial(refusing, "Bearer new")) as api:
        path = written(tmp_path / "config", {"tokenFile": "token"}, server=api.url)
        async with Connection(await read_kubeconfig(str(path))) as connection:
            assert (await connection.ask("GET", "/version", seconds=5)).status == 401
            file.write_text("new\n")
            assert (await connection.ask("GET", "/version", seconds=5)).status == 200
    assert len(api.requests) == 3  # an unchanged token is not tried twice


def plugin(folder: Path, **status: str) -> dict[str, Any]:
    """Write a plugin that returns another token each time: `first`, `second`, `third`."""
    script = folder / "plugin"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib\n"
        "runs = pathlib.Path(__file__).with_name('runs')\n"
        "with runs.open('a') as file: file.write('x')\n"
        "token = ['first', 'second', 'third'][len(runs.read_text()) - 1]\n"
        f"said = {PLUGIN!r}\n"
        f"print(json.dumps(said | {{'status': {{'token': token, **{status!r}}}}}))\n"
    )
    script.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": "./plugin", "interactiveMode": "Never"}}


async def test_a_plugin_runs_again_when_its_token_is_refused(tmp_path: Path) -> None:
    async with Receiver(respond=partial(refusing, "Bearer second")) as api:
        path = written(tmp_path / "config", plugin(tmp_path), server=api.url)
        async with Connection(await read_kubeconfig(str(path))) as connection:
            for _ in range(2):
                assert (await connection.ask("GET", "/version", seconds=5)).status == 200
    assert (tmp_path / "runs").read_text() == "xx"


async def test_a_plugin_runs_again_when_its_token_has_expired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("app.kube.kubeconfig.steady", lambda: now[0])
    ends = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    user = plugin(tmp_path, expirationTimestamp=ends)
    access = await read_kubeconfig(str(written(tmp_path / "config", user)))
    assert await access.authorization() == "Bearer first"
    now[0] += 3500.0
    assert await access.authorization() == "Bearer first"
    now[0] += 100.0
    assert await asyncio.gather(*(access.authorization() for _ in range(3))) == ["Bearer second"] * 3


async def test_a_plugin_that_fails_later_is_reported_in_words(tmp_path: Path) -> None:
    access = await read_kubeconfig(str(written(tmp_path / "config", plugin(tmp_path))))
    (tmp_path / "plugin").unlink()
    assert access.renew()
    with pytest.raises(ApiUnavailable, match="credentials for the Kubernetes API cannot be fetched"):
        await access.authorization()


async def test_a_plugin_gets_information_about_the_cluster_if_it_requests_it(tmp_path: Path) -> None:
    script = (
        "import json, os\n"
        "asked = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "token = json.dumps([asked['spec'], os.environ['ADDED']])\n"
        "print(json.dumps({'apiVersion': asked['apiVersion'], 'status': {'token': token.replace(' ', '')}}))"
    )
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": sys.executable,
            "args": ["-c", script],
            "env": [{"name": "ADDED", "value": "yes"}],
            "provideClusterInfo": True,
        }
    }
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    cluster: dict[str, Any] = {"certificate-authority-data": "YQ==", "extensions": [extension]}
    access = await read_kubeconfig(str(written(tmp_path / "config", user, **cluster)))
    said = await access.authorization()
    spec, added = json.loads(str(said).removeprefix("Bearer "))
    assert added == "yes"
    assert spec["cluster"] == {
        "server": "https://api.test/",
        "certificate-authority-data": "YQ==",
        "config": {"audience": "a"},
    }


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    "script",
    [
        'sleep 60 > /dev/null 2>&1 & echo $! > "$LEFT"; cat "$SAID"',  # it leaves an agent running
        'cat "$SAID" > /dev/stdout',
    ],
)
def test_a_plugin_may_do_as_in_a_shell(
    script: str, run: Callable[[Coroutine[Any, Any, str | None]], str | None], tmp_path: Path
) -> None:
    said, left = tmp_path / "said", tmp_path / "left"
    said.write_text(json.dumps(PLUGIN))
    user = {
        "exec": {
            "apiVersion": PLUGIN["apiVersion"],
            "command": "bash",
            "args": ["-c", script],
            "env": [{"name": "SAID", "value": str(said)}, {"name": "LEFT", "value": str(left)}],
        }
    }

    async def authorization() -> str | None:
        async with asyncio.timeout(20):
            access = await read_kubeconfig(str(written(tmp_path / "config", user)))
            return await access.authorization()

    try:
        assert run(authorization()) == "Bearer from a plugin"
    finally:
        if left.exists():
            os.kill(int(left.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_plugin_whose_time_is_over_ends_and_closes_only_its_own_files(
    run: Callable[[Coroutine[Any, Any, None]], None], tmp_path: Path
) -> None:
    started = tmp_path / "started"
    script = f'echo $$ >> "{started}"; exec sleep 60'
    exec_ = {"command": "bash", "args": ["-c", script], "apiVersion": PLUGIN["apiVersion"]}

    async def cancelled() -> None:
        for steps in range(6):  # of the loop, until it is cancelled
            task = asyncio.create_task(run_plugin(exec_, tmp_path, NOBODY))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            others = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
            del task
            gc.collect()
            for one in others:
                os.close(one)  # it raises if another has closed it

    run(cancelled())
    left = started.read_text().split() if started.exists() else []
    assert not [pid for pid in left if psutil.pid_exists(int(pid))]


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "no JSON",
        '{"apiVersion": "client.authentication.k8s.io/v1", "status": {}}',
        '{"apiVersion": "client.authentication.k8s.io/v1", "status": {"clientCertificateData": "c"}}',
        '{"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {"token": "t"}}',
        '{"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "t", "expirationTimestamp": 1}}',  # noqa: E501
    ],
)
async def test_invalid_output_of_a_plugin_is_refused(printed: str, tmp_path: Path) -> None:
    command = {"command": "printf", "args": ["%s", printed], "apiVersion": "client.authentication.k8s.io/v1"}
    with pytest.raises((ValueError, KeyError, TypeError)):
        await read_kubeconfig(str(written(tmp_path / "config", {"exec": command})))


async def test_other_fields_of_the_cluster_in_a_kubeconfig_are_used(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "insecure-skip-tls-verify": True,
        "tls-server-name": "other.test",
        "proxy-url": "http://p:1",
    }
    access = await read_kubeconfig(str(written(tmp_path / "config", NOBODY, **said)))
    assert (access.verify, access.server_name, access.proxy) == (False, "other.test", "http://p:1")
    assert access.trust().verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("inline", [True, False], ids=["data", "files"])
async def test_client_certificate_and_certificate_authority_are_used(tmp_path: Path, *, inline: bool) -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue_cert("ann@example.com")
    pems = {
        "certificate-authority": authority.cert_pem.bytes(),
        "client-certificate": b"".join(pem.bytes() for pem in ours.cert_chain_pems),
        "client-key": ours.private_key_pem.bytes(),
    }
    said: dict[str, str] = {}
    for key, pem in pems.items():
        if inline:
            said[f"{key}-data"] = base64.b64encode(pem).decode()
        else:
            (tmp_path / key).write_bytes(pem)
            said[key] = key
    cluster: dict[str, Any] = {key: value for key, value in said.items() if key.startswith("certificate")}
    user = {key: value for key, value in said.items() if key.startswith("client")}

    async with Receiver(tls=server, respond=nothing) as api:
        path = written(tmp_path / "config", user, **cluster | {"server": api.url})
        async with Connection(await read_kubeconfig(str(path))) as connection:
            assert (await connection.ask("GET", "/version", seconds=5)).status == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current-context": ""}, "names no current context; kubectl config use-context"),
        ({"current-context": "other"}, "the kubeconfig has no context called 'other'"),
        ({"clusters": []}, "the kubeconfig has no cluster called 'test'"),
        ({"users": None}, "the kubeconfig has no user called 'test'"),
        (
            {"clusters": [{"name": "test", "cluster": {"server": "localhost:6443"}}]},
            "must begin with https:// or http://",
        ),
    ],
)
async def test_an_incomplete_kubeconfig_is_reported(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "config", NOBODY)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match=words):
        await read_kubeconfig(str(path))


async def test_a_missing_kubeconfig_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"no Kubernetes API is configured.* no {tmp_path}/absent"):
        await read_kubeconfig(f"{tmp_path}/absent")


def issued(authority: trustme.CA, name: str) -> dict[str, str]:
    """Return a client's certificate and its key, as a plugin prints them."""
    one = authority.issue_cert(f"{name}@example.com")
    chain = "".join(pem.bytes().decode() for pem in one.cert_chain_pems)
    return {"clientCertificateData": chain, "clientKeyData": one.private_key_pem.bytes().decode()}


@pytest.mark.parametrize("way", ["ended", "refused", "file"])
async def test_a_renewed_client_certificate_is_used(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("app.kube.kubeconfig.steady", lambda: now[0])
    authority = trustme.CA()
    certificates = [issued(authority, name) for name in ("ann", "ben")]
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    came: list[str] = []

    async def known(request: web.Request) -> web.Response:
        shown = request.transport.get_extra_info("peercert")  # type: ignore[union-attr]  # present
        came.append(dict(shown["subjectAltName"])["email"].partition("@")[0])
        return web.json_response({}, status=401 if way != "ended" and came[-1] == "ann" else 200)

    user: dict[str, Any]
    if way == "file":
        user = {"client-certificate": "pair", "client-key": "pair"}
        (tmp_path / "pair").write_text("".join(certificates[0].values()))
    else:
        user = plugin(tmp_path)
        statuses = certificates
        if way == "ended":
            ends = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            statuses = [status | {"expirationTimestamp": ends} for status in statuses]
        script = (
            (tmp_path / "plugin")
            .read_text()
            .replace("{'token': token, **{}}", "STATUSES[len(runs.read_text()) - 1]")
        )
        (tmp_path / "plugin").write_text(
            script.replace("import json", f"STATUSES = {statuses!r}\nimport json")
        )
    cluster = {"certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode()}
    async with Receiver(tls=server, respond=known) as api:
        path = written(tmp_path / "config", user, **cluster, server=api.url)
        async with Connection(await read_kubeconfig(str(path))) as connection:
            first = await connection.ask("GET", "/version", seconds=5)
            assert first.status == (401 if way == "file" else 200)
            now[0] += 3600.0
            if way == "file":
                (tmp_path / "pair").write_text("".join(certificates[1].values()))
            assert (await connection.ask("GET", "/version", seconds=5)).status == 200
    assert came == (["ann", "ben", "ben"] if way == "refused" else ["ann", "ben"])


async def test_a_pod_s_rotated_token_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    (tmp_path / "token").write_text("old\n")
    now = [1000.0]
    monkeypatch.setattr("app.kube.config.steady", lambda: now[0])
    access = in_cluster("fd00::1", "443", tmp_path)
    assert access.host == "https://[fd00::1]:443"
    (tmp_path / "token").write_text("new\n")
    assert await access.authorization() == "Bearer old"
    now[0] += 61.0
    assert await access.authorization() == "Bearer new"


async def test_a_pod_uses_its_account_s_token_and_certificate_authority(
    tmp_path: Path,
) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (tmp_path / "ca.crt").write_bytes("# a comment in the file: é\n".encode() + authority.cert_pem.bytes())
    (tmp_path / "token").write_text("a-pods-own")
    async with Receiver(tls=tls, respond=nothing) as api:
        port = api.url.rpartition(":")[2]
        async with Connection(in_cluster("127.0.0.1", port, tmp_path)) as connection:
            assert (await connection.ask("GET", "/version", seconds=5)).status == 200
    [request] = api.requests
    assert request.headers["authorization"] == "Bearer a-pods-own"


async def test_a_pod_without_a_token_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ValueError, match="no token"):
        in_cluster("10.0.0.1", "443", tmp_path)


def test_no_secret_of_the_credentials_is_shown() -> None:
    async def authorization() -> str:
        return "planted"

    assert "planted" not in repr(Access("https://api.test", authorization=authorization))


def test_inside_a_cluster_the_kubernetes_library_is_not_imported(tmp_path: Path) -> None:
    """Neither is it for a token; only for credentials that must be fetched."""
    path = written(tmp_path / "config", {"token": "t"})
    program = (
        "import asyncio, sys, app.main, app.kube.kubeconfig as k;"
        f"asyncio.run(k.read_kubeconfig({str(path)!r}));"
        "sys.exit('kubernetes_asyncio' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
