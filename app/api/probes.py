"""The endpoints for the cluster: liveness, readiness and metrics."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.api.openapi import UNREADABLE, documented
from app.api.service import Using

router = APIRouter()


class Health(BaseModel):
    """The health of the process, and the results of its checks."""

    status: Annotated[Literal["ok", "failing"], Field(description="`ok` if every check is.")]
    checks: Annotated[dict[str, str], Field(description="Result per check: `ok`, or what is wrong.")]


@router.get(
    "/healthz",
    operation_id="healthz",
    tags=["operations"],
    summary="Liveness",
    responses={200: {"description": "The process is alive."}, **documented(*UNREADABLE)},
)
async def healthz() -> Health:
    """Check whether the process answers; restart a process that does not."""
    return Health(status="ok", checks={})


@router.get(
    "/readyz",
    operation_id="readyz",
    tags=["operations"],
    summary="Readiness",
    responses={
        200: {"description": "The process accepts events."},
        503: {"model": Health, "description": "The process accepts no events now; `checks` says why."},
        **documented(*UNREADABLE),
    },
)
async def readyz(service: Using, response: Response) -> Health:
    """Check whether this replica accepts events: the Kubernetes API answers, and it is not draining."""
    draining = service.desk.draining
    checks = {
        "kubernetes": "not asked" if draining else await service.readiness.check(),
        "accepting": "draining" if draining else "ok",
    }
    ready = all(answer == "ok" for answer in checks.values())
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "failing", checks=checks)


@router.get(
    "/metrics",
    operation_id="metrics",
    tags=["operations"],
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {
            "description": "The metrics.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **documented(*UNREADABLE),
    },
)
async def metrics(request: Request, service: Using) -> Response:
    """Return the metrics of this process in Prometheus' text format, or in the one that `Accept` requests."""
    body, content_type = service.metrics.render(",".join(request.headers.getlist("accept")))
    return Response(body, headers={"content-type": content_type})


for _path, _probe in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
    # Undocumented, because HEAD is a GET without a body (RFC 9110, section 9.3.2).
    router.add_api_route(_path, _probe, methods=["HEAD"], include_in_schema=False)
