"""Readiness of this replica: what `/readyz` says about the Kubernetes API."""

import asyncio

from app.domain.errors import ClusterError
from app.domain.times import steady
from app.kube.cluster import Cluster

READY_FOR = 2.0  # seconds for which an answer of the API server counts


class Readiness:
    """Whether the Kubernetes API answers; the check runs at most every `READY_FOR` seconds.

    After an answer, the API may be silent for `patience` seconds. Otherwise every short failure would make
    all replicas unready and leave callers without a service, although a delivery survives the failure. A
    probe does not wait for an API that hangs.
    """

    def __init__(self, cluster: Cluster, patience: float) -> None:
        self._cluster = cluster
        self._patience = patience
        self._asking: asyncio.Task[None] | None = None
        self._asked_until = 0.0
        self._answer = "the Kubernetes API has not answered yet"
        self._good_until = 0.0

    async def check(self) -> str:
        """Return `ok`, or what is wrong."""
        if self._asking is None and steady() >= self._asked_until:
            self._asking = asyncio.create_task(self._ask())
        if self._asking is not None and steady() >= self._good_until:
            await asyncio.wait({self._asking}, timeout=READY_FOR)
        return "ok" if steady() < self._good_until else self._answer

    async def _ask(self) -> None:
        try:
            await self._cluster.ping()
            self._good_until = steady() + self._patience
        except ClusterError as error:
            self._answer = str(error)
        finally:
            self._asked_until = steady() + READY_FOR
            self._asking = None
