"""The typed targets of `spec.lifecycle.delivery[]`, distinguished by `type`, each with a stable name.

Reading them never fails: a malformed entry becomes an `InvalidTarget` that says which field to change, and
does not affect the others.
"""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
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
"""The placeholders of a message; the status may lack the values of the last four."""
NAME_LIMIT = bounds.NAME.most
RECIPIENTS_LIMIT = bounds.RECIPIENTS.most  # the minimum of every relay: RFC 5321, section 4.5.3.1.8

SecretName = Annotated[str, Field(pattern=DNS_SUBDOMAIN, max_length=bounds.SECRET_NAME.most)]


def _absent(value: Any) -> Any:
    return None if value == "" else value


Text = Annotated[str | None, BeforeValidator(_absent)]
"""An absent text is null, missing or empty: a Go client with `omitempty` cannot distinguish them."""
PathText = Annotated[Text, AfterValidator(bounds.PATTERN.check)]
Recipient = Annotated[str, AfterValidator(bounds.RECIPIENT.check)]


def _phases(value: Any) -> Any:
    """Check the length first, because each invalid item is an error of its own."""
    if isinstance(value, list) and len(value) > bounds.PHASES.most:
        raise ValueError(bounds.PHASES.words)
    return value or None


Phases = tuple[Literal["Completed", "Failed", "TimedOut", "BudgetExceeded"], ...]


class TargetSpec(BaseModel):
    """The fields of every target; unknown fields belong to later versions and are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, populate_by_name=True)

    name: str
    type: str
    credentials_secret: Annotated[
        SecretName | None, Field(alias="credentialsSecret"), BeforeValidator(_absent)
    ] = None
    artifact_path: Annotated[PathText, Field(alias="artifactPath")] = None
    message: Annotated[Text, AfterValidator(bounds.MESSAGE.check)] = None
    on: Annotated[Phases | None, Field(strict=False), BeforeValidator(_phases)] = None
    """The phases in which it is notified; None: all phases that the installation delivers."""

    @classmethod
    def kind(cls) -> str:
        """Return the value of `type` for targets of this type."""
        (word,) = get_args(cls.model_fields["type"].annotation)
        return str(word)

    @property
    def missing(self) -> str | None:
        """What a required field lacks; email and google-drive leave this check to their senders."""
        return None

    @cached_property
    def address(self) -> str:
        """The destination without secrets: the label under which it is recorded."""
        return labels_of({**self.__dict__, "credentialsSecret": self.credentials_secret})[0]

    def address_with(self, keys: Container[str]) -> str:  # noqa: ARG002  # for types whose Secret may contain the address
        """Return the label if the Secret has these keys."""
        return self.address

    @property
    def attached(self) -> str | None:
        """The file to attach, as the author wrote it."""
        return None

    @property
    def recipients(self) -> tuple[str, ...]:
        """The recipients, for a type whose recipients have separate outcomes."""
        return ()

    @property
    def secret_address(self) -> str:
        """The label for a destination whose address is in the Secret."""
        return f"secret/{self.credentials_secret}"


class WebhookTarget(TargetSpec):
    """An HTTPS endpoint; if its path is a secret, the Secret's key `url` contains the address."""

    type: Literal["webhook"]
    url: Annotated[Text, AfterValidator(bounds.URL.check), Field(repr=False)] = (
        None  # its query may contain a secret
    )

    @property
    def missing(self) -> str | None:
        """An address, in the target or in its Secret."""
        if self.url is None and self.credentials_secret is None:
            return "url: give an https:// address, or a credentialsSecret that holds the key url"
        return None

    def address_with(self, keys: Container[str]) -> str:
        """The Secret, if it contains the URL."""
        return self.secret_address if "url" in keys else self.address


class SlackTarget(TargetSpec):
    """A Slack incoming webhook, whose whole URL is a secret, and the channel to request."""

    type: Literal["slack"]
    channel: Annotated[Text, AfterValidator(bounds.CHANNEL.check)] = None

    @property
    def missing(self) -> str | None:
        """The Secret, which contains the URL."""
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
        """A path in the output workspace, which this service cannot read."""
        return self.attachment_path

    @property
    def recipients(self) -> tuple[str, ...]:
        """All recipients, as written."""
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
    address: ClassVar[str] = ""  # an invalid field may contain a secret


Target = WebhookTarget | SlackTarget | EmailTarget | GoogleDriveTarget
TYPES = tuple(model.kind() for model in get_args(Target))
UniqueName = tuple[str, str | None]
"""The name of a target and, if another has it, the name that its author gave."""
_PLACE = re.compile(r"-[0-9]+")
_TYPE_WORD = re.compile(r"[A-Za-z][-A-Za-z0-9_.]{0,62}")
_BRIEF = Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_TARGET: TypeAdapter[Target] = TypeAdapter(Annotated[Target, Field(discriminator="type")])


def read_targets(
    spec: Sequence[Any], names: Iterable[UniqueName] | None = None
) -> list[Target | InvalidTarget]:
    """Read `spec.lifecycle.delivery[]` from the API server: one result per entry, with unique names.

    `names` are those that `unique_names` returns, if they are known.
    """
    named = unique_names(spec) if names is None else names
    return [_read(entry, name, clash) for entry, (name, clash) in zip(spec, named, strict=True)]


def given_names(spec: Sequence[Any]) -> set[str]:
    """Return the names that the author of the spec gave."""
    return {name for name in map(_given_name, spec) if name}


def is_place(name: str, kind: Any) -> bool:
    """Whether a name only says a target's position in the spec: `slack-1`."""
    return isinstance(kind, str) and _PLACE.fullmatch(name.removeprefix(kind)) is not None


def is_notified(entry: Any, phase: str) -> bool:
    """Whether an entry of the spec requests notification in this phase; an unreadable one does."""
    on = entry.get("on") if isinstance(entry, dict) else None
    if not isinstance(on, list) or len(on) > bounds.PHASES.most:
        return True
    return not on or phase in on or not set(map(str, on)) <= {*TERMINAL_PHASES}


def labels_of(entry: Any) -> tuple[str, ...]:
    """Return the labels under which an entry of the spec may be recorded; the first is the one that we write.

    The last is the operator's: the address exactly as in the entry, or empty. A webhook whose URL is in its
    Secret is recorded under the Secret's label, whatever address its entry has.
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
    """Return the type as declared, or `unknown` if it is not a word."""
    declared = entry.get("type") if isinstance(entry, dict) else None
    if isinstance(declared, str) and (declared in TYPES or _TYPE_WORD.fullmatch(declared)):
        return declared
    return "unknown"


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) and readable(value) else ""


def unique_names(spec: Sequence[Any]) -> Iterator[UniqueName]:
    """Yield each entry's name and, if that was taken, the name that it requested.

    The first entry with a name gets it. A later one gets the first of `<name>-2`, `<name>-3`, … that no entry
    requests, so a clash never takes a name from a valid entry.
    """
    wanted = [_declared_name(entry, position) for position, entry in enumerate(spec)]
    reserved = set(wanted)
    taken: set[str] = set()
    # Per shortened name, so that no number is tried twice: many long names may share their beginning.
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
    """Name the first invalid field and what it should be; never its value, which may be a secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # The first element of a discriminated union's location is the tag.
    field = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "string_pattern_mismatch":
        return f"{field}: must be the name of a Secret in the team's own namespace"
    message = first["msg"].removeprefix("Value error, ").replace("Input", "input")
    message = message.replace("valid tuple", "valid list")
    return shortened(f"{field}: {message}")
