"""Authenticates and authorises callers through Kubernetes.

TokenReview identifies the caller. SubjectAccessReview checks the permission: `create`, or `get` for reading,
on the virtual subresource `agentteams/delivery` of the team. Answers are cached for a short time, by a hash
of the token. If the API server does not answer, nobody gets access.
"""

import asyncio
import hashlib
import secrets
import shlex
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, Literal, Protocol, TypeVar

import structlog
from cachetools import LRUCache, TLRUCache

from app.api.rates import RateLimit
from app.domain.errors import (
    RETRY_LATER,
    RETRY_SOON,
    AccessDenied,
    ApiUnavailable,
    ClusterError,
    ClusterUnavailable,
    Forbidden,
    Unauthenticated,
    patience,
)
from app.domain.teams import PLURAL
from app.domain.times import steady
from app.kube.cluster import Caller, Cluster
from app.settings import ServiceSettings

log = structlog.get_logger(__name__)

Verb = Literal["create", "get"]
Told = TypeVar("Told")

REMEMBERED = 10_000  # answers; the least recently used one is dropped first
REFUSAL_REMEMBERED = 2.0  # seconds: a newly granted permission takes effect soon
REVIEWS = 32  # concurrent reviews, so that a flood does not reach the API server
REVIEWS_OF_STRANGERS = (
    24  # of these, for tokens that were not valid recently; the rest is reserved for those that were
)
ANYBODY = Caller("anybody")


class Authorizer(Protocol):
    """Authenticates callers by their token, and limits the rate of each."""

    async def authenticate(self, token: str | None, address: str) -> Caller:
        """Return the caller.

        Raises:
            Unauthenticated: the token identifies nobody.
            RateLimited: the caller exceeds its rate.
            ClusterUnavailable: the API server does not answer.
        """
        ...

    async def authorize(self, caller: Caller, verb: Verb, namespace: str, team: str) -> None:
        """Return if the caller may do this to the team's delivery, whether or not the team exists.

        Raises:
            Forbidden: the caller lacks the permission.
            ClusterUnavailable: the API server does not answer.
        """
        ...


class AllowAll:
    """`AUTH=none`: permits everyone who reaches the port, with a rate limit per address."""

    def __init__(self, rate: RateLimit) -> None:
        self._rate = rate

    async def authenticate(self, token: str | None, address: str) -> Caller:
        """Return an anonymous caller."""
        del token
        self._rate.admit(address)
        return ANYBODY

    async def authorize(self, caller: Caller, verb: Verb, namespace: str, team: str) -> None:
        """Permit everything."""


class KubernetesAuthorizer:
    """`AUTH=kubernetes`: callers that the API server authenticates and authorises."""

    def __init__(self, settings: ServiceSettings, cluster: Cluster, rate: RateLimit) -> None:
        self._cluster = cluster
        self._group = settings.api_group
        self._audience = settings.audience
        self._rate = rate
        self._key = secrets.token_bytes(32)
        # Tokens that were valid recently: reviewed like others, but not delayed by a flood of unknown ones.
        self._acquainted: LRUCache[bytes, None] = LRUCache(REMEMBERED)
        self._callers: Recent[Caller | None] = Recent(settings.auth_cache)
        self._rights: Recent[bool] = Recent(settings.auth_cache)

    async def authenticate(self, token: str | None, address: str) -> Caller:
        """Ask TokenReview, for the service's own audience."""
        if not token:
            # Free of charge, because a rate limit here would shut out others at the same address.
            raise Unauthenticated(f"send `Authorization: Bearer …` with a token {self._hint}")
        digest = hashlib.blake2b(token.encode(), key=self._key).digest()
        known = digest in self._acquainted
        if not known and digest not in self._callers:
            # By address, because the caller is unknown; and before the request to the API server.
            self._rate.admit(f"address {address}")
        caller = await self._asked(
            self._callers, digest, lambda: self._cluster.review(token, self._audience), known=known
        )
        if caller is None:
            self._acquainted.pop(digest, None)
            raise Unauthenticated(f"the token is not valid or has expired; send one {self._hint}")
        self._acquainted[digest] = None
        self._rate.admit(f"caller {caller.name}")
        return caller

    async def authorize(self, caller: Caller, verb: Verb, namespace: str, team: str) -> None:
        """Ask SubjectAccessReview."""
        question = (caller, verb, namespace, team)
        if not await self._asked(self._rights, question, lambda: self._cluster.allows(*question), known=True):
            raise Forbidden(
                f"{caller.name} may not {verb} {PLURAL}/delivery of {self._group} in namespace {namespace};"
                f" to grant it, run: {self._grant(caller, verb, namespace)}"
            )

    async def _asked(
        self,
        recent: "Recent[Told]",
        question: Hashable,
        ask: Callable[[], Coroutine[Any, Any, Told]],
        *,
        known: bool,
    ) -> Told:
        try:
            return await recent.answer(question, ask, most=REVIEWS if known else REVIEWS_OF_STRANGERS)
        except AccessDenied:
            log.warning("reviews_forbidden", advice="grant create on tokenreviews and subjectaccessreviews")
            raise ClusterUnavailable(
                "the service has no permission to authenticate and authorise callers; grant its account"
                " create on tokenreviews and subjectaccessreviews, as system:auth-delegator does",
                retry_after=RETRY_LATER,
            ) from None
        except ClusterError as error:
            raise ClusterUnavailable(
                f"callers cannot be authenticated now: {error}", retry_after=patience(error)
            ) from None

    @property
    def _hint(self) -> str:
        return (
            f"for audience {self._audience}, as `kubectl create token NAME --audience={self._audience}` makes"
        )

    def _grant(self, caller: Caller, verb: Verb, namespace: str) -> str:
        """Return the commands that grant the permission, on one line."""
        role = f"agentteam-delivery-{'reader' if verb == 'get' else 'caller'}"
        where = f"-n {namespace}"
        what = f"--verb={verb} --resource={PLURAL}.{self._group}/delivery"
        account = caller.name.removeprefix("system:serviceaccount:")
        whom = f"--user={caller.name}" if account == caller.name else f"--serviceaccount={account}"
        binding = f"{role}-{hashlib.sha256(caller.name.encode()).hexdigest()[:8]}"
        return (
            f"kubectl create role {role} {where} {what};"
            f" kubectl create rolebinding {binding} {where} --role={role} {shlex.quote(whom)}"
        )


class Recent(Generic[Told]):
    """Answers that are valid for some seconds after their request; a question is asked only once at a time.

    Negative answers are valid for `REFUSAL_REMEMBERED`, failures not at all.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = steady) -> None:
        self._seconds = seconds
        self._answers: TLRUCache[Hashable, asyncio.Task[Told]] = TLRUCache(
            REMEMBERED, self._until, timer=clock
        )
        self._asking: set[asyncio.Task[Told]] = set()

    def __contains__(self, question: Hashable) -> bool:
        return question in self._answers

    def __len__(self) -> int:
        return len(self._answers)

    async def answer(
        self, question: Hashable, ask: Callable[[], Coroutine[Any, Any, Told]], *, most: int = REVIEWS
    ) -> Told:
        """Return the cached answer, or request it if fewer than `most` requests are in progress."""
        task = self._answers.get(question)
        if task is None:
            if len(self._asking) >= most:
                raise ApiUnavailable("too many callers are being authenticated", retry_after=RETRY_SOON)
            task = self._answers[question] = asyncio.create_task(ask())
            self._asking.add(task)
            task.add_done_callback(lambda done: self._answered(question, done))
        # Shielded: a caller who disconnects must not cancel the answer for others.
        return await asyncio.shield(task)

    def _answered(self, question: Hashable, task: asyncio.Task[Told]) -> None:
        self._asking.discard(task)
        if self._answers.get(question) is not task:
            return
        if task.cancelled() or task.exception():
            del self._answers[question]
        elif not task.result():
            self._answers[question] = task  # moved to the end, because its time restarts

    def _until(self, _: Hashable, task: asyncio.Task[Told], now: float) -> float:
        return now + (REFUSAL_REMEMBERED if task.done() and not task.result() else self._seconds)


def build_authorizer(settings: ServiceSettings, cluster: Cluster) -> Authorizer:
    """Return the authorizer for the settings."""
    rate = RateLimit(settings.rate_limit)
    return AllowAll(rate) if settings.auth == "none" else KubernetesAuthorizer(settings, cluster, rate)
