"""One fake API for all of these suites, beside the real one; and three replicas on either."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.harness.cluster import Cluster, prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.service import Service


@pytest.fixture(scope="session")
async def one_fake_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster[FakeCluster]]:
    """Start a fake API for all tests, which keep apart by fresh namespaces."""
    async with FakeCluster() as server, prepared(server, tmp_path_factory.mktemp("fake")) as cluster:
        yield cluster


@pytest.fixture(scope="session", params=["fake", "real"])
def cluster(request: pytest.FixtureRequest) -> Cluster[Any]:
    """Run a test twice: against the fake API and against a real one, each shared by all tests."""
    name = {"fake": "one_fake_cluster", "real": "real_cluster"}[request.param]
    found: Cluster[Any] = request.getfixturevalue(name)
    return found


@pytest.fixture(scope="session")
async def replicas(cluster: Cluster[Any]) -> AsyncIterator[list[Service]]:
    """Start three replicas, for tests that leave them running."""
    async with AsyncExitStack() as stack:
        services = [Service(cluster.kubeconfig, attempt_timeout=5, target_timeout=10) for _ in range(3)]
        for service in services:
            await stack.enter_async_context(service)
        yield services
