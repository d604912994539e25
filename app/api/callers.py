"""Authenticates and authorises callers through Kubernetes.

TokenReview identifies the caller, SubjectAccessReview checks the permission: `create`, or `get` for
reading, on the virtual subresource `agentteams/delivery` of the team. Answers are remembered for a short
time, by a hash of the token. Where the API server does not answer, nobody is let in.
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

REMEMBERED = 10_000  # answers; the one that was needed longest ago is forgotten first
REFUSAL_REMEMBERED = 2.0  # seconds: a newly granted permission takes effect soon
REVIEWS = 32  # under way at once, so that a flood does not reach the API server
REVIEWS_OF_STRANGERS = (
    24  # of these, for tokens that were not good lately; the rest stays for those that were
)
ANYBODY = Caller("anybody")


class Authorizer(Protocol):
    """Judges callers by the token they bear, and keeps each to its rate."""

    async def authenticate(self, token: str | None, address: str) -> Caller:
        """Return who calls.

        Raises:
            Unauthenticated: nobody knows the caller.
            RateLimited: the caller asks too often.
            ClusterUnavailable: it cannot be told now.
        """
        ...

    async def authorize(self, caller: Caller, verb: Verb, namespace: str, team: str) -> None:
        """Return when the caller may do this to the team's delivery, whether there is such a team or not.

        Raises:
            Forbidden: the caller lacks the permission.
            ClusterUnavailable: it cannot be told now.
        """
        ...


class AllowAll:
    """`AUTH=none`: everybody who reaches the port may, each address at its rate."""

    def __init__(self, rate: RateLimit) -> None:
        self._rate = rate

    async def authenticate(self, token: str | None, address: str) -> Caller:
        """Return that it is anybody."""
        del token
        self._rate.admit(address)
        return ANYBODY

    async def authorize(self, caller: Caller, verb: Verb, namespace: str, team: str) -> None:
        """Return."""


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
            # Answered at no cost; a rate here would shut out whoever shares the address.
            raise Unauthenticated(f"send `Authorization: Bearer …` with a token {self._hint}")
        digest = hashlib.blake2b(token.encode(), key=self._key).digest()
        known = digest in self._acquainted
        if not known and digest not in self._callers:
            # By address, since nobody knows who it is; and before the API server is troubled with it.
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
    """Answers that hold for some seconds from when they were asked for; nothing is asked twice at a time.

    What is empty (nobody, no) holds for `REFUSAL_REMEMBERED`, a failure not at all.
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
                raise ApiUnavailable("too many callers are being looked up", retry_after=RETRY_SOON)
            task = self._answers[question] = asyncio.create_task(ask())
            self._asking.add(task)
            task.add_done_callback(lambda done: self._answered(question, done))
        # Shielded: a caller that goes away does not take the answer from the others.
        return await asyncio.shield(task)

    def _answered(self, question: Hashable, task: asyncio.Task[Told]) -> None:
        self._asking.discard(task)
        if self._answers.get(question) is not task:
            return
        if task.cancelled() or task.exception():
            del self._answers[question]
        elif not task.result():
            self._answers[question] = task  # its time starts again

    def _until(self, _: Hashable, task: asyncio.Task[Told], now: float) -> float:
        return now + (REFUSAL_REMEMBERED if task.done() and not task.result() else self._seconds)


def build_authorizer(settings: ServiceSettings, cluster: Cluster) -> Authorizer:
    """Return the authorizer that the settings ask for."""
    rate = RateLimit(settings.rate_limit)
    return AllowAll(rate) if settings.auth == "none" else KubernetesAuthorizer(settings, cluster, rate)
