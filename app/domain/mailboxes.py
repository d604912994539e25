"""Mail addresses: checked before they reach a header or an SMTP command."""

import re
from dataclasses import dataclass

from app.domain.bounds import RECIPIENT, SECRET
from app.domain.text import printable

# RFC 5321, section 4.1.2: a dot-string of ASCII. Nobody uses quoted local parts, and parsers disagree on
# them.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(
    r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE
)
MAILBOX = SECRET["from"]
NO_ADDRESS = "is not a mail address; write a plain one in ASCII, such as jane@example.com"
LOCAL_LIMIT, ADDRESS_LIMIT = 64, 254  # characters: RFC 5321, section 4.5.3.1


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address, and the display name before it."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """The part after the `@`."""
        return self.address.rpartition("@")[2]


def read_address(text: str) -> str:
    """Return a bare address as SMTP accepts it: a domain with non-ASCII characters is encoded with IDNA.

    Raises:
        ValueError: it is not an address; the text says what to change, and does not repeat it.
    """
    RECIPIENT.check(text)
    local, _, domain = text.strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii") if not domain.isascii() else domain
    except UnicodeError:
        domain = ""
    address = f"{local}@{domain.lower()}"
    if (
        not _LOCAL.fullmatch(local)
        or not _DOMAIN.fullmatch(domain)
        or len(local) > LOCAL_LIMIT
        or len(address) > ADDRESS_LIMIT
    ):
        raise ValueError(NO_ADDRESS)
    return address


def read_mailbox(text: str) -> Mailbox:
    """Read `jane@example.com`, or `Jane Doe <jane@example.com>`.

    Raises:
        ValueError: it is neither; the text says what to change, and does not repeat it.
    """
    MAILBOX.check(text)
    if not printable(text):
        raise ValueError("must not contain control characters")
    name, opening, address = text.strip().partition("<")
    if not opening:
        return Mailbox(read_address(name))
    if not address.endswith(">") or any(mark in name for mark in ">@"):
        raise ValueError(NO_ADDRESS)
    return Mailbox(read_address(address[:-1]), name.strip().strip('"'))
