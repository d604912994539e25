"""The objects that the routes use."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from app.api.callers import Authorizer
from app.api.readiness import READY_FOR, Readiness
from app.delivery import Desk
from app.kube.cluster import Cluster
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics


@dataclass(slots=True)
class Service:
    """What the routes work with; the composition root creates it."""

    settings: ServiceSettings
    cluster: Cluster
    desk: Desk
    authorizer: Authorizer
    metrics: Metrics
    readiness: Readiness = field(init=False)

    def __post_init__(self) -> None:
        self.readiness = Readiness(self.cluster, READY_FOR + 2 * self.settings.api_timeout)


# Async, although it waits for nothing: FastAPI runs other dependencies in a thread pool.
async def service_of(request: Request) -> Service:
    """Return the service that answers a request."""
    service: Service = request.app.state.service
    return service


Using = Annotated[Service, Depends(service_of)]
