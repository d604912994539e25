"""Fixtures of the watcher's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.cluster import Cluster
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.watcher.stand import Service


@pytest.fixture
def server(fake_cluster: Cluster[FakeCluster]) -> FakeCluster:
    """The API server's far side."""
    return fake_cluster.server


@pytest.fixture
async def kube(fake_cluster: Cluster[FakeCluster]) -> Kube:
    """A client of the fake API, with the namespace `research`."""
    await fake_cluster.kube.namespace("research")
    fake_cluster.server.requests.clear()  # those of the set-up
    return fake_cluster.kube


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service that accepts everything until it is told otherwise."""
    async with Service() as service:
        yield service
