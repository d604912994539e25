"""A node for these tests, with the chart installed."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.node import Node


@pytest.fixture(scope="session")
async def node() -> AsyncIterator[Node]:
    """Start a node, in the namespaces that `make test-pods` creates."""
    if "NODE_FOLDER" not in os.environ:
        pytest.skip("real pods take a machine of their own: make test-pods")
    folder, programs = Path(os.environ["NODE_FOLDER"]), Path(os.environ["NODE_PROGRAMS"])
    async with Node(folder, programs, os.environ["NODE_CGROUP"]) as node:
        await node.load(Path(os.environ["NODE_IMAGE"]))
        yield node
