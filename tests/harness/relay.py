"""A mail relay: a real SMTP server on loopback that stores what it accepts, and rejects as a test says."""

import asyncio
import ssl
import warnings
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass(frozen=True)
class Mail:
    """An accepted message: its recipients, and how it was sent."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    greeting: str
    encrypted: bool
    login: str | None

    @property
    def parsed(self) -> EmailMessage:
        """The message, as a mail program reads it."""
        return message_from_bytes(self.content, policy=default)

    def part(self, kind: str) -> EmailMessage:
        """The only part of this content type."""
        (part,) = (part for part in self.parsed.walk() if part.get_content_type() == kind)
        return part

    def text(self, kind: str = "text/plain") -> str:
        """The text of that part."""
        return str(self.part(kind).get_content()).replace("\r\n", "\n")


@dataclass
class Relay:
    """A relay; `answers` lists, for a recipient, `MAIL` or `DATA`, the replies before the first success.

    `logins` are the accounts; if there are some, only they may send. With a `certificate` it has TLS, from
    the first byte if `at_once`, otherwise by STARTTLS.
    """

    answers: dict[str, list[str]] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)
    certificate: ssl.SSLContext | None = None
    at_once: bool = False
    demands_tls: bool = False
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # recipients, once per time they were named
    tried: list[str] = field(default_factory=list)  # login methods, once per attempt with a password
    connections: int = 0
    goodbyes: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that make it the installation's relay, without TLS."""
        return {
            "email": "smtp",
            "smtp_host": "127.0.0.1",
            "smtp_port": self.port,
            "smtp_tls": "none",
            "smtp_from": "Agent Teams <teams@example.com>",
        }

    async def __aenter__(self) -> Self:
        tls = None if self.at_once else self.certificate
        at_once = self.certificate if self.at_once else None
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: self._session(tls), "127.0.0.1", self.port, ssl=at_once
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _session(self, tls: ssl.SSLContext | None) -> SMTP:
        self.connections += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # allows unencrypted passwords, so that a test can detect them
            return SMTP(
                self,
                hostname="relay.example",
                tls_context=tls,
                require_starttls=self.demands_tls,
                authenticator=self._authenticate,
                auth_required=bool(self.logins),
                auth_require_tls=False,
            )

    def _authenticate(self, _: SMTP, __: Session, ___: Envelope, way: str, data: LoginPassword) -> AuthResult:
        self.tried.append(way)
        username, password = data.login.decode(), data.password.decode()
        known = self.logins.get(username) == password
        return AuthResult(success=known, handled=False, auth_data=username if known else None)

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's names
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if refusal := self._refusal("MAIL"):
            return refusal
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802  # as above
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        self.asked.append(address)
        if refusal := self._refusal(address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        if refusal := self._refusal("DATA"):
            return refusal
        self.mails.append(
            Mail(
                str(envelope.mail_from),
                tuple(envelope.rcpt_tos),
                cast("bytes", envelope.original_content),
                str(session.host_name),
                server.transport is not None and server.transport.get_extra_info("sslcontext") is not None,
                cast("str | None", session.auth_data),
            )
        )
        return "250 OK"

    async def handle_QUIT(self, _: SMTP, __: Session, ___: Envelope) -> str:  # noqa: N802  # as above
        self.goodbyes += 1
        return "221 Bye"

    def _refusal(self, of: str) -> str | None:
        replies = self.answers.get(of)
        return replies.pop(0) if replies else None
