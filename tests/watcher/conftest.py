"""Fixtures of the watcher's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.watcher.stand import Service


@pytest.fixture
def server(fake_cluster: Cluster[FakeCluster]) -> FakeCluster:
    """The server of the fake API, where faults are injected."""
    return fake_cluster.server


@pytest.fixture
async def kube(fake_cluster: Cluster[FakeCluster]) -> Kube:
    """A client of the fake API, with the namespace `research`."""
    await fake_cluster.kube.namespace("research")
    fake_cluster.server.requests.clear()  # forget the requests of the set-up
    return fake_cluster.kube


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service that accepts everything until a test says otherwise."""
    async with Service() as service:
        yield service
