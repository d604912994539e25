"""What the cluster asks of a process: is it alive, should it be sent events, and its metrics."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.api.openapi import UNREADABLE, documented
from app.api.service import Using

router = APIRouter()


class Health(BaseModel):
    """How the process is, and which check says so."""

    status: Annotated[Literal["ok", "failing"], Field(description="`ok` where every check is.")]
    checks: Annotated[dict[str, str], Field(description="`ok`, or what is wrong, by the check's name.")]


@router.get(
    "/healthz",
    operation_id="healthz",
    tags=["operations"],
    summary="Is the process alive?",
    responses={200: {"description": "It is."}, **documented(*UNREADABLE)},
)
async def healthz() -> Health:
    """Answer; a process that cannot should be started anew."""
    return Health(status="ok", checks={})


@router.get(
    "/readyz",
    operation_id="readyz",
    tags=["operations"],
    summary="Should events be sent here?",
    responses={
        200: {"description": "Yes."},
        503: {"model": Health, "description": "Not now; `checks` says why."},
        **documented(*UNREADABLE),
    },
)
async def readyz(service: Using, response: Response) -> Health:
    """Say whether this replica takes events: the Kubernetes API answers, and the process is not draining."""
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
            "description": "They are.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **documented(*UNREADABLE),
    },
)
async def metrics(request: Request, service: Using) -> Response:
    """Return the metrics of this process: in Prometheus' text format, or the one that `Accept` asks for."""
    body, content_type = service.metrics.render(",".join(request.headers.getlist("accept")))
    return Response(body, headers={"content-type": content_type})


for _path, _probe in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics)):
    # Undescribed, since HEAD is a GET whose body stays away (RFC 9110, section 9.3.2).
    router.add_api_route(_path, _probe, methods=["HEAD"], include_in_schema=False)
