"""One API for these suites, with the project's CRD and the operator's; three replicas on each.

It is a real API server if one is available, as always in CI. Otherwise it is the fake one, which
`tests/contract` compares with the real one.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.conftest import at_hand
from tests.harness.cluster import Cluster, operated
from tests.harness.service import Service
from tests.ledger.support import serve


@pytest.fixture(scope="session")
def own(request: pytest.FixtureRequest) -> Cluster[Any]:
    """Use the project's own CRD."""
    found: Cluster[Any] = request.getfixturevalue("real_cluster" if at_hand("newest") else "one_fake_cluster")
    return found


@pytest.fixture(scope="session")
async def theirs(own: Cluster[Any], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster[Any]]:
    """Use the operator's CRD, which the same API serves, without a patch."""
    async with operated(own, tmp_path_factory.mktemp("operated")) as found:
        yield found


@pytest.fixture(scope="session", params=["own", "theirs"], ids=["own", "operator's"])
def cluster(request: pytest.FixtureRequest) -> Cluster[Any]:
    """Run a test twice: on the project's CRD and on the operator's."""
    found: Cluster[Any] = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
async def replicas(cluster: Cluster[Any]) -> AsyncIterator[list[Service]]:
    """Start three replicas, for tests that leave them running."""
    async with AsyncExitStack() as stack:
        services = [serve(cluster, attempt_timeout=5, target_timeout=10) for _ in range(3)]
        for service in services:
            await stack.enter_async_context(service)
        yield services
