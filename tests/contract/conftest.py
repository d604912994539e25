"""The contract tests run against the fake API, and the newest and the oldest real one."""

from typing import Any

import pytest

from tests.harness.cluster import Cluster


@pytest.fixture(params=["one_fake_cluster", "real_cluster", "oldest_cluster"])
def cluster(request: pytest.FixtureRequest) -> Cluster[Any]:
    """Run each test against all three."""
    found: Cluster[Any] = request.getfixturevalue(request.param)
    return found
