"""The message to a target, the verdict on one attempt, and the protocol of all senders."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, Self, TypedDict, TypeVar

from propcache.api import cached_property

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.targets import TargetSpec
from app.egress.client import endpoint
from app.egress.guard import Checked
from app.senders.credentials import Credentials


class Artifact(TypedDict):
    """A file that the team produced, as in its status; null: the status does not say."""

    name: str
    path: str
    producedBy: str | None
    producedAt: str | None


class Listing(tuple[Artifact, ...]):  # noqa: SLOT001  # derived texts are cached in it
    """Artifacts that notifications list, and texts derived from them, each computed once."""

    @classmethod
    def of(cls, artifacts: Iterable[Artifact], encoded: Sequence[str]) -> Self:
        """Return a listing of artifacts whose JSON exists already."""
        listing = cls(artifacts)
        listing.__dict__["json"] = f"[{', '.join(encoded)}]"
        return listing

    def with_more(self, artifacts: Sequence[Artifact]) -> Self:
        """Return a listing of these artifacts and then others."""
        known = [self.json[1:-1]] if self else []
        return self.of((*self, *artifacts), [*known, *map(json.dumps, artifacts)])

    @cached_property
    def json(self) -> str:
        """The list as webhooks receive it."""
        return json.dumps(self)

    @cached_property
    def names(self) -> str:
        """The names on one line."""
        return ", ".join(artifact["name"] for artifact in self)


Made = TypeVar("Made")


class Drafts:
    """Parts of a message, shared by all targets that receive the same one."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def once(self, what: str, make: Callable[[], Made]) -> Made:
        """Return the part if it exists, otherwise create it."""
        if what not in self._made:
            self._made[what] = make()
        made: Made = self._made[what]
        return made


class Destination(NamedTuple):
    """A host and port, which has a limit on concurrent connections."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Way:
    """Where an attempt connects to, and its URL if the guard has checked it."""

    to: Destination = field(repr=False)
    url: Checked | None = field(default=None, repr=False)

    @property
    def checked(self) -> Checked:
        """The checked URL, for a sender that has one."""
        assert self.url is not None  # noqa: S101  # it comes from the same sender
        return self.url


def way_to(url: Checked) -> Way:
    """Return the route to a URL."""
    return Way(Destination(*endpoint(url)), url)


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a message to several recipients: who has it, who was rejected permanently, and why."""

    accepted: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def forget(_: Progress) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message to one target; `facts` are pairs of label and value for people.

    `note` is called with the progress during an attempt, which may be cut off.
    """

    id: str
    event: str
    team: str
    namespace: str
    phase: str
    message: str
    artifacts: Listing = Listing()  # noqa: RUF009  # as unchangeable as an empty tuple
    facts: tuple[tuple[str, str], ...] = ()
    progress: Progress = Progress()
    note: Callable[[Progress], None] = field(default=forget, repr=False, compare=False)
    names_files: bool = False  # the target names a file as if to attach it
    drafts: Drafts = field(default_factory=Drafts, repr=False, compare=False)

    def body(self) -> bytes:
        """Return the webhook's JSON document: these six keys, no more."""
        return self.drafts.once("body", self._body)

    def _body(self) -> bytes:
        document = {
            "event": self.event,
            "team": self.team,
            "namespace": self.namespace,
            "phase": self.phase,
            "message": self.message,
        }
        return f'{json.dumps(document)[:-1]}, "artifacts": {self.artifacts.json}}}'.encode()


class Verdict(NamedTuple):
    """The result of one attempt.

    `retry_after`: seconds that the receiver asked to wait; `attempted`: whether the network was used;
    `progress`: the progress of all attempts together, for a target with several recipients; `queued`: there
    was no attempt, because no place was free.
    """

    reason: Reason
    message: str
    http_status: int | None = None
    retryable: bool = False
    retry_after: float | None = None
    attempted: bool = True
    progress: Progress | None = None
    queued: bool = False

    @classmethod
    def of(cls, error: TargetError) -> Self:
        """Return the verdict on an attempt that got no answer to judge."""
        return cls(
            error.reason,
            error.message,
            retryable=error.retryable,
            retry_after=error.retry_after,
            attempted=error.attempted,
        )

    @property
    def delivered(self) -> bool:
        """Whether the receiver has the message."""
        return self.reason is Reason.DELIVERED


@dataclass(frozen=True, slots=True)
class Preview:
    """The request that a target would get, with all parts from a Secret hidden."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str


HIDDEN = "…"
"""Replaces a value from a Secret."""


Spec_contra = TypeVar("Spec_contra", bound=TargetSpec, contravariant=True)


class Sender(Protocol[Spec_contra]):
    """Sends to one type of target.

    A sender makes one attempt; it does not retry, measure time or record.
    """

    @property
    def keys(self) -> frozenset[str]:
        """The keys that it reads of a Secret; the service keeps no other key, even for one dispatch."""
        ...

    @property
    def copies(self) -> int:
        """How much memory a message takes until it is sent, at most, in multiples of the webhook's JSON."""
        ...

    def way(self, target: Spec_contra, credentials: Credentials) -> Way:
        """Return where an attempt connects to; raise `TargetError` if no attempt is possible."""
        ...

    async def send(
        self, envelope: Envelope, target: Spec_contra, credentials: Credentials, way: Way
    ) -> Verdict:
        """Make one attempt; raise `TargetError` if there was no answer to judge."""
        ...

    async def preview(self, envelope: Envelope, target: Spec_contra, credentials: Credentials) -> Preview:
        """Show what an attempt would send, and send nothing; raise `TargetError` if that is impossible."""
        ...


Senders = Mapping[str, Sender[Any]]
"""The senders of an installation by the type of target that each accepts; the registry pairs them."""


def sender_for(senders: Senders, kind: str) -> Sender[Any]:
    """Return the sender for a type.

    Raises:
        TargetError: this installation has none.
    """
    sender = senders.get(kind)
    if sender is None:
        raise TargetError(Reason.NOT_IMPLEMENTED, f"no backend for {kind} is enabled in this installation")
    return sender


SUCCESSES = range(HTTPStatus.OK, HTTPStatus.MULTIPLE_CHOICES)
REDIRECTIONS = range(HTTPStatus.MULTIPLE_CHOICES, HTTPStatus.BAD_REQUEST)
RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


def judge(status: int, retry_after: float | None, note: str = "") -> Verdict:
    """Turn a receiver's HTTP status into a verdict; `note` is the receiver's error, without secrets."""
    if status in SUCCESSES:
        return Verdict(Reason.DELIVERED, f"answered {status}", status)
    if status in REDIRECTIONS:
        message = f"answered {status}: redirects are refused; give the final address"
        return Verdict(Reason.REDIRECTED, message, status)
    reason = Reason.RATE_LIMITED if status == HTTPStatus.TOO_MANY_REQUESTS else Reason.HTTP_STATUS
    message = f"answered {status} {note or _phrase(status)}".rstrip()
    if status in RETRYABLE_STATUSES:
        return Verdict(reason, message, status, retryable=True, retry_after=retry_after)
    return Verdict(reason, message, status)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
