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
        raise ValueError(f"{path} contains no certificates in PEM form") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return path


def is_loopback(host: str) -> bool:
    """Whether traffic to a host stays on this machine."""
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
        # Without the value, which may contain a password.
        raise ValueError(
            "must be http://host:port, with user:password@ before the host if it requires a login"
        )
    return value


def _hosts_apart(items: tuple[str, ...]) -> tuple[str, ...]:
    try:
        everything = Bypass.read(items).everything
    except ValueError as error:
        everything, items = True, (str(error),)
    if everything:
        raise ValueError(
            f"{', '.join(items)[:100]}: must be host names, such as svc.cluster.local, which include their"
            " subdomains, addresses or CIDRs"
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
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        defer_build=True,  # a process uses one of these classes, and each would take 25 ms
    )

    api_group: Annotated[str, Field(min_length=1)] = "kagents.dev"
    """API group of the AgentTeam resource."""
    namespaces: Words = ()
    """Namespaces to serve; empty: all."""
    phases: Words = ("Completed",)
    """Phases in which a finished team is delivered; you can add `Failed`, `TimedOut`, `BudgetExceeded`."""
    adopt: Literal["none", "failed"] = "none"
    """`failed`: the service retries targets that an operator failed to deliver; set it for the service and
    the watcher."""
    api_timeout: Seconds = 10.0
    """Timeout of one request to the Kubernetes API."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """The lowest level that is logged."""
    log_format: Literal["json", "console"] = "json"
    """`console` is for people."""

    @field_validator("phases")
    @classmethod
    def _known(cls, phases: tuple[str, ...]) -> tuple[str, ...]:
        if not phases:
            raise ValueError(f"empty: choose from {', '.join(TERMINAL_PHASES)}")
        unknown = [phase for phase in phases if phase not in TERMINAL_PHASES]
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not one of {', '.join(TERMINAL_PHASES)}")
        return phases

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment.

        Raises:
            SettingsError: a setting has an invalid value; the text names it.
        """
        try:
            return cls(**overrides)
        except ValidationError as error:
            raise SettingsError("; ".join(_sentence(dict(item)) for item in error.errors())) from None

    def serves(self, namespace: str) -> bool:
        """Whether this installation serves teams of a namespace."""
        return not self.namespaces or namespace in self.namespaces


class CallerSettings(CommonSettings):
    """The service and its callers."""

    host: Host = "127.0.0.1"
    """Address on which the service listens."""
    port: Port = 8080
    """Port on which it listens; 0: any free port."""
    auth: Literal["kubernetes", "none"] = "kubernetes"
    """`none` accepts everyone who reaches the port; only on loopback, unless `ALLOW_ANYONE` is `true`."""
    audience: Annotated[str, Field(min_length=1)] = "agentteam-delivery"
    """Audience that a caller's token must have."""
    auth_cache: Annotated[Seconds, Field(le=45)] = 30.0  # the API server caches a token for another 10 s
    """How long authorization results are cached; a revoked permission therefore ends within a minute."""
    allow_anyone: bool = False
    """Allows `AUTH=none` beyond loopback. Use it only if the network restricts access to the port."""
    allow_plain_http: bool = False
    """Allows tokens beyond loopback without TLS. Use it only if something else encrypts the traffic."""
    tls_cert_file: FileName = None
    """PEM file with the certificate and its chain; reloaded when it changes."""
    tls_key_file: FileName = None
    """PEM file with the private key; reloaded when it changes."""
    rate_limit: Count = 200
    """Requests per second from one caller, and the largest burst."""
    max_head: Annotated[int, Field(ge=1024)] = 16_384
    """Maximum size of a request's first line and headers, in bytes."""
    max_body: Count = 1_048_576
    """Maximum size of a request's body, in bytes."""
    max_depth: Annotated[int, Field(ge=2)] = 16
    """Maximum nesting of lists and objects in a request's JSON; an event has two levels."""
    read_timeout: Seconds = 10.0
    """Timeout of a TLS handshake, of receiving a request, and of sending an answer."""
    max_callers: Count = 1000
    """Maximum number of connections whose request has not arrived completely."""
    tracing: bool = False
    """Exports [OpenTelemetry](../how-to/operate.md#traces) spans; requires the extra `tracing`.
    OpenTelemetry's own variables (`OTEL_…`) set the destination."""


class ReceiverSettings(CommonSettings):
    """The service and its receivers."""

    egress_allow: Networks = ()
    """CIDRs that the service may connect to in addition to public addresses, for receivers in the cluster."""
    egress_deny: Networks = ()
    """CIDRs that are always denied, even if `EGRESS_ALLOW` covers them."""
    egress_http: bool = False
    """Allows `http://` URLs for webhook and Slack targets."""
    egress_ca_file: Authorities = None
    """PEM file of certificate authorities to trust with the public ones; reloaded when it changes."""
    egress_proxy: Proxy = None
    """A forward proxy, `http://[user:password@]host:port`."""
    egress_no_proxy: Annotated[Words, AfterValidator(_hosts_apart)] = ()
    """Host names (with their subdomains), addresses and CIDRs that are called without the proxy."""
    slack_hosts: Words = ("hooks.slack.com", "hooks.slack-gov.com")
    """Hosts that a Slack URL may have, on any port."""
    secret_label: SecretLabel = None
    """`key` or `key=value`: the service uses only Secrets with this label."""
    max_connections_per_host: Count = 100
    """Maximum number of connections to one host and port, shared fairly between namespaces: each may use at
    most as many as are free, so a single namespace gets half of them."""
    max_response: Count = 8_192
    """Maximum number of bytes to read of a receiver's answer."""


class BackendSettings(CommonSettings):
    """Email and Google Drive."""

    email: Literal["none", "smtp"] = "none"
    """`smtp` delivers [email](../how-to/email-and-google-drive.md#email); requires the extra `email`."""
    smtp_host: RelayName = None
    """Relay for email targets that do not name their own."""
    smtp_port: Annotated[Annotated[int, Field(ge=1, le=65_535)] | None, BeforeValidator(_blank_is_none)] = (
        None
    )
    """Port of the relay; by default 587, or 465 with `tls`, or 25 with `none`."""
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    """Encryption to the relay; `tls` encrypts from the first byte."""
    smtp_from: SenderAddress = None
    """Sender address, such as `Agent Teams <teams@example.com>`."""
    smtp_ehlo: RelayName = None
    """Host name to greet relays with; by default, the address from which the service connects."""
    smtp_username: OptionalText = None
    """User name at the relay."""
    smtp_password_file: FileName = None
    """File with the password; read for each message."""
    google_drive: Literal["none", "api"] = "none"
    """`api` delivers to [Google Drive](../how-to/email-and-google-drive.md#google-drive); requires the extra
    `google-drive`."""
    google_api_url: Annotated[str, AfterValidator(_base_url)] = "https://www.googleapis.com"
    """Base URL of Google's API."""

    @model_validator(mode="after")
    def _backends_are_whole(self) -> Self:
        for setting, value, extra, module in (
            ("EMAIL", self.email, "email", "aiosmtplib"),
            ("GOOGLE_DRIVE", self.google_drive, "google-drive", "google.auth"),
        ):
            if value != "none" and not _installed(module):
                raise ValueError(
                    f"DELIVERY_{setting}={value} requires the extra `{extra}`, which is not installed;"
                    f" install agentteam-delivery[{extra}], or use an image that is built with it"
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
                f"the password of DELIVERY_SMTP_PASSWORD_FILE would be sent unencrypted to"
                f" {self.smtp_host}; set DELIVERY_SMTP_TLS to starttls or tls"
            )
        return self


class DeliverySettings(CommonSettings):
    """Deliveries."""

    attempts: Count = 4
    """Attempts per target: one, and three retries."""
    attempt_timeout: Seconds = 10.0
    """Timeout of one attempt."""
    target_timeout: Seconds = 60.0
    """Time for all attempts of a target and the waits between them."""
    backoff_initial: Seconds = 0.5
    """Maximum wait before the second attempt; it doubles with each further attempt (0.5 s, 1 s, 2 s), with
    full jitter. The service honours `Retry-After` if it fits into `TARGET_TIMEOUT`."""
    retry_for: Annotated[float, Field(ge=0, le=86_400 * 365, allow_inf_nan=False)] = 86_400.0
    """How long a target is retried after temporary errors, counted from its event; 0: it fails after its
    first attempts."""
    retry_waits: Waits = (60.0, 300.0, 900.0, 1800.0, 3600.0)
    """Waits between these later retries; the last one repeats. Each is extended by up to a fifth, and further
    by `Retry-After`."""
    slack_interval: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1.1
    """Minimum interval between two messages to one Slack webhook, because Slack accepts about one per second.
    A target whose turn does not come soon is postponed until then."""
    record_timeout: Seconds = 60.0
    """How long the service retries to record an outcome while the API server is unavailable."""
    wait_limit: OptionalSeconds = None
    """How long a caller without a `Prefer` header waits for the report; by default `TARGET_TIMEOUT` + 15."""
    drain_timeout: OptionalSeconds = None
    """Time to finish work in progress after SIGTERM; by default `ATTEMPT_TIMEOUT` + `API_TIMEOUT` + 5. The
    pod's grace period must be longer."""
    max_in_flight: Count = 200
    """Maximum number of concurrent events, shared fairly between namespaces."""
    max_targets_in_flight: Count = 4000
    """Maximum number of concurrent targets, each with at most one connection, shared fairly between
    namespaces."""
    max_bytes_in_flight: Annotated[int, Field(ge=1_048_576)] = 33_554_432
    """Maximum memory for messages, in bytes, from before they are built until they are sent; shared fairly
    between namespaces."""
    max_team_bytes_in_flight: Annotated[int, Field(ge=4_194_304)] = 16_777_216
    """Maximum JSON of the AgentTeams with targets in progress, in bytes (up to 1.5 MB each); shared fairly
    between namespaces."""
    max_read_bytes: Annotated[int, Field(ge=4_194_304)] = 8_388_608
    """Maximum JSON of the AgentTeams that are being read, in bytes; shared fairly between namespaces."""
    place_timeout: OptionalSeconds = None
    """How long a target waits for a connection to its host or for memory, in addition to its own time; by
    default half of `TARGET_TIMEOUT`. After that the service releases it, and the watcher submits it again."""
    max_targets: Count = 1000
    """Maximum number of targets per team."""
    max_message: Count = 40_000
    """Maximum length of a notification's text, in characters."""
    max_takeovers: Annotated[int, Field(ge=0)] = 10
    """How often a target is taken over from processes that died before it is given up."""
    events: Literal["problems", "all"] = "problems"
    """`problems`: a Kubernetes Event on the team if a target fails, is postponed, or is sent again. `all`:
    also if every target is delivered at once, which adds a third write to each event."""


class ServiceSettings(CallerSettings, ReceiverSettings, BackendSettings, DeliverySettings):
    """The settings of `serve`."""

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        if self.attempt_timeout > self.target_timeout:
            raise ValueError(
                "DELIVERY_ATTEMPT_TIMEOUT is longer than DELIVERY_TARGET_TIMEOUT, "
                "so no attempt could end in time; lower the former or raise the latter"
            )
        if self.auth == "none" and not self.allow_anyone and not is_loopback(self.host):
            raise ValueError(
                f"DELIVERY_AUTH=none on DELIVERY_HOST={self.host} would let everyone who reaches the port"
                " send notifications for every team; use DELIVERY_AUTH=kubernetes, listen on 127.0.0.1, or"
                " set DELIVERY_ALLOW_ANYONE=true if the network restricts access to the port"
            )
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(
                "DELIVERY_TLS_CERT_FILE and DELIVERY_TLS_KEY_FILE go together; set both or neither"
            )
        exposed = self.tls_cert_file is None and not is_loopback(self.host)
        if self.auth == "kubernetes" and exposed and not self.allow_plain_http:
            raise ValueError(
                f"on DELIVERY_HOST={self.host} bearer tokens would be sent unencrypted; set"
                " DELIVERY_TLS_CERT_FILE and DELIVERY_TLS_KEY_FILE, or DELIVERY_ALLOW_PLAIN_HTTP=true if"
                " something else encrypts the traffic"
            )
        if self.max_targets_in_flight < 2 * self.max_targets:
            raise ValueError(
                "DELIVERY_MAX_TARGETS_IN_FLIGHT is less than twice DELIVERY_MAX_TARGETS, so a team with"
                " many targets would never start, because a namespace gets half; raise the former or"
                " lower the latter"
            )
        if self.backoff_initial >= self.target_timeout:
            raise ValueError(
                "DELIVERY_BACKOFF_INITIAL is not shorter than DELIVERY_TARGET_TIMEOUT, "
                "so nothing would be retried; lower the former or raise the latter"
            )
        if self.claim_life > LONGEST_CLAIM:
            raise ValueError(
                f"claims would last {self.claim_life.total_seconds():g} s, but at most"
                f" {LONGEST_CLAIM.total_seconds():g} s are allowed; lower DELIVERY_TARGET_TIMEOUT,"
                " DELIVERY_PLACE_TIMEOUT, DELIVERY_RECORD_TIMEOUT or DELIVERY_API_TIMEOUT"
            )
        if self.drains < self.attempt_timeout:
            raise ValueError(
                "DELIVERY_DRAIN_TIMEOUT is shorter than DELIVERY_ATTEMPT_TIMEOUT, "
                "so attempts in progress would be cut off; raise it, and the pod's grace period with it"
            )
        return self

    @property
    def serves_one(self) -> bool:
        """Whether only one namespace is served, which then shares with no other."""
        return len(self.namespaces) == 1

    @property
    def patience(self) -> float:
        """Seconds that a target waits for places: 30 by default."""
        return self.place_timeout if self.place_timeout is not None else self.target_timeout / 2

    @property
    def waits(self) -> float:
        """Seconds for which a caller without a `Prefer` header waits for the report."""
        return self.wait_limit if self.wait_limit is not None else self.target_timeout + 15.0

    @property
    def drains(self) -> float:
        """Seconds that a draining process has: 25 by default, within Kubernetes' grace period of 30."""
        if self.drain_timeout is not None:
            return self.drain_timeout
        return self.attempt_timeout + self.api_timeout + 5.0  # the last attempt, its record, and a margin

    @property
    def claim_life(self) -> timedelta:
        """How long a claim lasts, which is always longer than the longest dispatch.

        The margin covers four requests of up to `API_TIMEOUT` each (the read that dates the claim, its write,
        and the read and write at the end of the record), and the truncation of the API server's clock to the
        second. It is in whole seconds, because a claim's recorded expiry is, and other processes would not
        see a fraction.
        """
        margin = 4 * self.api_timeout + 2.0
        sending = self.patience + self.target_timeout
        return timedelta(seconds=math.ceil(sending + self.record_timeout + margin))


class WatcherSettings(CommonSettings):
    """The watcher."""

    url: AnyHttpUrl = AnyHttpUrl("http://127.0.0.1:8080")
    """Address of the service."""
    token_file: FileName = None
    """File with the bearer token to send, read each time; by default no token is sent."""
    ca_file: Authorities = None
    """PEM file with the certificate authority of the service's certificate, reloaded when it changes; by
    default the public certificate authorities."""
    allow_plain_http: bool = False
    """Allows the token beyond loopback without TLS. Use it only if something else encrypts the traffic."""
    resync: Seconds = 300.0
    """Interval between full lists."""
    max_age: Seconds = 86_400.0
    """Teams that finished longer ago are not delivered."""
    host: Host = "127.0.0.1"
    """Address on which the watcher serves `/healthz`, `/readyz` and `/metrics`."""
    watch_port: Port = 8081
    """Port on which it listens; 0: any free port."""

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        plain = self.url.scheme == "http" and not is_loopback((self.url.host or "").strip("[]"))
        if self.token_file and plain and not self.allow_plain_http:
            raise ValueError(
                f"the token of DELIVERY_TOKEN_FILE would be sent unencrypted to {self.url.host};"
                " use https:// in DELIVERY_URL, or set DELIVERY_ALLOW_PLAIN_HTTP=true if something else"
                " encrypts the traffic"
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
"""Variables that Kubernetes sets in pods for a Service whose name begins with `delivery`."""


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with our prefix that no process reads, each with advice."""
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
    except (ImportError, ValueError):  # a parent package is missing, or was removed
        return False


def _sentence(error: dict[str, Any]) -> str:
    name = PREFIX + "_".join(str(part) for part in error["loc"][:1]).upper() if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
