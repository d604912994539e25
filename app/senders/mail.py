"""The mail about a finished team: text and HTML, with the envelope attached. Pure."""

import secrets
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from app.domain.errors import TargetError
from app.domain.mailboxes import Mailbox, read_address
from app.domain.reasons import Reason
from app.domain.targets import RECIPIENTS_LIMIT, EmailTarget
from app.senders.documents import as_html, as_text, fits, title
from app.senders.envelopes import Envelope
from app.senders.headers import AddressList, Headers, Mail

ATTACHMENT = "envelope.json"
LONG = 4_000  # characters; quoted-printable costs ten times as much work as base64

_POLICY = Mail(header_factory=Headers(), linesep="\r\n", cte_type="7bit")  # so that no relay has to change it


def recipients_of(target: EmailTarget) -> tuple[str, ...]:
    """Return the addresses of a target, each once.

    Raises:
        TargetError: there are none or too many, or one is not an address.
    """
    if not target.to:
        raise TargetError(Reason.INVALID_TARGET, "to: name at least one recipient")
    if len(target.to) > RECIPIENTS_LIMIT:
        message = (
            f"to: has {len(target.to)} recipients, and at most {RECIPIENTS_LIMIT} are allowed;"
            " use a mailing list"
        )
        raise TargetError(Reason.INVALID_TARGET, message)
    addresses = []
    for position, text in enumerate(target.to):
        try:
            addresses.append(read_address(text))
        except ValueError as error:
            raise TargetError(Reason.INVALID_TARGET, f"to.{position}: {error}") from None
    return tuple(dict.fromkeys(addresses))


def compose_mail(
    envelope: Envelope, target: EmailTarget, recipients: tuple[str, ...], sender: Mailbox, *, at: datetime
) -> EmailMessage:
    """Build the message.

    Its `Message-ID` is derived from the delivery's id, so mail programs show a duplicate once.
    `Auto-Submitted` prevents automatic replies (RFC 3834, section 5).
    """
    message = EmailMessage(_POLICY)
    message["From"] = _address(sender)
    message["To"] = AddressList("To", recipients)
    message["Subject"] = _literally(title(envelope, target.subject))
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{envelope.id}@{sender.domain}>"
    message["Auto-Submitted"] = "auto-generated"
    text, html = as_text(envelope), as_html(envelope)
    message.set_content(text, cte=_encoding(text))
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    if fits(envelope):
        message.add_attachment(envelope.body(), maintype="application", subtype="json", filename=ATTACHMENT)
    return message


def written(mail: EmailMessage) -> bytes:
    """Return a message as it is sent; the library's own method reads each line of a part four times."""
    return _written(mail).encode("ascii")


def _written(part: EmailMessage) -> str:
    if part.is_multipart():
        pieces = [_written(one) for one in part.iter_parts() if isinstance(one, EmailMessage)]
        boundary = f"=_{secrets.token_hex(16)}"  # random, so that no author can include it in their text
        part.set_boundary(boundary)
        content = "".join(f"--{boundary}\r\n{piece}\r\n" for piece in pieces) + f"--{boundary}--\r\n"
    else:
        content = str(part.get_payload()).replace("\r\n", "\n").replace("\n", "\r\n")
    return "".join(_POLICY.fold(name, value) for name, value in part.items()) + f"\r\n{content}"


def _encoding(text: str) -> str | None:
    """Return how a text is encoded: a long one as base64, a short one in the library's best encoding."""
    return "base64" if len(text) > LONG else None


def _address(mailbox: Mailbox) -> Address:
    return Address(display_name=_literally(mailbox.name), addr_spec=mailbox.address)


def _literally(text: str) -> str:
    """Return a text that no header parses as an encoded word, which could contain line breaks (RFC 2047)."""
    return text.replace("=?", "= ?")
