"""Selects the mail relay: the installation's, or the one in a target's Secret."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.domain.errors import TargetError
from app.domain.mailboxes import Mailbox, read_mailbox
from app.domain.reasons import Reason
from app.senders.credentials import Credentials
from app.settings import ServiceSettings

HOST, PORT, TLS, FROM = "smtp-host", "smtp-port", "smtp-tls", "from"
USERNAME, PASSWORD = "smtp-username", "smtp-password"  # keys of the Secret
KEYS = frozenset({HOST, PORT, TLS, FROM, USERNAME, PASSWORD})

Security = Literal["starttls", "tls", "none"]
PORTS: dict[Security, int] = {"starttls": 587, "tls": 465, "none": 25}
"""RFC 6409, section 3.1; RFC 8314, section 7.3; RFC 5321, section 4.5.4.2."""


@dataclass(frozen=True, slots=True)
class Login:
    """The account at a relay."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Relay:
    """A mail relay; `trusted`: the installation's owner named it, so its addresses are not checked."""

    host: str = field(repr=False)
    port: int = field(repr=False)
    tls: Security
    sender: Mailbox = field(repr=False)
    login: Login | None
    trusted: bool


def relay_of(settings: ServiceSettings, secret: str | None, credentials: Credentials) -> Relay:
    """Return the relay in the target's Secret, or else the installation's.

    Raises:
        TargetError: there is none, or it cannot be used.
    """
    if secret is not None:
        return _brought(credentials, plain=settings.egress_http)
    if settings.smtp_host is None or settings.smtp_from is None:
        message = "credentialsSecret: this installation has no relay; name a Secret with one, under smtp-host"
        raise TargetError(Reason.INVALID_TARGET, message)
    return Relay(
        host=settings.smtp_host,
        port=settings.smtp_port or PORTS[settings.smtp_tls],
        tls=settings.smtp_tls,
        sender=read_mailbox(settings.smtp_from),
        login=_login(settings),
        trusted=True,
    )


def where(settings: ServiceSettings, secret: str | None, credentials: Credentials) -> tuple[str, int]:
    """Return the host and port of that relay, without its password and without validating the host.

    Raises:
        TargetError: there is none, or it cannot be used.
    """
    if secret is None and settings.smtp_host is not None:
        host, port = settings.smtp_host, settings.smtp_port or PORTS[settings.smtp_tls]
    else:
        relay = relay_of(settings, secret, credentials)
        host, port = relay.host, relay.port
    return host.lower().removesuffix("."), port


def _login(settings: ServiceSettings) -> Login | None:
    if settings.smtp_username is None or settings.smtp_password_file is None:
        return None
    try:
        password = Path(settings.smtp_password_file).read_text().strip()
    except (OSError, UnicodeDecodeError):
        message = "the installation's DELIVERY_SMTP_PASSWORD_FILE cannot be read"
        raise TargetError(Reason.CONNECTION_FAILED, message, retryable=True) from None
    return Login(settings.smtp_username, password)


def _brought(credentials: Credentials, *, plain: bool) -> Relay:
    host = credentials.require(HOST)
    tls, port = _way(credentials)
    if tls == "none" and not plain:
        message = f'key "{TLS}" of Secret "{credentials.secret}" is none, and only TLS is allowed here'
        raise TargetError(Reason.EGRESS_DENIED, message)
    try:
        sender = read_mailbox(credentials.require(FROM))
    except ValueError as error:
        raise credentials.invalid(FROM, str(error)) from None
    login = None
    if USERNAME in credentials or PASSWORD in credentials:
        login = Login(credentials.require(USERNAME), credentials.require(PASSWORD))
    return Relay(host=host, port=port, tls=tls, sender=sender, login=login, trusted=False)


def _way(credentials: Credentials) -> tuple[Security, int]:
    """Return the security mode and the port of a relay; each implies the other."""
    written = credentials.get(PORT)
    if written is not None and not (
        written.isascii() and written.isdecimal() and len(written) < 6 and 0 < int(written) < 1 << 16  # noqa: PLR2004
    ):
        raise credentials.invalid(PORT, "must be a number from 1 to 65535")
    port = int(written) if written else None
    match credentials.get(TLS):
        case None:
            tls: Security = "tls" if port == PORTS["tls"] else "starttls"
        case "starttls" | "tls" | "none" as said:
            tls = said
        case _:
            raise credentials.invalid(TLS, "must be starttls, tls or none")
    return tls, port or PORTS[tls]
