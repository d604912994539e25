"""The typed targets of `spec.lifecycle.delivery[]`, told apart by `type`, each under its stable name.

Reading them never fails: what is malformed becomes an `InvalidTarget` that says which field to change,
and its neighbours are not touched by it.
"""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from reprlib import Repr
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from app.domain import bounds
from app.domain.events import DNS_SUBDOMAIN, TERMINAL_PHASES
from app.domain.text import printable, readable, shortened
from app.domain.urls import redacted

PLACEHOLDERS = ("team", "namespace", "phase", "artifacts", "duration", "cost", "tasks", "tokens")
"""What a message may name in braces; of the last four, the status may know nothing."""
NAME_LIMIT = bounds.NAME.most
RECIPIENTS_LIMIT = bounds.RECIPIENTS.most  # what every relay takes at once: RFC 5321, section 4.5.3.1.8

SecretName = Annotated[str, Field(pattern=DNS_SUBDOMAIN, max_length=bounds.SECRET_NAME.most)]


def _absent(value: Any) -> Any:
    return None if value == "" else value


Text = Annotated[str | None, BeforeValidator(_absent)]
"""An absent text is null, missing or empty: a Go client with `omitempty` cannot tell them apart."""
PathText = Annotated[Text, AfterValidator(bounds.PATTERN.check)]
Recipient = Annotated[str, AfterValidator(bounds.RECIPIENT.check)]


def _endings(value: Any) -> Any:
    """Judge how many there are first: each that is wrong is work."""
    if isinstance(value, list) and len(value) > bounds.ENDINGS.most:
        raise ValueError(bounds.ENDINGS.words)
    return value or None


Endings = tuple[Literal["Completed", "Failed", "TimedOut", "BudgetExceeded"], ...]


class TargetSpec(BaseModel):
    """What all targets have; unknown fields belong to later versions and are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, populate_by_name=True)

    name: str
    type: str
    credentials_secret: Annotated[
        SecretName | None, Field(alias="credentialsSecret"), BeforeValidator(_absent)
    ] = None
    artifact_path: Annotated[PathText, Field(alias="artifactPath")] = None
    message: Annotated[Text, AfterValidator(bounds.MESSAGE.check)] = None
    on: Annotated[Endings | None, Field(strict=False), BeforeValidator(_endings)] = None
    """Of which endings it is told; None: of all that the installation delivers."""

    @classmethod
    def kind(cls) -> str:
        """Return the word that `type` has in targets of this type."""
        (word,) = get_args(cls.model_fields["type"].annotation)
        return str(word)

    @property
    def missing(self) -> str | None:
        """What it cannot do without and does not say; email and google-drive leave that to their senders."""
        return None

    @cached_property
    def address(self) -> str:
        """Where it goes, in words that hold no secret: the label under which it is recorded."""
        return labels_of({**self.__dict__, "credentialsSecret": self.credentials_secret})[0]

    def address_with(self, keys: Container[str]) -> str:  # noqa: ARG002  # for those whose Secret may say
        """The same, where the Secret has these keys."""
        return self.address

    @property
    def attached(self) -> str | None:
        """The file to attach, according to its author."""
        return None

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom it goes to, where each has an outcome of their own."""
        return ()

    @property
    def secret_address(self) -> str:
        """The same, for an address that came out of the Secret."""
        return f"secret/{self.credentials_secret}"


class WebhookTarget(TargetSpec):
    """An HTTPS endpoint; where its path is a secret, its address stands in the Secret's key `url`."""

    type: Literal["webhook"]
    url: Annotated[Text, AfterValidator(bounds.URL.check), Field(repr=False)] = (
        None  # its query may hold a secret
    )

    @property
    def missing(self) -> str | None:
        """An address, in the target or in its Secret."""
        if self.url is None and self.credentials_secret is None:
            return "url: give an https:// address, or a credentialsSecret that holds the key url"
        return None

    def address_with(self, keys: Container[str]) -> str:
        """The Secret, where that holds the URL."""
        return self.secret_address if "url" in keys else self.address


class SlackTarget(TargetSpec):
    """A Slack incoming webhook, whose whole URL is a secret, and the channel to ask it for."""

    type: Literal["slack"]
    channel: Annotated[Text, AfterValidator(bounds.CHANNEL.check)] = None

    @property
    def missing(self) -> str | None:
        """The Secret, which holds the URL."""
        if self.credentials_secret is None:
            return "credentialsSecret: name the Secret that holds the key slack-webhook-url"
        return None


class EmailTarget(TargetSpec):
    """Recipients of a mail."""

    type: Literal["email"]
    to: Annotated[
        tuple[Recipient, ...],
        Field(strict=False, fail_fast=True),
        BeforeValidator(lambda value: () if value is None else value),
    ] = ()
    subject: Annotated[Text, AfterValidator(bounds.SUBJECT.check)] = None
    attachment_path: Annotated[PathText, Field(alias="attachmentPath")] = None

    @property
    def attached(self) -> str | None:
        """A path in the output workspace, which is not held here."""
        return self.attachment_path

    @property
    def recipients(self) -> tuple[str, ...]:
        """All of them, as they are written."""
        return self.to


class GoogleDriveTarget(TargetSpec):
    """A folder, by its id or by names: `Shared Reports/Q3`."""

    type: Literal["google-drive"]
    folder: Annotated[Text, AfterValidator(bounds.FOLDER.check)] = None


@dataclass(frozen=True, slots=True)
class InvalidTarget:
    """An entry of the spec that cannot be delivered, and why."""

    name: str
    type: str
    problem: str
    address: ClassVar[str] = ""  # what stands in a field that is wrong may be a secret


Target = WebhookTarget | SlackTarget | EmailTarget | GoogleDriveTarget
TYPES = tuple(model.kind() for model in get_args(Target))
_PLACE = re.compile(r"-[0-9]+")
_TYPE_WORD = re.compile(r"[A-Za-z][-A-Za-z0-9_.]{0,62}")
_BRIEF = Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_TARGET: TypeAdapter[Target] = TypeAdapter(Annotated[Target, Field(discriminator="type")])


def read_targets(spec: Sequence[Any]) -> list[Target | InvalidTarget]:
    """Read `spec.lifecycle.delivery[]` as the API server hands it in; one result an entry, names unique."""
    names = list(_unique_names(spec))
    return [_read(entry, name, clash) for entry, (name, clash) in zip(spec, names, strict=True)]


def target_names(spec: Sequence[Any]) -> list[str]:
    """Return the names under which the entries are recorded, in order, without judging the entries."""
    return [name for name, _ in _unique_names(spec)]


def given_names(spec: Sequence[Any]) -> set[str]:
    """Return the names that the author of the spec gave."""
    return {name for name in map(_given_name, spec) if name}


def is_place(name: str, kind: Any) -> bool:
    """Whether a name only says at which place of the spec a target of a type stands: `slack-1`."""
    return isinstance(kind, str) and _PLACE.fullmatch(name.removeprefix(kind)) is not None


def told_of(entry: Any, phase: str) -> bool:
    """Whether an entry of the spec requests notification in this phase; an unreadable one does."""
    on = entry.get("on") if isinstance(entry, dict) else None
    if not isinstance(on, list) or len(on) > bounds.ENDINGS.most:
        return True
    return not on or phase in on or not set(map(str, on)) <= {*TERMINAL_PHASES}


def labels_of(entry: Any) -> tuple[str, ...]:
    """Return the labels that an entry of the spec may be recorded under; the first is the one we write.

    The last is the operator's: what the entry says, as it says it, and nothing where it says nothing. A
    webhook whose URL turns out to stand in its Secret is recorded under that, whatever its entry says.
    """
    said = entry if isinstance(entry, dict) else {}
    secret = tuple(f"secret/{name}" for name in (_text_of(said.get("credentialsSecret")),) if name)
    match type_of(said):
        case "webhook":
            url = _text_of(said.get("url"))
            labels = ((redacted(url),) if url else ()) + secret + (url,)
        case "slack":
            channel = _text_of(said.get("channel"))
            labels = ((shortened(channel),) if channel else secret) + (channel,)
        case "email":
            to = said.get("to")
            joined = ", ".join(map(_text_of, to)) if isinstance(to, list | tuple) else ""
            labels = (shortened(joined), joined)
        case "google-drive":
            folder = _text_of(said.get("folder"))
            labels = (shortened(folder), folder)
        case _:
            labels = ("",)
    return labels


def type_of(entry: Any) -> str:
    """Return the type as declared, or `unknown` where that is no word."""
    declared = entry.get("type") if isinstance(entry, dict) else None
    return declared if isinstance(declared, str) and _TYPE_WORD.fullmatch(declared) else "unknown"


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) and readable(value) else ""


def _unique_names(spec: Sequence[Any]) -> Iterator[tuple[str, str | None]]:
    """Yield each entry's name and, where that name was taken already, the name it asked for.

    The first entry of a name has it; a later one gets the first `<name>-2`, `<name>-3` that no entry asks
    for, so that a clash never takes a name away from a healthy neighbour.
    """
    wanted = [_declared_name(entry, position) for position, entry in enumerate(spec)]
    reserved = set(wanted)
    taken: set[str] = set()
    # By what is left of a name, so that no number is tried twice: many long names may have that in common.
    suffixes: dict[str, int] = {}
    for name in wanted:
        if name not in taken:
            taken.add(name)
            yield name, None
            continue
        stem = name[: NAME_LIMIT - 6]
        number = suffixes.get(stem, 2)
        while (free := f"{stem}-{number}") in reserved or free in taken:
            number += 1
        suffixes[stem] = number + 1
        taken.add(free)
        yield free, name


def _declared_name(entry: Any, position: int) -> str:
    return _given_name(entry) or f"{type_of(entry)}-{position}"


def _given_name(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and len(name) <= NAME_LIMIT and printable(name) else ""


def _read(entry: Any, name: str, clash: str | None) -> Target | InvalidTarget:
    kind = type_of(entry)
    if clash is not None:
        problem = f'name: "{clash}" is taken by an earlier target; give this one a name of its own'
        return InvalidTarget(name, kind, problem)
    if not isinstance(entry, dict):
        return InvalidTarget(name, kind, "a target must be an object with at least `type`")
    declared = entry.get("name")
    if declared not in (None, "") and declared != name:
        problem = f"name: must be text of 1 to {NAME_LIMIT} printable characters"
        return InvalidTarget(name, kind, problem)
    if kind not in TYPES:
        shown = shortened(_BRIEF.repr(entry.get("type")), 60)
        meant = get_close_matches(kind.lower().replace("_", "-"), TYPES, 1)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        return InvalidTarget(name, kind, f"type: {shown} is not one of {', '.join(TYPES)}{hint}")
    try:
        target = _TARGET.validate_python({**entry, "name": name})
    except ValidationError as error:
        return InvalidTarget(name, kind, _problem(error))
    return InvalidTarget(name, kind, target.missing) if target.missing else target


def _problem(error: ValidationError) -> str:
    """Name the first field that is wrong and what it should be; never its value, which may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # The first element of a discriminated union's location is the tag.
    field = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "string_pattern_mismatch":
        return f"{field}: must be the name of a Secret in the team's own namespace"
    message = first["msg"].removeprefix("Value error, ").replace("Input", "input")
    message = message.replace("valid tuple", "valid list")
    return shortened(f"{field}: {message}")
