"""The service as a process: its metrics, its connection to the cluster, its spans, its port."""

import asyncio
import gc
from contextlib import AsyncExitStack

from app import server
from app.kube.cluster import open_cluster
from app.main import create_app
from app.settings import ServiceSettings
from app.telemetry import logs
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing, exported

GARBAGE_THRESHOLD = 20_000  # created and not yet freed objects between two searches for cycles


async def serve(settings: ServiceSettings) -> bool:
    """Serve until a signal.

    Returns:
        Whether it ever served; the application may fail to start.

    Raises:
        SettingsError: a setting cannot be used: the certificate, the port, the cluster, the extra `tracing`.
    """
    # Objects loaded by now stay, and reference counting frees most objects of a delivery. Rare searches for
    # cycles cost little memory; frequent ones cost a tenth of the CPU time.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    asyncio.get_running_loop().set_exception_handler(logs.note_loop_error)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(open_cluster(settings, metrics.count_api_request))
        tracing = stack.enter_context(exported()) if settings.tracing else Tracing()
        app = create_app(settings, cluster=cluster, metrics=metrics, tracing=tracing)

        async def drain() -> None:
            await app.state.service.desk.drain()

        def abandon() -> None:
            app.state.service.desk.abandon()

        return await server.run(app, settings, drain=drain, abandon=abandon, metrics=metrics)
