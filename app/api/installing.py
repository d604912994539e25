"""Installs the API on an application: its routes, request limits and error answers."""

from fastapi import FastAPI

from app.api import answers, docs, probes, routes
from app.api.bodies import BodyLimit
from app.api.counting import Counting
from app.api.openapi import describe
from app.telemetry.correlation import Correlation
from app.telemetry.tracing import Tracing


def install(app: FastAPI, *, max_body: int, tracing: Tracing) -> None:
    """Add the routes, limit request bodies, assign request ids, and turn errors into problem documents."""
    # Not by `include_router`: it would match each request twice, and not use the applications of the routes.
    for router in (routes.router, probes.router, docs.router):
        app.routes.extend(router.routes)
    app.add_middleware(BodyLimit, limit=max_body)
    app.add_middleware(Correlation, tracing=tracing)
    app.add_middleware(Counting)
    answers.install(app, app.routes)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
