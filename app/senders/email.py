"""Email: a message to the target's recipients by SMTP (RFC 5321), over TLS unless disabled.

A relay answers for each recipient. A retry leaves out those who have the message and those whom the relay
rejected permanently, and repeats those whom it rejected temporarily. The target has one outcome, which names
them.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, cast

import aiosmtplib

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.targets import EmailTarget
from app.domain.text import shortened
from app.egress.client import HttpClient, translated
from app.egress.sockets import Dialler
from app.senders.credentials import Credentials
from app.senders.envelopes import HIDDEN, Destination, Envelope, Preview, Progress, Verdict, Way
from app.senders.mail import compose_mail, recipients_of, written
from app.senders.relays import HOST, KEYS, PASSWORD, Relay, relay_of, where
from app.settings import ServiceSettings

CLOSING = 421  # the relay ends the session, whatever the command: RFC 5321, section 3.8
TOO_MANY = frozenset({452, 552})  # recipients; 552 by RFC 821
WAY_REFUSED = frozenset({500, 502, 503, 504, 534, 538})  # not this login method: RFC 4954
NOT_SMTP = "the answer was not valid SMTP"
NAMED = 5  # recipients that an outcome names

MEANINGS = {
    # By the enhanced code (RFC 3463) if the relay sends one, otherwise by the reply (RFC 5321, section
    # 4.2.3). The relay's own text is never shown: it may quote what the service sent.
    "421": "the relay is not available now",
    "450": "mailbox not available now",
    "451": "the relay cannot accept it now",
    "452": "the relay has no storage now",
    "454": "the relay cannot do it now",
    "530": "the relay requires a user name and a password",
    "550": "no such mailbox, or not for us",
    "551": "the mailbox is on another server",
    "552": "too large, or the mailbox is full",
    "553": "the relay does not accept this address",
    "554": "the relay does not accept it",
    "4.2.2": "the mailbox is full",
    "4.7.1": "not now; the message may be greylisted",
    "5.1.1": "no such mailbox",
    "5.1.2": "no such domain",
    "5.1.10": "the domain accepts no mail",
    "5.2.1": "the mailbox is disabled",
    "5.2.2": "the mailbox is full",
    "5.3.4": "the message is too large",
    "5.7.1": "the relay does not allow it",
}
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\S)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reply:
    """A relay's answer, without its text."""

    code: int
    enhanced: str = ""

    @property
    def transient(self) -> bool:
        """Whether a retry may succeed: a 4yz reply (RFC 5321, section 4.2.1)."""
        return 400 <= self.code < 500  # noqa: PLR2004

    @property
    def too_many(self) -> bool:
        """Whether more recipients need another transaction (RFC 5321, 4.5.3.1.10; RFC 3463, 3.6)."""
        return self.enhanced[1:] == ".5.3" or (self.code in TOO_MANY and not self.enhanced)

    def __str__(self) -> str:
        meaning = MEANINGS.get(self.enhanced) or MEANINGS.get(str(self.code), "")
        return " ".join(part for part in (str(self.code), self.enhanced, meaning) if part)


Heard = Callable[[Sequence[str], Mapping[str, str]], None]
"""Called with the recipients who have the message, and with those rejected permanently and the reasons."""


@dataclass(frozen=True, slots=True)
class Said:
    """Refusals in one session: temporary ones of recipients, and of the message itself."""

    waiting: Mapping[str, str]
    message: Reply | None = None


class EmailSender:
    """Sends through the relay in the target's Secret, or else the installation's."""

    keys: ClassVar = KEYS
    copies: ClassVar = (
        10  # base64 adds a third; the library copies it for the end of each line, and to send it
    )

    def __init__(self, http: HttpClient, settings: ServiceSettings) -> None:
        self._settings = settings
        self._http = http
        self._dialler = Dialler(http)
        self._composing = asyncio.Lock()  # one at a time, so that other tasks run: some 10 ms each

    def way(self, target: EmailTarget, credentials: Credentials) -> Way:
        """Return the route to the relay."""
        recipients_of(target)
        return Way(Destination(*where(self._settings, target.credentials_secret, credentials)))

    async def send(
        self,
        envelope: Envelope,
        target: EmailTarget,
        credentials: Credentials,
        way: Way | None = None,  # noqa: ARG002  # a relay is more than its host
    ) -> Verdict:
        """Send the message to the relay once, for the recipients without a final result."""
        recipients = recipients_of(target)
        relay = self._relay(target, credentials)
        known = _about(recipients, envelope.progress)
        left = [one for one in recipients if one not in known.accepted and one not in known.refused]
        if not left:
            return _summed_up(recipients, known, {}, attempted=False)
        async with self._composing:
            await asyncio.sleep(0)
            message = written(compose_mail(envelope, target, recipients, relay.sender, at=datetime.now(UTC)))

        def told(taken: Sequence[str], refused: Mapping[str, str]) -> None:
            nonlocal known
            has = {*known.accepted, *taken}
            known = Progress(tuple(one for one in recipients if one in has), {**known.refused, **refused})
            envelope.note(known)  # kept however this attempt ends, so that nobody gets the message twice

        try:
            said = await self._transact(relay, left, message, credentials, told)
        except aiosmtplib.SMTPResponseException as error:
            what = _REFUSED.get(type(error), "the session")
            return _prefixed(recipients, known, _refused(what, _reply(error)))
        if said.message is not None:
            return _prefixed(recipients, known, _refused("the message", said.message))
        return _summed_up(recipients, known, said.waiting)

    async def preview(self, envelope: Envelope, target: EmailTarget, credentials: Credentials) -> Preview:
        """Show the message; show nothing of a relay that the Secret names."""
        recipients = recipients_of(target)
        relay = self._relay(target, credentials)
        if not relay.trusted:
            await self._dialler.judge(relay.host, relay.port)
        mail = compose_mail(envelope, target, recipients, relay.sender, at=datetime.now(UTC))
        hidden = {} if relay.trusted else {"From": HIDDEN, "Message-ID": f"<{envelope.id}@{HIDDEN}>"}
        body = written(mail).partition(b"\r\n\r\n")[2].decode("ascii")
        where = f"smtp://{relay.host}:{relay.port}" if relay.trusted else target.secret_address
        return Preview("SMTP", where, {name: str(value) for name, value in mail.items()} | hidden, body)

    def _relay(self, target: EmailTarget, credentials: Credentials) -> Relay:
        """Return the relay, after its host name was validated."""
        relay = relay_of(self._settings, target.credentials_secret, credentials)
        if not relay.trusted:
            try:
                self._dialler.check(relay.host, relay.port)
            except ValueError as error:
                raise credentials.invalid(HOST, str(error)) from None
        return relay

    async def _transact(
        self, relay: Relay, recipients: list[str], message: bytes, credentials: Credentials, told: Heard
    ) -> Said:
        """Run one session with a relay."""
        connection = await self._dialler.connect(relay.host, relay.port, trusted=relay.trusted)
        client = _Session(
            hostname=relay.host.removesuffix("."),  # without the final dot, as certificates name it
            sock=connection,
            use_tls=relay.tls == "tls",
            start_tls=relay.tls == "starttls",
            tls_context=self._http.tls,
            local_hostname=self._settings.smtp_ehlo or _literal(connection),
            timeout=None,  # the attempt as a whole has a time limit
        )
        try:
            said = await _session(client, relay, recipients, message, credentials, told=told)
            client.say_goodbye()
        except (aiosmtplib.SMTPResponseException, TargetError):
            raise
        except Exception as error:  # noqa: BLE001  # sockets and TLS leak more kinds than are documented
            raise _unanswered(error) from None
        finally:
            client.close()
        return said


class _Session(aiosmtplib.SMTP):
    """A client that closes its connection at once; over TLS, the library's own would wait for a goodbye."""

    def close(self) -> None:
        """Close the connection and its socket."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()  # on uvloop it is not an instance of it
        super().close()

    def say_goodbye(self) -> None:
        """Send QUIT and do not wait: every answer that matters has arrived."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).write(b"QUIT\r\n")


async def _session(  # noqa: PLR0913  # the whole session, and whom to inform
    client: _Session,
    relay: Relay,
    recipients: list[str],
    message: bytes,
    credentials: Credentials,
    *,
    told: Heard,
) -> Said:
    """Send in as many transactions as the relay needs: some accept only so many recipients at once."""
    await client.connect()
    if relay.login is not None:
        await _log_in(client, relay, credentials)
    waiting: dict[str, str] = {}
    left = recipients
    while left:
        with _by_first_digit(aiosmtplib.SMTPSenderRefused):
            await client.mail(relay.sender.address)
        taken, replies, left = await _name(client, left)
        waiting |= {one: str(reply) for one, reply in replies.items() if reply.transient}
        refused = {one: str(reply) for one, reply in replies.items() if not reply.transient}
        told((), refused)
        if taken:
            try:
                with _by_first_digit(aiosmtplib.SMTPDataError):
                    await client.data(message)
            except aiosmtplib.SMTPDataError as error:
                return Said(waiting, _reply(error))
            told(taken, {})
    return Said(waiting)


async def _name(
    client: aiosmtplib.SMTP, recipients: Sequence[str]
) -> tuple[list[str], dict[str, Reply], list[str]]:
    """Name recipients up to the relay's limit; return the accepted, the rejected, and those not yet named."""
    taken: list[str] = []
    replies: dict[str, Reply] = {}
    for position, recipient in enumerate(recipients):
        try:
            with _by_first_digit(aiosmtplib.SMTPRecipientRefused):
                await client.rcpt(recipient)
        except aiosmtplib.SMTPRecipientRefused as error:
            reply = _reply(error)
            if reply.code == CLOSING:
                raise
            if taken and reply.too_many:
                return taken, replies, list(recipients[position:])
            replies[recipient] = reply
        else:
            taken.append(recipient)
    return taken, replies, []


@contextmanager
def _by_first_digit(kind: type[aiosmtplib.SMTPResponseException]) -> Iterator[None]:
    """Treat any 2yz as success; the library knows only two of them (RFC 5321, section 4.2.1)."""
    try:
        yield
    except kind as error:
        if not 200 <= error.code < 300:  # noqa: PLR2004
            raise


async def _log_in(client: aiosmtplib.SMTP, relay: Relay, credentials: Credentials) -> None:
    assert relay.login is not None  # noqa: S101  # checked before
    if client.is_ehlo_or_helo_needed:
        with suppress(aiosmtplib.SMTPHeloError):  # then it offers no login
            await client.ehlo()
    username, password = relay.login.username.encode(), relay.login.password.encode()
    ways = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    offered = [ways[way] for way in ways if way in client.supported_auth_methods]
    try:
        while offered:
            try:
                with _by_first_digit(aiosmtplib.SMTPAuthenticationError):
                    await offered.pop(0)(username, password)
            except aiosmtplib.SMTPAuthenticationError as error:
                # The library would try a wrong password once per login method, and the relay could lock the
                # account.
                if error.code not in WAY_REFUSED or not offered:
                    raise
            else:
                return
    except aiosmtplib.SMTPAuthenticationError as error:
        reply = _reply(error)
        if reply.transient:
            raise
        raise _not_let_in(relay, credentials, f"the relay refuses: {reply}") from None
    raise _not_let_in(relay, credentials, "the relay offers no supported login method")


def _not_let_in(relay: Relay, credentials: Credentials, why: str) -> TargetError:
    if relay.trusted:
        message = f"the installation's DELIVERY_SMTP_USERNAME was rejected: {why}"
        return TargetError(Reason.CONNECTION_FAILED, message, attempted=True)
    error = credentials.invalid(PASSWORD, f"was rejected: {why}")
    return TargetError(error.reason, error.message, attempted=True)


def _literal(connection: socket.socket) -> str:
    """Return the name for EHLO: our address, because a relay cannot look up a pod's name.

    RFC 5321, section 4.1.3.
    """
    address = str(connection.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _reply(error: aiosmtplib.SMTPResponseException) -> Reply:
    enhanced = _ENHANCED.match(str(error.message))
    return Reply(error.code, enhanced[0] if enhanced else "")


_REFUSED = {
    aiosmtplib.SMTPSenderRefused: "the sender",
    aiosmtplib.SMTPRecipientRefused: "the recipients",
}


def _refused(what: str, reply: Reply) -> Verdict:
    """Turn a reply that concerns all recipients into a verdict."""
    if not 400 <= reply.code < 600:  # noqa: PLR2004  # neither a temporary nor a permanent refusal
        return Verdict(Reason.INVALID_RESPONSE, NOT_SMTP)
    return Verdict(Reason.REFUSED, f"the relay refused {what}: {reply}", retryable=reply.transient)


def _unanswered(error: Exception) -> TargetError:
    if type(error) is aiosmtplib.SMTPException and "STARTTLS" in str(error):
        message = "the relay offers no STARTTLS, and without TLS nothing is sent"
        return TargetError(Reason.TLS_FAILED, message, attempted=True)
    return translated(error, other=NOT_SMTP)


def _about(recipients: tuple[str, ...], progress: Progress) -> Progress:
    """Return what is known of these recipients; an earlier spec may have named others."""
    return Progress(
        tuple(one for one in progress.accepted if one in recipients),
        {one: reply for one, reply in progress.refused.items() if one in recipients},
    )


def _summed_up(
    recipients: tuple[str, ...], progress: Progress, waiting: Mapping[str, str], *, attempted: bool = True
) -> Verdict:
    """Combine the relay's answers for each recipient into one outcome."""
    total, has = len(recipients), len(progress.accepted)
    if has == total:
        message = f"accepted for {total} recipient{'s' if total > 1 else ''}"
        return Verdict(Reason.DELIVERED, message, attempted=attempted, progress=progress)
    parts = [_so_far(recipients, progress), f"not yet accepted: {_named(waiting)}" if waiting else ""]
    message = shortened("; ".join(part for part in parts if part))
    return Verdict(Reason.REFUSED, message, retryable=bool(waiting), attempted=attempted, progress=progress)


def _prefixed(recipients: tuple[str, ...], progress: Progress, verdict: Verdict) -> Verdict:
    """Return the verdict on a session, with earlier results of its recipients."""
    message = "; ".join(part for part in (_so_far(recipients, progress), verdict.message) if part)
    return verdict._replace(message=shortened(message), progress=progress)


def _so_far(recipients: tuple[str, ...], progress: Progress) -> str:
    parts = [f"accepted for {len(progress.accepted)} of {len(recipients)}"] if progress.accepted else []
    parts += [f"refused: {_named(progress.refused)}"] if progress.refused else []
    return "; ".join(parts)


def _named(replies: Mapping[str, str]) -> str:
    named = [f"{recipient} ({reply})" for recipient, reply in list(replies.items())[:NAMED]]
    rest = len(replies) - len(named)
    return ", ".join(named) + (f" and {rest} more" if rest > 0 else "")
