"""Features that only the fakes have: injected faults, and running as separate processes."""

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import TEAMS, Kube

Fake = Cluster[FakeCluster]


async def test_watches_can_be_closed(fake_cluster: Fake) -> None:
    async def watch() -> list[str]:
        return [event["type"] async for event in fake_cluster.kube.watch(TEAMS, timeoutSeconds=60)]

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    await fake_cluster.server.drop_watches()
    async with asyncio.timeout(1):
        assert await watching == []


async def test_history_can_be_compacted(fake_cluster: Fake) -> None:
    kube = fake_cluster.kube
    for name in ("one", "two"):
        await kube.team("default", name, {})
    page = (await kube.list(TEAMS, limit=1)).body["metadata"]
    fake_cluster.server.compact()
    events = [event async for event in kube.watch(TEAMS, resourceVersion=page["resourceVersion"])]
    assert [(event["type"], event["object"]["code"]) for event in events] == [("ERROR", 410)]
    assert (await kube.list(TEAMS, **{"continue": page["continue"]})).status == 410


async def test_a_request_can_get_another_answer(fake_cluster: Fake) -> None:
    async def fail(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if request.method == "PATCH" else None

    await fake_cluster.kube.team("default", "report", {})
    fake_cluster.server.intercept = fail
    assert (await fake_cluster.kube.patch(TEAMS, "default", "report", {})).status == 503
    assert (await fake_cluster.kube.get(TEAMS, "default", "report")).status == 200


async def test_requests_are_counted(fake_cluster: Fake) -> None:
    fake_cluster.server.requests.clear()
    await fake_cluster.kube.list(TEAMS)
    async for _ in fake_cluster.kube.watch(TEAMS, timeoutSeconds=0):
        pass
    address = fake_cluster.kube.path(TEAMS)
    assert fake_cluster.server.requests == [("GET", address), ("WATCH", address)]


async def test_objects_outlive_a_restart(fake_cluster: Fake) -> None:
    await fake_cluster.kube.team("default", "report", {})
    await fake_cluster.server.stop()
    await fake_cluster.server.start()
    assert (await fake_cluster.kube.get(TEAMS, "default", "report")).status == 200


async def test_deleting_a_namespace_deletes_its_objects(fake_cluster: Fake) -> None:
    namespace = await fake_cluster.kube.fresh_namespace()
    await fake_cluster.kube.team(namespace, "report", {})
    await fake_cluster.kube.delete("namespaces", None, namespace)
    assert (await fake_cluster.kube.list(TEAMS)).body["items"] == []


async def test_the_fake_runs_as_a_process_until_stopped(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    process = await started("tests.harness.fake_cluster", "--latency", "0.1", "--kubeconfig", kubeconfig)
    await appeared(kubeconfig)
    async with Kube(kubeconfig) as kube:
        assert (await kube.get("namespaces", None, "default")).status == 200
    process.terminate()
    assert await process.wait() == 0


async def started(module: str, *arguments: str | Path) -> asyncio.subprocess.Process:
    """Start a module of the harness as a process."""
    return await asyncio.create_subprocess_exec(sys.executable, "-m", module, *map(str, arguments))


async def appeared(path: Path) -> None:
    """Wait until a file exists."""
    async with asyncio.timeout(20):
        while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
            await asyncio.sleep(0.02)
