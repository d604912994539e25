"""The composition root: assembles the service. Importing it has no side effects."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version

import structlog
from fastapi import FastAPI

from app.api import Service, install
from app.api.callers import build_authorizer
from app.delivery import Desk
from app.domain.errors import ClusterError
from app.domain.teams import no_crd
from app.egress.client import HttpClient
from app.kube.cluster import Cluster, open_cluster
from app.senders.envelopes import Senders
from app.senders.registry import build_senders
from app.settings import ServiceSettings
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing

log = structlog.get_logger(__name__)


def create_app(
    settings: ServiceSettings | None = None,
    *,
    cluster: Cluster | None = None,
    senders: Senders | None = None,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Return the service as an ASGI application; create what is not passed in from the settings.

    Raises:
        SettingsError: the settings cannot be used.
    """
    settings = settings or ServiceSettings.load()
    shown, traced = metrics or Metrics(), tracing or Tracing()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(HttpClient(settings))
            door = cluster
            if door is None:
                door = await stack.enter_async_context(open_cluster(settings, shown.count_api_request))
            outlets = senders if senders is not None else build_senders(settings, http, traced)
            desk = Desk(settings, door, outlets, shown, traced)
            authorizer = build_authorizer(settings, door)
            app.state.service = Service(settings, door, desk, authorizer, shown)
            if settings.auth == "none":
                log.warning(
                    "callers_not_authenticated",
                    advice="DELIVERY_AUTH=none: everyone who reaches the port can notify all channels",
                )
            looking = asyncio.create_task(_look_for_teams(door, settings))
            yield
            looking.cancel()
            await desk.drain()

    app = FastAPI(
        title="agentteam-delivery",
        version=version("agentteam-delivery"),
        summary="Notifies the targets of finished AgentTeams, and records the outcomes.",
        description=(
            "Each answer has an `X-Request-Id`, the caller's or a generated one, which the log contains too."
            " Answers to requests that could not be parsed (400, 408, 431) have none."
        ),
        contact={"name": "The maintainers of agentteam-delivery"},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # The service has its own spans and metrics, which contain no URL.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    install(app, max_body=settings.max_body, tracing=traced)
    return app


async def _look_for_teams(cluster: Cluster, settings: ServiceSettings) -> None:
    """Warn if the cluster has no AgentTeam CRD; other code reports that the API is unavailable."""
    with suppress(ClusterError):
        if not await cluster.has_teams():
            log.warning("no_crd", advice=no_crd(settings.api_group))
