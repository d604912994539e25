"""Every setting of both processes: environment variables with the prefix `DELIVERY_`.

Durations are decimal seconds, lists are comma-separated (empty: none), levels are upper case.
"""

import math
import re
import ssl
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.bypass import Bypass
from app.domain.errors import SettingsError
from app.domain.events import TERMINAL_PHASES
from app.domain.mailboxes import read_mailbox
from app.domain.teams import LONGEST_CLAIM

PREFIX = "DELIVERY_"
LABEL = (
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"  # a prefix, or none
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
    r"(=([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?)?$"
)
"""A label's key, with `=` and a value or without.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
"""

RELAY_HOST = re.compile(
    r"\d{1,3}(\.\d{1,3}){3}"  # an IPv4 address
    r"|([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z]([a-z0-9-]*[a-z0-9])?\.?",  # a name
    re.ASCII | re.IGNORECASE,
)


def _split(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _blank_is_none(value: Any) -> Any:
    return None if value == "" else value


def _authorities(path: str) -> str:
    try:
        ssl.create_default_context().load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"{path} holds no certificates in PEM form") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return path


def is_loopback(host: str) -> bool:
    """Whether what goes to a host stays on this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _proxy(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "http" and parts.hostname and parts.port and parts.path in {"", "/"}
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        f"{user}:{password}".encode("latin-1")  # as Basic authentication sends them (RFC 7617)
        usable = usable and ":" not in user
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        # Not quoted: it may hold a password.
        raise ValueError(
            "must be http://host:port, with user:password@ before the host where it asks for them"
        )
    return value


def _hosts_apart(items: tuple[str, ...]) -> tuple[str, ...]:
    try:
        everything = Bypass.read(items).everything
    except ValueError as error:
        everything, items = True, (str(error),)
    if everything:
        raise ValueError(
            f"{', '.join(items)[:100]}: must be host names, such as svc.cluster.local, each of which stands"
            " for those below it too, addresses or CIDRs"
        )
    return items


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = (
            parts.port != 0 and url.isprintable() and " " not in url and not (parts.query or parts.fragment)
        )
    except ValueError:
        usable = False
    if not usable or (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or parts.path.strip("/")
    ):
        raise ValueError("must be https:// and a host, without user info and path")
    return url.rstrip("/")


def _mailbox(text: str) -> str:
    read_mailbox(text)
    return text


def _relay(name: str) -> str:
    if not RELAY_HOST.fullmatch(name):
        raise ValueError(f"{name[:100]}: must be a host's name or an IPv4 address, such as smtp.example.com")
    return name


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 365, allow_inf_nan=False)]
OptionalSeconds = Annotated[Seconds | None, BeforeValidator(_blank_is_none)]
Waits = Annotated[tuple[Seconds, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
FileName = Annotated[str | None, BeforeValidator(_blank_is_none)]
Authorities = Annotated[Annotated[str, AfterValidator(_authorities)] | None, BeforeValidator(_blank_is_none)]
Proxy = Annotated[Annotated[SecretStr, AfterValidator(_proxy)] | None, BeforeValidator(_blank_is_none)]
SecretLabel = Annotated[Annotated[str, Field(pattern=LABEL)] | None, BeforeValidator(_blank_is_none)]
RelayName = Annotated[Annotated[str, AfterValidator(_relay)] | None, BeforeValidator(_blank_is_none)]
SenderAddress = Annotated[Annotated[str, AfterValidator(_mailbox)] | None, BeforeValidator(_blank_is_none)]
OptionalText = Annotated[str | None, BeforeValidator(_blank_is_none)]
Count = Annotated[int, Field(ge=1)]
Host = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class CommonSettings(BaseSettings):
    """Both processes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    api_group: Annotated[str, Field(min_length=1)] = "kagents.dev"
    """The AgentTeam's API group."""
    namespaces: Words = ()
    """The namespaces that are served; empty: all."""
    phases: Words = ("Completed",)
    """Which endings are delivered: `Failed`, `TimedOut`, `BudgetExceeded` may be added."""
    adopt: Literal["none", "failed"] = "none"
    """`failed`: where the operator delivers by itself, what it failed to deliver is carried on here; set it
    for the service and the watcher alike."""
    api_timeout: Seconds = 10.0
    """For one request to the Kubernetes API."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """How much is logged."""
    log_format: Literal["json", "console"] = "json"
    """`console` is for people."""

    @field_validator("phases")
    @classmethod
    def _known(cls, phases: tuple[str, ...]) -> tuple[str, ...]:
        if not phases:
            raise ValueError(f"none, so nothing would be delivered: take of {', '.join(TERMINAL_PHASES)}")
        unknown = [phase for phase in phases if phase not in TERMINAL_PHASES]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not among {', '.join(TERMINAL_PHASES)}")
        return phases

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment.

        Raises:
            SettingsError: a setting has a value that cannot be used; the sentence names it.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError("; ".join(_sentence(dict(item)) for item in error.errors())) from None

    def serves(self, namespace: str) -> bool:
        """Whether teams of this namespace are served."""
        return not self.namespaces or namespace in self.namespaces


class CallerSettings(CommonSettings):
    """The service and its callers."""

    host: Host = "127.0.0.1"
    """Where the service listens."""
    port: Port = 8080
    """On which port; 0: one that is free."""
    auth: Literal["kubernetes", "none"] = "kubernetes"
    """`none`: everybody who reaches the port may; on loopback only, unless `ALLOW_ANYONE` is `true`."""
    audience: Annotated[str, Field(min_length=1)] = "agentteam-delivery"
    """Whom a caller's token must be made for."""
    auth_cache: Annotated[Seconds, Field(le=45)] = 30.0  # the API server remembers a token for 10 s besides
    """For how long what Kubernetes said of a caller holds; so short that a revoked right ends within a
    minute."""
    allow_anyone: bool = False
    """`AUTH=none` beyond loopback, where the network lets nobody else in."""
    allow_plain_http: bool = False
    """Tokens beyond loopback without TLS, where something else encrypts."""
    tls_cert_file: FileName = None
    """PEM, the whole chain; read anew when it changes."""
    tls_key_file: FileName = None
    """PEM; read anew when it changes."""
    rate_limit: Count = 200
    """Requests a second of one caller, and as many at once."""
    max_head: Annotated[int, Field(ge=1024)] = 16_384
    """Bytes of a request's line and headers."""
    max_body: Count = 1_048_576
    """Bytes of a request's body."""
    max_depth: Annotated[int, Field(ge=2)] = 16
    """How deep lists and objects may be nested in a request's JSON; an event is two deep."""
    read_timeout: Seconds = 10.0
    """For a TLS handshake, for a request to be complete, for an answer to be read."""
    max_callers: Count = 1000
    """Connections that wait for their request to be complete."""
    tracing: bool = False
    """Spans of [OpenTelemetry](../how-to/operate.md#traces), with the extra `tracing`; where they go, its own
    variables say (`OTEL_…`)."""


class ReceiverSettings(CommonSettings):
    """The service and its receivers."""

    egress_allow: Networks = ()
    """CIDRs that may be called beside public addresses, for receivers inside the cluster."""
    egress_deny: Networks = ()
    """CIDRs that nothing opens."""
    egress_http: bool = False
    """`true` lifts https, for webhooks and Slack alike."""
    egress_ca_file: Authorities = None
    """PEM; authorities trusted beside the public ones, read again when it changes."""
    egress_proxy: Proxy = None
    """A forward proxy, `http://[user:password@]host:port`."""
    egress_no_proxy: Annotated[Words, AfterValidator(_hosts_apart)] = ()
    """Host names that are called directly, with those below them; addresses, and CIDRs."""
    slack_hosts: Words = ("hooks.slack.com", "hooks.slack-gov.com")
    """Hosts that a Slack URL may name, on any port."""
    secret_label: SecretLabel = None
    """`key` or `key=value`: Secrets without it are not used."""
    max_connections_per_host: Count = 100
    """Connections to one receiver's host and port, shared by the namespaces: each may hold as many as it
    leaves free, so that one alone has half of them at most."""
    max_response: Count = 8_192
    """Bytes read of the content of a receiver's answer."""


class BackendSettings(CommonSettings):
    """Email and Google Drive."""

    email: Literal["none", "smtp"] = "none"
    """`smtp` delivers [email](../how-to/email-and-google-drive.md#email), with the extra `email`."""
    smtp_host: RelayName = None
    """The relay for targets that bring none of their own."""
    smtp_port: Annotated[Annotated[int, Field(ge=1, le=65_535)] | None, BeforeValidator(_blank_is_none)] = (
        None
    )
    """By default 587, 465 with `tls`, 25 with `none`."""
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    """`tls` is from the first byte."""
    smtp_from: SenderAddress = None
    """Who writes, such as `Agent Teams <teams@example.com>`."""
    smtp_ehlo: RelayName = None
    """The name that relays are greeted with; by default the address that they are called from."""
    smtp_username: OptionalText = None
    """As whom the relay knows us."""
    smtp_password_file: FileName = None
    """A file with the password; read anew for each message."""
    google_drive: Literal["none", "api"] = "none"
    """`api` delivers to [Google Drive](../how-to/email-and-google-drive.md#google-drive), with the extra
    `google-drive`."""
    google_api_url: Annotated[str, AfterValidator(_base_url)] = "https://www.googleapis.com"
    """Where Google's API is."""

    @model_validator(mode="after")
    def _backends_are_whole(self) -> Self:
        for setting, value, extra, module in (
            ("EMAIL", self.email, "email", "aiosmtplib"),
            ("GOOGLE_DRIVE", self.google_drive, "google-drive", "google.auth"),
        ):
            if value != "none" and not _installed(module):
                raise ValueError(
                    f"DELIVERY_{setting}={value} wants the extra `{extra}`, which is not installed here;"
                    f" install agentteam-delivery[{extra}], or the image that is built with it"
                )
        if (self.smtp_host is None) != (self.smtp_from is None):
            raise ValueError("DELIVERY_SMTP_HOST and DELIVERY_SMTP_FROM go together; set both or neither")
        if (self.smtp_username is None) != (self.smtp_password_file is None):
            raise ValueError(
                "DELIVERY_SMTP_USERNAME and DELIVERY_SMTP_PASSWORD_FILE go together; set both or neither"
            )
        plain = self.smtp_tls == "none" and not is_loopback(self.smtp_host or "localhost")
        if self.smtp_username is not None and plain:
            raise ValueError(
                f"the password of DELIVERY_SMTP_PASSWORD_FILE would cross the network in the clear to"
                f" {self.smtp_host}; set DELIVERY_SMTP_TLS to starttls or tls"
            )
        return self


class DeliverySettings(CommonSettings):
    """Deliveries."""

    attempts: Count = 4
    """Tries a target: one, and three retries."""
    attempt_timeout: Seconds = 10.0
    """For one try."""
    target_timeout: Seconds = 60.0
    """For all tries at a target, and the waits between them."""
    backoff_initial: Seconds = 0.5
    """The longest first wait; each next may be twice as long (0.5 s, 1 s, 2 s), with full jitter.
    `Retry-After` is honoured where it fits."""
    retry_for: Annotated[float, Field(ge=0, le=86_400 * 365, allow_inf_nan=False)] = 86_400.0
    """For how long a target is tried again, from its event on, where all tries at once met something that
    may pass; 0: it has failed then."""
    retry_waits: Waits = (60.0, 300.0, 900.0, 1800.0, 3600.0)
    """Between those later tries; the last repeats. Up to a fifth is added, and `Retry-After` makes it
    longer."""
    slack_interval: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1.1
    """Between two messages to one Slack webhook, which takes about one a second; who cannot have a turn soon
    is put off until it comes."""
    record_timeout: Seconds = 60.0
    """For how long an API server that is away is ridden out."""
    wait_limit: OptionalSeconds = None
    """How long a caller who says nothing waits for the report; by default `TARGET_TIMEOUT` + 15."""
    drain_timeout: OptionalSeconds = None
    """After SIGTERM, for what is in flight; by default `ATTEMPT_TIMEOUT` + `API_TIMEOUT` + 5. Keep the pod's
    grace period above it."""
    max_in_flight: Count = 200
    """Events at once, shared in the same way."""
    max_targets_in_flight: Count = 4000
    """Targets at once, each with one connection at most, shared in the same way."""
    max_bytes_in_flight: Annotated[int, Field(ge=1_048_576)] = 33_554_432
    """Bytes of memory that messages take at once, from before they are put together until they are sent;
    shared in the same way."""
    max_team_bytes_in_flight: Annotated[int, Field(ge=4_194_304)] = 16_777_216
    """Bytes of JSON of the AgentTeams whose targets are in flight, each of up to 1.5 MB; shared in the same
    way."""
    max_read_bytes: Annotated[int, Field(ge=4_194_304)] = 8_388_608
    """Bytes of JSON of the AgentTeams that are being read at once; shared in the same way."""
    place_timeout: OptionalSeconds = None
    """For how long a target waits for a connection at its host, or for memory, beside its own time; by
    default half of `TARGET_TIMEOUT`. After that it is handed back, and handed in again."""
    max_targets: Count = 1000
    """Targets of one team."""
    max_message: Count = 40_000
    """Characters of a notice's text."""
    max_takeovers: Annotated[int, Field(ge=0)] = 10
    """How often a claim may change hands before the target is given up."""


class ServiceSettings(CallerSettings, ReceiverSettings, BackendSettings, DeliverySettings):
    """What `serve` is told."""

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        if self.attempt_timeout > self.target_timeout:
            raise ValueError(
                "DELIVERY_ATTEMPT_TIMEOUT is longer than DELIVERY_TARGET_TIMEOUT, "
                "so that no attempt could end in time; lower the one or raise the other"
            )
        if self.auth == "none" and not self.allow_anyone and not is_loopback(self.host):
            raise ValueError(
                f"DELIVERY_AUTH=none on DELIVERY_HOST={self.host} would let everybody who reaches the port"
                " make every team's channels ring; use DELIVERY_AUTH=kubernetes, listen on 127.0.0.1, or set"
                " DELIVERY_ALLOW_ANYONE=true where the network lets nobody else in"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(
                "DELIVERY_TLS_CERT_FILE and DELIVERY_TLS_KEY_FILE go together; set both or neither"
            )
        exposed = self.tls_cert_file is None and not is_loopback(self.host)
        if self.auth == "kubernetes" and exposed and not self.allow_plain_http:
            raise ValueError(
                f"on DELIVERY_HOST={self.host} bearer tokens would cross the network in the clear; set"
                " DELIVERY_TLS_CERT_FILE and DELIVERY_TLS_KEY_FILE, or DELIVERY_ALLOW_PLAIN_HTTP=true where"
                " something else encrypts"
            )
        if self.max_targets_in_flight < 2 * self.max_targets:
            raise ValueError(
                "DELIVERY_MAX_TARGETS_IN_FLIGHT is less than twice DELIVERY_MAX_TARGETS, so that a team of"
                " many targets would never be begun, since a namespace gets half; raise the one or lower the"
                " other"
            )
        if self.backoff_initial >= self.target_timeout:
            raise ValueError(
                "DELIVERY_BACKOFF_INITIAL is not shorter than DELIVERY_TARGET_TIMEOUT, "
                "so that nothing would be tried again; lower the one or raise the other"
            )
        if self.claim_life > LONGEST_CLAIM:
            raise ValueError(
                f"claims would last {self.claim_life.total_seconds():g} s, and at most"
                f" {LONGEST_CLAIM.total_seconds():g} are believed; lower DELIVERY_TARGET_TIMEOUT,"
                " DELIVERY_PLACE_TIMEOUT, DELIVERY_RECORD_TIMEOUT or DELIVERY_API_TIMEOUT"
            )
        if self.drains < self.attempt_timeout:
            raise ValueError(
                "DELIVERY_DRAIN_TIMEOUT is shorter than DELIVERY_ATTEMPT_TIMEOUT, "
                "so that attempts in flight would be cut off; raise it, and the pod's grace period with it"
            )
        return self

    @property
    def serves_one(self) -> bool:
        """Whether there is but one namespace, so that there is nobody to share with."""
        return len(self.namespaces) == 1

    @property
    def patience(self) -> float:
        """Seconds that a target waits for places: 30 by default."""
        return self.place_timeout if self.place_timeout is not None else self.target_timeout / 2

    @property
    def waits(self) -> float:
        """Seconds a caller who says nothing is kept waiting for the report."""
        return self.wait_limit if self.wait_limit is not None else self.target_timeout + 15.0

    @property
    def drains(self) -> float:
        """Seconds that a draining process has: 25 by default, within Kubernetes' grace period of 30."""
        if self.drain_timeout is not None:
            return self.drain_timeout
        return self.attempt_timeout + self.api_timeout + 5.0  # the last attempt, its record, some room

    @property
    def claim_life(self) -> timedelta:
        """How long a claim lives: longer, by construction, than the longest dispatch can last.

        The margin covers four requests, each of which may take `API_TIMEOUT`: the read that the claim is
        stamped by, its write, and the read and write that end the record; and the whole second that the
        API server's clock is read to. It is in whole seconds, as the end of a claim is on record: others
        would not see a fraction.
        """
        margin = 4 * self.api_timeout + 2.0
        sending = self.patience + self.target_timeout
        return timedelta(seconds=math.ceil(sending + self.record_timeout + margin))


class WatcherSettings(CommonSettings):
    """The watcher."""

    url: AnyHttpUrl = AnyHttpUrl("http://127.0.0.1:8080")
    """Where the service is."""
    token_file: FileName = None
    """A bearer token to send, read anew each time; none: none is sent."""
    ca_file: Authorities = None
    """PEM; whom the service's certificate is signed by, read anew when it changes; none: the public
    authorities."""
    allow_plain_http: bool = False
    """The token beyond loopback without TLS, where something else encrypts."""
    resync: Seconds = 300.0
    """Between full lists."""
    max_age: Seconds = 86_400.0
    """Teams that finished longer ago are history, not news."""
    host: Host = "127.0.0.1"
    """Where its own `/healthz`, `/readyz` and `/metrics` are."""
    watch_port: Port = 8081
    """On which port; 0: one that is free."""

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        plain = self.url.scheme == "http" and not is_loopback((self.url.host or "").strip("[]"))
        if self.token_file and plain and not self.allow_plain_http:
            raise ValueError(
                f"the token of DELIVERY_TOKEN_FILE would cross the network in the clear to {self.url.host};"
                " give DELIVERY_URL with https://, or set DELIVERY_ALLOW_PLAIN_HTTP=true where something else"
                " encrypts"
            )
        return self


FOR_PEOPLE = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "AUDIENCE",
        "CA_FILE",
        "CONTEXT",
        "NAMESPACE",
        "SERVER_NAME",
        "SERVICE_ACCOUNT",
        "TOKEN",
        "URL",
    )
)
"""Variables that the commands for people read."""

_OF_A_SERVICE = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)
"""What Kubernetes sets in pods for a Service whose name begins with `delivery`."""


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of our prefix that no process reads, each with what is said of it."""
    known = {
        f"{PREFIX}{name.upper()}" for one in (ServiceSettings, WatcherSettings) for name in one.model_fields
    }
    known.add(f"{PREFIX}CRASH_AT")
    found = {}
    for name in environment:
        variable = name.upper()
        if not variable.startswith(PREFIX) or variable in known or _OF_A_SERVICE.fullmatch(variable):
            continue
        meant = get_close_matches(variable, sorted(known), 1, 0.8)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        who = "only the commands for people read it" if variable in FOR_PEOPLE else "it has no effect"
        found[name] = f"{who}{hint}"
    return found


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a package around it is missing, or it was taken away
        return False


def _sentence(error: dict[str, Any]) -> str:
    name = PREFIX + "_".join(str(part) for part in error["loc"][:1]).upper() if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
