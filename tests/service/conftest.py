"""One service on one fake API with one receiver, shared by tests that leave nothing behind."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.cluster import prepared
from tests.harness.fake_cluster import FakeCluster
from tests.harness.kube import Kube
from tests.harness.receiver import Receiver
from tests.harness.service import Answer, Service, finished


@dataclass(frozen=True)
class Bench:
    """A running service with its cluster and receiver."""

    service: Service
    kube: Kube
    hook: Receiver
    server: FakeCluster

    async def delivered(self, *targets: dict[str, Any], **secrets: dict[str, str | bytes]) -> Answer:
        """Finish a new team with these targets and Secrets, and deliver it."""
        namespace = await self.finished(*targets, **secrets)
        return await self.service.deliver(namespace, "report")

    async def finished(self, *targets: dict[str, Any], **secrets: Mapping[str, str | bytes]) -> str:
        """Finish a new team with the name `report` in a new namespace, and return the namespace."""
        return await finished(self.kube, *targets, **secrets)


@pytest.fixture(scope="session")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """Start it once."""
    folder = tmp_path_factory.mktemp("bench")
    async with (
        FakeCluster() as server,
        prepared(server, folder) as cluster,
        Receiver() as hook,
        Service(cluster.kubeconfig, api_timeout=3, record_timeout=5) as service,
    ):
        yield Bench(service, cluster.kube, hook, server)
