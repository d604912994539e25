"""A MIME message as its readers see it: the visible headers, the text, and the attachments."""

from collections.abc import Iterator
from email.message import MIMEPart
from email.parser import BytesParser
from email.policy import default
from typing import Any

ENVELOPED = ("mime-version", "content-type", "content-transfer-encoding")
"""Headers about the packaging of a message."""
PREFERRED = ("plain", "html")


def is_mime(headers: dict[str, str]) -> bool:
    """Whether a body consists of MIME parts, which are unreadable as they are."""
    return _named(headers, "content-type").lower().startswith("multipart/")


def headers_shown(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers without those about the packaging."""
    return {name: value for name, value in headers.items() if name.lower() not in ENVELOPED}


def parts(headers: dict[str, str], body: str) -> Iterator[tuple[str, str]]:
    """Yield each readable part as its content type and its text, and then the attachments.

    Of a text in several forms, use the plainest. A truncated body ends where it was cut.
    """
    head = f"content-type: {_named(headers, 'content-type')}\r\n\r\n"
    message = BytesParser(policy=default).parsebytes((head + body).encode())
    chosen = message.get_body(PREFERRED) if message.get_content_subtype() != "related" else None
    if chosen is not None:
        yield chosen.get_content_type(), _text(chosen)
        for part in message.iter_attachments():
            yield "", f"attached: {part.get_filename() or 'a file'} ({part.get_content_type()})"
        return
    for part in message.walk():
        if not part.is_multipart():
            yield part.get_content_type(), _text(part)


def _text(part: MIMEPart) -> str:
    try:
        content: Any = part.get_content()
    except (LookupError, ValueError):  # an unknown character set, or none
        content = None
    if isinstance(content, bytes):
        content = content.decode(errors="backslashreplace")
    return content if isinstance(content, str) else f"({part.get_content_type()})"


def _named(headers: dict[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")
