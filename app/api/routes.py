"""The operations on deliveries. `openapi/openapi.yaml` is their contract."""

import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import audit
from app.api.bodies import StrictRequest
from app.api.examples import EVENTS
from app.api.openapi import OF_CALLERS, UNREADABLE, documented
from app.api.service import Using, service_of
from app.delivery.survey import LONGEST_TOKEN, Asked, read_since
from app.domain.errors import (
    BodyTooLarge,
    ClaimInFlight,
    ClusterUnavailable,
    Draining,
    Forbidden,
    Internal,
    LedgerNotKept,
    LedgerRefused,
    Malformed,
    PhaseNotTerminal,
    RateLimited,
    TeamNotFinished,
    TeamNotFound,
    TooBusy,
    TooManyTargets,
    UidChanged,
    Unauthenticated,
    UnknownTarget,
)
from app.domain.events import DNS_LABEL, CompletionEvent, Namespace, TeamName
from app.domain.previews import Previewed
from app.domain.receipts import Phase, Report, Reports
from app.kube.cluster import Caller

DRY_RUN_DEPRECATED = "@1795824000"  # 2026-11-28, in the format of RFC 9745
"""The date from which `POST /previews` replaces `?dryRun=All`; the next release drops it."""

DELIVER = "deliver"
UNDESCRIBED: dict[str | None, set[str]] = {DELIVER: {"dryRun"}}
"""The query parameters of an operation that its description does not have."""

_WAITING = "`respond-async`, or `wait=N` seconds (RFC 7240); default: wait for the outcome."
PREFER = {
    "name": "prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "description": _WAITING, "examples": ["respond-async", "wait=10"]},
    "description": _WAITING,
}

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?')


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Calling = Annotated[Caller, Depends(_caller)]


class CallersRoute(APIRoute):
    """A route for authenticated callers: it authenticates before it reads anything of the request.

    It does itself what FastAPI's dependencies would do, because each of them costs as much as a target.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app = _application(self.get_route_handler())

    def get_route_handler(self) -> Handler:
        """Return the handler, preceded by authentication."""
        handle = _with_a_stack(super().get_route_handler())
        if self.operation_id == DELIVER:
            handle = _with_event(self.endpoint, handle)
        known = {parameter.alias for parameter in self.dependant.query_params}
        known |= UNDESCRIBED.get(self.operation_id, set())
        checks = bool(known) or "POST" in (self.methods or ())

        async def handle_caller(request: Request) -> Response:
            service = await service_of(request)
            address = request.client.host if request.client else ""
            try:
                request.state.caller = await service.authorizer.authenticate(_token(request), address)
                if checks and request.scope["query_string"]:
                    _reject_unknown(request.query_params, known)
                response = await handle(request)
            except Exception as error:
                audit.failed(request, error)
                raise
            audit.answered(request, response.status_code)
            return response

        return handle_caller


def _application(handle: Handler) -> ASGIApp:
    """Return a handler as an application; a problem goes on to where the service answers all of them."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handle(StrictRequest(scope, receive, send))
        await response(scope, receive, send)

    return application


def _with_a_stack(handle: Handler) -> Handler:
    """Return a handler of FastAPI with the stack that it expects around it."""

    async def with_a_stack(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            request.scope.update(fastapi_inner_astack=stack, fastapi_function_astack=stack)
            return await handle(request)

    return with_a_stack


def _with_event(
    endpoint: Callable[[Request, CompletionEvent], Awaitable[Response]], other: Handler
) -> Handler:
    """Return a handler that reads a valid event and passes it to the endpoint in one step.

    FastAPI takes several. `other` is FastAPI's handler, which says what is wrong with any other body.
    """

    async def handle(request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":
            return await other(request)
        try:
            event = CompletionEvent.model_validate(await request.json())
        except ValueError:
            return await other(request)
        return await endpoint(request, event)

    return handle


def _reject_unknown(parameters: Iterable[str], known: Collection[str]) -> None:
    """Reject an unknown query parameter: `?dryrun=All` must not send."""
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise Malformed(f'unknown query parameter "{unknown[0][:64]}"')


# The problems that any authenticated request can get.
OF_ANY_CALLER = (
    *UNREADABLE,
    Unauthenticated,
    Forbidden,
    Malformed,
    Internal,
    RateLimited,
    ClusterUnavailable,
)

router = APIRouter(route_class=CallersRoute)


@router.post(
    "/deliveries",
    operation_id=DELIVER,
    tags=["deliveries"],
    openapi_extra=OF_CALLERS | {"parameters": [PREFER]},
    summary="Deliver the notifications of a finished team",
    response_model=Report,
    responses={
        200: {"description": "Every target is settled (some may have failed), or there is nothing to do."},
        202: {
            "model": Report,
            "description": "Accepted; the delivery continues. The report contains what is on record so far.",
            "headers": {
                "Location": {
                    "description": "Where to read the record.",
                    "required": True,
                    "schema": {"type": "string", "format": "uri-reference"},
                }
            },
        },
        **documented(
            *OF_ANY_CALLER,
            TeamNotFound,
            UidChanged,
            TeamNotFinished,
            ClaimInFlight,
            BodyTooLarge,
            PhaseNotTerminal,
            UnknownTarget,
            TooManyTargets,
            LedgerNotKept,
            LedgerRefused,
            TooBusy,
            Draining,
        ),
    },
)
async def deliver(
    request: Request,
    event: Annotated[CompletionEvent, Body(openapi_examples=EVENTS)],
) -> Response:
    """The team's resource determines targets and texts. Idempotent: settled targets are not sent again."""
    # Not as dependencies and parameters: FastAPI resolves each one by one at every call.
    dry_run = request.query_params.get("dryRun") if request.scope["query_string"] else None
    service, caller = await service_of(request), await _caller(request)
    if dry_run not in {None, "All"}:
        raise Malformed('dryRun must be "All"; nothing was sent')
    if dry_run:
        response = await preview(request, event, service, caller)
        response.headers["deprecation"] = DRY_RUN_DEPRECATED
        return response
    audit.asks(request, audit.action_of(event), event.namespace, event.team, event.targets)
    await service.authorizer.authorize(caller, "create", event.namespace, event.team)
    if event.test:
        return _written(await service.desk.test(event))
    dispatch = await service.desk.dispatch(event, asked_by=caller.name)
    await dispatch.wait(_patience(request.headers.get("prefer"), service.settings.waits))
    report = dispatch.report()
    response = _written(report)
    if not dispatch.done or report.phase == "Pending":
        response.status_code = 202
        response.headers["location"] = f"/deliveries/{event.namespace}/{event.team}"
    return response


@router.post(
    "/previews",
    operation_id="preview",
    tags=["deliveries"],
    openapi_extra=OF_CALLERS,
    summary="Show what would be sent",
    response_model=Previewed,
    responses={
        200: {
            "description": "What would happen to each target, including those to which nothing would be sent."
        },
        **documented(
            *OF_ANY_CALLER,
            TeamNotFound,
            UidChanged,
            BodyTooLarge,
            PhaseNotTerminal,
            UnknownTarget,
            TooManyTargets,
            ClaimInFlight,
            TooBusy,
            Draining,
        ),
    },
)
async def preview(
    request: Request,
    event: Annotated[CompletionEvent, Body(openapi_examples=EVENTS)],
    service: Using,
    caller: Calling,
) -> Response:
    """Nothing is sent or recorded. A team that is still running is shown as if it had completed."""
    audit.asks(request, audit.PREVIEW, event.namespace, event.team, event.targets)
    await service.authorizer.authorize(caller, "create", event.namespace, event.team)
    return _written(await service.desk.preview(event))


def _written(answer: BaseModel) -> Response:
    """Write an answer as JSON; FastAPI would process it a second time."""
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


@router.get(
    "/deliveries",
    operation_id="listDeliveries",
    tags=["deliveries"],
    openapi_extra=OF_CALLERS,
    summary="Find teams by the outcomes of their targets",
    responses={
        200: {"description": "A page of the teams with such targets; `next` requests the next page."},
        **documented(*OF_ANY_CALLER, TeamNotFound),
    },
)
async def list_deliveries(  # noqa: PLR0913  # one per query parameter
    service: Using,
    caller: Calling,
    *,
    namespace: Annotated[
        str | SkipJsonSchema[None],
        Query(
            description="Only this namespace; by default all for which the caller has the permission.",
            pattern=DNS_LABEL,
            max_length=63,
        ),
    ] = None,
    phase: Annotated[
        Literal["Pending", "Delivered", "Failed"] | SkipJsonSchema[None],
        Query(description="Targets in this phase; teams without such targets are omitted."),
    ] = None,
    since: Annotated[
        str | SkipJsonSchema[None],
        Query(
            description="Targets that changed phase at this time (RFC 3339) or later.",
            max_length=64,
            examples=["2026-11-05T08:00:00Z"],
        ),
    ] = None,
    type: Annotated[  # noqa: A002  # the name of the field
        str | SkipJsonSchema[None], Query(description="Targets of this type.", max_length=63)
    ] = None,
    reason: Annotated[
        str | SkipJsonSchema[None], Query(description="Targets with this reason.", max_length=63)
    ] = None,
    after: Annotated[
        str | SkipJsonSchema[None],
        Query(
            description="`next` of the previous page; keep the other parameters the same.",
            max_length=LONGEST_TOKEN,
        ),
    ] = None,
) -> Reports:
    """List teams in the API server's pages; omit namespaces in which the caller lacks `get`.

    If the caller names a namespace and lacks this permission, the answer is 403.
    """
    asked = Asked(namespace, Phase(phase) if phase else None, read_since(since), type, reason)
    if namespace is not None:
        await service.authorizer.authorize(caller, "get", namespace, "")

    async def may(where: str) -> bool:
        try:
            await service.authorizer.authorize(caller, "get", where, "")
        except Forbidden:
            return False
        return True

    return await service.desk.survey(asked, after, may)


@router.get(
    "/deliveries/{namespace}/{team}",
    operation_id="readDelivery",
    tags=["deliveries"],
    openapi_extra=OF_CALLERS,
    summary="Read the record of a team's delivery",
    responses={
        200: {
            "description": "The record. `Pending`: a target is not settled, or has not started;"
            " `Skipped`: nothing is on record, and nothing will be delivered."
        },
        **documented(*OF_ANY_CALLER, TeamNotFound, TooBusy),
    },
)
async def read_delivery(
    request: Request, namespace: Namespace, team: TeamName, service: Using, caller: Calling
) -> Report:
    """If there is no record, `reason` says why."""
    audit.asks(request, audit.READ, namespace, team)
    await service.authorizer.authorize(caller, "get", namespace, team)
    return await service.desk.read(namespace, team)


def _token(request: Request) -> str | None:
    """Return the bearer token (RFC 6750, section 2.1); None if there is none, or more than one."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _patience(prefer: str | None, limit: float) -> float:
    """Return the seconds to wait for the outcome; ignore an unknown preference (RFC 7240)."""
    preferences = [item.partition(";")[0].strip().lower() for item in (prefer or "").split(",")]
    for preference in preferences:
        if match := _WAIT.fullmatch(preference):
            return min(float(match[1]), limit)
    return 0.0 if "respond-async" in preferences else limit
