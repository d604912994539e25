"""The only door to the Kubernetes API: read a team, write its record, read a Secret, ask about a caller.

What the client library raises, and what the API server answers, is translated here into our own errors.
"""

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from kubernetes_asyncio import config
from kubernetes_asyncio.client import (
    ApiClient,
    AuthenticationV1Api,
    AuthorizationV1Api,
    Configuration,
    CoreV1Api,
    CustomObjectsApi,
    VersionApi,
)

from app.announcements import Announcement
from app.errors import (
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    Conflict,
    ObjectNotFound,
    Rejected,
    SettingsError,
)
from app.settings import ServiceSettings
from app.targets import shortened
from app.teams import KIND, PLURAL, VERSION, AgentTeam
from app.times import format_time, parse_http_date, parse_retry_after, steady

FIELD_MANAGER = "agentteam-delivery"
NOT_REVIEWED = "the Kubernetes API did not review the token"
"""All that is said of it: what the API server writes, or a webhook of it, may quote the token."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A team as it was at one moment.

    `date` is that moment by the API server's clock, cut to the whole second, so never late: claims are judged
    and stamped by it. `asked` is when the question was put, by our own steady clock, so never late either.
    """

    team: AgentTeam
    date: datetime
    asked: float

    @property
    def now(self) -> datetime:
        """About what the API server's clock shows by now; good enough for a stamp."""
        return self.date + timedelta(seconds=steady() - self.asked)


@dataclass(frozen=True, slots=True)
class Secret:
    """A Secret's labels, and its values, which nothing shows."""

    labels: Mapping[str, str]
    values: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who bears a token, as the API server knows them."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@asynccontextmanager
async def connect() -> AsyncIterator[ApiClient]:
    """Yield an API client: in-cluster, else what `KUBECONFIG` names.

    Raises:
        SettingsError: neither is there.
    """
    configuration = Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            # Named here, since the library reads the variable once, when it is imported.
            path = os.environ.get("KUBECONFIG")
            await config.load_kube_config(config_file=path, client_configuration=configuration)
    except Exception as error:  # noqa: BLE001  # a file that is no kubeconfig raises whatever its content leads to
        raise SettingsError(
            "no Kubernetes API is configured: run inside a cluster, or set KUBECONFIG to a readable file"
            f" ({type(error).__name__})"
        ) from None
    async with ApiClient(configuration) as api:
        yield api


class Cluster:
    """The calls that the service makes, each bounded in time."""

    def __init__(self, api: ApiClient, *, group: str, timeout: float) -> None:
        self._objects = CustomObjectsApi(api)
        self._core = CoreV1Api(api)
        self._version = VersionApi(api)
        self._authentication = AuthenticationV1Api(api)
        self._authorization = AuthorizationV1Api(api)
        self._group = group
        self._timeout = timeout  # seconds a request
        self._instance = socket.gethostname()  # the pod's name

    async def read_team(self, namespace: str, name: str) -> Snapshot:
        """Read an AgentTeam, fresh from the API server.

        Raises:
            ClusterError: any of its kinds.
        """
        return await self._snapshot(
            self._objects.get_namespaced_custom_object, self._group, VERSION, namespace, PLURAL, name
        )

    async def write_delivery(self, team: AgentTeam, entries: Sequence[Mapping[str, Any]]) -> Snapshot:
        """Replace `status.delivery` of the team as it was read, and return the team as it is then.

        Raises:
            Conflict: the team has changed since it was read.
            ClusterError: any of its other kinds.
        """
        patch = {
            "metadata": {"resourceVersion": team.resource_version},
            "status": {"delivery": list(entries)},
        }
        return await self._snapshot(
            self._objects.patch_namespaced_custom_object_status,
            self._group,
            VERSION,
            team.namespace,
            PLURAL,
            team.name,
            patch,
            # A dict would go out as a JSON patch otherwise, and be refused.
            _content_type="application/merge-patch+json",
            field_manager=FIELD_MANAGER,
        )

    async def publish(self, team: AgentTeam, said: Announcement) -> None:
        """Write a Kubernetes Event about the team, or change the one that is there already.

        https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/

        Raises:
            ClusterError: any of its kinds.
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
        try:
            await self._call(self._core.create_namespaced_event, team.namespace, event)
        except Conflict:
            await self._call(
                self._core.patch_namespaced_event,
                said.name,
                team.namespace,
                news,
                _content_type="application/merge-patch+json",
            )

    async def read_secret(self, namespace: str, name: str) -> Secret:
        """Read a Secret: one, by its name; Secrets are never listed.

        Raises:
            ClusterError: any of its kinds.
        """
        secret, _ = await self._call(self._core.read_namespaced_secret, name, namespace)
        try:
            labels = (secret.get("metadata") or {}).get("labels") or {}
            data = (secret.get("data") or {}).items()
            values = {str(key): base64.b64decode(value, validate=True) for key, value in data}
            return Secret(dict(labels), values)
        except (AttributeError, TypeError, ValueError):
            raise Rejected("the API server's answer holds no data that can be read") from None

    async def review(self, token: str, audience: str) -> Caller | None:
        """Ask who bears a token that was made for this audience; None: nobody that the API server knows.

        https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/

        Raises:
            ClusterError: any of its kinds.
        """
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        try:
            answer, _ = await self._call(self._authentication.create_token_review, review)
        except ApiUnavailable as error:
            raise ApiUnavailable(NOT_REVIEWED, retry_after=error.retry_after) from None
        except ClusterError as error:
            raise type(error)(NOT_REVIEWED) from None
        status = answer.get("status") or {}
        # An API server that does not know audiences names none, and has not looked for whom the token is.
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
            ClusterError: any of its kinds.
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
        answer, _ = await self._call(self._authorization.create_subject_access_review, review)
        return (answer.get("status") or {}).get("allowed") is True

    async def ping(self) -> None:
        """Ask the API server for its version.

        Raises:
            ClusterError: it does not answer.
        """
        await self._call(self._version.get_code)

    async def _snapshot(self, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Snapshot:
        asked = steady()
        resource, headers = await self._call(call, *args, **kwargs)
        team = AgentTeam.from_resource(resource)
        if not (team.uid and team.resource_version):
            raise ApiUnavailable("the Kubernetes API answered with something that is no AgentTeam")
        return Snapshot(team, parse_http_date(headers.get("Date", "")) or datetime.now(UTC), asked)

    async def _call(
        self, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Make one request; the library's own decoding is left out, since it logs the body."""
        try:
            async with asyncio.timeout(self._timeout):
                response: aiohttp.ClientResponse = await call(
                    *args, _preload_content=False, _request_timeout=self._timeout, **kwargs
                )
                async with response:
                    body = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError, config.ConfigException) as error:
            raise ApiUnavailable(f"the Kubernetes API does not answer ({type(error).__name__})") from None
        if response.status >= 400:  # noqa: PLR2004  # HTTP's first error
            raise _translated(response, body)
        document = _document(body)
        if document is None:
            raise ApiUnavailable("the Kubernetes API answered something other than a JSON object")
        return document, response.headers


@asynccontextmanager
async def open_cluster(settings: ServiceSettings) -> AsyncIterator[Cluster]:
    """Yield the door to the cluster that the environment names.

    Raises:
        SettingsError: it names none.
    """
    async with connect() as api:
        yield Cluster(api, group=settings.api_group, timeout=settings.api_timeout)


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _translated(response: aiohttp.ClientResponse, body: bytes) -> ClusterError:
    """Turn an error answer into our own; of its text only the `Status` message is kept, and cut."""
    status = response.status
    said = (_document(body) or {}).get("message")
    text = f"the Kubernetes API answered {status}" + (f": {shortened(said)}" if isinstance(said, str) else "")
    match status:
        case 404:
            return ObjectNotFound(text)
        case 409:
            return Conflict(text)
        case 401 | 403:
            return AccessDenied(text)
        case 429:
            pass
        case _ if status < 500 or "too large" in text:  # noqa: PLR2004  # etcd's limit comes as a 500
            return Rejected(text)
    wait = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    return ApiUnavailable(text, retry_after=wait)
