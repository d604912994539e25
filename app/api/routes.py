"""The HTTP API: requests in, reports and problems out. What it promises stands in `openapi/openapi.yaml`."""

import asyncio
import json
import math
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import audit, docs
from app.api.callers import Authorizer
from app.api.counting import Counting
from app.api.examples import EVENTS
from app.api.openapi import describe, documented
from app.delivery import Desk
from app.delivery.survey import LONGEST_TOKEN, Asked, read_since
from app.domain.errors import (
    BadRequest,
    BodyTooLarge,
    ClaimInFlight,
    ClusterError,
    ClusterUnavailable,
    Draining,
    Forbidden,
    HeadTooLarge,
    Internal,
    LedgerNotKept,
    LedgerRefused,
    Malformed,
    MethodNotAllowed,
    NoSuchPath,
    PhaseNotTerminal,
    Problem,
    RateLimited,
    ReadTimeout,
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
from app.domain.problems import PROBLEM_JSON, ProblemDetails
from app.domain.receipts import Phase, Report, Reports
from app.domain.times import steady
from app.kube.cluster import Caller, Cluster
from app.settings import ServiceSettings
from app.telemetry.correlation import HEADER, Correlation, request_id
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing

READY_FOR = 2.0  # seconds that an answer of the API server counts for readiness

DRY_RUN_DEPRECATED = "@1795824000"  # 2026-11-28, as RFC 9745 writes it
"""Since when `?dryRun=All` has `POST /previews` in its place; the next release does without it."""

_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?')


@dataclass(slots=True)
class Service:
    """What the routes work with; made by the composition root."""

    settings: ServiceSettings
    cluster: Cluster
    desk: Desk
    authorizer: Authorizer
    metrics: Metrics
    readiness: "Readiness" = field(init=False)

    def __post_init__(self) -> None:
        self.readiness = Readiness(self.cluster, READY_FOR + 2 * self.settings.api_timeout)


class Readiness:
    """Whether the Kubernetes API answers, asked at most every `READY_FOR` seconds.

    One that has answered before may be silent for `patience` seconds: replicas that all turned unready at
    each of its hiccups would leave callers nobody to ask, where a delivery rides the same hiccup out. Whoever
    probes does not wait for an API that hangs.
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


class Health(BaseModel):
    """How the process is, and which check says so."""

    status: Annotated[Literal["ok", "failing"], Field(description="`ok` where every check is.")]
    checks: Annotated[dict[str, str], Field(description="`ok`, or what is wrong, by the check's name.")]


# Dependencies are async, though they wait for nothing: FastAPI sends others through a pool of threads.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


# For the API's description alone: callers are judged before a route's parameters are.
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="kubernetes",
    bearerFormat="JWT",
    description=(
        "A token of Kubernetes, as a projected volume or `kubectl create token --audience=agentteam-delivery`"
        " gives one. Its owner needs the right to `create` (to read: `get`) `agentteams/delivery` in the"
        " team's namespace."
    ),
)

Using = Annotated[Service, Depends(_service)]
Calling = Annotated[Caller, Depends(_caller)]


class StrictRequest(Request):
    """A request whose JSON must be of one meaning, and of bounded structure."""

    async def json(self) -> Any:
        """Parse the body.

        Raises:
            JSONDecodeError: it is no JSON, or nested too deeply, or holds a key twice, NaN or Infinity.
        """
        service: Service = self.app.state.service
        body = (await self.body()).decode()
        _check_depth(body, service.settings.max_depth)
        try:
            return json.loads(body, object_pairs_hook=_unique, parse_constant=_refused)
        except json.JSONDecodeError:
            raise
        except ValueError as error:  # ours, and a number of thousands of digits
            raise json.JSONDecodeError(str(error).partition(":")[0], "", 0) from None


class CallersRoute(APIRoute):
    """A route for callers that are known: who it is comes first, before anything of the body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, behind the question who calls."""
        handle = super().get_route_handler()

        async def handle_caller(request: Request) -> Response:
            service = await _service(request)
            address = request.client.host if request.client else ""
            try:
                request.state.caller = await service.authorizer.authenticate(_token(request), address)
                response = await handle(StrictRequest(request.scope, request.receive))
            except Exception as error:
                audit.failed(request, error)
                raise
            audit.answered(request, response.status_code)
            return response

        return handle_caller


def _only_parameters(*known: str) -> Any:
    """Refuse a query parameter that nobody reads: `?dryrun=All` must not send."""

    async def check(request: Request) -> None:
        unknown = [name for name in request.query_params if name not in known]
        if unknown:
            raise Malformed(f'unknown query parameter "{unknown[0][:64]}"')

    return Depends(check)


# What the port answers before the application has seen a request, and what may happen to any of a caller's.
UNREADABLE = (BadRequest, ReadTimeout, HeadTooLarge)
OF_ANY_CALLER = (
    *UNREADABLE,
    Unauthenticated,
    Forbidden,
    Malformed,
    Internal,
    RateLimited,
    ClusterUnavailable,
)

router = APIRouter()
callers = APIRouter(route_class=CallersRoute, dependencies=[Security(_bearer)])


@callers.post(
    "/deliveries",
    operation_id="deliver",
    tags=["deliveries"],
    summary="Deliver a finished team's notices",
    response_model=Report,
    dependencies=[_only_parameters("dryRun")],
    responses={
        200: {"description": "Every target is settled, also where some failed; or there is nothing to do."},
        202: {
            "model": Report,
            "description": "Accepted; the delivery goes on. The report is what is on record by now.",
            "headers": {
                "Location": {
                    "description": "Where to read on.",
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
async def deliver(  # noqa: PLR0913  # what FastAPI is to hand in
    request: Request,
    event: Annotated[CompletionEvent, Body(openapi_examples=EVENTS)],
    service: Using,
    caller: Calling,
    *,
    prefer: Annotated[
        str | SkipJsonSchema[None],
        Header(
            description="`respond-async`, or `wait=N` seconds (RFC 7240); else it waits for the outcome.",
            examples=["respond-async", "wait=10"],
        ),
    ] = None,
    dry_run: Annotated[str | None, Query(alias="dryRun", include_in_schema=False)] = None,
) -> Response:
    """Send what the team's own resource asks for, and answer with what landed where."""
    if dry_run not in {None, "All"}:
        raise Malformed('dryRun must be "All"; nothing was sent')
    if dry_run:
        response = await preview(request, event, service, caller)
        response.headers["deprecation"] = DRY_RUN_DEPRECATED
        return response
    audit.asks(request, audit.action_of(event), event.namespace, event.team)
    await service.authorizer.authorize(caller, "create", event.namespace, event.team)
    if event.test:
        return _written(await service.desk.test(event))
    dispatch = await service.desk.dispatch(event, asked_by=caller.name)
    await dispatch.wait(_patience(prefer, service.settings.waits))
    report = dispatch.report()
    response = _written(report)
    if not dispatch.done or report.phase == "Pending":
        response.status_code = 202
        response.headers["location"] = f"/deliveries/{event.namespace}/{event.team}"
    return response


@callers.post(
    "/previews",
    operation_id="preview",
    tags=["deliveries"],
    summary="Show what would be sent where",
    response_model=Previewed,
    dependencies=[_only_parameters()],
    responses={
        200: {"description": "What would become of each target; also where nothing would be sent."},
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
    """Send nothing and write nothing; a team that is still at work is shown as if it had completed."""
    audit.asks(request, audit.PREVIEW, event.namespace, event.team)
    await service.authorizer.authorize(caller, "create", event.namespace, event.team)
    return _written(await service.desk.preview(event))


def _written(answer: BaseModel) -> Response:
    """Write an answer as JSON; FastAPI would go through it once more before it does."""
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


@callers.get(
    "/deliveries",
    operation_id="listDeliveries",
    tags=["deliveries"],
    summary="Find teams by what became of their targets",
    dependencies=[_only_parameters("namespace", "phase", "since", "type", "reason", "after")],
    responses={
        200: {"description": "A page of the teams that have such targets; `next` leads to the next."},
        **documented(*OF_ANY_CALLER, TeamNotFound),
    },
)
async def list_deliveries(  # noqa: PLR0913  # one a parameter
    service: Using,
    caller: Calling,
    *,
    namespace: Annotated[
        str | SkipJsonSchema[None],
        Query(
            description="Of this namespace alone; else of all where the caller has the right.",
            pattern=DNS_LABEL,
            max_length=63,
        ),
    ] = None,
    phase: Annotated[
        Literal["Pending", "Delivered", "Failed"] | SkipJsonSchema[None],
        Query(description="Targets in this phase; teams that have none are left out."),
    ] = None,
    since: Annotated[
        str | SkipJsonSchema[None],
        Query(
            description="Targets that changed phase at this time (RFC 3339) or later.",
            max_length=64,
            examples=["2026-11-05T08:00:00Z"],
        ),
    ] = None,
    type: Annotated[  # noqa: A002  # what the field is called
        str | SkipJsonSchema[None], Query(description="Targets of this type.", max_length=63)
    ] = None,
    reason: Annotated[
        str | SkipJsonSchema[None], Query(description="Targets that are there for it.", max_length=63)
    ] = None,
    after: Annotated[
        str | SkipJsonSchema[None],
        Query(
            description="`next` of the page before; with the same other parameters.", max_length=LONGEST_TOKEN
        ),
    ] = None,
) -> Reports:
    """List teams, as the API server pages them; a namespace in which the caller may not `get` is left out.

    Asked for one namespace, a caller without that right gets 403.
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


@callers.get(
    "/deliveries/{namespace}/{team}",
    operation_id="readDelivery",
    tags=["deliveries"],
    summary="Read what is on record of a team's delivery",
    responses={
        200: {
            "description": "What is on record. `Pending`: something is not settled, or has not begun;"
            " `Skipped`: nothing is on record, and nothing will be."
        },
        **documented(*OF_ANY_CALLER, TeamNotFound, TooBusy),
    },
)
async def read_delivery(
    request: Request, namespace: Namespace, team: TeamName, service: Using, caller: Calling
) -> Report:
    """Read the record from the team's status; where there is none, `reason` says what it waits for."""
    audit.asks(request, audit.READ, namespace, team)
    await service.authorizer.authorize(caller, "get", namespace, team)
    return await service.desk.read(namespace, team)


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


class BodyLimit:
    """Reads no more of a request's body than `limit` bytes; FastAPI's own limit answers in plain text."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; past the limit its body cannot be read any further."""
        declared = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        left = self._limit
        too_large = declared.isdigit() and int(declared) > left

        async def receive_within_limit() -> Message:
            nonlocal left
            if too_large:
                raise HTTPException(BodyTooLarge.status)
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(BodyTooLarge.status)
            return message

        await self._app(scope, receive_within_limit, send)


def install(app: FastAPI, *, max_body: int, tracing: Tracing) -> None:
    """Add the routes, bound what is read, give requests an id, and make every error a problem document."""
    app.include_router(callers)
    app.include_router(router)
    app.add_middleware(BodyLimit, limit=max_body)
    app.add_middleware(Correlation, tracing=tracing)
    app.add_middleware(Counting)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_unexpected)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]


def _token(request: Request) -> str | None:
    """Return the bearer token (RFC 6750, section 2.1); None where there is none, or more than one."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


STRUCTURES = 10_000  # lists and objects of a body that are looked at
_BRACKET = re.compile(r"[][{}]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)


def _check_depth(body: str, most: int) -> None:
    """Refuse before parsing what would take long: an event is one object that holds one list at most."""
    if _opened(body) <= most:  # it cannot be deeper, whatever stands in its strings
        return
    bare = _STRING.sub("", body)
    if _opened(bare) > STRUCTURES:
        raise json.JSONDecodeError(f"it holds more than {STRUCTURES} lists and objects", "", 0)
    depth = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in "[{" else -1
        if depth > most:
            raise json.JSONDecodeError(f"it is nested more than {most} deep", "", 0)


def _opened(text: str) -> int:
    return text.count("[") + text.count("{")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("an object names a key twice")
    return document


def _refused(_: str) -> None:
    raise ValueError("NaN and Infinity are no numbers of JSON")


def _patience(prefer: str | None, limit: float) -> float:
    """Return how many seconds to wait for the outcome; what is not understood is ignored (RFC 7240)."""
    preferences = [item.partition(";")[0].strip().lower() for item in (prefer or "").split(",")]
    for preference in preferences:
        if match := _WAIT.fullmatch(preference):
            return min(float(match[1]), limit)
    return 0.0 if "respond-async" in preferences else limit


def _answer(details: ProblemDetails, retry_after: float | None = None) -> JSONResponse:
    headers = {} if retry_after is None else {"retry-after": str(max(1, math.ceil(retry_after)))}
    if details.status == Unauthenticated.status:
        headers["www-authenticate"] = "Bearer"  # RFC 6750, section 3
    return JSONResponse(
        details.model_dump(exclude_none=True), details.status, headers, media_type=PROBLEM_JSON
    )


async def _answer_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101  # registered for it
    return _answer(ProblemDetails.of(error), error.retry_after)


async def _answer_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for it
    sentences = [_sentence(item) for item in error.errors()]
    return _answer(ProblemDetails.of(Malformed(f"nothing was done: {sentences[0]}"), sentences[:20]))


def _sentence(item: dict[str, Any]) -> str:
    """Name the field and what it should be; never the value that was given."""
    if item["type"] == "json_invalid":
        return f"the body is not valid JSON: {item['ctx']['error']}"[:300]
    where, *path = item["loc"]
    # Of a value that may be left out, pydantic says which alternative it tried too.
    field = ".".join(str(part) for part in path if not str(part).startswith("literal[")) or str(where)
    if item["type"] == "model_attributes_type":
        return "the body must be a JSON object, sent with the header content-type: application/json"
    hints = {
        "tuple_type": "must be a list",
        "too_short": "must hold one at least; leave it out to mean all",
        "value_error": str(item.get("ctx", {}).get("error", "")),
        "string_pattern_mismatch": "must be a lower-case DNS name, as Kubernetes names are",
        "extra_forbidden": "is not a field of this request; remove it",
        "missing": "is required",
    }
    message = hints.get(item["type"]) or f"{item['msg'][0].lower()}{item['msg'][1:]}"
    return f"{field}: {message}"[:300]


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for it
    if error.status_code == BodyTooLarge.status:
        return await _answer_problem(request, BodyTooLarge("the body is larger than is read; send less"))
    if error.status_code == 400:  # noqa: PLR2004  # FastAPI's answer to a body that is not UTF-8
        return await _answer_problem(request, Malformed("nothing was done: the body is not valid JSON"))
    advice = "the API's paths and methods stand in /openapi.json"
    kind = {NoSuchPath.status: NoSuchPath, MethodNotAllowed.status: MethodNotAllowed}[error.status_code]
    answer = _answer(ProblemDetails.of(kind(f"{kind.title.lower()}: {advice}")))
    if kind is MethodNotAllowed:
        answer.headers["Allow"] = ", ".join(sorted(_methods(request)))
    return answer


def _methods(request: Request) -> set[str]:
    """Return the methods of all routes that have this path; Starlette names those of the first alone."""
    return {
        method
        for part in (callers, router, docs.router)
        for route in part.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


async def _answer_unexpected(_: Request, error: Exception) -> JSONResponse:
    problem = Internal(f"an unexpected {type(error).__name__}; the service's log says where")
    answer = _answer(ProblemDetails.of(problem))
    answer.headers[HEADER] = request_id()  # Starlette answers from outside of what adds it else
    return answer
