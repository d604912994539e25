"""The service's access to the Kubernetes API: read a team, write its record, read a Secret, review a caller.

It translates error answers of the API server into our own errors.
"""

import base64
import functools
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple

from app.domain.announcements import Announcement
from app.domain.errors import ApiUnavailable, ClusterError, Conflict, NoSuchKind, ObjectNotFound, Rejected
from app.domain.summary import summary_of
from app.domain.teams import KIND, PLURAL, VERSION, AgentTeam
from app.domain.text import json_object, shortened
from app.domain.times import asked_to_wait, format_time, parse_http_date, steady
from app.kube.connection import Answer, Connection, CountRequest, connect, path_of, refusal
from app.kube.lists import Page, read_page
from app.settings import ServiceSettings

FIELD_MANAGER = "agentteam-delivery"
CACHED = "?resourceVersion=0"
# Without a warning per field that a CRD drops: what is on record is compared with what was written.
WRITING = f"?fieldManager={FIELD_MANAGER}&fieldValidation=Ignore"
NOT_REVIEWED = "the Kubernetes API did not review the token"
"""The whole text of that error: the API server's text, or a webhook's, may quote the token."""


class Snapshot(NamedTuple):
    """A team at one moment.

    `size` is the number of bytes of its JSON. `date` is that moment on the API server's clock, truncated to
    the second and therefore never late; claims are judged and dated by it. `asked` is when the request was
    sent, on our own monotonic clock, so it is never late either.
    """

    team: AgentTeam
    date: datetime
    asked: float
    size: int = 0

    @property
    def now(self) -> datetime:
        """About the current time on the API server's clock; accurate enough for a timestamp."""
        return self.date + timedelta(seconds=steady() - self.asked)


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret's labels, and its values, which are never shown."""

    labels: Mapping[str, str]
    values: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller that a token identifies, as the API server knows it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Cluster:
    """The calls that the service makes, each with a time limit."""

    def __init__(self, connection: Connection, *, group: str, timeout: float) -> None:
        self._connection = connection
        self._group = group
        self._timeout = timeout  # seconds per request
        self._instance = socket.gethostname()  # the pod's name

    async def read_team(self, namespace: str, name: str, *, cached: bool = False) -> Snapshot:
        """Read an AgentTeam, as etcd has it; `cached`: as the API server last saw it, which may be earlier.

        That costs the API server a third as much, and etcd nothing.
        https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions

        Raises:
            ClusterError: of any kind.
        """
        asked = steady()
        answer = await self._answer("GET", self._path(namespace, name) + (CACHED if cached else ""))
        team = AgentTeam.from_resource(answer.document)
        return _snapshot(answer, team if team.uid and team.resource_version else None, asked)

    async def has_teams(self) -> bool:
        """Ask whether the cluster knows AgentTeams of this group; every authenticated account may ask this.

        https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api

        Raises:
            ClusterError: no usable answer.
        """
        try:
            found = await self._call("GET", path_of("apis", self._group, VERSION))
        except ObjectNotFound:
            return False
        resources = found.get("resources")
        names = [one.get("name") for one in resources if isinstance(one, Mapping)] if resources else []
        return PLURAL in names

    async def list_teams(
        self,
        namespace: str | None,
        take: Callable[[AgentTeam], None],
        *,
        limit: int,
        most: int,
        more: str = "",
    ) -> Page:
        """List at most `limit` AgentTeams of one namespace or of all; pass each to `take`, and keep none.

        There is no time limit while data arrives. After `most` bytes it may stop, see `read_page`.

        Raises:
            ClusterError: of any kind; `Rejected` if the requested page has expired.
        """
        where = ("namespaces", namespace) if namespace else ()
        query = {"limit": limit, **({"continue": more} if more else {})}
        path = path_of("apis", self._group, VERSION, *where, PLURAL, **query)
        async with self._connection.follow(path, silence=self._timeout, verb="GET") as stream:
            if stream.status != HTTPStatus.OK:
                said = b"".join([piece async for piece in stream.pieces])
                raise _translated(Answer(stream.status, stream.headers, said))
            return await read_page(stream.pieces, take, limit=limit, most=most)

    async def write_delivery(self, team: AgentTeam, entries: Sequence[Mapping[str, Any]]) -> Snapshot:
        """Replace `status.delivery` of the team as it was read, and return the resulting team.

        It also writes a summary for people, which a CRD may drop.

        Raises:
            Conflict: the team has changed since it was read.
            ClusterError: of any other kind.
        """
        patch = {
            "metadata": {"resourceVersion": team.resource_version},
            # Plain, because each entry of another class takes twice as long to encode.
            "status": {"delivery": [*map(dict, entries)], "deliverySummary": summary_of(entries)},
        }
        asked = steady()
        answer = await self._answer("PATCH", self._path(team.namespace, team.name, "status") + WRITING, patch)
        return _snapshot(answer, team.after_write(answer.document, entries), asked)

    async def publish(self, team: AgentTeam, said: Announcement) -> None:
        """Write a Kubernetes Event about the team, or update the existing one.

        https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/

        Raises:
            ClusterError: of any kind.
        """
        now = format_time(datetime.now(UTC))
        news = {
            "type": said.type,
            "reason": said.reason,
            "message": said.message,
            "lastTimestamp": now,
            "count": said.count,
        }
        event = {
            "metadata": {"name": said.name, "namespace": team.namespace},
            "involvedObject": {
                "apiVersion": f"{self._group}/{VERSION}",
                "kind": KIND,
                "namespace": team.namespace,
                "name": team.name,
                "uid": team.uid,
            },
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            **news,
        }
        home = ("api", "v1", "namespaces", team.namespace, "events")
        try:
            await self._call("POST", path_of(*home), event)
        except Conflict:
            await self._call("PATCH", path_of(*home, said.name), news)

    async def read_secret(self, namespace: str, name: str) -> Secret:
        """Read one Secret by its name; the service never lists Secrets.

        Raises:
            ClusterError: of any kind.
        """
        path = path_of("api", "v1", "namespaces", namespace, "secrets", name)
        secret = await self._call("GET", path)
        try:
            labels = (secret.get("metadata") or {}).get("labels") or {}
            data = (secret.get("data") or {}).items()
            values = {str(key): base64.b64decode(value, validate=True) for key, value in data}
            return Secret(dict(labels), values)
        except (AttributeError, TypeError, ValueError):
            raise Rejected("the API server's answer holds no data that can be read") from None

    async def review(self, token: str, audience: str) -> Caller | None:
        """Return the caller that a token for this audience identifies; None: the token is not valid.

        https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/

        Raises:
            ClusterError: of any kind.
        """
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        try:
            answer = await self._call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        except ApiUnavailable as error:
            raise ApiUnavailable(NOT_REVIEWED, retry_after=error.retry_after) from None
        except ClusterError as error:
            raise type(error)(NOT_REVIEWED) from None
        status = answer.get("status") or {}
        # An API server without support for audiences returns none, and has not checked whom the token is for.
        if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
            return None
        user = status.get("user") or {}
        if not user.get("username"):
            return None
        extra = (user.get("extra") or {}).items()
        return Caller(
            str(user["username"]),
            str(user.get("uid") or ""),
            tuple(user.get("groups") or ()),
            tuple((key, tuple(values)) for key, values in extra),
        )

    async def allows(self, caller: Caller, verb: str, namespace: str, team: str) -> bool:
        """Ask whether a caller may do this to the delivery of a team, which need not exist.

        https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/

        Raises:
            ClusterError: of any kind.
        """
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": caller.name,
                "uid": caller.uid,
                "groups": list(caller.groups),
                "extra": {key: list(values) for key, values in caller.extra},
                "resourceAttributes": {
                    "group": self._group,
                    "version": VERSION,
                    "resource": PLURAL,
                    "subresource": "delivery",
                    "namespace": namespace,
                    "name": team,
                    "verb": verb,
                },
            },
        }
        answer = await self._call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return (answer.get("status") or {}).get("allowed") is True

    async def ping(self) -> None:
        """Ask the API server for its version.

        Raises:
            ClusterError: no usable answer.
        """
        await self._call("GET", "/version/")

    def _path(self, namespace: str, name: str, *rest: str) -> str:
        return path_of("apis", self._group, VERSION, "namespaces", namespace, PLURAL, name, *rest)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one request, and return the object in the answer."""
        return (await self._answer(method, path, body)).document

    async def _answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        answer = await self._connection.ask(method, path, body, seconds=self._timeout)
        if answer.status >= 300:  # noqa: PLR2004  # the first unsuccessful HTTP status
            raise _translated(answer)
        return answer


@asynccontextmanager
async def open_cluster(settings: ServiceSettings, count: CountRequest) -> AsyncIterator[Cluster]:
    """Yield the connection to the cluster that the environment names; call `count` for each request.

    Raises:
        SettingsError: the environment names none.
    """
    async with connect(count) as connection:
        yield Cluster(connection, group=settings.api_group, timeout=settings.api_timeout)


_server_date = functools.lru_cache(maxsize=2)(parse_http_date)  # one date per second


def _snapshot(answer: Answer, team: AgentTeam | None, asked: float) -> Snapshot:
    """Return what an answer says; `team`: what could be read of it."""
    if team is None:
        raise ApiUnavailable("the Kubernetes API answered with something that is not an AgentTeam")
    date = _server_date(answer.headers.get("Date", "")) or datetime.now(UTC)
    return Snapshot(team, date, asked, len(answer.body))


def _translated(answer: Answer) -> ClusterError:
    """Translate an error answer into our own error; keep only its `Status` message, shortened."""
    document = json_object(answer.body)
    if document is None and answer.status == HTTPStatus.NOT_FOUND:
        # If an object is missing, the API server says so in JSON.
        return NoSuchKind("the Kubernetes API does not know this resource")
    said = (document or {}).get("message")
    quoted = f": {shortened(said)}" if isinstance(said, str) else ""
    return refusal(
        answer.status,
        f"the Kubernetes API answered {answer.status}{quoted}",
        retry_after=asked_to_wait(answer.headers),
    )
